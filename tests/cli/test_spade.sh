# SPADE as a run: the plan says what it does and forecasts its memory, any number of threads gives the same bytes, and what it is told
# matters; all three methods in one table.
. "$(dirname "$0")/common.sh" "$@"
mkdir "$dir/weights"
make_weights "$dir/weights"
make_data "$dir/data" --train 7
one=$(class_names | sed -n 1p)
printf '%s\n' 'name: t' 'dataset: synthetic' 'backbone: resnet18' 'method: spade' 'image: {resize: 64, crop: 56}' 'neighbours: [50, 2]' \
  'gallery: [separate, concatenated]' 'image_score: [nearest_images, smoothed_max]' >"$dir/e.yaml"

code 0 run "$dir/e.yaml" --dry-run --class "$one"
says out "spade layer1+layer2+layer3+pool: " "once for 4 runs" "resnet18 layer1+layer2+layer3+pool, image 64 to 56, once for 2 models, 8 runs" "56x56 pixels of 448 dimensions" "a gallery of each layer" \
  "one gallery of all layers"
code 0 run "$dir/e.yaml" --class "$one" --threads 2 --scores "$dir/scores2" --maps "$dir/maps"
says out spade_IM56_RN18_L1-2-3-pool_K50_S0 spade_IM56_RN18_L1-2-3-pool_K2-concatenated_S0_smoothed-max
[ "$(lines)" = 8 ] || fail "$(lines) lines"
for field in '"gallery":"concatenated"' '"neighbours":50' '"distance":"euclidean"' '"image_score":"nearest_images"' '"method":"spade"'; do
  grep -q "$field" "$dir"/results/*/t.jsonl || fail "no $field"
done
for threads in 1 4; do
  code 0 run "$dir/e.yaml" --class "$one" --threads "$threads" --results "$dir/results$threads" --scores "$dir/scores$threads"
  diff -r "$dir/scores$threads" "$dir/scores2" || fail "scores of $threads threads"
  diff <(lasting "$dir/results$threads"/*/t.jsonl) <(lasting "$dir"/results/*/t.jsonl) || fail "results of $threads threads"
done
# The distance to all seven images is larger than that to the nearest two; the gallery does not matter to it.
stem=$dir/scores2/spade_IM56_RN18_L1-2-3-pool
paste -d, "${stem}_K2_S0_$one.csv" "${stem}_K50_S0_$one.csv" | awk -F, 'NR > 1 && !($3 > 0 && $3 < $6) { exit 1 }' || fail "K = 2 and 50"
diff "${stem}_K2_S0_$one.csv" "${stem}_K2-concatenated_S0_$one.csv" || fail "scores by images"
cmp -s "${stem}_K2_S0_smoothed-max_$one.csv" "${stem}_K2-concatenated_S0_smoothed-max_$one.csv" && fail "the gallery does not matter"

# Memory, where galleries are most of it.
rm -rf "$dir/data"
make_data "$dir/data" --train 30 --size 256
for gallery in separate concatenated; do
  printf '%s\n' "name: $gallery" 'dataset: synthetic' 'backbone: resnet18' 'method: spade' 'neighbours: 2' "gallery: $gallery" >"$dir/m.yaml"
  code 0 run "$dir/m.yaml" --class "$one"
  read -r forecast peak < <(sed -E 's/.*"peak_bytes":([0-9]+),"forecast_bytes":([0-9]+).*/\2 \1/' "$dir"/results/*/"$gallery.jsonl")
  ! forecasts_hold || awk -v f="$forecast" -v p="$peak" 'BEGIN { exit !(f > 0 && f >= 0.8 * p && f <= 1.2 * p) }' ||
    fail "$gallery: forecast $forecast bytes, peak $peak"
done

# One command, one table: every method takes its own layers and keys.
printf '%s\n' 'name: all' 'dataset: synthetic' 'backbone: resnet18' 'method: [patchcore, spade, padim]' 'image: {resize: 64, crop: 56}' \
  'subsampling: {percent: 10}' 'neighbours: [5, 2]' 'seed: [0, 1]' >"$dir/a.yaml"
code 0 run "$dir/a.yaml" --class "$one"
says out IM56_RN18_L2-3_P10_D1024-1024_PS-3_AN-1_S1 spade_IM56_RN18_L1-2-3-pool_K5_S0 spade_IM56_RN18_L1-2-3-pool_K2_S0 \
  padim_IM56_RN18_L1-2-3_D100_S1
[ "$(wc -l <"$(ls "$dir"/results/*/all.jsonl)")" = 6 ] || fail "runs of all methods"
