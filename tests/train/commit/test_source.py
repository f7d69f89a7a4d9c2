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


def hostile(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    """An archive with one member that means harm."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, target, 4 if kind == tarfile.REGTYPE else 0
        tar.addfile(member, io.BytesIO(b"evil"))
    return buffer.getvalue()


def pack(repository: Path, commit: str, **options: Any) -> bytes:
    """The archive of a commit whose flow is flow.py."""
    return source.archive(repository, commit, flow="flow.py", **options).content


def names(archived: bytes) -> list[str]:
    """The files of an archive."""
    with tarfile.open(fileobj=io.BytesIO(archived)) as tar:
        return [member.name for member in tar if member.isfile()]


def test_same_commit_gives_same_bytes(
    repository: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another clone, umask, time zone, line ends or ignored file changes nothing in the archive."""
    commit = repository.commit({"flow.py": "print(1)\n", "a/b.txt": "text"})
    first = pack(repository.folder, commit)
    repository.git("clone", "--quiet", str(repository.folder), str(tmp_path / "clone"))
    (tmp_path / "clone" / ".git" / "info" / "exclude").write_text("ignored\n")
    (tmp_path / "clone" / "ignored").write_text("not part of the commit")
    git = ["git", "-C", str(tmp_path / "clone"), "config"]
    subprocess.run([*git, "core.autocrlf", "true"], check=True)
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    before = os.umask(0o077)
    try:
        assert pack(tmp_path / "clone", commit) == first
    finally:
        os.umask(before)


def test_archive_is_of_the_commit(repository: Any, tmp_path: Path) -> None:
    """What is unpacked is what was committed, and a folder can be unpacked alone."""
    commit = repository.commit({"flow.py": "committed", "a/b.txt": "text", "ab/c.txt": "text"})
    archived = pack(repository.folder, commit)
    assert source.read_member(archived, "flow.py") == b"committed"
    assert source.read_member(archived, "absent.py") is None
    assert source.read_member(archived, "a") is None
    source.extract(archived, tmp_path / "out")
    assert (tmp_path / "out" / "a" / "b.txt").read_text() == "text"
    source.extract(archived, tmp_path / "alone", below="a")
    assert os.listdir(tmp_path / "alone") == ["a"]


@pytest.mark.parametrize("name", ["flow.py", "new.py", "na\nme"])
def test_uncommitted_tree_is_refused(repository: Any, name: str) -> None:
    """A file that differs from the commit, or that it lacks and git does not ignore, is named in one line."""
    commit = repository.commit({"flow.py": "committed"})
    (repository.folder / name).write_text("changed since")
    with pytest.raises(ConfigurationError, match=r"differs from commit .* set allow-dirty") as caught:
        pack(repository.folder, commit)
    assert name.split("\n")[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_staged_changes_are_uncommitted(repository: Any) -> None:
    """What git has noted for the next commit is not in this one."""
    commit = repository.commit({"flow.py": "committed"})
    (repository.folder / "new.py").write_text("new")
    repository.git("add", "new.py")
    with pytest.raises(ConfigurationError, match=r"new\.py"):
        pack(repository.folder, commit)


def test_dirty_tree_is_trained_on_and_recorded(repository: Any) -> None:
    """With allow-dirty the files are those of the checkout, with their diff, the same bytes each time."""
    commit = repository.commit({"flow.py": "committed\n", "gone.txt": "x", ".gitignore": "ignored\n"})
    (repository.folder / "flow.py").write_text("changed\n")
    (repository.folder / "new.bin").write_bytes(bytes(range(256)))
    (repository.folder / "ignored").write_text("x")
    (repository.folder / "gone.txt").unlink()
    before = repository.git("status", "--porcelain"), repository.git("count-objects")
    found = source.archive(repository.folder, commit, flow="flow.py", allow_dirty=True)
    assert names(found.content) == [".gitignore", "flow.py", "new.bin"]
    assert source.read_member(found.content, "flow.py") == b"changed\n"
    assert source.read_member(found.content, "new.bin") == bytes(range(256))
    for line in ("-committed", "+changed", "deleted file mode", "GIT binary patch"):
        assert line in found.diff
    assert source.archive(repository.folder, commit, flow="flow.py", allow_dirty=True) == found
    assert (repository.git("status", "--porcelain"), repository.git("count-objects")) == before


@pytest.mark.parametrize("name", ["12:30", '"quoted', "a\nb", "back\\slash"])
def test_changes_of_a_checkout_at_any_path_are_recorded(repository: Any, tmp_path: Path, name: str) -> None:
    """Git splits lists of folders at colons and reads quotes in them: a path with these is one folder."""
    commit = repository.commit({"flow.py": "committed\n"})
    folder = repository.folder.rename(tmp_path / name)
    (folder / "flow.py").write_text("changed\n")
    assert "+changed" in source.archive(folder, commit, flow="flow.py", allow_dirty=True).diff


def test_clean_tree_is_not_dirty(repository: Any) -> None:
    """allow-dirty changes nothing where there is nothing uncommitted."""
    commit = repository.commit({"flow.py": "x"})
    allowed = source.archive(repository.folder, commit, flow="flow.py", allow_dirty=True)
    assert allowed == source.Archive(pack(repository.folder, commit), "")


def test_conflict_is_not_trained_on(repository: Any) -> None:
    """A file in which git left two versions and its marks is neither of them; where it is resolved, or not
    selected, it counts as any other change.
    """
    for branch, text in (("one", "1\n"), ("two", "2\n")):
        repository.git("checkout", "-q", "--orphan", branch)
        commit = repository.commit({"flow.py": "x", "data.csv": text})
    merged = ["merge", "--allow-unrelated-histories", "one"]
    subprocess.run(["git", *merged], cwd=repository.folder, capture_output=True, check=False)
    assert "<<<<<<<" in (repository.folder / "data.csv").read_text()
    with pytest.raises(ConfigurationError, match=r"the merge of data\.csv has a conflict: resolve it"):
        pack(repository.folder, commit, allow_dirty=True)
    assert pack(repository.folder, commit, include=["flow.py"], allow_dirty=True)
    repository.git("add", "data.csv")
    assert pack(repository.folder, commit, allow_dirty=True)


def test_large_diff_is_refused(repository: Any) -> None:
    """A diff that the request could not hold is refused with its size."""
    commit = repository.commit({"flow.py": "x"})
    (repository.folder / "large.txt").write_text("line\n" * 400_000)
    with pytest.raises(ConfigurationError, match=r"uncommitted changes take 2,[0-9,]+ bytes"):
        pack(repository.folder, commit, allow_dirty=True)


def test_included_files_alone(repository: Any) -> None:
    """Only what include names, and the flow's own folder, is archived and has to be committed."""
    files = ["flows/a/flow.py", "flows/a/params.yaml", "flows/b/flow.py", "lib/x.py", "lib2/y.py", "data.csv"]
    commit = repository.commit(dict.fromkeys(files, "x"))
    (repository.folder / "data.csv").write_text("changed")
    found = source.archive(
        repository.folder, commit, flow="flows/a/flow.py", include=["lib/", "./flows/b/flow.py"]
    )
    assert names(found.content) == [*files[:3], "lib/x.py"]


def test_flow_at_the_root_is_not_everything(repository: Any) -> None:
    """A flow beside everything else takes its parameters along, and no other file than include names."""
    commit = repository.commit(dict.fromkeys(["flow.py", "params.yaml", "lib/x.py", "data.csv"], "x"))
    assert names(pack(repository.folder, commit, include=["lib"])) == ["flow.py", "lib/x.py", "params.yaml"]
    assert len(names(pack(repository.folder, commit, include=["."]))) == 4
    other = pack(repository.folder, commit, include=["lib"], params_file="data.csv")
    assert names(other) == ["data.csv", "flow.py", "lib/x.py"]


@pytest.mark.parametrize("path", ["absent", "../outside", "li", "*", ":(glob)**", "lib\n"])
def test_include_of_nothing_is_reported(repository: Any, path: str) -> None:
    """A name that the commit does not have is refused, and none is a pattern."""
    commit = repository.commit({"flow.py": "x", "lib/x.py": "x"})
    with pytest.raises(ConfigurationError, match=r"option include names .*, which the commit does not have"):
        pack(repository.folder, commit, include=[path])


@pytest.mark.parametrize("name", ["vendor", "ven dör"])
def test_submodule_is_reported(repository: Any, name: str) -> None:
    """A submodule's files would silently be missing: it is refused unless include leaves it out."""
    commit = repository.commit({"flow.py": "x", "lib/x.py": "x"})
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{name}")
    repository.git("commit", "--quiet", "--message", "a submodule")
    commit = repository.git("rev-parse", "HEAD")
    with pytest.raises(ConfigurationError, match=f"{name} is a git submodule.* option include"):
        pack(repository.folder, commit)
    assert names(pack(repository.folder, commit, include=["lib"])) == ["flow.py", "lib/x.py"]


def test_large_file_pointer_is_reported(repository: Any) -> None:
    """A pointer in place of a Git LFS file is refused unless include leaves it out, smudged or not."""
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 5\n"
    commit = repository.commit({"flow.py": "x", "lib/x.py": "x", "data/a.bin": pointer})
    repository.git("config", "filter.lfs.smudge", "echo content")
    repository.git("config", "filter.lfs.clean", "cat")
    repository.git("config", "filter.lfs.required", "true")
    (repository.folder / ".git" / "info" / "attributes").write_text("*.bin filter=lfs\n")
    with pytest.raises(ConfigurationError, match=r"data/a\.bin is kept in Git LFS"):
        pack(repository.folder, commit)
    assert names(pack(repository.folder, commit, include=["lib"])) == ["flow.py", "lib/x.py"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("version https://hawser.github.com/spec/v1\noid sha256:0\nsize 5\n", "kept in Git LFS"),
        ("/annex/objects/SHA256E-s5--0.bin\n", "kept in git-annex"),
        ("U2FsdGVkX1+0123456789abcdef\n", "encrypted by transcrypt"),
    ],
)
def test_what_stands_for_other_content_is_reported(repository: Any, content: str, reason: str) -> None:
    """A pointer or ciphertext of any tool is refused unless include leaves it out."""
    files = {"flow.py": "x", "lib/x.py": "x", "data/a.bin": content}
    commit = repository.commit({**files, ".gitattributes": "*.bin filter=crypt-data diff=crypt\n"})
    with pytest.raises(ConfigurationError, match=rf"data/a\.bin is {reason}, and the commit has only"):
        pack(repository.folder, commit)
    assert names(pack(repository.folder, commit, include=["lib"])) == ["flow.py", "lib/x.py"]


def test_a_file_that_a_team_encrypted_itself_is_archived(repository: Any) -> None:
    """What OpenSSL writes begins as transcrypt's files do, and the checkout has it in the same form."""
    commit = repository.commit({"flow.py": "x", "deploy/keys.enc": "U2FsdGVkX1+0123456789abcdef\n"})
    assert names(pack(repository.folder, commit)) == ["deploy/keys.enc", "flow.py"]


def test_link_into_the_folder_of_git_is_reported(repository: Any) -> None:
    """A locked file of git-annex is a link to what no archive has, wherever it lies."""
    repository.commit({"flow.py": "x", "lib/x.py": "x"})
    (repository.folder / "data").mkdir()
    (repository.folder / "data" / "a.bin").symlink_to("../.git/annex/objects/a/b/c")
    commit = repository.commit({})
    with pytest.raises(ConfigurationError, match=r"data/a\.bin.* leads outside the repository"):
        pack(repository.folder, commit)


def test_paths_through_links_are_read(repository: Any, tmp_path: Path) -> None:
    """A file is read through every link that the head would follow, and what links of a folder lead to is
    unpacked with it.
    """
    repository.commit({"flows/y/flow.py": "flow", "lib/v2/rows.py": "rows", "other/z.py": "z"})
    for name, target in {"flows/x": "y", "flows/y/lib": "../../current", "current": "lib/v2"}.items():
        (repository.folder / name).symlink_to(target)
    (repository.folder / "flows/y/parameters.py").symlink_to("lib/rows.py")
    archived = pack(repository.folder, repository.commit({}))
    read = source.reader(archived)
    assert read("flows/x/flow.py") == b"flow"
    assert read("flows/x/lib/rows.py") == read("flows/x/parameters.py") == b"rows"
    assert read("flows/x/lib") is read("flows/x/../../../z") is None
    source.extract(archived, tmp_path, below="flows/x")
    assert (tmp_path / "flows/x/parameters.py").read_text() == "rows"
    assert not (tmp_path / "other").exists()


def test_another_commit_gives_other_bytes(repository: Any) -> None:
    """Archives of two commits have different hashes, even with the same files."""
    first = repository.commit({"flow.py": "print(1)\n"})
    second = repository.commit({})
    assert pack(repository.folder, first) != pack(repository.folder, second)


def test_revision_becomes_a_commit(repository: Any) -> None:
    """HEAD, which an agent may have as the commit, is what was checked out."""
    commit = repository.commit({"flow.py": ""})
    assert git.commit_of(repository.folder, "HEAD") == commit


def test_unknown_commit_is_reported(repository: Any) -> None:
    """A commit that the checkout does not have is named."""
    repository.commit({"flow.py": ""})
    with pytest.raises(ConfigurationError, match=r"commit '0123456.* is not in the checkout"):
        git.commit_of(repository.folder, "0123456789" * 4)


@pytest.mark.parametrize(
    "archived",
    [
        hostile("../outside"),
        hostile("a/../../outside"),
        hostile("link", tarfile.SYMTYPE, "../../outside"),
        hostile("link", tarfile.SYMTYPE, "/etc/passwd"),
        hostile("hard", tarfile.LNKTYPE, "../../outside"),
        hostile("device", tarfile.CHRTYPE),
        b"not an archive",
        b"",
    ],
    ids=["above", "above in two steps", "relative link", "link", "hard link", "device", "text", "nothing"],
)
def test_nothing_is_written_outside(archived: bytes, tmp_path: Path) -> None:
    """An archive that leads outside, and a file that is no archive, are refused; nothing appears beside the
    folder.
    """
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(ConfigurationError, match="the source archive cannot be unpacked"):
        source.extract(archived, inside)
    assert os.listdir(tmp_path) == ["inside"]
    assert os.listdir(inside) == []
