"""Makes agents take modelbuild's plugins from this clone, whatever repository a pipeline names.

The repository that a pipeline names may be unreachable, and the version may not be released. So the clone's
current files become a commit in a repository for the agents, and a hook of the agents redirects git to it and
tags the commit with the pipeline's version.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from modelbuild import git
from modelbuild_local import clone

_PARTS = ("plugins", "python/src", "requirements")
"""The files of its repository that a plugin uses."""

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
        folder: the agents' folder; may contain files of earlier calls.
        hooks: folder of the agents' hooks, into which the hook ``environment`` is written.

    Returns:
        The folder for the agents' checkouts of plugins; a different one after the clone has changed.

    Raises:
        ConfigurationError: there is no clone, or git could not read it.
    """
    repository = folder / "modelbuild.git"
    repository.mkdir(parents=True, exist_ok=True)
    git.run(repository, "init", "--quiet", "--bare")
    for part in _PARTS:
        clone.require(part)
    # The clone's own repository is not changed.
    environ = {**_AUTHOR, "GIT_DIR": str(repository), "GIT_WORK_TREE": str(clone.ROOT)}
    git.run(clone.ROOT, "add", "--all", "--", *_PARTS, environ=environ)
    tree = git.run(clone.ROOT, "write-tree", environ=environ).decode().strip()
    if not git.succeeds(repository, "diff-tree", "--quiet", "HEAD", tree):
        commit = git.run(clone.ROOT, "commit-tree", "-m", "The clone as it is", tree, environ=environ)
        # A tag names the commit that HEAD was when the hook made the tag.
        for version in git.run(repository, "tag", "--list").decode().split():
            git.run(repository, "tag", "--delete", version)
        git.run(repository, "update-ref", "HEAD", commit.decode().strip())
    kept = folder / f"plugins-{tree[:16]}"
    kept.mkdir(exist_ok=True)
    hook = hooks / "environment"
    hook.write_text(_HOOK.format(repository=shlex.quote(str(repository))), encoding="utf-8")
    hook.chmod(0o755)
    return kept
