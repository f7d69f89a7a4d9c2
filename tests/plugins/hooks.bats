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
  echo "matplotlib==3 --hash=sha256:00" >"$clone/requirements/notify.txt"

  export LOG="$BATS_TEST_TMPDIR/log"
  export MODELBUILD_CACHE="$BATS_TEST_TMPDIR/a cache"
  export BUILDKITE_PLUGIN_CONFIGURATION='{"a": 1}'
  unset MODELBUILD_PYTHON PYTHONPATH
  helpers="$MODELBUILD_CACHE/helpers"
  : >"$LOG"
}

# Prints the name of the environment that the hooks of the clone use, except for notify's.
the_id() {
  # shellcheck source=plugins/lib/helpers.bash
  (source "$clone/plugins/lib/helpers.bash" && modelbuild_id)
}

# Prints the name of the environment that notify's hook uses.
the_id_of_notify() {
  # shellcheck source=plugins/lib/helpers.bash
  (source "$clone/plugins/lib/helpers.bash" && modelbuild_requirements="$clone/requirements/notify.txt" modelbuild_id)
}

# A python3 that makes environments of this same script in place of the installer. $INSTALL tells it how.
stub_python() {
  cat >"$BATS_TEST_TMPDIR/bin/python3" <<'STUB'
#!/usr/bin/env bash
[ "$1" != -V ] || { echo "Python ${VERSION:-3.12.1}" && exit; }
printf '%q ' "$@" >>"$LOG"
echo >>"$LOG"
[ "$1 $2 $3" = "-I -X utf8" ] || exit 99
case "$4" in
*/install.py)
  [ -z "${INSTALL:-}" ] || exit "$INSTALL"
  mkdir -p "$6/bin" && cp "$0" "$6/bin/python"
  ;;
*)
  printf 'options %s\n' "$BUILDKITE_PLUGIN_CONFIGURATION"
  exit "${EXIT:-0}"
  ;;
esac
STUB
  chmod +x "$BATS_TEST_TMPDIR/bin/python3"
  PATH="$BATS_TEST_TMPDIR/bin:$PATH"
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
    assert_equal "$(cat "$LOG")" "-I -X utf8 -m modelbuild $plugin "
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

@test "the first hook installs, the next one finds it, and both use the plugin's own code" {
  stub_python
  for plugin in train deploy; do
    run "$clone/plugins/$plugin/hooks/command"
    assert_success
    assert_output 'options {"a": 1}'
    tail -n 1 "$LOG" | grep -qF -- "-c import\\ sys" || fail "$(cat "$LOG")"
    assert_equal "$(tail -n 1 "$LOG" | grep -oE '[^ ]+ clone/python/src [a-z]+ $')" \
      "$(printf '%q ' "$clone/python/src" "$plugin" | grep -oE '[^ ]+ clone.*')"
  done
  assert_equal "$(count install.py)" 1
  run grep install.py "$LOG"
  assert_output "$(printf '%q ' -I -X utf8 "$clone/plugins/lib/install.py" "$clone/requirements/hooks.txt" \
    "$helpers/$(the_id)")"
  assert_equal "$(ls -A "$helpers")" "$(the_id)"
}

@test "the hook of notify has an environment of its own, because it needs more" {
  stub_python
  run "$clone/plugins/notify/hooks/command"
  assert_success
  run "$clone/plugins/train/hooks/command"
  assert_success
  run grep install.py "$LOG"
  assert_line --index 0 --partial "$(printf '%q ' "$clone/requirements/notify.txt" "$helpers/$(the_id_of_notify)")"
  assert_line --index 1 --partial "$(printf '%q ' "$clone/requirements/hooks.txt" "$helpers/$(the_id)")"
  [ "$(the_id_of_notify)" != "$(the_id)" ]
}

@test "an installation that fails ends the hook with its exit code" {
  stub_python
  for code in 1 143; do
    INSTALL="$code" run "$clone/plugins/train/hooks/command"
    assert_failure "$code"
    assert_output ""
  done
}

@test "an environment that has lost its interpreter is installed anew" {
  stub_python
  mkdir -p "$helpers/$(the_id)/lib"
  run "$clone/plugins/train/hooks/command"
  assert_success
  assert_equal "$(count install.py)" 1
}

@test "a cache of any name is found again" {
  stub_python
  export MODELBUILD_CACHE="$BATS_TEST_TMPDIR/it's \"a\"
cache \$HOME"
  for plugin in train deploy; do
    run "$clone/plugins/$plugin/hooks/command"
    assert_success
    assert_output 'options {"a": 1}'
  done
  assert_equal "$(count install.py)" 1
}

@test "a cache that is not an absolute path is refused" {
  stub_python
  MODELBUILD_CACHE="cache" run "$clone/plugins/train/hooks/command"
  assert_failure 1
  assert_output $'^^^ +++\nmodelbuild: the cache folder cache is not an absolute path; set MODELBUILD_CACHE to one that is'
}

@test "without HOME the cache is in the home folder of the agent's user" {
  stub_python
  unset MODELBUILD_CACHE XDG_CACHE_HOME HOME
  INSTALL=1 run "$clone/plugins/train/hooks/command"
  assert_failure 1
  run grep install.py "$LOG"
  assert_output --partial " $(printf '%q' ~)/.cache/modelbuild/helpers/"
}

@test "nothing of the checkout is imported, whatever PYTHON variables say" {
  mkdir "$BATS_TEST_TMPDIR/checkout"
  cd "$BATS_TEST_TMPDIR/checkout"
  echo 'raise SystemExit("imported from the checkout")' |
    tee runpy.py click.py sitecustomize.py usercustomize.py modelbuild.py >encodings.py
  python="$root/.venv/bin/python"
  # The environment of this clone, in the place of the one that the hook would install.
  cp -R "$root/python" "$clone"
  mkdir -p "$helpers"
  ln -s "$root/.venv" "$helpers/$(the_id_of_notify)"
  export PYTHONPATH=. PYTHONHOME=. PYTHONSTARTUP=click.py PYTHONUSERBASE=. PYTHONPLATLIBDIR=. PYTHONINSPECT=1
  MODELBUILD_PYTHON="$python" run "$clone/plugins/notify/hooks/command"
  assert_failure 10
  refute_output --partial "imported from the checkout"
  run "$clone/plugins/notify/hooks/command"
  assert_failure 10
  refute_output --partial "imported from the checkout"
}

@test "options and output are UTF-8 in a locale of another encoding" {
  command -v localedef >/dev/null || skip "localedef is not there to make a locale"
  localedef -i en_US -f ISO-8859-1 "$BATS_TEST_TMPDIR/en_US.ISO-8859-1" || skip "the sources of locales are not there"
  cd "$BATS_TEST_TMPDIR"
  export LOCPATH="$BATS_TEST_TMPDIR" LC_ALL=en_US.ISO-8859-1 MODELBUILD_PYTHON="$root/.venv/bin/python"
  BUILDKITE_PLUGIN_CONFIGURATION='{"🎉": 1}' run "$clone/plugins/train/hooks/command"
  assert_failure 10
  assert_output --partial "🎉"
  refute_output --partial Traceback
}

@test "a host without python3 is told in one line" {
  for tool in bash mkdir env; do
    ln -s "$(command -v "$tool")" "$BATS_TEST_TMPDIR/bin/$tool"
  done
  PATH="$BATS_TEST_TMPDIR/bin" run "$clone/plugins/train/hooks/command"
  assert_failure 1
  assert_output $'^^^ +++\nmodelbuild: Python 3.10 or newer is needed, and python3 is not on PATH; install it on this agent'
}

# Only the tools that a hook needs, so that no other Python is on PATH.
only_tools() {
  for tool in bash mkdir env cat git cp; do
    ln -s "$(command -v "$tool")" "$BATS_TEST_TMPDIR/bin/$tool"
  done
}

@test "a Python that is too old is told in one line" {
  stub_python
  only_tools
  VERSION=3.9.18 PATH="$BATS_TEST_TMPDIR/bin" run "$clone/plugins/train/hooks/command"
  assert_failure 1
  assert_output "^^^ +++
modelbuild: Python 3.10 or newer is needed, and $BATS_TEST_TMPDIR/bin/python3 is Python 3.9.18; install it on this agent"
}

@test "a newer Python beside one that is too old is found" {
  stub_python
  only_tools
  mv "$BATS_TEST_TMPDIR/bin/python3" "$BATS_TEST_TMPDIR/bin/python3.11"
  printf '#!/usr/bin/env bash\necho Python 3.9.18\n' >"$BATS_TEST_TMPDIR/bin/python3"
  # A version manager's script for a version that is not installed.
  printf '#!/usr/bin/env bash\necho not installed >&2\nexit 127\n' >"$BATS_TEST_TMPDIR/bin/python3.13"
  chmod +x "$BATS_TEST_TMPDIR/bin/python3" "$BATS_TEST_TMPDIR/bin/python3.13"
  PATH="$BATS_TEST_TMPDIR/bin" run "$clone/plugins/train/hooks/command"
  assert_success
  assert_output 'options {"a": 1}'
}

@test "a python3 that complains on stderr is taken by its version" {
  stub_python
  only_tools
  sed -i.before '2i echo "warning: setlocale: cannot change locale (xx_YY)" >&2' "$BATS_TEST_TMPDIR/bin/python3"
  PATH="$BATS_TEST_TMPDIR/bin" run "$clone/plugins/train/hooks/command"
  assert_success
  assert_line 'options {"a": 1}'
}

@test "a python3 of the checkout is not the agent's" {
  mkdir -p "$BATS_TEST_TMPDIR/checkout/bin"
  cd "$BATS_TEST_TMPDIR/checkout"
  printf '#!/usr/bin/env bash\necho "Python 3.12.1"; echo ran the checkout\n' | tee bin/python3 >python3
  chmod +x bin/python3 python3
  only_tools
  PATH=".:bin::$BATS_TEST_TMPDIR/bin" run "$clone/plugins/train/hooks/command"
  assert_failure 1
  refute_output --partial "ran the checkout"
}

@test "no program of the checkout is run by the hook" {
  mkdir -p "$BATS_TEST_TMPDIR/checkout/bin"
  cd "$BATS_TEST_TMPDIR/checkout"
  printf '#!/usr/bin/env bash\ntouch "%s/ran"\nexit 1\n' "$BATS_TEST_TMPDIR" | tee bin/git bin/cat git >cat
  chmod +x bin/git bin/cat git cat
  stub_python
  PATH=".:bin::$PATH" run "$clone/plugins/train/hooks/command"
  assert_success
  [ ! -e "$BATS_TEST_TMPDIR/ran" ]
}

@test "a cache that cannot be written is told with its remedy" {
  touch "$BATS_TEST_TMPDIR/file"
  MODELBUILD_CACHE="$BATS_TEST_TMPDIR/file" run "$clone/plugins/train/hooks/command"
  assert_failure 1
  assert_line --partial "modelbuild: cannot write to $BATS_TEST_TMPDIR/file/helpers (Not a directory); set MODELBUILD_CACHE"
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
