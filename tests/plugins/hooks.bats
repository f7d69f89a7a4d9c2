#!/usr/bin/env bats
# The three hooks and the installer of their helpers, with recorders in the place of python3 and pip.

setup() {
  bats_load_library bats-support
  bats_load_library bats-assert

  root="$(cd "$BATS_TEST_DIRNAME/../.." && pwd)"
  clone="$BATS_TEST_TMPDIR/a clone"
  mkdir -p "$clone/requirements" "$clone/python/src" "$BATS_TEST_TMPDIR/bin"
  cp -R "$root/plugins" "$clone/plugins"
  echo "click==8 --hash=sha256:00" >"$clone/requirements/hooks.txt"

  export LOG="$BATS_TEST_TMPDIR/log"
  export MODELBUILD_CACHE="$BATS_TEST_TMPDIR/a cache"
  export BUILDKITE_PLUGIN_CONFIGURATION='{"a": 1}'
  unset MODELBUILD_PYTHON PYTHONPATH
  helpers="$MODELBUILD_CACHE/helpers"
  : >"$LOG"
}

# Prints the name of the environment that the hooks of the clone use.
the_id() {
  # shellcheck source=plugins/lib/helpers.bash
  (source "$clone/plugins/lib/helpers.bash" && modelbuild_id)
}

# A python3 that makes environments of this same script. pip does what $PIP says.
stub_python() {
  cat >"$BATS_TEST_TMPDIR/bin/python3" <<'STUB'
#!/usr/bin/env bash
printf '%q ' "$@" >>"$LOG"
printf 'PYTHONPATH=%s\n' "${PYTHONPATH:-}" >>"$LOG"
case "$1 ${2:-} ${3:-}" in
"-m venv "*)
  mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
  ;;
"-m pip install")
  case "${PIP:-}" in
  fail)
    printf 'Collecting click\nERROR: hashes do not match\n  Got 00\n' >&2
    exit 1
    ;;
  wait)
    touch "$BATS_TEST_TMPDIR/pip-runs"
    until [ -e "$BATS_TEST_TMPDIR/go" ]; do sleep 0.05; done
    ;;
  esac
  ;;
"-m modelbuild "*)
  printf 'options %s\n' "$BUILDKITE_PLUGIN_CONFIGURATION"
  exit "${EXIT:-0}"
  ;;
"-c "*) mv "$3" "$4" ;;
"-V  ") echo "Python 3.12.1" ;;
esac
STUB
  chmod +x "$BATS_TEST_TMPDIR/bin/python3"
  PATH="$BATS_TEST_TMPDIR/bin:$PATH"
}

# Waits until a command succeeds, for at most ten seconds.
until_true() {
  local left=200
  until "$@"; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || fail "not true in time: $*"
    sleep 0.05
  done
}

count() {
  grep -c -- "$1" "$LOG" || true
}

@test "each hook runs the command of its plugin's name, with the interpreter that is named" {
  stub_python
  for plugin in train notify deploy; do
    : >"$LOG"
    MODELBUILD_PYTHON="$BATS_TEST_TMPDIR/bin/python3" run "$clone/plugins/$plugin/hooks/command"
    assert_success
    assert_output 'options {"a": 1}'
    assert_equal "$(cat "$LOG")" "-m modelbuild $plugin PYTHONPATH="
  done
  [ ! -e "$MODELBUILD_CACHE" ]
}

@test "a hook ends with the exit code of its command" {
  stub_python
  export EXIT=13
  MODELBUILD_PYTHON="$BATS_TEST_TMPDIR/bin/python3" run "$clone/plugins/notify/hooks/command"
  assert_failure 13
  run "$clone/plugins/notify/hooks/command"
  assert_failure 13
}

@test "hooks are short, and alike but for the name" {
  for plugin in train notify deploy; do
    [ "$(wc -l <"$root/plugins/$plugin/hooks/command")" -le 20 ]
    [ -x "$root/plugins/$plugin/hooks/command" ]
    diff <(sed "s/$plugin/NAME/g" "$root/plugins/$plugin/hooks/command") \
      <(sed 's/train/NAME/g' "$root/plugins/train/hooks/command")
  done
}

@test "a hook works when the agent sources it" {
  stub_python
  run bash -c 'cd / && . "$1" && echo "and goes on"' - "$clone/plugins/train/hooks/command"
  assert_success
  assert_line 'options {"a": 1}'
  assert_line "and goes on"
}

@test "the first hook installs with hashes, the next one finds it, and both use the plugin's own code" {
  stub_python
  run "$clone/plugins/train/hooks/command"
  assert_success
  assert_line --partial "Installing modelbuild's helpers"
  run "$clone/plugins/deploy/hooks/command"
  assert_success
  assert_output 'options {"a": 1}'
  assert_equal "$(count '-m pip install')" 1
  run grep -- '-m pip install' "$LOG"
  assert_output --partial "--require-hashes -r $(printf '%q' "$clone/requirements/hooks.txt")"
  run grep -- '-m modelbuild' "$LOG"
  assert_line --index 0 "-m modelbuild train PYTHONPATH=$clone/python/src"
  assert_line --index 1 "-m modelbuild deploy PYTHONPATH=$clone/python/src"
  assert_equal "$(ls -A "$helpers")" "$(the_id)"
}

@test "two hooks that start at once install once" {
  stub_python
  PIP="wait" "$clone/plugins/train/hooks/command" >"$BATS_TEST_TMPDIR/first" 2>&1 3>&- &
  first=$!
  until_true test -e "$BATS_TEST_TMPDIR/pip-runs"
  "$clone/plugins/notify/hooks/command" >"$BATS_TEST_TMPDIR/second" 2>&1 3>&- &
  second=$!
  until_true grep -q "Waiting for process" "$BATS_TEST_TMPDIR/second"
  touch "$BATS_TEST_TMPDIR/go"
  wait "$first"
  wait "$second"
  assert_equal "$(count '-m pip install')" 1
  assert_equal "$(count '-m modelbuild')" 2
  assert_equal "$(ls -A "$helpers")" "$(the_id)"
}

@test "a pip that fails leaves nothing, says why, and the next hook starts anew" {
  stub_python
  PIP="fail" run "$clone/plugins/train/hooks/command"
  assert_failure 1
  assert_line --index 1 "^^^ +++"
  assert_line --partial "modelbuild: pip could not install"
  assert_line --partial "ERROR: hashes do not match"
  assert_equal "$(ls -A "$helpers")" ""
  assert_equal "$(count '-m modelbuild')" 0
  run "$clone/plugins/train/hooks/command"
  assert_success
  assert_equal "$(ls -A "$helpers")" "$(the_id)"
}

@test "a lock whose owner was killed is taken over, and its leavings are removed" {
  stub_python
  # Job control gives the hook a process group of its own, so that it is killed together with its pip.
  set -m
  PIP="wait" "$clone/plugins/train/hooks/command" >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
  set +m
  killed=$!
  until_true test -e "$BATS_TEST_TMPDIR/pip-runs"
  kill -KILL -- "-$killed"
  wait "$killed" || true
  [ -L "$helpers/$(the_id).lock" ]
  run "$clone/plugins/train/hooks/command"
  assert_success
  assert_equal "$(ls -A "$helpers")" "$(the_id)"
}

@test "a lock as old as no installation is taken over, though its number is that of a process" {
  stub_python
  mkdir -p "$helpers"
  ln -s "$$" "$helpers/$(the_id).lock"
  touch -h -t 202001010000 "$helpers/$(the_id).lock"
  run "$clone/plugins/train/hooks/command"
  assert_success
  assert_equal "$(ls -A "$helpers")" "$(the_id)"
}

@test "a file of the checkout that is named like a module is not imported" {
  mkdir "$BATS_TEST_TMPDIR/checkout"
  cd "$BATS_TEST_TMPDIR/checkout"
  echo 'raise SystemExit("imported from the checkout")' | tee runpy.py click.py >modelbuild.py
  python="$root/.venv/bin/python"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || skip "Python 3.10 cannot leave it out"
  MODELBUILD_PYTHON="$python" run "$clone/plugins/notify/hooks/command"
  assert_failure 10
  refute_output --partial "imported from the checkout"
}

@test "a host without python3 is told in one line" {
  for tool in bash mkdir env; do
    ln -s "$(command -v "$tool")" "$BATS_TEST_TMPDIR/bin/$tool"
  done
  PATH="$BATS_TEST_TMPDIR/bin" run "$clone/plugins/train/hooks/command"
  assert_failure 1
  assert_output $'^^^ +++\nmodelbuild: python3 is not on PATH; install Python 3.10 or newer on this agent'
}

@test "a Python that is too old is told in one line" {
  cat >"$BATS_TEST_TMPDIR/bin/python3" <<'STUB'
#!/usr/bin/env bash
[ "$1" != -V ] || { echo "Python 3.8.10" && exit 0; }
exit 1
STUB
  chmod +x "$BATS_TEST_TMPDIR/bin/python3"
  PATH="$BATS_TEST_TMPDIR/bin:$PATH" run "$clone/plugins/train/hooks/command"
  assert_failure 1
  assert_output $'^^^ +++\nmodelbuild: Python 3.10 or newer is needed, and python3 is Python 3.8.10'
}

@test "a cache that cannot be written is told with its remedy" {
  stub_python
  touch "$BATS_TEST_TMPDIR/file"
  MODELBUILD_CACHE="$BATS_TEST_TMPDIR/file" run "$clone/plugins/train/hooks/command"
  assert_failure 1
  assert_line --partial "modelbuild: cannot write to $BATS_TEST_TMPDIR/file/helpers; set MODELBUILD_CACHE"
}

@test "a clone without requirements is told" {
  rm "$clone/requirements/hooks.txt"
  run "$clone/plugins/train/hooks/command"
  assert_failure 1
  assert_line --partial "requirements/hooks.txt is missing; the plugin's clone is not whole"
}

@test "other requirements or another interpreter have an environment of their own" {
  before="$(the_id)"
  assert_regex "$before" '^[0-9a-f]{16}$'
  assert_equal "$(the_id)" "$before"
  stub_python
  other="$(the_id)"
  [ "$other" != "$before" ]
  echo "click==9 --hash=sha256:11" >"$clone/requirements/hooks.txt"
  [ "$(the_id)" != "$other" ]
}
