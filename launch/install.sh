# shellcheck shell=bash
# Sourced by the other launchers: makes .venv beside setup.py and installs the project into it, once.
# Usage: . launch/install.sh EXTRA     PYTHON names the interpreter for a new .venv (else python3).
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null && pwd) || exit 64
venv_python=$root/.venv/bin/python
extra=${1:-}

# The JAX that goes with the accelerator of this machine.
if nvidia-smi --list-gpus >/dev/null 2>&1; then
  extra=${extra:+$extra,}cuda
elif compgen -G '/dev/accel*' >/dev/null || [ -n "${TPU_NAME:-}" ]; then
  extra=${extra:+$extra,}tpu
fi

# A whole .venv? (One that an interrupted or failed `venv` left has no pip.)
if ! "$venv_python" -c 'import pip' 2>/dev/null; then
  python=${PYTHON:-python3}
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "Python 3.11 or newer is needed ('$python' is not): name one, as PYTHON=python3.12 $0" >&2
    exit 64
  fi
  if ! "$python" -m venv --clear "$root/.venv"; then
    echo "No virtual environment could be made; on Debian: apt-get install python3-venv" >&2
    exit 64
  fi
fi

# Installed already? The stamp names what was asked for and from which setup.py.
wanted="[$extra] $(cksum <"$root/setup.py")"
if ! grep -qxF "$wanted" "$root/.venv/.installed" 2>/dev/null; then
  echo "Installing into $root/.venv (some minutes, once) ..." >&2
  "$venv_python" -m pip install --quiet --disable-pip-version-check \
    --editable "$root${extra:+[$extra]}" || exit 70
  echo "$wanted" >>"$root/.venv/.installed"
fi
