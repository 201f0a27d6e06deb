# shellcheck shell=bash
# Makes .venv beside setup.py and installs the project into it, once. The other launchers source this file.
# Usage: . launch/install.sh EXTRA     PYTHON names the interpreter for a new .venv (python3 by default).
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null && pwd) || exit 64
venv_python=$root/.venv/bin/python
extra=${1:-}

# Chooses the JAX for this machine's accelerator. CUDA 13 takes a driver of 580 or newer.
if driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null); then
  if [ "${driver%%.*}" -ge 580 ] 2>/dev/null; then cuda=cuda13; else cuda=cuda; fi
  extra=${extra:+$extra,}$cuda
elif compgen -G '/dev/accel*' >/dev/null || [ -n "${TPU_NAME:-}" ]; then
  extra=${extra:+$extra,}tpu
fi

# Makes a .venv if there is none, or if it has no pip because an earlier attempt was interrupted or failed.
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

# Installs unless the stamp says that these extras were installed from this setup.py.
wanted="[$extra] $(cksum <"$root/setup.py")"
if ! grep -qxF "$wanted" "$root/.venv/.installed" 2>/dev/null; then
  echo "Installing into $root/.venv (some minutes, once) ..." >&2
  "$venv_python" -m pip install --quiet --disable-pip-version-check \
    --editable "$root${extra:+[$extra]}" || exit 70
  echo "$wanted" >>"$root/.venv/.installed"
fi
