#!/usr/bin/env bash
# A real Slurm cluster on one host: a controller and as many nodes, reached over loopback alone.
# Usage, as root: tests/helpers/one_host_slurm.sh FOLDER [NODES]
# It runs until its input ends (Ctrl-D) or its caller ends.
# Meanwhile, with SLURM_CONF=FOLDER/slurm.conf in the environment: sinfo, sbatch, ...
# Needs Debian's slurm-wlm, slurm-wlm-basic-plugins and munge. All state is in FOLDER, nothing else is touched.
set -eu
folder=$(realpath -m -- "$1")
nodes=${2:-2}
host=$(hostname -s)
export SLURM_CONF=$folder/slurm.conf

# Nodes are named by loopback addresses: JAX makes the first node's name the address of the coordinator, and these
# need no line in /etc/hosts.
configure() {
  cat <<END
ClusterName=onehost
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
SlurmdParameters=config_overrides
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool.%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=15
MinJobAge=600
END
  for i in $(seq "$nodes"); do
    echo "NodeName=127.0.0.$i NodeHostname=$host NodeAddr=127.0.0.1 Port=$((17000 + i)) CPUs=4 RealMemory=4000"
  done
  echo "PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=20"
  echo "PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF"
}

up() {
  mkdir -p "$folder"/{state,log,munge}
  configure >"$SLURM_CONF"
  dd if=/dev/urandom of="$folder/munge/key" bs=128 count=1 status=none
  chmod 400 "$folder/munge/key"
  /usr/sbin/munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
    --pid-file="$folder/munged.pid" --log-file="$folder/log/munged.log" --seed-file="$folder/munge/seed"
  /usr/sbin/slurmctld -c -f "$SLURM_CONF"
  for i in $(seq "$nodes"); do
    mkdir -p "$folder/spool.127.0.0.$i"
    /usr/sbin/slurmd -N "127.0.0.$i" -f "$SLURM_CONF"
  done
}

# All jobs first, then each daemon that left its number here.
down() {
  scancel --full --signal=KILL --user=root 2>/dev/null || true
  for file in "$folder"/slurmd.*.pid "$folder"/slurmctld.pid "$folder"/munged.pid; do
    [ -f "$file" ] || continue
    process=$(cat "$file")
    kill "$process" 2>/dev/null || true
    for _ in {1..100}; do
      kill -0 "$process" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$process" 2>/dev/null || true
  done
}

trap down EXIT
up
cat >/dev/null
