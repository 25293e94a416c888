# A plan of everything in the paper from a list of files alone: empty ones, as many as MVTec AD has, without weights and without other
# data. And a plan for the synthetic set before it is drawn.
. "$(dirname "$0")/common.sh" "$@"

while read -r name train good defects; do
  mkdir -p "$dir/data/mvtec/$name"/{train/good,test/good,test/defect,ground_truth/defect}
  (cd "$dir/data/mvtec/$name/train/good" && seq -f '%03g.png' "$train" | xargs touch)
  (cd "$dir/data/mvtec/$name/test/good" && seq -f '%03g.png' "$good" | xargs touch)
  (cd "$dir/data/mvtec/$name/test/defect" && seq -f '%03g.png' "$defects" | xargs touch)
  (cd "$dir/data/mvtec/$name/ground_truth/defect" && seq -f '%03g_mask.png' "$defects" | xargs touch)
done <<'EOF'
bottle 209 20 63
cable 224 58 92
capsule 219 23 109
carpet 280 28 89
grid 264 21 57
hazelnut 391 40 70
leather 245 32 92
metal_nut 220 22 93
pill 267 26 141
screw 320 41 119
tile 230 33 84
toothbrush 60 12 30
transistor 213 60 40
wood 247 19 60
zipper 240 32 119
EOF
mkdir "$dir/weights"

start=$SECONDS
code 0 run "$root/experiments/paper.yaml" --dry-run
took=$((SECONDS - start))
[ "$took" -lt 120 ] || fail "the plan took $took s" # a few seconds; others may use the machine
[ "$(grep -c '^mvtec ' "$dir/out")" = 15 ] || fail "$(grep -c '^mvtec ' "$dir/out") classes"
images=$(grep '^mvtec ' "$dir/out" | sed -E 's/.*: ([0-9]+) training, ([0-9]+) test.*/\1 \2/' | awk '{ n += $1 + $2 } END { print n }')
[ "$images" = 5354 ] || fail "$images images"
says out "bottle: 209 training, 83 test images, taken as 1024x1024" "backbone pass: wide_resnet50_2" "its weights are missing" \
  "the same runs as bottle" "In all: peak" "on one H100" "Sharing:" "times as long" "67 TFLOP/s" "30 megapixels/s" \
  "not at hand: data set mtd" "ensemble of 3" "training images drawn by seed" "selection, seed 0"
grep -E 'In all: peak [0-9.]+ [MG]iB, about [0-9.]+ (min|h) here, [0-9.]+ (s|min|h) on one H100' "$dir/out" >/dev/null || fail "no totals"
awk '/^Sharing:/ { exit !($(NF - 3) > 1) }' "$dir/out" || fail "sharing saves nothing"
[ ! -e "$dir/results" ] || fail "a dry run made $dir/results"

# Without memory the passes are more, and nothing is lost.
passes() { sed -nE 's/.* ([0-9]+) backbone passes to do$/\1/p' "$dir/out"; }
runs() { sed -nE 's/^([0-9]+) runs of a class.*/\1/p' "$dir/out"; }
many=$(runs) few=$(passes)
code 0 run "$root/experiments/figure4.yaml" --dry-run --class bottle
[ "$(passes)" = 1 ] || fail "figure 4 of a class: $(passes) passes"
code 0 run "$root/experiments/figure4.yaml" --dry-run --class bottle --memory-limit 3G
[ "$(passes)" -gt 1 ] || fail "figure 4 of a class in 3 GiB: $(passes) passes"

# Shards have all runs and about the same seconds, here judged by the number of backbone passes they share out.
sum=0
for shard in 1 2 3 4; do
  code 0 run "$root/experiments/paper.yaml" --dry-run --shard $shard/4
  sum=$((sum + $(runs)))
  [ "$(passes)" -gt $((few / 16)) ] || fail "shard $shard has $(passes) of $few passes"
done
[ "$sum" = "$many" ] || fail "four shards have $sum of $many runs"

rm -rf "$dir/data"
mkdir "$dir/data"
code 0 run "$root/experiments/quick.yaml" --dry-run
says out "synthetic cloth: 40 training, 36 test images" "In all"
[ -z "$(ls "$dir/data")" ] || fail "a dry run drew pictures"
