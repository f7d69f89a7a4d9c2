"""The archive holds what the commit holds, wherever git finds settings, and runs no program of a checkout."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from modelbuild import git
from modelbuild.errors import ConfigurationError
from modelbuild.train.commit import source


def pack(folder: Path, commit: str, **options: Any) -> bytes:
    """The archive of a commit whose flow is flow.py."""
    return source.archive(folder, commit, **{"flow": "flow.py", **options}).content


def files(archived: bytes) -> dict[str, bytes]:
    """The files of an archive and their bytes."""
    with tarfile.open(fileobj=io.BytesIO(archived)) as tar:
        found = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        return {name: file.read() for name, file in found.items() if file}


def put(repository: Any, entries: dict[str, tuple[str, bytes]]) -> str:
    """Commit entries by mode and bytes, past what git add allows; the commit's id."""
    for name, (mode, content) in entries.items():
        done = subprocess.run(
            ["git", "-C", str(repository.folder), "hash-object", "-w", "--stdin"],
            input=content,
            check=True,
            capture_output=True,
        )
        blob = done.stdout.decode().strip()
        repository.git("update-index", "--add", "--cacheinfo", f"{mode},{blob},{name}")
    repository.git("commit", "--quiet", "--message", "a commit")
    repository.git("checkout", "--quiet", "--force", "HEAD")
    return str(repository.git("rev-parse", "HEAD"))


ATTRIBUTES = (
    "a.py export-subst",
    "a.py export-ignore",
    "a.py ident",
    "a.py text eol=crlf",
    "a.py filter=shout",
    "a.py working-tree-encoding=UTF-16",
    "* text=auto",
    "* binary",
)


@pytest.mark.parametrize("attribute", ATTRIBUTES)
@pytest.mark.parametrize("origin", [".gitattributes", ".git/info/attributes", "global"])
def test_attributes_change_nothing(
    repository: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attribute: str, origin: str
) -> None:
    """Wherever an attribute is set, every file of the commit is there with its own bytes."""
    text = "$Format:%d %H$ $Id$\n"
    tree = {"flow.py": "x\n", "a.py": text}
    commit = repository.commit(tree)
    if origin == ".gitattributes":
        tree = {origin: attribute, **tree}
        commit = put(repository, {origin: ("100644", attribute.encode())})
    if origin == ".git/info/attributes":
        (repository.folder / origin).parent.mkdir(exist_ok=True)
        (repository.folder / origin).write_text(attribute)
    if origin == "global":
        (tmp_path / "attributes").write_text(attribute)
        (tmp_path / "config").write_text(f"[core]\n\tattributesFile = {tmp_path}/attributes\n")
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    repository.git("config", "tar.umask", "0777")
    repository.git("config", "core.autocrlf", "true")
    repository.git("config", "filter.shout.smudge", "tr a-z A-Z")
    first = pack(repository.folder, commit)
    assert files(first) == {name: content.encode() for name, content in tree.items()}
    repository.git("tag", "a-tag-of-this-clone")
    assert pack(repository.folder, commit) == first


def test_replaced_objects_are_not_used(repository: Any) -> None:
    """A replace ref of a clone stands for another commit: what is trained is the one with the id."""
    commit = repository.commit({"flow.py": "right"})
    other = repository.commit({"flow.py": "wrong"})
    repository.git("checkout", "--quiet", commit)
    repository.git("replace", commit, other)
    assert files(pack(repository.folder, commit)) == {"flow.py": b"right"}


def test_modes_links_and_odd_names_come_back(repository: Any, tmp_path: Path) -> None:
    """Executables, links, empty files and names that no encoding has are unpacked as committed."""
    odd = os.fsdecode(b"caf\xe9 \n.bin")
    repository.commit({"flow.py": "x", "run": "#!/bin/sh\n", "data/empty": "", "data/" + "n" * 150: "long"})
    (repository.folder / "run").chmod(0o755)
    (repository.folder / "link").symlink_to("data/empty")
    (repository.folder / odd).write_bytes(b"odd")
    archived = pack(repository.folder, repository.commit({}))
    source.extract(archived, tmp_path / "out")
    assert os.access(tmp_path / "out" / "run", os.X_OK)
    assert not os.access(tmp_path / "out" / "flow.py", os.X_OK)
    assert os.readlink(tmp_path / "out" / "link") == "data/empty"
    assert (tmp_path / "out" / odd).read_bytes() == b"odd"
    assert (tmp_path / "out" / "data" / ("n" * 150)).read_text() == "long"


LINKS = {
    "absolute": {"data": "/mnt/datasets"},
    "above": {"a/data": "../../datasets"},
    "through another": {"x/y/z": "../..", "out": "x/y/z/.."},
    "empty component": {"a/data": "..//../etc"},
}


@pytest.mark.parametrize("links", LINKS.values(), ids=LINKS)
def test_links_that_lead_outside_are_refused_on_the_agent(repository: Any, links: dict[str, str]) -> None:
    """What the head would refuse, after it was submitted, is refused before, with the link's name."""
    repository.commit({"flow.py": "x"})
    commit = put(repository, {name: ("120000", target.encode()) for name, target in links.items()})
    with pytest.raises(ConfigurationError, match=r"leads outside the repository: keep the data in S3"):
        pack(repository.folder, commit)


@pytest.mark.parametrize("target", ["absent.csv", "a.csv"])
def test_link_of_the_flow_to_nothing_is_refused(repository: Any, target: str) -> None:
    """Metaflow cannot pack a link of the flow's folder to what is not there; elsewhere it harms nothing."""
    repository.commit({"flows/flow.py": "x"})
    commit = put(repository, {"other/a.csv": ("120000", target.encode())})
    assert pack(repository.folder, commit, flow="flows/flow.py")
    commit = put(repository, {"flows/a.csv": ("120000", target.encode())})
    with pytest.raises(
        ConfigurationError, match=r"flows/a\.csv: it links to .* which the archive does not have"
    ):
        pack(repository.folder, commit, flow="flows/flow.py")


def test_link_to_another_folder_needs_that_folder(repository: Any) -> None:
    """The error for a link to a file that include leaves out says to include it."""
    repository.commit({"flows/flow.py": "x", "lib/x.py": "x", "docs/y": "y"})
    commit = put(repository, {"flows/lib": ("120000", b"../lib")})
    with pytest.raises(ConfigurationError, match="name it in option include"):
        pack(repository.folder, commit, flow="flows/flow.py", include=["docs"])
    assert b"x" in files(pack(repository.folder, commit, flow="flows/flow.py", include=["lib"])).values()


def test_ciphertext_is_reported(repository: Any) -> None:
    """A file that git-crypt has encrypted is refused unless include leaves it out, unlocked or not."""
    repository.commit({"flow.py": "x", "lib/x.py": "x"})
    commit = put(repository, {"keys/secret": ("100644", b"\0GITCRYPT\0abc")})
    (repository.folder / "keys" / "secret").write_text("unlocked")
    with pytest.raises(ConfigurationError, match=r"keys/secret is encrypted by git-crypt"):
        pack(repository.folder, commit)
    assert pack(repository.folder, commit, include=["lib"])


def test_long_name_is_refused(repository: Any) -> None:
    """A name that no file system of Linux takes, which git can commit, is refused on the agent."""
    repository.commit({"flow.py": "x"})
    blob = repository.git("rev-parse", "HEAD:flow.py")
    repository.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{'n' * 300}")
    repository.git("commit", "--quiet", "--message", "long")
    with pytest.raises(ConfigurationError, match="more than 255 bytes: rename it"):
        pack(repository.folder, repository.git("rev-parse", "HEAD"))


def traps(folder: Path, program: Path) -> dict[str, str]:
    """Settings by which git would run a program."""
    (folder / ".git" / "info").mkdir(exist_ok=True)
    (folder / ".git" / "info" / "attributes").write_text("* filter=trap diff=trap merge=trap\n")
    return {
        "core.fsmonitor": str(program),
        "core.hooksPath": str(program.parent / "hooks"),
        "core.pager": str(program),
        "core.sshCommand": str(program),
        "core.editor": str(program),
        "credential.helper": f"!{program}",
        "diff.external": str(program),
        "diff.trap.command": str(program),
        "diff.trap.textconv": str(program),
        "filter.trap.clean": str(program),
        "filter.trap.smudge": str(program),
        "filter.trap.process": str(program),
        "filter.trap.required": "true",
        "filter.a.b.clean": str(program),
        "gpg.program": str(program),
        "log.showSignature": "true",
        "commit.gpgSign": "true",
        "alias.rev-parse": f"!{program}",
        "alias.ls-tree": f"!{program}",
        "remote.origin.uploadpack": str(program),
        "remote.origin.url": f"ext::{program}",
        "remote.origin.promisor": "true",
        "protocol.ext.allow": "always",
        "interactive.diffFilter": str(program),
    }


@pytest.mark.parametrize("allow_dirty", [False, True])
def test_no_program_of_the_checkout_is_run(
    repository: Any, tmp_path: Path, allow_dirty: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the configuration of a checkout names, and whatever hooks it has, git runs none of it."""
    commit = repository.commit({"flow.py": "x\n", "a.txt": "a\n"})
    ran, program = tmp_path / "ran", tmp_path / "bin" / "trap"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$0 $*" >>{ran}\ncat\n')
    program.chmod(0o755)
    hooks = [repository.folder / ".git" / "hooks", program.parent / "hooks"]
    for folder in hooks:
        folder.mkdir(exist_ok=True)
        for name in ("post-index-change", "reference-transaction", "pre-commit", "post-checkout"):
            (folder / name).write_text(program.read_text())
            (folder / name).chmod(0o755)
    for key, value in traps(repository.folder, program).items():
        repository.git("config", key, value)
    # The filters of the checkout are asked for with git config, which would read this file alone.
    monkeypatch.setenv("GIT_CONFIG", os.devnull)
    # Settings in force, git looks at the file anew, because its time changes.
    (repository.folder / "a.txt").write_text("changed\n" if allow_dirty else "a\n")
    ran.unlink(missing_ok=True)
    assert pack(repository.folder, git.commit_of(repository.folder, "HEAD"), allow_dirty=allow_dirty)
    git.run(repository.folder, *git.filters(repository.folder), "status", "--porcelain")
    git.run(repository.folder, "log", "-1", "--format=%s")
    with pytest.raises(ConfigurationError):
        git.run(repository.folder, "cat-file", "-p", "0123456789" * 4)
    assert not ran.exists(), ran.read_text()
    assert commit


def partial_clone(repository: Any, tmp_path: Path) -> Path:
    """A sparse clone without the blobs outside of flows/, whose remote is gone."""
    clone = tmp_path / "clone"
    repository.git("config", "uploadpack.allowFilter", "true")
    for words in (
        (
            "clone",
            "--quiet",
            "--filter=blob:none",
            "--no-checkout",
            f"file://{repository.folder}",
            str(clone),
        ),
        ("-C", str(clone), "sparse-checkout", "set", "flows"),
        ("-C", str(clone), "checkout", "--quiet", "main"),
    ):
        subprocess.run(["git", *words], check=True, capture_output=True)
    repository.folder.rename(tmp_path / "gone")
    return clone


@pytest.mark.parametrize("allow_dirty", [False, True])
def test_partial_clone_is_enough_for_what_is_included(
    repository: Any, tmp_path: Path, allow_dirty: bool
) -> None:
    """Nothing outside of include is read, so nothing is fetched; what is missing is named with the fix."""
    commit = repository.commit({"flows/flow.py": "x\n", "big/data.bin": "data\n", "lib/x.py": "x\n"})
    clone = partial_clone(repository, tmp_path)
    if allow_dirty:
        (clone / "flows" / "flow.py").write_text("changed\n")
    archived = pack(clone, commit, flow="flows/flow.py", include=["flows"], allow_dirty=allow_dirty)
    assert list(files(archived)) == ["flows/flow.py"]
    with pytest.raises(ConfigurationError, match=r"partial clone .* option include"):
        pack(clone, commit, flow="flows/flow.py", allow_dirty=allow_dirty)


def test_pull_request_merged_into_its_base_is_reported(repository: Any) -> None:
    """Where the checkout is at a merge and not at the build's commit, that is the reason, and not a file."""
    commit = repository.commit({"flow.py": "x"})
    repository.commit({"flow.py": "merged"})
    with pytest.raises(ConfigurationError, match=r"checkout is at commit .*use merge refspec"):
        pack(repository.folder, commit)


def test_line_ends_that_git_would_convert_are_no_change(repository: Any) -> None:
    """A commit with CRLF and attributes that renormalise it: the checkout has the commit's bytes."""
    repository.commit({"flow.py": "x", ".gitattributes": "*.txt text\n"})
    commit = put(repository, {"a.txt": ("100644", b"a\r\nb\r\n")})
    assert repository.git("status", "--porcelain")
    assert files(pack(repository.folder, commit))["a.txt"] == b"a\r\nb\r\n"


def test_difference_in_line_ends_is_reported(repository: Any) -> None:
    """A file that differs in line ends only says so, and how to mend that."""
    commit = repository.commit({"flow.py": "x\n", "a.txt": "a\nb\n"})
    (repository.folder / "a.txt").write_bytes(b"a\r\nb\r\n")
    with pytest.raises(ConfigurationError, match=r"line ends only \(a\.txt\).*git add --renormalize"):
        pack(repository.folder, commit)


@pytest.mark.parametrize("text", ["a\nb\n", "a\r\nb\r\n"])
def test_difference_in_mode_is_not_one_in_line_ends(repository: Any, text: str) -> None:
    """A file that became executable is a change to commit, which no setting of line ends would end."""
    commit = repository.commit({"flow.py": "x\n", "a.sh": "a\nb\n"})
    (repository.folder / "a.sh").write_bytes(text.encode())
    (repository.folder / "a.sh").chmod(0o755)
    with pytest.raises(ConfigurationError, match=r"differs from commit \w+ \(a\.sh\): commit it"):
        pack(repository.folder, commit)


def test_file_of_a_filter_that_is_not_run_is_reported(repository: Any) -> None:
    """A changed file that a filter of the checkout would clean names the filter."""
    commit = repository.commit(
        {"flow.py": "x\n", "a.ipynb": "a\n", ".gitattributes": "*.ipynb filter=strip\n"}
    )
    (repository.folder / "a.ipynb").write_text("output\n")
    with pytest.raises(ConfigurationError, match=r"a\.ipynb.* gives it filter strip, which is not run"):
        pack(repository.folder, commit)


def test_checkout_of_another_user_is_reported(repository: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git refuses a checkout of another user: the sentence says so, and not that a commit is missing."""
    repository.commit({"flow.py": "x"})
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(ConfigurationError, match=r"another user owns it.*safe\.directory"):
        git.commit_of(repository.folder, "HEAD")
    with pytest.raises(ConfigurationError, match=r"another user owns it"):
        git.root(repository.folder)


def test_checkout_of_another_user_is_reported_for_old_versions_of_git(
    repository: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git 2.35 of Debian and Ubuntu has other words for it."""
    git_of_2022 = tmp_path / "bin" / "git"
    git_of_2022.parent.mkdir()
    git_of_2022.write_text(
        "#!/bin/sh\necho \"fatal: unsafe repository ('$PWD' is owned by someone else)\" >&2\nexit 128\n"
    )
    git_of_2022.chmod(0o755)
    monkeypatch.setenv("PATH", f"{git_of_2022.parent}:{os.environ['PATH']}")
    with pytest.raises(ConfigurationError, match=r"another user owns it.*safe\.directory"):
        git.root(repository.folder)


def test_names_in_the_log_are_read_in_every_encoding(repository: Any) -> None:
    """A setting of the checkout for the output of git log changes no text."""
    older = repository.commit({"flow.py": "x"})
    repository.git("config", "i18n.logOutputEncoding", "ISO-8859-1")
    repository.git("commit", "--quiet", "--allow-empty", "--message", "Café")
    newer = git.commit_of(repository.folder, "HEAD")
    assert git.log_between(repository.folder, older, newer, 5) == [(newer, "Ada", "Café")]


def test_folder_without_a_commit_or_repository_is_reported(repository: Any, tmp_path: Path) -> None:
    """Each of the two has its own fix."""
    with pytest.raises(ConfigurationError, match="has no commit yet: commit first"):
        git.commit_of(repository.folder, "HEAD")
    with pytest.raises(ConfigurationError, match="is not in a git repository"):
        git.commit_of(tmp_path, "HEAD")


@pytest.mark.parametrize("bare", ["all", "explicit"])
def test_folder_of_git_itself_is_reported(
    repository: Any, bare: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bare repository, or a checkout's folder .git, also where a user's settings forbid the former."""
    for name, value in {"COUNT": "1", "KEY_0": "safe.bareRepository", "VALUE_0": bare}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    with pytest.raises(ConfigurationError, match=r"\.git is a folder of git itself, .*: name a checkout$"):
        git.root(repository.folder / ".git")


def test_clone_whose_objects_are_gone_is_reported(repository: Any, tmp_path: Path) -> None:
    """A clone that shares another one's objects, as an agent's mirror, has a commit that it cannot read."""
    repository.commit({"flow.py": "x"})
    clone = tmp_path / "clone"
    repository.git("clone", "--quiet", "--shared", str(repository.folder), str(clone))
    repository.folder.rename(tmp_path / "gone")
    with pytest.raises(ConfigurationError, match=r"lacks the objects of its commit, .*: clone it anew$"):
        git.commit_of(clone, "HEAD")


@pytest.mark.parametrize(("key", "value"), [("extensions.new", "1"), ("core.repositoryFormatVersion", "9")])
def test_repository_of_a_newer_git_is_reported(repository: Any, key: str, value: str) -> None:
    """The git of an agent may be older than the one that made the clone: the fix is another git."""
    repository.commit({"flow.py": "x"})
    repository.git("config", "core.repositoryFormatVersion", "1")
    repository.git("config", key, value)
    with pytest.raises(ConfigurationError, match=r"git on PATH is too old for .*: update git$"):
        git.root(repository.folder)


def test_large_files_are_refused_before_they_are_read(
    repository: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit too large for memory is refused by its sizes, naming the largest file."""
    commit = repository.commit({"flow.py": "x", "big.bin": "y" * 5000})
    monkeypatch.setattr("modelbuild.train.commit.objects._SIZE_LIMIT", 4000)
    with pytest.raises(ConfigurationError, match=r"5,001 bytes, and at most 4,000 .* such as big\.bin in S3"):
        pack(repository.folder, commit)
