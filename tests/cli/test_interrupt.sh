# kill -9, a torn line, and Ctrl-C: finished lines stay, and the same command goes on to the same results.
. "$(dirname "$0")/common.sh" "$@"
mkdir "$dir/weights"
make_weights "$dir/weights"
make_data "$dir/data" --train 40
make_experiment "$dir/e.yaml" 'subsampling: {percent: [25, 5]}' 'seed: [0, 1]'
code 0 run "$dir/e.yaml"
cp -r "$dir/results" "$dir/whole"
all=$(lines)

start_and_wait_for_a_line() {
  rm -rf "$dir/results"
  "$program" run "$dir/e.yaml" --data "$dir/data" --weights "$dir/weights" --results "$dir/results" >"$dir/out" 2>"$dir/err" &
  job=$!
  while [ "$(lines)" -lt 1 ]; do
    kill -0 $job || fail "it ended before it was stopped"
    sleep 0.01
  done
}
same_as_whole() { diff -q <(lasting "$dir"/whole/*/t.jsonl) <(lasting "$dir"/results/*/t.jsonl) || fail "$1"; }

start_and_wait_for_a_line
kill -9 $job
wait $job && fail "killed, and yet well"
[ "$(lines)" -lt "$all" ] || fail "killed too late"
code 0 run "$dir/e.yaml"
same_as_whole "after kill -9"

file=$(ls "$dir"/results/*/t.jsonl)
truncate -s -20 "$file"
code 0 run "$dir/e.yaml"
says err "torn line" "$((all - 1)) of $all runs are finished already"
same_as_whole "after a torn line"

start_and_wait_for_a_line
kill -INT $job
ended=0
wait $job || ended=$?
[ "$ended" = 1 ] || fail "Ctrl-C ended it with $ended"
says err "finished results are kept" "goes on from there"
[ "$(lines)" -ge 1 ] && [ "$(lines)" -lt "$all" ] || fail "$(lines) lines after Ctrl-C"
[ "$(tail -c1 "$file")" = "" ] || fail "Ctrl-C tore a line"
code 0 run "$dir/e.yaml"
same_as_whole "after Ctrl-C"
