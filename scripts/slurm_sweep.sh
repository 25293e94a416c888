#!/usr/bin/env bash
# Runs an experiment as a Slurm job array: N tasks compute a shard each, a last job merges their result lines and writes the report.
#   scripts/slurm_sweep.sh EXPERIMENT.yaml --shards N [--work DIR] [options of `totalrecall run`] [-- options of sbatch]
#   scripts/slurm_sweep.sh experiments/paper.yaml --shards 8 --data /data --weights /weights -- --gpus-per-task 1 --time 12:00:00
#
# A task has a results folder of its own below DIR (default: slurm/<experiment>), which begins with what --results knows: nothing is
# computed twice, and the tasks rely on no locks of a shared disk. A task that is requeued (its node died, or it was preempted) goes on
# from its lines, and so does this command, given again, after a time limit. The last job runs when all tasks have ended. It merges
# what they have into --results (default: results), writes DIR/report.md, and fails with the numbers of the shards that are not done.
# Logs: DIR/logs. The program: $TOTALRECALL, else build/cuda/totalrecall, else build/cpu/totalrecall. Paths are relative to where this is
# called; all nodes must see them.
set -euo pipefail

fail() { # exit code, text
  echo "scripts/slurm_sweep.sh: $2" >&2
  exit "$1"
}

experiment='' shards='' work='' results=results threads='' run=() batch=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,12s/^# \?//p' "$0"; exit 0 ;;
    --) shift; batch=("$@"); break ;;
    --shard | --shard=* | --dry-run) fail 2 "$1 is no option here (see --help)" ;;
    --shards=* | --work=* | --results=* | --threads=*)
      name=${1%%=*}
      printf -v "${name#--}" %s "${1#*=}"; shift ;;
    --*=*) run+=("$1"); shift ;;
    --*)
      [ $# -ge 2 ] || fail 2 "$1 takes a value (see --help)"
      case $1 in
        --shards | --work | --results | --threads) printf -v "${1#--}" %s "$2" ;;
        *) run+=("$1" "$2") ;;
      esac
      shift 2 ;;
    *)
      [ -z "$experiment" ] || fail 2 "takes one experiment, found $experiment and $1 (options of sbatch stand behind --)"
      experiment=$1; shift ;;
  esac
done
[ -n "$experiment" ] || fail 2 "takes an experiment file (see --help)"
[ -f "$experiment" ] || fail 1 "there is no file $experiment"
[[ $shards =~ ^[1-9][0-9]{0,4}$ ]] || fail 2 "--shards takes a number from 1 to 99999, found \`$shards\`"
program=${TOTALRECALL:-build/cuda/totalrecall}
[ -n "${TOTALRECALL:-}" ] || [ -x "$program" ] || program=build/cpu/totalrecall
[ -x "$program" ] || fail 1 "there is no program $program: build it, or name it in TOTALRECALL"
command -v sbatch >/dev/null || fail 1 "there is no sbatch here: run this where jobs are submitted to Slurm. Without Slurm, each machine
takes a part, and then they are merged:
  $program run $experiment --shard I/$shards --results DIR_I ${run[*]}
  $program merge $results DIR_1 DIR_2 …"

name=$(basename "$experiment")
name=${name%.*}
work=${work:-slurm/$name}
mkdir -p "$work/logs"

{
  printf '#!/bin/bash\n'
  declare -p program experiment run results work shards threads
  cat <<'TASK'
shard=$SLURM_ARRAY_TASK_ID
mine=$work/shards/$shard-of-$shards
threads=${threads:-${SLURM_CPUS_PER_TASK:-}}
echo "shard $shard of $shards on ${SLURMD_NODENAME:-$HOSTNAME}, requeued ${SLURM_RESTART_COUNT:-0} times, $(date -u +%FT%TZ)"
mkdir -p "$mine"
rm -f "$mine/done"
[ ! -d "$results" ] || "$program" merge "$mine" "$results" || echo "going on with what $mine holds"
"$program" run "$experiment" "${run[@]}" --results "$mine" --shard "$shard/$shards" ${threads:+--threads "$threads"} || exit
touch "$mine/done"
TASK
} >"$work/task.sh"

{
  printf '#!/bin/bash\n'
  declare -p program results work shards
  cat <<'MERGE'
missing=()
for ((i = 1; i <= shards; ++i)); do
  [ -f "$work/shards/$i-of-$shards/done" ] || missing+=("$i")
done
"$program" merge "$results" "$work"/shards/*-of-* && "$program" report --results "$results" --out "$work/report.md" || exit
if [ ${#missing[@]} -gt 0 ]; then
  echo "shards of $shards that are not done: ${missing[*]}; see $work/logs. The same command goes on from what there is." >&2
  exit 1
fi
rm -r "$work/shards"
MERGE
} >"$work/merge.sh"

submit() { # script, log, options
  sbatch --parsable --requeue --open-mode=append --output="$work/logs/$2" "${@:3}" "${batch[@]}" "$work/$1"
}
array=$(submit task.sh shard-%a.log --job-name="$name" --array="1-$shards") || exit
array=${array%%;*} # a cluster's name may follow
last=$(submit merge.sh merge.log --job-name="$name-merge" --dependency="afterany:$array") || { scancel "$array"; exit 1; }
echo "job $array: $shards shards of $experiment; job ${last%%;*} merges them into $results; logs in $work/logs"
