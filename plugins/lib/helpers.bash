# shellcheck shell=bash
# Runs modelbuild's Python helpers for the hooks. The helpers' requirements are installed once per agent
# host, requirements file and Python version, into a virtual environment that appears when it is whole.

modelbuild_root="$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)"
modelbuild_requirements="$modelbuild_root/requirements/hooks.txt"

# Runs `modelbuild <arguments>` and answers with its exit code. The working directory is the checkout, and
# PYTHONSAFEPATH keeps a file there, of whatever name, from being imported (Python 3.11 and newer).
modelbuild() {
  local python
  # A cancelled step is over when this shell ends: it waits for the helper, which may have work to end.
  trap : TERM
  if [ -n "${MODELBUILD_PYTHON:-}" ]; then
    PYTHONSAFEPATH=1 "$MODELBUILD_PYTHON" -m modelbuild "$@"
    return
  fi
  python="$(modelbuild_python)" || return
  PYTHONSAFEPATH=1 PYTHONPATH="$modelbuild_root/python/src" "$python" -m modelbuild "$@"
}

# Prints the interpreter that has the requirements; whatever else there is to say goes to stderr.
# Callers ask for its result, which switches errexit off: every command that matters says what follows.
modelbuild_python() (
  export PYTHONSAFEPATH=1
  cache="${MODELBUILD_CACHE:-${XDG_CACHE_HOME:-${HOME:-}/.cache}/modelbuild}/helpers"
  id="$(modelbuild_id)" || exit
  venv="$cache/$id"
  partial="$venv.partial.$$"
  mkdir -p "$cache" ||
    modelbuild_fail "cannot write to $cache; set MODELBUILD_CACHE to a folder that this agent may write to"
  if modelbuild_lock "$venv"; then
    trap 'rm -rf "$partial"; rm -f "$venv.lock"' EXIT
    modelbuild_sweep "$venv"
    modelbuild_install "$partial"
    # Renaming is all or nothing; where another installation came first, it is as good.
    python3 -c 'import os, sys; os.rename(*sys.argv[1:])' "$partial" "$venv" 2>/dev/null || [ -d "$venv" ] ||
      modelbuild_fail "cannot move $partial to $venv"
  fi
  echo "$venv/bin/python"
)

# Prints a name for what is to be installed: it changes with the requirements and with the interpreter.
# Python says its version without starting up, so that a hook that finds everything there starts it once.
modelbuild_id() {
  local python version id
  python="$(command -v python3)" || modelbuild_fail "python3 is not on PATH; install Python 3.10 or newer on this agent"
  [ -f "$modelbuild_requirements" ] || modelbuild_fail "$modelbuild_requirements is missing; the plugin's clone is not whole"
  version="$(python3 -V 2>&1)" || modelbuild_fail "python3 -V failed: $version"
  case "$version" in
  "Python 3."[1-9][0-9]*) ;;
  *) modelbuild_fail "Python 3.10 or newer is needed, and python3 is $version" ;;
  esac
  id="$({ echo "$python $version" && cat "$modelbuild_requirements"; } | git hash-object --stdin)" ||
    modelbuild_fail "git hash-object failed; git must be on PATH of this agent"
  echo "${id:0:16}"
}

# Succeeds once this shell holds the lock and has to install; fails once the environment is there. A link
# is made together with its owner's process id, and flock is not everywhere.
modelbuild_lock() {
  local venv="$1" lock="$1.lock" owner said=""
  while [ ! -d "$venv" ]; do
    if ln -s "$$" "$lock" 2>/dev/null; then
      # Whoever held the lock before may just have finished.
      [ -d "$venv" ] || return 0
      rm -f "$lock"
      return 1
    fi
    owner="$(readlink "$lock")" || continue
    # After a restart of the host the owner's number may be that of another process.
    if ! kill -0 "$owner" 2>/dev/null || [ -n "$(find "$lock" -mmin +30 2>/dev/null)" ]; then
      rm -f "$lock"
      continue
    fi
    [ -n "$said" ] || echo "Waiting for process $owner, which installs modelbuild's helpers" >&2
    said=1
    sleep 0.2
  done
  return 1
}

# Removes what installations left that were killed.
modelbuild_sweep() {
  local left
  for left in "$1".partial.*; do
    kill -0 "${left##*.}" 2>/dev/null || rm -rf "$left"
  done
}

modelbuild_install() {
  local said
  echo "~~~ :python: Installing modelbuild's helpers (once per host and version)" >&2
  said="$(python3 -m venv "$1" 2>&1)" ||
    modelbuild_fail "python3 -m venv failed; install the venv module of this Python: ${said##*$'\n'}"
  said="$("$1/bin/python" -m pip install --quiet --no-input --disable-pip-version-check \
    --require-hashes -r "$modelbuild_requirements" 2>&1)" ||
    modelbuild_fail "pip could not install $modelbuild_requirements: $(modelbuild_first_error <<<"$said")"
}

# Prints the line of pip's output that says what went wrong.
modelbuild_first_error() {
  local line last=""
  while read -r line; do
    case "$line" in
    ERROR:*)
      echo "$line"
      return
      ;;
    ?*) last="$line" ;;
    esac
  done
  echo "${last:-it said nothing}"
}

modelbuild_fail() {
  printf '^^^ +++\nmodelbuild: %s\n' "$1" >&2
  exit 1
}
