#!/usr/bin/env bash
# Installs the project with its test extra into .venv (once), then runs linter and tests.
# Arguments go to pytest, such as tests/model/test_step.py, or `-m slow` for the tests that take long.
set -eu
. "$(dirname -- "${BASH_SOURCE[0]}")/install.sh" test
cd -- "$root"
"$venv_python" -m ruff check .
"$venv_python" -m ruff format --check .
exec "$venv_python" -m pytest -n 2 "$@"
