# A sweep as a Slurm job array: real slurmctld, and three slurmd on this machine as nodes n1 to n3, all below the test's folder.
# One node dies in the middle of its task, which is requeued and goes on elsewhere. Skipped where Slurm is not installed.
. "$(dirname "$0")/common.sh" "$@"
sweep=$root/scripts/slurm_sweep.sh
PATH=$PATH:/usr/sbin:/sbin
make_data "$dir/data"
mkdir "$dir/weights" "$dir/bin"
make_weights "$dir/weights"
make_experiment "$dir/e.yaml" 'subsampling: {percent: [25, 5]}' 'seed: [0, 1, 2, 3, 4, 5, 6, 7]'

# What is wrong is said before anything is submitted.
export TOTALRECALL=$program
code 2 "$sweep" "$dir/e.yaml"
says err "--shards takes a number"
code 2 "$sweep" "$dir/e.yaml" --shards 2 --dry-run
code 1 "$sweep" "$dir/none.yaml" --shards 2
says err "there is no file $dir/none.yaml"
for tool in bash basename mkdir sed; do ln -s "$(command -v $tool)" "$dir/bin/$tool"; done
code 1 env PATH="$dir/bin" bash "$sweep" "$dir/e.yaml" --shards 2 --data "$dir/data" --work "$dir/work"
says err "there is no sbatch here" "--shard I/2 --results DIR_I --data $dir/data" "merge results DIR_1 DIR_2"
[ ! -e "$dir/work" ] || fail "it made folders for nothing"

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

# ---- a sweep in which a node dies ----

# As the program, but the first task on n2 hangs when it has a line, and says which processes it consists of, Slurm's first.
cat >"$dir/program" <<END
#!/bin/bash
if [ "\$1" = run ] && [ "\$SLURMD_NODENAME" = n2 ] && mkdir "$dir/hanging" 2>/dev/null; then
  "$program" "\$@" &
  until cat "$dir/work/shards/\$SLURM_ARRAY_TASK_ID"-of-*/*/t.jsonl 2>/dev/null | grep -q .; do sleep 0.01; done
  kill -STOP \$!
  echo "\$SLURM_ARRAY_TASK_ID" >"$dir/hanging/shard"
  echo "\$(ps -o ppid= -p \$PPID) \$PPID \$\$ \$!" >"$dir/hanging/processes.part"
  mv "$dir/hanging/processes.part" "$dir/hanging/processes"
  wait
fi
exec "$program" "\$@"
END
chmod +x "$dir/program"
export TOTALRECALL=$dir/program
cd "$dir"
code 0 "$sweep" e.yaml --shards 4 --work work --data data --weights weights --results results -- --time 5
says out "4 shards of e.yaml" "logs in work/logs"
for ((i = 0; i < 300; ++i)); do
  [ ! -e hanging/processes ] || break
  sleep 0.1
done
[ -e hanging/processes ] || { squeue >&2; fail "no task came to n2"; }
shard=$(cat hanging/shard)
kept=$(cat work/shards/"$shard"-of-4/*/t.jsonl)
kill -9 "$(cat slurmd.n2.pid)"
rm slurmd.n2.pid
kill -9 $(cat hanging/processes)
wait_for_jobs 90

cat work/logs/merge.log >&2
grep -q "requeued 1 times" work/logs/shard-"$shard".log || fail "the dead node's task was not requeued"
grep -q "runs are finished already" work/logs/shard-"$shard".log || fail "the requeued task began anew"
[ ! -e work/shards ] || fail "the shards' folders stay"
[ -s work/report.md ] || fail "no report"
grep -qxF -- "$kept" results/*/t.jsonl || fail "lines from before the node's death are not there"
code 0 run e.yaml --results "$dir/whole"
diff <(lasting whole/*/t.jsonl) <(lasting results/*/t.jsonl) || fail "the sweep's lines are not those of one process"

# The same command again: all is known, nothing is computed.
code 0 "$sweep" e.yaml --shards 3 --work work --data data --weights weights --results results -- --time 5
wait_for_jobs 60
all=$(lines)
grep -q "$all lines in 1 files, 0 of them new" work/logs/merge.log || fail "something was computed twice"

# A shard that fails: the others are merged, the last job says which one is missing.
sed -i 's/^name: t/name: u/' e.yaml
rm -r data/synthetic/board/test
code 0 "$sweep" e.yaml --shards 5 --work other --data data --weights weights --results results -- --time 5
wait_for_jobs 60
grep -q "shards of 5 that are not done: " other/logs/merge.log || { tail other/logs/* >&2; fail "a failed shard went unnoticed"; }
[ -s "$(echo results/*/u.jsonl)" ] || fail "the other shards' lines are not merged"
