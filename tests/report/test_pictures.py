"""The pictures of a report: their bytes, their text, and what happens where they cannot be drawn."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

import report_manifests
import report_parts
import reports
from modelbuild.contract import CurvePoint
from modelbuild.contract.report import CalibrationBin, ConfusionMatrix, TrendPoint
from modelbuild.report import charts, pictures
from modelbuild.report.annotation import render_annotation
from modelbuild.report.pictures import draw_pictures, expected_pictures
from report_manifests import changed
from report_scenes import HOSTILE, SCENES

ROOT = Path(__file__).parents[2]

DRAW = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from report_scenes import SCENES
from modelbuild.report.pictures import draw_pictures
for name, content in sorted(draw_pictures(SCENES["better"]()).items()):
    print(name, hashlib.sha256(content).hexdigest())
"""


def drawn_elsewhere(folder: Path, **variables: str) -> str:
    """The hashes of the pictures that another process draws in a folder."""
    done = subprocess.run(
        [sys.executable, "-c", DRAW, str(ROOT / "tests" / "shared")],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("scene", SCENES)
def test_every_expected_picture_is_drawn(scene: str) -> None:
    """Each is one SVG that is readable on a light page and on a dark one, and loads nothing."""
    report = SCENES[scene]()
    drawn = draw_pictures(report)
    assert list(drawn) == [picture.file for picture in expected_pictures(report)]
    for content in drawn.values():
        root = ElementTree.fromstring(content)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert b"prefers-color-scheme: dark" in content
        assert b"<script" not in content
        assert b"<image" not in content
        addresses = re.findall(rb'href="([^"]*)"', content)
        assert all(address.startswith(b"#") for address in addresses)
        assert len(content) < 500_000


def test_the_bytes_depend_on_the_report_only(tmp_path: Path) -> None:
    """Another time, process, checkout and home give the same bytes, and print nothing."""
    (tmp_path / "file").write_text("")
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfigure.figsize: 1, 1\nfont.size: 99\n")
    first = drawn_elsewhere(ROOT)
    assert len(first.splitlines()) == 4
    # The home is no folder, so that no process can write to it.
    elsewhere = drawn_elsewhere(
        tmp_path, HOME=str(tmp_path / "file"), PYTHONHASHSEED="1", MPLBACKEND="pdf", XDG_CACHE_HOME=""
    )
    assert elsewhere == first


def test_a_settings_file_of_the_checkout_is_not_read(tmp_path: Path) -> None:
    """A file that matplotlib could not read changes nothing."""
    (tmp_path / "matplotlibrc").write_bytes(b"font.size: \xff\xfe\n")
    assert drawn_elsewhere(tmp_path) == drawn_elsewhere(ROOT)


def test_text_from_outside_stays_text() -> None:
    """Names are the text of the SVG, in any script, without markup, formulas or control characters."""
    names = ("\u8ca0\u9762\u7684\u8a55\u8ad6", "\u0645\u062d\u0627\u064a\u062f", HOSTILE, "a & b < c $x^2$")
    content = draw_pictures(reports.report_beside_live(0.01, report_manifests.classes_manifest(names)))
    texts = [
        element.text for element in ElementTree.fromstring(content["classes.svg"]).iter() if element.text
    ]
    assert {names[0], names[1], "a & b < c $x^2$"} <= set(texts)
    assert any(text.startswith("</td></tr></table></d") and text.endswith("\u2026") for text in texts)


def test_secrets_are_in_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that holds a secret of this process is redacted."""
    monkeypatch.setenv("API_TOKEN", "hunter2-hunter2")
    report = reports.report_beside_live(0.01, report_manifests.classes_manifest(["hunter2-hunter2", "b"]))
    content = draw_pictures(report)["classes.svg"]
    assert b"hunter2" not in content
    assert b"[redacted]" in content


def test_a_picture_that_cannot_be_drawn_costs_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other pictures and the page are there, and the log says what failed."""

    def broken(*_: object) -> bytes:
        raise RuntimeError("a text that may hold a secret")

    monkeypatch.setattr(charts, "trend", broken)
    report = SCENES["better"]()
    drawn = draw_pictures(report)
    assert set(drawn) == {"classes.svg", "calibration.svg", "curve.svg"}
    assert "of the newest models is not here" in render_annotation(report, reports.JOB, drawn)
    log = capsys.readouterr().err
    assert (
        "a picture of the report could not be drawn (trend.svg: a defect of modelbuild: RuntimeError" in log
    )
    assert "secret" not in log


def test_without_matplotlib_there_is_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose requirements are not whole still shows the report."""
    monkeypatch.setitem(sys.modules, "modelbuild.report.charts", None)
    monkeypatch.delattr("modelbuild.report.charts")
    report = SCENES["better"]()
    assert draw_pictures(report) == {}
    assert report.verdict.sentence in render_annotation(report, reports.JOB, ())


def test_matplotlib_is_imported_when_a_picture_is_drawn() -> None:
    """The page itself, and every other command, starts without it."""
    code = "import modelbuild.cli, modelbuild.report.annotation, sys; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_deployed_model_on_other_rows_is_hollow() -> None:
    """A filled point says that its figure can be compared."""

    def drawn(comparable: bool) -> str:
        point = TrendPoint(model_id="1", value=0.5, comparable=comparable, deployed=True)
        own = TrendPoint(model_id="2", value=0.6, comparable=True, deployed=False)
        return charts.trend(changed(SCENES["better"](), trend=(point, own)), "a title").decode()

    assert "deployed, other rows" in drawn(comparable=False)
    assert "deployed, other rows" not in drawn(comparable=True)


@pytest.mark.parametrize(
    ("draw", "changes"),
    [
        (
            charts.trend,
            {"trend": (TrendPoint(model_id="1", value=0.0, comparable=False, deployed=False),) * 2},
        ),
        (
            charts.trend,
            {"trend": (TrendPoint(model_id="1", value=0.5, comparable=True, deployed=True),) * 200},
        ),
        (charts.calibration, {"calibration": (CalibrationBin(mean_score=1.0, accuracy=0.0, rows=0),)}),
        (charts.heatmap, {"confusion": ConfusionMatrix(labels=("a",) * 20, counts=((1,) + (0,) * 19,) * 20)}),
        (charts.heatmap, {"confusion": report_parts.confusion([f"label {n}" for n in range(20)], 1_000)}),
    ],
)
def test_the_least_and_the_most_can_be_drawn(draw: Callable[..., bytes], changes: dict[str, object]) -> None:
    """Values without a range, classes without rows and many points are no failure."""
    assert draw(changed(SCENES["better"](), **changes), "a title").endswith(b"</svg>\n")


@pytest.mark.parametrize(
    "values",
    [
        [{"loss": 1.0}, {"loss": 0.5}],
        [{"loss": 1.0}, {"accuracy": 0.5}, {"loss": 0.4}],
        [{"loss": 1.0, "validation/loss": 2.0, "a": 1.0, "b": 1.0, "c": 1.0}] * 3,
        [{}, {}],
    ],
)
def test_a_curve_of_any_measures_is_drawn(values: list[dict[str, float]]) -> None:
    """A measure need not be in every point; a curve without measures is no picture."""
    report = SCENES["better"]()
    curve = tuple(CurvePoint(step=step, values=one) for step, one in enumerate(values))
    training = changed(report.manifest.training, curve=curve)
    report = changed(report, manifest=changed(report.manifest, training=training))
    assert ("curve.svg" in draw_pictures(report)) == any(values)
    assert pictures.expected_pictures(report)


@pytest.mark.parametrize(
    ("file", "entries"),
    [
        ("trend.svg", ["other rows", "same rows", "deployed, other rows", "deployed", "this model"]),
        ("candidates.svg", ["best", "within noise of it", "worse", "not compared with it"]),
    ],
)
def test_a_legend_with_all_entries_fits(file: str, entries: list[str]) -> None:
    """None ends beyond the picture, by letters that are half as wide as high."""
    report = SCENES["sweep"]()
    board = report.leaderboard
    assert board is not None
    rows = [changed(row, within_noise=None if row.rank == 40 else row.within_noise) for row in board.rows]
    drawn = draw_pictures(changed(report, leaderboard=changed(board, rows=tuple(rows))))[file].decode()
    for entry in entries:
        found = re.search(rf' x="([0-9.]+)"[^>]*>{entry}</text>', drawn)
        assert found is not None, entry
        assert float(found[1]) + 4.5 * len(entry) < 316.8, entry
