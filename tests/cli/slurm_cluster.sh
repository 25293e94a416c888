# Sourced by the tests that need Slurm, behind common.sh: a real slurmctld, and three slurmd on this machine as nodes n1 to n3, all below the
# test's folder. The test is skipped where Slurm is not installed. `wait_for_jobs SECONDS`; logs that it shows: $dir/work/logs.
PATH=$PATH:/usr/sbin:/sbin
for tool in sbatch squeue scontrol slurmctld slurmd munged; do
  command -v $tool >/dev/null || { echo "skipped: no $tool (Debian: slurmctld slurmd slurm-client munge)"; exit 77; }
done

# ---- a cluster of one machine ----

stop_cluster() { # what is left of it is ended by its process's number
  local pid_file
  ! [ -e "$dir/slurm.conf" ] || timeout 5 scancel --state=RUNNING --state=PENDING --user="$(id -un)" 2>/dev/null || true
  for pid_file in "$dir"/slurmd.*.pid "$dir/slurmctld.pid" "$dir/munged.pid"; do
    [ ! -s "$pid_file" ] || kill -9 "$(cat "$pid_file")" 2>/dev/null || true
    rm -f "$pid_file"
  done
}
trap 'stop_cluster; rm -rf "$dir"' EXIT
export SLURM_CONF=$dir/slurm.conf
host=${HOSTNAME%%.*}

start_cluster() { # port of the controller; the nodes have the next ones
  local i
  cat >"$dir/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$dir/munge.sock,cred_expire=5
SlurmctldPort=$1
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool.%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld
SlurmdLogFile=$dir/log/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdTimeout=5
MessageTimeout=3
KillWait=2
ReturnToService=2
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$(($1 + 1)) CPUs=1
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$(($1 + 2)) CPUs=1
NodeName=n3 NodeHostname=$host NodeAddr=127.0.0.1 Port=$(($1 + 3)) CPUs=1
PartitionName=all Nodes=ALL Default=YES State=UP
END
  rm -rf "$dir/state" "$dir/log" "$dir"/spool.*
  mkdir "$dir/state" "$dir/log"
  slurmctld -c 2>/dev/null
  for i in 1 2 3; do slurmd -N n$i 2>/dev/null; done
  for i in $(seq 100); do
    [ "$(timeout 5 sinfo -h -N -t idle 2>/dev/null | wc -l)" -lt 3 ] || return 0
    sleep 0.1
  done
  return 1
}

(umask 077 && head -c 1024 /dev/urandom >"$dir/key")
start_munge() {
  munged --force --socket="$dir/munge.sock" --key-file="$dir/key" --pid-file="$dir/munged.pid" --log-file="$dir/munged.log" \
    --seed-file="$dir/munged.seed" 2>/dev/null || { cat "$dir/munged.log" >&2; fail "munged did not start"; }
}
for attempt in 1 2 3; do # a port may be taken
  start_munge
  ! start_cluster $((20000 + (RANDOM % 1000) * 10)) || break
  stop_cluster
  [ $attempt -lt 3 ] || { tail "$dir"/log/* >&2; fail "the cluster did not come up"; }
done

wait_for_jobs() { # seconds
  for ((i = 0; i < 5 * $1; ++i)); do
    [ -n "$(squeue -h)" ] || return 0
    sleep 0.2
  done
  squeue >&2
  tail -n 20 "$dir"/work/logs/* "$dir"/log/slurmctld >&2
  fail "the jobs did not end in $1 s"
}
