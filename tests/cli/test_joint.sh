# Models that share a backbone pass give the same bytes as runs one by one: layers, patch sizes, methods, low-shot draws, and two
# experiments that want the same run.
. "$(dirname "$0")/common.sh" "$@"
mkdir "$dir/weights"
make_weights "$dir/weights"
make_data "$dir/data"
one=$(class_names | sed -n 1p)
head="dataset: synthetic, backbone: resnet18, image: {resize: 64, crop: 56}, layer_dimension: 64, dimension: 64"

cat >"$dir/joint.yaml" <<EOF
- {name: a, $head, patch: [1, 3], layers: [layer1, layer2+layer3], subsampling: [{kind: greedy, percent: [50, 10]}, {kind: random, percent: 20}]}
- {name: b, $head, patch: 3, layers: layer2+layer3, subsampling: {kind: greedy, percent: [50, 25]}}
- {name: c, $head, method: [padim, spade], neighbours: 3}
- {name: d, $head, train_images: [1, 3, 5], seed: [0, 1], subsampling: {percent: 50}}
EOF
code 0 run "$dir/joint.yaml" --class "$one" --dry-run
[ "$(grep -c 'backbone pass:' "$dir/out")" = 1 ] || { cat "$dir/out"; fail "more than one pass"; }
says out "layer1+layer2+layer3+pool" "once for 12 models, 22 runs" "the same, of another experiment"
code 0 run "$dir/joint.yaml" --class "$one" --scores "$dir/scores" --maps "$dir/maps"
[ "$(lines)" = 22 ] || fail "$(lines) lines"

mv "$dir/results" "$dir/joint"
single() { # name, keys
  echo "{name: $1, $head, $2}" >"$dir/single.yaml"
  code 0 run "$dir/single.yaml" --class "$one" --scores "$dir/scores1" --maps "$dir/maps1"
}
for patch in 1 3; do
  for layers in layer1 layer2+layer3; do
    for subset in 'kind: greedy, percent: 50' 'kind: greedy, percent: 10' 'kind: random, percent: 20'; do
      single a "patch: $patch, layers: $layers, subsampling: {$subset}"
    done
  done
done
for percent in 50 25; do single b "layers: layer2+layer3, subsampling: {kind: greedy, percent: $percent}"; done
for method in padim spade; do single c "method: $method, neighbours: 3"; done
for images in 1 3 5; do
  for seed in 0 1; do single d "train_images: $images, seed: $seed, subsampling: {percent: 50}"; done
done
diff -r "$dir/scores" "$dir/scores1" || fail "scores differ"
diff -r "$dir/maps" "$dir/maps1" || fail "pictures differ"
diff <(lasting "$dir"/joint/*/*.jsonl) <(lasting "$dir"/results/*/*.jsonl) || fail "results differ"

# Less memory makes several passes of one, which keep images or maps for each other or compute them again: all the same.
rm -rf "$dir/data" "$dir/results" "$dir/joint"
make_data "$dir/data" --train 12 --size 256
cat >"$dir/many.yaml" <<EOF
{name: m, dataset: synthetic, backbone: resnet18, image: {resize: 256, crop: 224}, dimension: 256, patch: [1, 3, 5],
 layers: [layer2+layer3, layer1+layer2], subsampling: {percent: [5, 1]}}
EOF
code 0 run "$dir/many.yaml" --class "$one" --dry-run
[ "$(grep -c 'backbone pass:' "$dir/out")" = 1 ] || fail "a pass was parted without a limit"
whole=$(sed -nE 's/^In all: peak ([0-9]+)[0-9.]* MiB.*/\1/p' "$dir/out")
code 0 run "$dir/many.yaml" --class "$one" --scores "$dir/whole"
cp -r "$dir/results" "$dir/unlimited"
for part in 80 65 52; do
  rm -rf "$dir/results" "$dir/scores"
  code 0 run "$dir/many.yaml" --class "$one" --memory-limit $((whole * part / 100))M --dry-run
  [ "$(grep -c 'backbone pass:' "$dir/out")" -gt 1 ] || fail "one pass in $part % of its memory"
  [ "$part" = 80 ] || says out "kept in"
  code 0 run "$dir/many.yaml" --class "$one" --memory-limit $((whole * part / 100))M --scores "$dir/scores"
  diff -r "$dir/whole" "$dir/scores" || fail "scores in $part % of the memory"
  diff <(lasting "$dir"/unlimited/*/m.jsonl) <(lasting "$dir"/results/*/m.jsonl) || fail "results in $part % of the memory"
done

# Joint passes keep their forecast.
forecasts_hold || exit 0
while read -r forecast peak; do
  awk -v f="$forecast" -v p="$peak" 'BEGIN { exit !(f > 0 && f >= 0.8 * p && f <= 1.2 * p) }' ||
    fail "forecast $forecast bytes, peak $peak"
done < <(sed -E 's/.*"peak_bytes":([0-9]+),"forecast_bytes":([0-9]+).*/\2 \1/' "$dir"/unlimited/*/m.jsonl "$dir"/results/*/m.jsonl)
