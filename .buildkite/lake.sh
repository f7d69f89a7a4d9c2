#!/usr/bin/env bash
# Puts the tables that its arguments name into the lake (see flows/lake/load.py), with the Python and the requirements of the plugins' helpers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=plugins/lib/helpers.bash
source plugins/lib/helpers.bash

python="${MODELBUILD_PYTHON:-}"
if [ -z "$python" ]; then python="$(modelbuild_python)"; fi
PYTHONPATH="$PWD/python/src" "$python" -X utf8 flows/lake/load.py "$@"
