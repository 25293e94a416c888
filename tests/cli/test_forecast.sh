# --dry-run shows the plan; what it forecasts is within 20 % of what the run takes; --memory-limit refuses or splits.
. "$(dirname "$0")/common.sh" "$@"
forecasts_hold || exit 77
mkdir "$dir/weights"
make_weights "$dir/weights"
make_data "$dir/data" --train 30 --good 20 --size 256
make_experiment "$dir/e.yaml" 'subsampling: [{kind: greedy, percent: [10, 1]}, {kind: none}]' 'seed: [0, 1]'
sed -i 's/^image:.*/image: {resize: 256, crop: 224}/; s/dimension: 64/dimension: 512/' "$dir/e.yaml"
one=$(class_names | sed -n 1p)

code 0 run "$dir/e.yaml" --dry-run --class "$one"
says out "once for 5 runs" "greedy selection, seed 1" "all patches" peak score
[ ! -e "$dir/results" ] || fail "a dry run made $dir/results"

code 0 run "$dir/e.yaml" --class "$one"
[ "$(lines)" = 5 ] || fail "$(lines) lines"
while read -r forecast peak; do
  awk -v f="$forecast" -v p="$peak" 'BEGIN { exit !(f > 0 && f >= 0.8 * p && f <= 1.2 * p) }' ||
    fail "forecast $forecast bytes, peak $peak"
done < <(sed -E 's/.*"peak_bytes":([0-9]+),"forecast_bytes":([0-9]+).*/\2 \1/' "$dir"/results/*/t.jsonl)

# Seconds are forecast in the lines and beside what was measured; how near they are is not for a machine as busy as a test's.
says err "$one: forecast " "forecast/measured: seconds " "passes that were forecast to take "
for name in decode backbone coreset nearest metrics pass; do
  forecasts=$(grep -cE "\"forecast_seconds\":\{[^}]*\"$name\":[0-9.]+[,}e]" "$dir"/results/*/t.jsonl)
  [ "$forecasts" = 5 ] || fail "$forecasts lines forecast $name"
done
loads=$(grep -cE '"other_load":(0|1|0?\.[0-9]+)(e-[0-9]+)?,' "$dir"/results/*/t.jsonl) || true
[ ! -r /proc/stat ] || [ "$loads" = 5 ] || fail "$loads lines say how busy others were"

rm -rf "$dir/results"
code 1 run "$dir/e.yaml" --class "$one" --memory-limit 50M
says err "more than the memory limit of 50" "5 runs failed"
[ "$(lines)" = 0 ] || fail "lines in spite of the limit"
code 0 run "$dir/e.yaml" --class "$one" --dry-run --memory-limit 50M
says out refused

# The limit that is named there does, and one that is smaller does not.
limit=$(grep -oE 'a limit of [0-9]+M would do' "$dir/out" | grep -oE '[0-9]+' | sort -n | tail -1)
code 0 run "$dir/e.yaml" --class "$one" --memory-limit "$((limit + 1))M"
[ "$(lines)" = 5 ] || fail "$(lines) lines under a limit of $limit M"
rm -rf "$dir/results"
code 0 run "$dir/e.yaml" --class "$one" --results "$dir/none" --dry-run --memory-limit "$((limit - 3))M"
says out refused "so would" "training images"

# A limit between what one run needs and what all need: the group is split.
code 0 run "$dir/e.yaml" --class "$one" --dry-run
whole=$(grep -oE 'peak [0-9.]+ MiB' "$dir/out" | sed -n 1p | grep -oE '[0-9.]+')
code 0 run "$dir/e.yaml" --class "$one" --dry-run --memory-limit "$(awk -v w="$whole" 'BEGIN { print int(w) - 2 }')M"
[ "$(grep -c 'backbone pass:' "$dir/out")" -gt 1 ] || { cat "$dir/out"; fail "the group was not split"; }

# PaDiM, both forms: 30 vectors of 60 or of 100 dimensions.
printf '%s\n' 'name: p' 'dataset: synthetic' 'backbone: resnet18' 'method: padim' 'dimension: [60, 100]' 'seed: [0, 1]' >"$dir/p.yaml"
code 0 run "$dir/p.yaml" --class "$one"
while read -r forecast peak; do
  awk -v f="$forecast" -v p="$peak" 'BEGIN { exit !(f > 0 && f >= 0.8 * p && f <= 1.2 * p) }' ||
    fail "padim: forecast $forecast bytes, peak $peak"
done < <(sed -E 's/.*"peak_bytes":([0-9]+),"forecast_bytes":([0-9]+).*/\2 \1/' "$dir"/results/*/p.jsonl)
