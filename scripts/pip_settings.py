"""Print how pip is configured as settings of uv: variables, a line ``NAME=value`` each, and arguments.

uv reads neither pip.conf nor pip's variables. The script does not replace a variable of uv that is set
already.
"""

from __future__ import annotations

import ast
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

_SECTIONS = ("global", "install", ":env:")
"""Sections of pip's configuration, each of which overrides those before."""


def main() -> None:
    """Read pip's configuration, and print uv's settings."""
    command = [sys.executable, "-I", "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for name, value in variables(read(done.stdout)):
        if name.startswith("--"):
            print(name)
        elif name not in os.environ:
            print(f"{name}={value}")


def read(listed: str) -> dict[str, str]:
    """The settings of ``pip install``, from the output of ``pip config list``."""
    found: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in found:
            found[section][name] = str(ast.literal_eval(value))
    return {name: value for section in _SECTIONS for name, value in found[section].items()}


def variables(pip: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The variables of uv for pip's settings; an argument, for which uv has no variable, has no value."""
    for name, ours in {
        "index-url": ["UV_DEFAULT_INDEX"],
        "extra-index-url": ["UV_INDEX"],
        "cert": ["SSL_CERT_FILE"],
        "client-cert": ["SSL_CLIENT_CERT"],
        "proxy": ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"],
        "timeout": ["UV_HTTP_TIMEOUT"],
        "trusted-host": ["UV_INSECURE_HOST"],
    }.items():
        if value := " ".join(pip.get(name, "").split()):
            yield from ((variable, value) for variable in ours)
    if "extra-index-url" in pip:
        # pip searches all indexes; uv by default only the first that has the package in any version.
        yield "UV_INDEX_STRATEGY", "unsafe-best-match"
    if links := [link for link in pip.get("find-links", "").split() if "://" in link or Path(link).exists()]:
        yield "UV_FIND_LINKS", ",".join(links)
    if pip.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        yield "--no-index", ""
    if sys.platform == "darwin" or ssl.get_default_verify_paths().cafile:
        # Like pip, use the system's certificates, which may contain a company's own authority.
        yield "UV_SYSTEM_CERTS", "true"


if __name__ == "__main__":
    main()
