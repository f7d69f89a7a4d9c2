"""Files that hold no pipeline, this repository's own files, and the command line."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.errors import ConfigurationError
from modelbuild.onboarding.check import PLACEHOLDER, findings
from modelbuild.onboarding.pipeline import DEFAULT_FILE, read
from pipeline_files import Write, changed, line_of, texts
from standins import ROOT


def test_own_pipeline_is_right() -> None:
    """This repository's own pipeline has no finding."""
    assert findings(read(ROOT / ".buildkite" / "pipeline.yml")) == []


@pytest.mark.parametrize(
    "name",
    [
        *("README.md", "docs/setup.md"),
        *("plugins/train/README.md", "plugins/notify/README.md", "plugins/deploy/README.md"),
    ],
)
def test_examples_are_right(name: str, write: Write) -> None:
    """What a page shows has no finding once the placeholder is filled in."""
    examples = re.findall(r"^```ya?ml\n(.*?)^```", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)
    assert examples
    for example in examples:
        assert texts(write(example.replace(PLACEHOLDER, "acme"))) == []


@pytest.mark.parametrize(
    "text", ["steps: [", "", "steps: 3", "{? [a]: 1}", "\x00", "steps: {}", r'steps: [label: "\ud83d\ude80"]']
)
def test_no_pipeline_is_a_sentence(text: str, write: Write) -> None:
    """What is no pipeline is refused in one line that names the file."""
    file = write(text)
    with pytest.raises(ConfigurationError) as caught:
        read(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["a", "train", "$X", "block", "wait", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["key", "fields", "unblock", "group", "steps", "depends_on", "step", "if"])
            | st.sampled_from(["block", "plugins", "./plugins/train", "./plugins/deploy", "blocked_state"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.lists(values, max_size=4))
def test_any_steps_have_findings_and_no_traceback(steps: list[Any]) -> None:
    """Whatever stands in a pipeline, the answer is a list of single lines."""
    with NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump({"steps": steps}, file)
        file.flush()
        assert all("\n" not in finding.text for finding in findings(read(Path(file.name))))


def test_command_line(write: Write) -> None:
    """Each finding is a line with file and line number, and the exit code is 10; without any it is 0."""

    def ran(file: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "modelbuild", "check", str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    good = ran(ROOT / ".buildkite" / "pipeline.yml")
    assert (good.returncode, good.stderr) == (0, "")
    text = changed("    blocked_state: running\n", "")
    bad = ran(write(text))
    assert bad.returncode == 10
    (line,) = bad.stdout.splitlines()
    assert f"pipeline.yml:{line_of(text, '  - block: ' + chr(34) + ':hourglass:')}: step training" in line
    missing = ran(write("").with_name("none.yml"))
    assert missing.returncode == 10
    assert "cannot read the pipeline" in missing.stderr


def test_pipeline_of_a_folder_above_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a repository the sentence names its root, and does not ask for a second pipeline."""
    (tmp_path / ".buildkite").mkdir()
    (tmp_path / DEFAULT_FILE).write_text("steps: []\n")
    (tmp_path / "flows" / "x").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "flows" / "x")
    with pytest.raises(ConfigurationError, match=rf"\(No such file or directory\): run this in {tmp_path}$"):
        read(DEFAULT_FILE)


def test_a_folder_above_that_may_not_be_read_has_no_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as that of another user, in whose folder this one lies."""
    stat = os.stat

    def refusing(path: Any, **options: Any) -> os.stat_result:
        if str(path).endswith(str(DEFAULT_FILE)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return stat(path, **options)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "stat", refusing)
    with pytest.raises(ConfigurationError, match=r"\(No such file or directory\): name the file"):
        read(DEFAULT_FILE)
