#!/usr/bin/env bash
# Trains on a Cloud TPU of one or more hosts. Creates the TPU, installs this checkout on all its hosts, runs
# `python -m gan.main` there with the arguments given, runs it again when it was stopped or the TPU was taken away, and
# deletes the TPU at the end.
#   TPU_NAME=faces TPU_ZONE=us-central2-b TPU_TYPE=v4-32 launch/tpu_pod.sh --config=configs/celeba64.py \
#     --workdir=gs://bucket/faces
# Needs gcloud, signed in, and a terminal that stays open (tmux). Optional variables, with their defaults:
#   TPU_VERSION   software of the hosts (tpu-ubuntu2204-base; by type also v2-alpha-tpuv5, v2-alpha-tpuv6e, ...)
#   TPU_PYTHON    Python of the hosts, which is installed if it is missing (python3.11)
#   TPU_CREATE    more options of `gcloud compute tpus tpu-vm create`, such as "--spot --network=private"
#   TPU_SETUP     a command that each host runs before it trains, such as "gcloud storage cp gs://bucket/celeba.zip ."
#   KEEP=1        keeps the TPU at the end (a TPU that was there before is never deleted)
#   MAX_CRASHES   crashes without a new checkpoint between them, after which it gives up (3)
set -u
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null && pwd) || exit 64
python=${TPU_PYTHON:-python3.11}
max_crashes=${MAX_CRASHES:-3}
created=     # Not empty once this script has created a TPU.
wanted=first # Which TPU to create if there is none: the first one, another one, or none (empty).

for name in TPU_NAME TPU_ZONE TPU_TYPE; do
  if [ -z "${!name:-}" ]; then
    echo "$name is not set. See the first lines of $0." >&2
    exit 64
  fi
done
workdir='' before=''
for argument; do
  case $argument in --workdir=*) workdir=${argument#*=} ;; esac
  if [ "$before" = --workdir ]; then workdir=$argument; fi
  before=$argument
done
if [[ $workdir != gs://* ]]; then
  echo "--workdir='$workdir' must be gs://BUCKET/FOLDER: all hosts see it, and it outlives the TPU." >&2
  exit 64
fi

tpu() {
  local verb=$1
  shift
  gcloud compute tpus tpu-vm "$verb" --quiet --zone="$TPU_ZONE" "$@" </dev/null
}

run_on_all() { # ssh notices within 90 s if a host is gone.
  tpu ssh "$TPU_NAME" --worker=all --ssh-flag=-oServerAliveInterval=30 --command="$1"
}

state() {
  tpu describe "$TPU_NAME" --format='value(state)' 2>/dev/null
}

create() {
  # shellcheck disable=SC2086 # TPU_CREATE holds several options.
  tpu create "$TPU_NAME" --accelerator-type="$TPU_TYPE" --version="${TPU_VERSION:-tpu-ubuntu2204-base}" \
    ${TPU_CREATE:-}
}

# Waits until the TPU is ready: an hour at most, or ten hours if another one is wanted and there is no room for it.
bring_up() {
  local now
  for _ in {1..120}; do
    now=$(state)
    case $now in
      READY)
        wanted=
        return 0
        ;;
      PREEMPTED | TERMINATED)
        echo "The TPU was taken away ($now): deletes it, to create another." >&2
        tpu delete "$TPU_NAME" || return 70
        wanted=another
        ;;
      "")
        if [ -z "$wanted" ]; then
          echo "$TPU_NAME is gone: somebody deleted it." >&2
          return 70
        elif create; then
          created=1
        elif [ "$wanted" = first ]; then
          return 70
        else
          sleep 300
        fi
        ;;
      *) sleep 30 ;;
    esac
  done
  echo "$TPU_NAME is not ready, but $now." >&2
  return 70
}

# Copies this checkout, all files that git tracks or would track, to the hosts and installs it there.
install() {
  local archive
  archive=$(mktemp -d)/gan.tar.gz
  (cd -- "$root" && git ls-files -z --cached --others --exclude-standard | tar --null -T - -czf "$archive") &&
    tpu scp "$archive" "$TPU_NAME:gan.tar.gz" --worker=all
  local code=$?
  rm -r -- "$(dirname -- "$archive")"
  [ "$code" -eq 0 ] || return "$code"
  run_on_all "set -e
    if ! command -v $python >/dev/null; then
      sudo apt-get -o DPkg::Lock::Timeout=300 update -q
      sudo apt-get -o DPkg::Lock::Timeout=300 install -q -y $python $python-venv
    fi
    mkdir -p gan && tar -xzf gan.tar.gz -C gan && cd gan
    ${TPU_SETUP:-}
    PYTHON=$python TPU_NAME=$TPU_NAME launch/local.sh --help >/dev/null"
}

# Trains on all hosts. Returns the lowest exit code of the hosts that is not 0, so that the 64 of one host counts, and not
# the 134 of those that lost it as a peer. (gcloud returns the code of the first host.)
run() {
  local log codes
  log=$(mktemp)
  run_on_all "cd gan && .venv/bin/python -m gan.main $(printf '%q ' "$@")
    code=\$?; echo \"Host ended with exit code \$code.\"; exit \$code" 2>&1 | tee -- "$log"
  codes="${PIPESTATUS[0]} $(sed -n 's/.*Host ended with exit code \([0-9]*\)[.].*/\1/p' "$log" | tr '\n' ' ')"
  rm -- "$log"
  code=0
  for one in $codes; do
    if ((one != 0 && (code == 0 || one < code))); then code=$one; fi
  done
  return "$code"
}

# Deletes the TPU if this script created it, else says what it costs; then exits with a code.
finish() {
  if [ -n "$created" ] && [ -z "${KEEP:-}" ]; then tpu delete "$TPU_NAME" && exit "$1"; fi
  if [ -n "$(state)" ]; then
    echo "The TPU $TPU_NAME is still there and costs money. To delete it:" \
      "gcloud compute tpus tpu-vm delete $TPU_NAME --zone=$TPU_ZONE" >&2
  fi
  exit "$1"
}
trap 'KEEP=1; finish 130' INT TERM

crashes=0
newest=
while true; do
  bring_up || finish 70
  install && run "$@"
  code=$?
  case $code in
    0 | 64 | 65 | 73) finish "$code" ;;
    75) echo "Stopped and saved: runs again." >&2 ;;
    *)
      sleep 30 # The state of a TPU that was taken away changes a little later.
      if [[ $(state) != @(PREEMPTED|TERMINATED) ]]; then
        last=$newest
        newest=$(gcloud storage ls "$workdir/checkpoints/" 2>/dev/null | sort -V | tail -n 1)
        if [ "$newest" != "$last" ]; then crashes=0; fi
        echo "Crashed (exit code $code), $((++crashes)) of at most $max_crashes times without a new checkpoint." >&2
        if ((crashes >= max_crashes)); then finish "$code"; fi
      fi
      ;;
  esac
done
