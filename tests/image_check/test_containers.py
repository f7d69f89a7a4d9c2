from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import pickle
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import engines
from engines import EngineStandIn
from modelbuild.errors import ConfigurationError
from modelbuild.image_check import command, container_checks
from modelbuild.image_check.engine import find_engine
from modelbuild.image_check.model import read_model
from modelbuild.image_check.pickled import packed_like, printing
from models import Published
from waiting import SECONDS, wait_until

SHARED = Path(__file__).parents[1] / "shared"
FAULTY = Path(__file__).parent / "faulty_container.py"
SETUP = f"import sys, runpy; sys.path.insert(0, {str(SHARED)!r}); del sys.argv[-1]; "
SERVER = [sys.executable, "-m", "modelbuild.serving"]


def faulty(*faults: str) -> list[str]:
    """The command of a container with these faults; ``serve``, which the engine adds, is left out of them."""
    program = f"{SETUP}runpy.run_path({str(FAULTY)!r}, run_name='container')"
    return [sys.executable, "-c", program, *faults]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineStandIn:
    """A podman with an image of modelbuild's server, and images with faults."""
    images = {
        "right": SERVER,
        "own": faulty(),
        "careless": faulty("trusts", "unpickles", "hard-coded", "deaf"),
        "lazy": faulty("lazy", "unpickles"),
        "careful-unpickler": faulty("unpickles"),
        "never": faulty("never"),
        "missing-program": ["/nowhere/server"],
        "missing-module": [sys.executable, "-m", "nowhere_to_be_found"],
    }
    return engines.first_on_path(tmp_path / "engine", monkeypatch, images)


@pytest.fixture
def own_model(tmp_path: Path) -> Path:
    """A model of a format of the user's own, with two files whose hashes its model.json holds."""
    folder = tmp_path / "own"
    folder.mkdir()
    files = {"vocabulary.json": b'["a", "b"]', "weights.pkl": b"F1.5\n."}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    (folder / "model.json").write_text(json.dumps({"format": "mine", "files": hashes}))
    return folder


Run = Callable[..., dict[str, str]]


@pytest.fixture
def run(engine: EngineStandIn, capsys: pytest.CaptureFixture[str]) -> Run:
    """Checks an image, and gives the line of each subject; whether it passed is in line ``passed``."""

    def run(
        image: str, directory: Path, manifest: Path | None = None, seconds: float = SECONDS
    ) -> dict[str, str]:
        instances = [] if manifest else ["It works."]
        model = read_model(directory, manifest, instances)
        passed = command.check_image(image, model, None, seconds)
        lines = capsys.readouterr().out.splitlines()
        assert engine.running == []
        assert set(engine.ended) == set(engine.removed)
        return {line[12:].partition(":")[0]: line for line in lines[:-1]} | {"passed": str(passed)}

    return run


def test_the_server_of_modelbuild_passes_every_check(
    run: Run, published: Published, own_manifest: Path
) -> None:
    """The server of the serving image does all that is asked of an image of the user's own."""
    lines = run("right", published.directory, own_manifest)
    assert {line[:3] for line in lines.values()} == {"ok ", "Tru"}, lines
    assert list(lines) == [
        *("start", "first request", "golden predictions", "declared output", "repetition", "batch"),
        *("/ping under load", "bad body", "empty body", "wrong content type", "largest body", "model id"),
        *("SIGTERM", "other model id", "changed model.json", "changed file", "pickle", "passed"),
    ]
    assert "model.safetensors is not executed" in lines["pickle"]


def test_an_image_with_a_format_of_its_own_passes(run: Run, own_model: Path) -> None:
    """Of a model.json that modelbuild does not know, only the declared output and golden answers are left "
    "out.
    """
    lines = run("own", own_model)
    assert lines.pop("passed") == "True"
    unchecked = {subject for subject, line in lines.items() if not line.startswith("ok ")}
    assert unchecked == {"golden predictions", "declared output"}, lines
    assert "vocabulary.json, weights.pkl" in lines["changed file"]


def _with_hashes(model: Path, change: Callable[[str], str]) -> None:
    """Write the hashes of model.json in another way."""
    described = json.loads((model / "model.json").read_text())
    described["files"] = {name: change(sha256) for name, sha256 in described["files"].items()}
    (model / "model.json").write_text(json.dumps(described))


def test_hashes_in_upper_case_are_those_of_the_files(run: Run, own_model: Path) -> None:
    """A server that compares them so passes, and one that unpickles is found behind them."""
    _with_hashes(own_model, str.upper)
    lines = run("own", own_model)
    assert lines["passed"] == "True"
    assert lines["changed file"].startswith("ok ")
    lines = run("careful-unpickler", own_model)
    assert lines["pickle"].startswith("failed"), lines
    assert "the server executes the code of a pickle in place of weights.pkl" in lines["pickle"]


def test_a_pickle_behind_hashes_that_are_not_found_is_not_checked(run: Run, own_model: Path) -> None:
    """Hashes in another form cannot be replaced: the server may refuse only these pickles by them."""
    _with_hashes(own_model, lambda sha256: base64.b64encode(bytes.fromhex(sha256)).decode())
    lines = run("careful-unpickler", own_model)
    assert lines["pickle"].startswith("not checked"), lines
    assert "put the hashes there" in lines["pickle"]


def test_faults_that_only_a_container_shows_are_found(
    run: Run, own_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server unpickles, compares no hashes, has an id in its code, and ignores SIGTERM; each is found.

    It reads another file before the one that it unpickles, and stops there if that is a pickle too.
    """
    monkeypatch.setattr(container_checks, "TERM_SECONDS", 1.0)
    lines = run("careless", own_model)
    assert lines.pop("passed") == "False"
    failed = {subject for subject, line in lines.items() if line.startswith("failed")}
    assert failed == {"SIGTERM", "other model id", "changed model.json", "changed file", "pickle"}, lines
    assert "still runs 1 s after SIGTERM" in lines["SIGTERM"]
    assert "those of model another-model 987654321.2" in lines["other model id"]
    assert "serves a model whose model.json was changed" in lines["changed model.json"]
    assert "serves a model whose vocabulary.json was changed" in lines["changed file"]
    assert "executes the code of a pickle in place of weights.pkl" in lines["pickle"]


def test_a_pickle_that_the_first_request_loads_is_found(run: Run, own_model: Path) -> None:
    """A server that reads its model after /ping is 200 gets a request, which shows what it does with it."""
    lines = run("lazy", own_model)
    assert "executes the code of a pickle in place of weights.pkl" in lines["pickle"]
    assert "serves a model whose" in lines["changed file"]


def test_a_model_that_holds_no_hashes_cannot_be_verified(run: Run, own_model: Path) -> None:
    """Where model.json has no hash of a file, the check of a changed file is not made, and says so."""
    (own_model / "model.json").write_text('{"files": {}}')
    lines = run("own", own_model)
    assert lines["changed file"].startswith("not checked")
    assert "put the hashes there" in lines["changed file"]
    # This server does not read its files at all.
    assert "comes into service with pickles in place of" in lines["pickle"]


@pytest.mark.parametrize(
    ("image", "seconds", "message"),
    [
        ("missing-program", SECONDS, "image missing-program .*not found; correct its ENTRYPOINT"),
        ("missing-module", SECONDS, "ended with exit code 1: .*No module named nowhere_to_be_found"),
        ("never", 1.0, r"/ping on port 8080 was not answered with 200 within 1 s; listen on 0\.0\.0\.0:8080"),
    ],
)
def test_an_image_that_does_not_start_is_not_checked_further(
    image: str, seconds: float, message: str, run: Run, own_model: Path
) -> None:
    """The line says how the container ended, and what was not checked is no success."""
    lines = run(image, own_model, seconds=seconds)
    assert lines.pop("passed") == "False"
    start = lines.pop("start")
    assert start.startswith("failed")
    assert re.search(message, start), start
    assert {line[:11] for line in lines.values()} == {"not checked"}


@pytest.mark.usefixtures("engine")
def test_an_image_that_is_not_there_is_a_sentence(own_model: Path) -> None:
    """An image is not pulled, because it could be another one than was meant."""
    model = read_model(own_model, None, [])
    with pytest.raises(ConfigurationError, match="podman has no image nothing on this machine: build it"):
        command.check_image("nothing", model, None, 5.0)
    with pytest.raises(ConfigurationError, match="IMAGE is '--privileged'"):
        command.check_image("--privileged", model, None, 5.0)


def test_no_engine_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without an engine a running server can be checked, and the sentence says so."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"neither docker nor podman is on PATH.*--url"):
        find_engine(None)
    with pytest.raises(ConfigurationError, match="docker is not on PATH"):
        find_engine("docker")


def test_an_engine_that_does_not_work_is_passed_over(
    engine: EngineStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A docker whose daemon does not run leaves podman; without podman its message is in the error."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "docker").write_text("#!/bin/sh\necho 'Cannot connect to the daemon.' >&2\nexit 1\n")
    (broken / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken}{os.pathsep}{engine.path}")
    assert find_engine(None).program == "podman"
    with pytest.raises(ConfigurationError, match=r"docker does not work here \(Cannot connect to the daemon"):
        find_engine("docker")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_removes_the_container(
    number: signal.Signals, engine: EngineStandIn, own_model: Path
) -> None:
    """Ctrl-C, and the SIGTERM of a cancelled job, leave no container behind."""
    program = "from modelbuild.cli import main; main()"
    arguments = ["check-image", "never", str(own_model)]
    checking = subprocess.Popen(
        [sys.executable, "-X", "utf8", "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PATH": engine.path},
    )

    def is_running() -> bool:
        assert checking.poll() is None, checking.communicate()[0]
        return bool(engine.started)

    wait_until(is_running, "the container")
    checking.send_signal(number)
    printed = checking.communicate(timeout=SECONDS)[0]
    assert checking.returncode == (1 if number == signal.SIGINT else 143), printed
    assert "Traceback" not in printed
    assert engine.running == []
    assert engine.ended == engine.removed


def test_the_pickle_prints_only_when_it_is_loaded() -> None:
    """The marker is in no byte of the pickle, so that a server which prints the file is not taken for one."""
    pickled, marker = printing()
    assert marker.encode() not in pickled
    loaded = subprocess.run(
        [sys.executable, "-c", "import pickle, sys; pickle.load(sys.stdin.buffer)"],
        input=pickled,
        capture_output=True,
        check=True,
    )
    assert loaded.stderr.decode() == f"{marker}\n"


def _zipped(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return buffer.getvalue()


def _npy(value: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(value))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("original", "load"),
    [
        (gzip.compress(b""), "pickle.loads(gzip.decompress(content))"),
        (bz2.compress(b""), "pickle.loads(bz2.decompress(content))"),
        (lzma.compress(b""), "pickle.loads(lzma.decompress(content))"),
        (_npy([1.0, 2.0]), "np.load(io.BytesIO(content), allow_pickle=True)"),
        (_zipped({"a.npy": _npy(1.0)}), "np.load(io.BytesIO(content), allow_pickle=True)['a']"),
        (
            _zipped({"archive/data.pkl": pickle.dumps(1.0), "archive/version": b"3"}),
            "archive = zipfile.ZipFile(io.BytesIO(content)); assert archive.read('archive/version') == b'3'; "
            "pickle.loads(archive.read('archive/data.pkl'))",
        ),
        (b"anything else", "pickle.loads(content)"),
        (b"weights" + _zipped({"a": b"a"})[-22:], "pickle.loads(content)"),
    ],
    ids=["gzip", "bzip2", "xz", "npy", "npz", "torch", "other", "broken zip"],
)
def test_the_pickle_is_where_the_loader_of_a_format_unpickles(original: bytes, load: str) -> None:
    """A loader that looks at the format of its file first still finds the pickle, and prints the marker."""
    pickled, marker = printing()
    imports = "import bz2, gzip, io, lzma, pickle, sys, zipfile, numpy as np"
    program = f"{imports}; content = sys.stdin.buffer.read(); {load}"
    packed = packed_like(original, pickled)
    loaded = subprocess.run([sys.executable, "-c", program], input=packed, capture_output=True, check=True)
    assert loaded.stderr.decode() == f"{marker}\n"
