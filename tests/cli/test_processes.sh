# Several processes of one command on one results folder: each run is computed once, by one of them; what a process that is stuck
# works on is waited for, and done by another when it dies.
. "$(dirname "$0")/common.sh" "$@"
mkdir "$dir/weights"
make_weights "$dir/weights"
make_data "$dir/data" --train 12
make_experiment "$dir/e.yaml" 'patch: [1, 3]' 'subsampling: {percent: [25, 5]}' 'seed: [0, 1]'
code 0 run "$dir/e.yaml"
cp -r "$dir/results" "$dir/whole"
all=$(lines)
same_as_whole() { diff <(lasting "$dir"/whole/*/t.jsonl) <(lasting "$dir"/results/*/t.jsonl) || fail "$1"; }
begin() { # number, options
  "$program" run "$dir/e.yaml" --data "$dir/data" --weights "$dir/weights" --results "$dir/results" --threads 1 "${@:2}" \
    >"$dir/out$1" 2>"$dir/err$1" &
}
computed() { cat "$dir"/err? | grep -c "image AUROC .* s)" || true; }

# Until process 2 says that it waits for process 1, which is stopped in the middle of a pass. Stopped while it holds the lock of the file,
# it would hold up everybody: then it is let go on for a moment.
wait_for_waiting() {
  for ((i = 0; i < 600; ++i)); do
    ! grep -q "waiting for another process" "$dir/err2" 2>/dev/null || return 0
    kill -0 $other || { cat "$dir/err2" >&2; fail "it did not wait"; }
    sleep 0.1
    [ $((i % 30)) != 29 ] || { kill -CONT $stuck; sleep 0.005; kill -STOP $stuck; }
  done
  fail "it did not come to wait"
}

rm -r "$dir/results"
jobs=()
for i in 1 2 3; do
  begin $i
  jobs+=($!)
done
for job in "${jobs[@]}"; do
  wait "$job" || { cat "$dir"/err? >&2; fail "one of three processes failed"; }
done
same_as_whole "three processes gave other lines"
[ "$(computed)" = "$all" ] || { cat "$dir"/err? >&2; fail "$(computed) runs were computed for $all lines"; }
grep -q "were finished by another process" "$dir"/err? || fail "no process left work to another"
for i in 1 2 3; do # every table is whole
  [ "$(grep -c "^  mean " "$dir/out$i")" = "$(grep -c "^  mean " "$dir/out1")" ] || fail "tables differ"
done

# Two processes, `stuck` stopped within a pass, and `other`, which has done the rest and waits.
stop_within_a_pass() {
  rm -r "$dir/results" "$dir"/err?
  begin 1
  stuck=$!
  until [ "$(lines)" -ge 1 ]; do
    kill -0 $stuck || fail "it ended before it was stopped"
    sleep 0.005
  done
  kill -STOP $stuck
  begin 2
  other=$!
  wait_for_waiting
}

# One stops within a pass: the other one does the rest and waits. Killed, it leaves the pass to the other.
stop_within_a_pass
before=$(lines)
[ "$before" -lt "$all" ] || fail "stopped too late"
kill -9 $stuck
{ wait $stuck || true; } 2>/dev/null
wait $other || fail "the other one failed"
same_as_whole "a dead process's work"

# A process that waits stops when it is asked to.
stop_within_a_pass
kill -INT $other
ended=0
wait $other || ended=$?
[ "$ended" = 1 ] || fail "a waiting process ended with $ended"
kill -CONT $stuck
wait $stuck || fail "the first one failed"
code 0 run "$dir/e.yaml"
same_as_whole "after a stop while waiting"
