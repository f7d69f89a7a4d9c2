# shellcheck shell=bash
# Runs modelbuild's Python helpers for the hooks. The helpers' requirements are installed once per agent
# host, requirements file and Python version, into a virtual environment that appears when it is complete.

modelbuild_root="$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)"
modelbuild_requirements="$modelbuild_root/requirements/hooks.txt"
modelbuild_notify_requirements="$modelbuild_root/requirements/notify.txt"

# Runs `modelbuild <arguments>` and returns its exit code. The working directory is the checkout: -I keeps
# Python from importing what lies there and from reading PYTHON* variables. -X utf8 makes Python read and
# write UTF-8, as Buildkite does, in any locale.
modelbuild() {
  local python
  # Only notify compares predictions and draws pictures.
  [ "$1" != notify ] || modelbuild_requirements="$modelbuild_notify_requirements"
  # When a step is cancelled, this shell waits for the helper, which may have work to end.
  trap : TERM
  if [ -n "${MODELBUILD_PYTHON:-}" ]; then
    "$MODELBUILD_PYTHON" -I -X utf8 -m modelbuild "$@"
    return
  fi
  python="$(modelbuild_python)" || return
  "$python" -I -X utf8 -c 'import sys; sys.path.insert(0, sys.argv.pop(1)); from modelbuild.__main__ import main; main()' \
    "$modelbuild_root/python/src" "$@"
}

# Prints the path of the interpreter that has the requirements; every message goes to stderr.
# The caller tests the result, which switches errexit off: each command here handles its own failure.
modelbuild_python() (
  modelbuild_keep_absolute_folders
  home="${HOME:-}"
  # Bash then reads the home folder from the user database.
  [ -n "$home" ] || { unset HOME && home=~; }
  cache="${MODELBUILD_CACHE:-${XDG_CACHE_HOME:-$home/.cache}/modelbuild}"
  case "$cache" in
  /*) ;;
  *) modelbuild_fail "the cache folder $cache is not an absolute path; set MODELBUILD_CACHE to one that is" ;;
  esac
  modelbuild_find_python
  id="$(modelbuild_id)" || exit
  venv="$cache/helpers/$id"
  [ -x "$venv/bin/python" ] ||
    "$modelbuild_found" -I -X utf8 "$modelbuild_root/plugins/lib/install.py" "$modelbuild_requirements" "$venv" >&2 ||
    exit
  printf '%s\n' "$venv/bin/python"
)

# Drops the entries of PATH that are relative or empty: the working directory is the checkout.
modelbuild_keep_absolute_folders() {
  local left="$PATH:" folder kept=""
  while [ -n "$left" ]; do
    folder="${left%%:*}"
    left="${left#*:}"
    [ "${folder:0:1}" != / ] || kept="$kept:$folder"
  done
  PATH="${kept:-:/bin:/usr/bin}"
  PATH="${PATH#:}"
}

# Sets modelbuild_found to the first Python that is new enough, and modelbuild_version to its version.
# Python prints its version without starting up, so a hook that finds everything installed starts it once.
modelbuild_find_python() {
  local name said=""
  for name in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
    modelbuild_found="$(type -P "$name")" || continue
    # A version manager's python3 is a shell script, which may complain about the locale before that.
    modelbuild_version="$("$modelbuild_found" -V 2>/dev/null)" ||
      modelbuild_version="broken: $("$modelbuild_found" -V 2>&1 || true)"
    case "$modelbuild_version" in
    "Python 3."[1-9][0-9]*) return ;;
    esac
    said="${said:-, and $modelbuild_found is $modelbuild_version}"
  done
  modelbuild_fail "Python 3.10 or newer is needed${said:-, and python3 is not on PATH}; install it on this agent"
}

# Prints a name for what is installed: it changes with the requirements, the interpreter and the platform.
modelbuild_id() {
  local id
  [ -n "${modelbuild_found:-}" ] || modelbuild_find_python
  [ -f "$modelbuild_requirements" ] || modelbuild_fail "$modelbuild_requirements is missing; the plugin's clone is not whole"
  id="$({ echo "$modelbuild_found $modelbuild_version $MACHTYPE" && cat "$modelbuild_requirements"; } |
    git -C / hash-object --stdin)" || modelbuild_fail "git hash-object failed; git must be on PATH of this agent, and its configuration readable"
  echo "${id:0:16}"
}

modelbuild_fail() {
  printf '^^^ +++\nmodelbuild: %s\n' "$1" >&2
  exit 1
}
