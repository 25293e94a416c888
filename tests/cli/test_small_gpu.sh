# A GPU without room for the training features and the bank: they stay in host memory, and the scores are those of a GPU with room. Its
# memory can only be chosen where it is emulated; skipped elsewhere.
. "$(dirname "$0")/common.sh" "$@"
grep -q 'emulated GPU' < <("$program" info) || exit 77
mkdir "$dir/weights"
make_weights "$dir/weights"
make_data "$dir/data" --train 60 --good 1
make_experiment "$dir/e.yaml" "classes: [$(class_names | sed -n 1p)]" 'subsampling: [{kind: greedy, percent: 5}, {kind: none}]' \
  'protocol: paper'
sed -i 's/^\(layer_\)\{0,1\}dimension: 64/\1dimension: 1024/' "$dir/e.yaml"
export TR_EMU_DEVICES=1

code 0 run "$dir/e.yaml" --device cuda --scores "$dir/scores"
lasting "$dir"/results/*/t.jsonl >"$dir/whole"
rm -r "$dir/results"

# Between what is too little to run at all and what is enough for everything. MiB.
least=0 most=256
while :; do
  middle=$(((least + most) / 2))
  [ "$middle" -gt "$least" ] || fail "no memory with which something stays in host memory: $least MiB is too little, $most MiB enough"
  if ! TR_EMU_MEMORY=$((middle << 20)) run "$dir/e.yaml" --device cuda --scores "$dir/scores_small" >"$dir/out" 2>"$dir/err"; then
    says err "out of memory"
    least=$middle
  elif grep -q 'stay in host memory' "$dir/out" "$dir/err"; then
    break
  else
    most=$middle
  fi
  rm -rf "$dir/results" "$dir/scores_small"
done
grep -h 'stay in host memory' "$dir/out" "$dir/err" | grep -q 'training features and [12] of 2 banks' || fail "the banks stay on the GPU"
lasting "$dir"/results/*/t.jsonl | diff "$dir/whole" - || fail "results differ from those of a GPU with room"
diff -r "$dir/scores" "$dir/scores_small" || fail "scores differ from those of a GPU with room"
