#!/usr/bin/env bash
# Runs the tests on another Python with the newest packages that pip finds for it, in a virtual environment of its own.
#   PYTHON=python3.14 tests/newest_python.sh [FOLDER] [arguments of pytest]
# FOLDER (by default in the temporary folder) keeps the environment for the next time. Without PYTHON, it is the newest
# Python on the PATH. If there is none: `uv python install 3.14`, or this script in a container of python:3.14.
set -eu
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)
for python in "${PYTHON:-}" python3.14 python3.13 python3.12 python3.11; do
  if [ -n "$python" ] && command -v "$python" >/dev/null; then break; fi
done
folder=${1:-${TMPDIR:-/tmp}/gan-$python}
[ $# -gt 0 ] && shift
[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
cd -- "$root"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy=eager -e '.[test]'
"$folder/bin/python" -c 'import platform, jax, flax, scipy; print("Python", platform.python_version(), "jax", jax.__version__,
  "flax", flax.__version__, "scipy", scipy.__version__)'
exec "$folder/bin/python" -m pytest -p no:cacheprovider -n 2 "$@"
