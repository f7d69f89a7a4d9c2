# shellcheck shell=bash
# What scripts/setup and scripts/install share: how a virtual environment gets its packages, and the real
# buildkite-agent. A script that sources this is in the clone's folder, and has set these:

: "${root:?the clone}" "${venv:?the environment}" "${python:?the interpreter to make it with}"

script="${0##*/}"
stamps="$venv/.modelbuild"
names=()
pids=()
sources=()
running=0

fail() {
  echo "$script: $1" >&2
  exit 1
}

need() {
  command -v "$1" >/dev/null || fail "$1 is missing: $2"
}

require_python() {
  # Without PYTHON, an environment that is there keeps its interpreter.
  if [ -z "${PYTHON:-}" ] && in_place && "$venv/bin/python" -V >/dev/null 2>&1; then
    python="$venv/bin/python"
  fi
  need "$python" "install Python 3.10 or newer, or name one with PYTHON"
  version="$("$python" -V)"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "Python 3.10 or newer is needed, and $python is $version; name another with PYTHON"
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"
}

# Makes .venv of this clone. One of another Python, or one that was moved, does not work.
make_venv() {
  if [ -e "$venv" ] && { [ "$("$venv/bin/python" -V 2>&1)" != "$version" ] || ! in_place; }; then
    echo "$script: .venv is not of $version in this folder, so it is made anew"
    rm -rf "$venv"
  fi
  if [ ! -e "$venv" ]; then
    "$python" -m venv "$venv" || fail "$python could not make .venv"
  fi
}

in_place() {
  grep -qF "$venv/" "$venv/bin/pip" 2>/dev/null
}

made_from() {
  git hash-object "$@" | tr '\n' ' '
}

# Begins a part in the background, unless it is there: part <name> <what it is made from> <command…>
part() {
  local name="$1" source="$2"
  shift 2
  if [ -f "$stamps/$name" ] && [ "$(cat "$stamps/$name")" = "$source" ]; then
    return
  fi
  trap 'stop_parts' EXIT
  # A process group of its own, so that all of it can be ended.
  set -m
  "$@" >"$stamps/$name.log" 2>&1 </dev/null &
  set +m
  names[running]="$name"
  pids[running]="$!"
  sources[running]="$source"
  running=$((running + 1))
}

# Waits for every part that was begun, and prints their names; the first part that fails ends the others.
wait_for_parts() {
  local began="$SECONDS" said=0 at waiting
  while :; do
    waiting=""
    at=0
    while [ "$at" -lt "$running" ]; do
      if [ -n "${pids[at]}" ] && kill -0 "${pids[at]}" 2>/dev/null; then
        waiting="$waiting, ${names[at]}$(last_line "$stamps/${names[at]}.log")"
      elif [ -n "${pids[at]}" ]; then
        end_part "$at" "$((SECONDS - began))"
      fi
      at=$((at + 1))
    done
    [ -n "$waiting" ] || break
    if [ -t 1 ]; then
      show "$(printf '%s: %3d s, waiting for %s' "$script" "$((SECONDS - began))" "${waiting#, }")"
    elif [ "$((SECONDS - began - said))" -ge 10 ]; then
      said="$((SECONDS - began))"
      printf '%s: %3d s, waiting for %s\n' "$script" "$said" "${waiting#, }"
    fi
    sleep 0.2
  done
  running=0
}

end_part() {
  local name="${names[$1]}" code=0
  wait "${pids[$1]}" || code=$?
  pids[$1]=""
  [ ! -t 1 ] || show ""
  if [ "$code" != 0 ]; then
    printf '%s: %-16s failed\n' "$script" "$name"
    tail -n 5 "$stamps/$name.log" >&2
    fail "$name could not be installed; the whole output is in $stamps/$name.log"
  fi
  printf '%s' "${sources[$1]}" >"$stamps/$name"
  printf '%s: %-16s %3d s\n' "$script" "$name" "$2"
}

# The newest line of a part's output, in brackets.
last_line() {
  local line
  line="$(tail -n 1 "$1" 2>/dev/null | tr -cd '[:print:]')"
  line="${line#"${line%%[! ]*}"}"
  [ -z "$line" ] || printf ' (%.60s)' "$line"
}

# Writes over the line of a terminal, cut to its width.
show() {
  printf '\r\033[K%.*s' "$(($(tput cols 2>/dev/null || echo 80) - 1))" "$1"
}

stop_parts() {
  local pid
  for pid in ${pids[@]+"${pids[@]}"}; do
    [ -z "$pid" ] || kill -TERM -- "-$pid" 2>/dev/null || true
  done
}

# pip brings uv, which installs in seconds what takes pip minutes. An environment without pip is one of uv.
install_uv() {
  if "$venv/bin/python" -I -c 'import pip' 2>/dev/null; then
    "$venv/bin/python" -I -m pip install --no-input --disable-pip-version-check --require-hashes \
      -r requirements/uv.txt
  else
    command -v uv || fail "$venv has neither pip nor uv: run $venv/bin/python -m ensurepip"
  fi
}

# uv does not read pip's configuration, which may name an index, certificates or a proxy.
uv_install() {
  local line uv="$venv/bin/uv" arguments=()
  [ -x "$uv" ] || uv=uv
  while IFS= read -r line; do
    case "$line" in
    --*) arguments+=("$line") ;;
    *) export "${line?}" ;;
    esac
  done < <("$venv/bin/python" -I scripts/pip_settings.py)
  UV_PYTHON_DOWNLOADS=never "$uv" pip install --python "$venv/bin/python" \
    ${arguments[@]+"${arguments[@]}"} "$@"
}

# Installs sets of requirements/ by their names, and both packages of this repository.
install_sets() {
  local set files=()
  for set in "$@"; do
    if [ "$set" = torch ] && [ -n "${TORCH_INDEX_URL:-}" ]; then
      install_torch_of "$TORCH_INDEX_URL"
    else
      files+=(-r "requirements/$set.txt")
    fi
  done
  uv_install --require-hashes "${files[@]}"
  install_clone
  collect_garbage_rarely
  compile_imports "$@"
}

# setuptools writes the folder of this clone in the encoding of the locale, which may lack its characters, and
# Python reads it in that of whoever starts it.
install_clone() (
  utf8="$(locale -a 2>/dev/null | awk 'tolower($0) ~ /^(c|en_us)[.]utf-?8$/ { name = $0 } END { print name }')"
  [ -z "$utf8" ] || export LC_ALL="$utf8"
  uv_install --no-deps --no-build-isolation -e python -e local
  "$venv/bin/python" -I scripts/ascii_paths.py "$(packages_folder)"
)

packages_folder() {
  "$venv/bin/python" -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
}

# A demo starts hundreds of interpreters, and spent a sixth of its processor time on collections of garbage, while
# they imported modules and when they ended. Every interpreter of this environment collects more rarely.
collect_garbage_rarely() {
  local packages
  packages="$(packages_folder)"
  echo 'import atexit, gc; gc.set_threshold(10_000); atexit.register(gc.freeze)' >"$packages/modelbuild_start.pth"
}

# pip compiles all that it installs, which takes a minute, and uv compiles nothing: this compiles the modules that
# services and flows start with, also where PYTHONDONTWRITEBYTECODE is set.
compile_imports() {
  local modules="matplotlib.figure metaflow.cli moto.cloudformation.parsing moto.moto_server.werkzeug_app sqlglot starlette wandb" set
  for set in "$@"; do
    [ "$set" != torch ] || modules="$modules torch"
  done
  env -u PYTHONDONTWRITEBYTECODE "$venv/bin/python" -I -c "import ${modules// /, }"
}

# torch of another index cannot be pinned by our hashes, only by version; what it needs can.
install_torch_of() {
  awk '/^[a-z]/ { keep = $0 !~ /^(torch|triton|cuda-|nvidia-)/ } keep' requirements/torch.txt >"$stamps/needed.txt"
  awk '/^torch==/ { sub(/ \\$/, ""); print }' requirements/torch.txt >"$stamps/torch.txt"
  uv_install --require-hashes -r "$stamps/needed.txt"
  uv_install --no-deps --reinstall-package torch --default-index "$1" -r "$stamps/torch.txt"
}

# Needs no package, so that it runs while the packages are installed.
install_agent() {
  PYTHONPATH="$root/local/src:$root/python/src" "$venv/bin/python" -m modelbuild_local.agent
}

# Begins to install sets of requirements/, and the agent; wait_for_parts waits for them.
begin_installation() {
  local agent="local/src/modelbuild_local/agent/module" made_of
  mkdir -p "$stamps"
  part uv "$(made_from requirements/uv.txt)" install_uv
  wait_for_parts
  part buildkite-agent "$(made_from requirements/agent.txt $agent/go.mod $agent/go.sum)" install_agent
  made_of="$(made_from scripts/environment.bash python/pyproject.toml local/pyproject.toml "${@/#/requirements/}")"
  part packages "$made_of ${TORCH_INDEX_URL:-}" install_sets "${@%.txt}"
}
