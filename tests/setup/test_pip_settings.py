"""How pip is configured holds for uv too, with which set-up installs."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("pip_settings", ROOT / "scripts" / "pip_settings.py")
assert _SPEC is not None
assert _SPEC.loader is not None
pip_settings: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(pip_settings)


def test_more_specific_setting_overrides(tmp_path: Path) -> None:
    """A variable is above the section of ``pip install``, which is above the global one; other sections are
    of other commands.
    """
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://global.example/simple\ntimeout = 7\n"
        "[install]\nindex-url = https://install.example/simple\nproxy = http://install.example:1\n"
        "[download]\nindex-url = https://download.example/simple\n".replace("\\\n", "\n"),
        encoding="utf-8",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        env={**kept, "PIP_CONFIG_FILE": str(file), "PIP_PROXY": "http://variable.example:2"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = pip_settings.read(listed)
    assert found["index-url"] == "https://install.example/simple"
    assert found["timeout"] == "7"
    assert found["proxy"] == "http://variable.example:2"


def test_each_setting_has_its_name_in_uv(tmp_path: Path) -> None:
    """Several values, which pip has on lines of their own, are one line; a folder that is not there is left
    out, as pip does, while uv would fail; nothing else is passed on.
    """
    found = dict(
        pip_settings.variables(
            {
                "index-url": "https://user:word@mirror.example/simple",
                "extra-index-url": "\nhttps://one.example/simple\nhttps://two.example/simple",
                "find-links": f"{tmp_path} {tmp_path}/none https://links.example/",
                "trusted-host": "one.example\ntwo.example:8443",
                "cert": "/etc/authority.pem",
                "proxy": "http://proxy.example:3128",
                "no-index": "true",
                "target": "/elsewhere",
                "user": "true",
            }
        )
    )
    found.pop("UV_SYSTEM_CERTS", None)
    assert found == {
        "UV_DEFAULT_INDEX": "https://user:word@mirror.example/simple",
        "UV_INDEX": "https://one.example/simple https://two.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": f"{tmp_path},https://links.example/",
        "UV_INSECURE_HOST": "one.example two.example:8443",
        "SSL_CERT_FILE": "/etc/authority.pem",
        "ALL_PROXY": "http://proxy.example:3128",
        "HTTPS_PROXY": "http://proxy.example:3128",
        "HTTP_PROXY": "http://proxy.example:3128",
        "--no-index": "",
    }


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and logs nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A package index that has one package, and the requirements file that pins it."""
    folder = tmp_path / "simple" / "only-in-the-mirror"
    folder.mkdir(parents=True)
    wheel = folder / "only_in_the_mirror-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("only_in_the_mirror.py", "")
        archive.writestr(
            "only_in_the_mirror-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: only-in-the-mirror\nVersion: 1.0\n",
        )
        archive.writestr(
            "only_in_the_mirror-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(
            "only_in_the_mirror-1.0.dist-info/RECORD",
            "only_in_the_mirror.py,,\nonly_in_the_mirror-1.0.dist-info/METADATA,,\n"
            "only_in_the_mirror-1.0.dist-info/WHEEL,,\nonly_in_the_mirror-1.0.dist-info/RECORD,,\n",
        )
    (folder / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>', encoding="utf-8")
    requirements = tmp_path / "requirements.txt"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    requirements.write_text(f"only-in-the-mirror==1.0 --hash=sha256:{digest}\n", encoding="utf-8")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple", requirements
    server.shutdown()
    server.server_close()


def install(tmp_path: Path, requirements: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Install as set-up does, into a folder of the test's own."""
    script = """
    set -euo pipefail
    root="$PWD" venv="$1" python="$1/bin/python"
    source scripts/environment.bash
    uv_install --require-hashes --target "$2" -r "$3"
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    prefix = Path(sys.executable).parents[1]
    return subprocess.run(
        ["bash", "-c", script, "test", prefix, tmp_path / "target", requirements],
        cwd=ROOT,
        env={**kept, "UV_CACHE_DIR": str(tmp_path / "cache"), **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("configured", ["a variable", "a file"])
def test_uv_installs_from_the_index_of_pip(tmp_path: Path, mirror: tuple[str, Path], configured: str) -> None:
    """Where pip has another index, by a variable or by its file, packages come from there."""
    url, requirements = mirror
    environ = {"PIP_INDEX_URL": url}
    if configured == "a file":
        (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {url}\n", encoding="utf-8")
        environ = {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    done = install(tmp_path, requirements, **environ)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "target" / "only_in_the_mirror.py").exists()


def test_other_bytes_are_refused(tmp_path: Path, mirror: tuple[str, Path]) -> None:
    """A mirror that serves another wheel than the pinned one is found out."""
    url, requirements = mirror
    requirements.write_text(f"only-in-the-mirror==1.0 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    done = install(tmp_path, requirements, PIP_INDEX_URL=url)
    assert done.returncode != 0
    assert "ash" in done.stderr
    assert not (tmp_path / "target" / "only_in_the_mirror.py").exists()


def test_without_an_index_nothing_is_asked_for(tmp_path: Path, mirror: tuple[str, Path]) -> None:
    """``no-index`` of pip holds: packages come from the folder of pip's settings only."""
    _, requirements = mirror
    links = tmp_path / "simple" / "only-in-the-mirror"
    done = install(tmp_path, requirements, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(links))
    assert done.returncode == 0, done.stderr
    shutil.rmtree(tmp_path / "target")
    refused = install(tmp_path, requirements, PIP_NO_INDEX="1", UV_CACHE_DIR=str(tmp_path / "new"))
    assert refused.returncode != 0
