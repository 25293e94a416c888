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

script=scripts/slurm_sweep.sh takes=experiment help_end=12
own='shards work results threads' refused='--shard --dry-run'
shards='' work='' results=results threads=''
# shellcheck source=scripts/slurm_common.sh
. "$(dirname "$0")/slurm_common.sh"
read_options "$@"
experiment=$argument run=("${options[@]}")
[ -n "$experiment" ] || fail 2 "takes an experiment file (see --help)"
[ -f "$experiment" ] || fail 1 "there is no file $experiment"
check_shards 1
find_program "run $experiment --shard I/$shards --results DIR_I ${run[*]}" "merge $results DIR_1 DIR_2 …"

make_work "$experiment"
write_job task.sh program experiment run results work shards threads <<'TASK'
begin_task
mkdir -p "$mine"
rm -f "$mine/done"
[ ! -d "$results" ] || "$program" merge "$mine" "$results" || echo "going on with what $mine holds"
"$program" run "$experiment" "${run[@]}" --results "$mine" --shard "$shard/$shards" ${threads:+--threads "$threads"} || exit
touch "$mine/done"
TASK

write_job merge.sh program results work shards <<'MERGE'
missing=()
for ((i = 1; i <= shards; ++i)); do
  [ -f "$work/shards/$i-of-$shards/done" ] || missing+=("$i")
done
"$program" merge "$results" "$work"/shards/*-of-* && "$program" report --results "$results" --out "$work/report.md" || exit
fail_if_missing "${missing[@]}"
rm -r "$work/shards"
MERGE
submit_all "$results"
