"""modelbuild's own plugins, which agents on the laptop take from the clone."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from modelbuild.errors import ConfigurationError
from modelbuild_local import clone
from modelbuild_local.up import plugins


@pytest.fixture
def own_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of modelbuild with little in it."""
    root = tmp_path / "my clone"
    for name in ("plugins/train/hooks/command", "python/src/x.py", "requirements/hooks.txt"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text("first\n", encoding="utf-8")
    monkeypatch.setattr(clone, "ROOT", root)
    return root


def write_plugins(tmp_path: Path) -> Path:
    """Offer the clone's plugins to agents, which have two folders."""
    (tmp_path / "hooks").mkdir(exist_ok=True)
    return plugins.write_plugins(tmp_path / "agent", tmp_path / "hooks")


def checked_out(tmp_path: Path, url: str, version: str | None) -> str:
    """What the train plugin's hook holds when an agent has checked the plugin out, as agents do."""
    ref = f"{url}/plugins/train" + (f"#{version}" if version else "")
    target = tmp_path / f"checkout-{len(list(tmp_path.iterdir()))}"
    script = f"""
    source {tmp_path}/hooks/environment
    git clone --quiet -- {url} {target}
    {f"git -C {target} checkout --quiet --force {version}" if version else ":"}
    """
    environ = {**os.environ, "BUILDKITE_PLUGINS": json.dumps([{ref: {"flow": "f"}}, "docker#v1"])}
    environ |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "user.name", "GIT_CONFIG_VALUE_0": "Ada"}
    done = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (target / "plugins/train/hooks/command").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("url", "version"),
    [
        ("https://github.com/YOUR_ORG/modelbuild.git", "v0.1.0"),
        ("https://git.example.org/team/sub/modelbuild.git", "v9.9.9"),
        ("ssh://git@git.example.org/modelbuild.git", "main"),
        ("https://github.com/acme/modelbuild.git", "0a1b2c3"),
        ("https://github.com/acme/modelbuild.git", None),
    ],
)
@pytest.mark.usefixtures("own_clone")
def test_whatever_address_and_version(tmp_path: Path, url: str, version: str | None) -> None:
    """The agents' git finds the clone's plugin under any address and version of a pipeline, and twice."""
    write_plugins(tmp_path)
    assert checked_out(tmp_path, url, version) == "first\n"
    assert checked_out(tmp_path, url, version) == "first\n"


def test_a_changed_clone_is_another_plugin(tmp_path: Path, own_clone: Path) -> None:
    """What was changed in the clone and not committed is what agents run next, under the same version, also
    when it was so before; agents that run keep the folder they know.
    """
    url, version = "https://github.com/YOUR_ORG/modelbuild.git", "v0.1.0"
    before = write_plugins(tmp_path)
    assert checked_out(tmp_path, url, version) == "first\n"
    assert write_plugins(tmp_path) == before
    (own_clone / "plugins/train/hooks/command").write_text("second\n", encoding="utf-8")
    assert write_plugins(tmp_path) != before
    assert before.is_dir()
    assert checked_out(tmp_path, url, version) == "second\n"
    (own_clone / "plugins/train/hooks/command").write_text("first\n", encoding="utf-8")
    assert write_plugins(tmp_path) == before
    assert checked_out(tmp_path, url, version) == "first\n"
    assert checked_out(tmp_path, url, None) == "first\n"


def test_other_plugins_are_left_alone(tmp_path: Path, own_clone: Path) -> None:
    """A job without modelbuild's plugins gets no setting of git."""
    del own_clone
    write_plugins(tmp_path)
    script = f"source {tmp_path}/hooks/environment; env | grep ^GIT_CONFIG"
    environ = {"PATH": os.environ["PATH"], "BUILDKITE_PLUGINS": '["https://github.com/a/docker.git#v1"]'}
    done = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True, check=False)
    assert done.stdout == "GIT_CONFIG_COUNT=0\n"


def test_a_package_without_its_clone_is_a_sentence(own_clone: Path, tmp_path: Path) -> None:
    """Where the package was installed without its repository, what is missing is named with the fix."""
    (own_clone / "plugins").rename(tmp_path / "away")
    with pytest.raises(ConfigurationError, match="plugins is missing: run scripts/install in a clone"):
        write_plugins(tmp_path)
