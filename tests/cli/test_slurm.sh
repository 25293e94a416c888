# A sweep as a Slurm job array on a cluster of one machine (slurm_cluster.sh).
# One node dies in the middle of its task, which is requeued and goes on elsewhere. Skipped where Slurm is not installed.
. "$(dirname "$0")/common.sh" "$@"
sweep=$root/scripts/slurm_sweep.sh
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
for tool in bash basename dirname mkdir sed; do ln -s "$(command -v $tool)" "$dir/bin/$tool"; done
code 1 env PATH="$dir/bin" bash "$sweep" "$dir/e.yaml" --shards 2 --data "$dir/data" --work "$dir/work"
says err "there is no sbatch here" "--shard I/2 --results DIR_I --data $dir/data" "merge results DIR_1 DIR_2"
[ ! -e "$dir/work" ] || fail "it made folders for nothing"

. "$(dirname "$0")/slurm_cluster.sh"

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
