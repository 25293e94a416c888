# Results of several folders come together: shards, doubles, conflicts, torn lines, scores, files in use.
. "$(dirname "$0")/common.sh" "$@"
mkdir "$dir/weights"
make_weights "$dir/weights"
make_data "$dir/data"
make_experiment "$dir/e.yaml" 'subsampling: {percent: [25, 5]}' 'seed: [0, 1]'
code 0 run "$dir/e.yaml"
machine=$(cd "$dir/results" && ls)
merge() { code 0 "$program" merge "$dir/$1" "${@:2}"; }
same() { diff -q <(lasting "$dir/$1/$machine/t.jsonl") <(lasting "$dir/$2/$machine/t.jsonl") || fail "$3"; }

# Two shards with a folder each are one run.
for i in 1 2; do
  code 0 run "$dir/e.yaml" --shard $i/2 --results "$dir/shard$i" --scores "$dir/shard$i/$machine/scores"
done
merge all "$dir/shard1" "$dir/shard2"
same all results "two shards merged are not the whole"
[ "$(ls "$dir/all/$machine/scores" | wc -l)" = "$(lines)" ] || fail "scores are missing"
says out "$(lines) lines in 1 files, $(lines) of them new; 0 doubles"

# In any order, and again: the same bytes, the scores too.
merge other "$dir/shard2" "$dir/shard1"
diff -r "$dir/all" "$dir/other" || fail "the order of the folders matters"
merge all "$dir/shard2" "$dir/all"
diff -r "$dir/all" "$dir/other" || fail "merging again changed something"

# The same work done twice: the earliest line stays.
file=$dir/results/$machine/t.jsonl
mkdir -p "$dir/later/$machine" "$dir/torn/$machine"
sed -E 's/"date":"[^"]*"/"date":"2999-01-01T00:00:00Z"/; s/"threads":[0-9]+/"threads":77/' "$file" >"$dir/later/$machine/t.jsonl"
merge both "$dir/later" "$dir/results"
cmp <(sort "$dir/both/$machine/t.jsonl") <(sort "$file") || fail "doubles: not the earliest lines"
says out "$(lines) doubles"

# Torn and unreadable lines are dropped with a warning.
{ head -n1 "$file" && echo '{"run": 3}' && head -c 50 "$file"; } >"$dir/torn/$machine/t.jsonl"
merge whole "$dir/torn"
[ "$(wc -l <"$dir/whole/$machine/t.jsonl")" = 1 ] || fail "torn or unreadable lines got through"
says err "t.jsonl:2 is left out" "t.jsonl:3 is torn"
says out "2 unreadable lines left out"

# Other numbers for the same work: reported with both places, and nothing is chosen.
mkdir -p "$dir/wrong/$machine"
sed -E '2s/"image_auroc":[0-9.e+-]+/"image_auroc":0.123/' "$dir/all/$machine/t.jsonl" >"$dir/wrong/$machine/t.jsonl"
cp -r "$dir/all" "$dir/kept"
code 1 "$program" merge "$dir/kept" "$dir/wrong"
says err "conflict:" "image_auroc differs between" "$dir/wrong/$machine/t.jsonl:2" "$dir/kept/$machine/t.jsonl:2" "1 conflicts"
diff -r "$dir/all" "$dir/kept" || fail "a conflict was resolved silently"
scores=$(ls "$dir/shard1/$machine/scores/"*.csv | sed -n 1p)
echo "more" >>"$scores"
code 1 "$program" merge "$dir/kept" "$dir/shard1"
says err "has other scores than"
diff -r "$dir/all" "$dir/kept" || fail "scores were overwritten"

# Lines of measured operators come through as they are.
printf '{"operator":"a","date":"2"}\n{"operator":"b","date":"1"}\n' >"$dir/later/$machine/bench.jsonl"
merge both "$dir/later"
merge both "$dir/later"
printf '{"operator":"b","date":"1"}\n{"operator":"a","date":"2"}\n' | cmp - "$dir/both/$machine/bench.jsonl" || fail "bench"

# A merge into a folder that a run writes to would pull the file away from it.
rm "$file"
run "$dir/e.yaml" >/dev/null 2>&1 &
job=$!
until [ -s "$file" ]; do
  kill -0 $job || fail "the run ended without a line"
  sleep 0.01
done
kill -STOP $job
code 1 "$program" merge "$dir/results" "$dir/later"
says err "a run has it open"
kill -CONT $job
wait $job || fail "the run failed beside a merge"
same results all "after a merge beside a run"

code 1 "$program" merge "$dir/results" "$dir/nowhere"
says err "there is no folder $dir/nowhere"
code 2 "$program" merge "$dir/results"
