# Sourced by the other launchers: makes .venv and installs the project into it, once.
# Usage: . launch/install.sh [EXTRA]     PYTHON names another interpreter than python3.
extra=${1:-}
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 64

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "Python 3.11 or newer is needed ('$python' is not): name one, as PYTHON=python3.12 $0" >&2
  exit 64
fi

# The JAX that goes with the accelerator of this machine.
if nvidia-smi --list-gpus >/dev/null 2>&1; then
  extra=${extra:+$extra,}cuda
elif compgen -G '/dev/accel*' >/dev/null || [ -n "${TPU_NAME:-}" ]; then
  extra=${extra:+$extra,}tpu
fi

# Installed already? The stamp names what was asked for and from which setup.py.
stamp=.venv/.installed
wanted="[$extra] $(cksum <setup.py)"
if ! grep -qxF "$wanted" "$stamp" 2>/dev/null; then
  if [ ! -x .venv/bin/python ] && ! "$python" -m venv .venv; then
    echo "No virtual environment could be made; on Debian: apt-get install python3-venv" >&2
    exit 64
  fi
  echo "Installing into .venv (some minutes, once) ..." >&2
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --editable ".${extra:+[$extra]}" || exit 70
  echo "$wanted" >>"$stamp"
fi
