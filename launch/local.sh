#!/usr/bin/env bash
# Installs the project into .venv (once) and runs `python -m gan.main` with the arguments given;
# without any, the quickstart: faces with chosen attributes in a few minutes, on any machine.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/install.sh" ""
[ $# -gt 0 ] || set -- --config=configs/quickstart.py --workdir=runs/quickstart
exec .venv/bin/python -m gan.main "$@"
