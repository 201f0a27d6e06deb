#!/usr/bin/env bash
# Installs the project into .venv (once) and runs `python -m gan.main` with the arguments given.
# Without arguments it runs the quickstart: faces with chosen attributes in a few minutes, on any machine.
set -u
. "$(dirname -- "${BASH_SOURCE[0]}")/install.sh" ""
if [ $# -eq 0 ]; then
  cd -- "$root" || exit 64
  set -- --config=configs/quickstart.py --workdir=runs/quickstart
fi
exec "$venv_python" -m gan.main "$@"
