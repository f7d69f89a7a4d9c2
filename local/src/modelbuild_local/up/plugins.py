"""modelbuild's plugins on the laptop: agents take them from this clone, whatever address a pipeline names.

A pipeline names a repository, which this machine may not reach, and a version, which may not be released. The
clone's files as they are now become a commit in a repository beside the agents, and a hook of the agents has
git take that commit, under the version that the pipeline names.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from modelbuild import git
from modelbuild_local import clone

_PARTS = ("plugins", "python/src", "requirements")
"""What a plugin reads of its own repository."""

_AUTHOR = {
    f"GIT_{role}_{name}": value
    for role in ("AUTHOR", "COMMITTER")
    for name, value in {"NAME": "modelbuild", "EMAIL": "modelbuild@localhost"}.items()
}

_HOOK = """\
#!/usr/bin/env bash
# Has git take modelbuild's plugins from the clone that laptop mode runs from.
set -euo pipefail
repository={repository}
ours='"[^"]+/modelbuild\\.git/plugins/(train|notify|deploy)(#[^"]*)?"'

has_version() {{
  git --git-dir "$repository" rev-parse --quiet --verify "$1" >/dev/null
}}

count="${{GIT_CONFIG_COUNT:-0}}"
while IFS= read -r plugin; do
  version="${{plugin#*/plugins/*#}}"
  if [ "$version" != "$plugin" ] && ! has_version "$version"; then
    # Another job may make the tag at the same time.
    git --git-dir "$repository" tag "$version" 2>/dev/null || has_version "$version"
  fi
  export "GIT_CONFIG_KEY_$count=url.$repository.insteadOf" "GIT_CONFIG_VALUE_$count=${{plugin%%/plugins/*}}"
  count=$((count + 1))
done < <(grep -oE "$ours" <<<"${{BUILDKITE_PLUGINS:-}}" | tr -d '"' | sort -u)
export GIT_CONFIG_COUNT="$count"
"""


def write_plugins(folder: Path, hooks: Path) -> Path:
    """Make the clone's plugins available to agents.

    Args:
        folder: where the agents keep things; may hold what earlier calls left.
        hooks: folder of the agents' hooks, into which the hook ``environment`` is written.

    Returns:
        The folder for the plugins that the agents check out; another one when the clone has changed.

    Raises:
        ConfigurationError: there is no clone, or git could not read it.
    """
    repository = folder / "modelbuild.git"
    repository.mkdir(parents=True, exist_ok=True)
    git.run(repository, "init", "--quiet", "--bare")
    for part in _PARTS:
        clone.require(part)
    # The clone's own repository stays as it is.
    environ = {**_AUTHOR, "GIT_DIR": str(repository), "GIT_WORK_TREE": str(clone.ROOT)}
    git.run(clone.ROOT, "add", "--all", "--", *_PARTS, environ=environ)
    tree = git.run(clone.ROOT, "write-tree", environ=environ).decode().strip()
    kept = folder / f"plugins-{tree[:16]}"
    if not kept.exists():
        commit = git.run(clone.ROOT, "commit-tree", "-m", "The clone as it is", tree, environ=environ)
        for version in git.run(repository, "tag", "--list").decode().split():
            git.run(repository, "tag", "--delete", version)
        git.run(repository, "update-ref", "HEAD", commit.decode().strip())
        kept.mkdir()
    hook = hooks / "environment"
    hook.write_text(_HOOK.format(repository=shlex.quote(str(repository))), encoding="utf-8")
    hook.chmod(0o755)
    return kept
