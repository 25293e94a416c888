# A run and what it leaves: lines, table, scores, pictures; finished runs are skipped; shards share the work; any number of threads
# gives the same bytes.
. "$(dirname "$0")/common.sh" "$@"
mkdir "$dir/weights"
make_weights "$dir/weights"
make_data "$dir/data"
make_experiment "$dir/e.yaml" 'subsampling: {percent: [25, 5]}'
classes=$(class_names | wc -l)
stem=IM56_RN18_L2-3_P5_D64-64_PS-3_AN-1_S0

code 0 run "$dir/e.yaml" --threads 2 --scores "$dir/scores2" --maps "$dir/maps"
says out "$stem" "image AUROC" mean
[ "$(lines)" = $((2 * classes)) ] || fail "$(lines) lines for $classes classes"
for field in run dataset class method backbone weights_sha256 image_auroc pixel_auroc pixel_auroc_anomalous pro pro_anomalous_224 \
  misclassified images bank_rows seconds decode coreset fit nearest score_per_image peak_bytes device threads version date; do
  [ "$(grep -c "\"$field\":" "$dir"/results/*/t.jsonl)" = $((2 * classes)) ] || fail "field $field"
done
grep -q "\"weights_sha256\":\"$(sha256sum "$dir/weights/resnet18_random.safetensors" | cut -d' ' -f1)\"" "$dir"/results/*/t.jsonl || fail sha256
if ls "$dir/results" | grep "$(hostname)" >/dev/null; then fail "the host's name is in the results"; fi

one=$(class_names | sed -n 1p)
[ "$(head -1 "$dir/scores2/${stem}_$one.csv")" = image,label,score ] || fail "header of scores"
[ "$(wc -l <"$dir/scores2/${stem}_$one.csv")" = $((1 + $(ls "$dir"/data/synthetic/"$one"/test/*/*.png | wc -l))) ] || fail "rows of scores"
grep -qE '^good/000.png,0,[0-9.e+-]+$' "$dir/scores2/${stem}_$one.csv" || fail "a good image's score"
[ "$(ls "$dir"/maps/$stem/"$one"/*/*.png | wc -l)" = "$(ls "$dir"/data/synthetic/"$one"/test/*/*.png | wc -l)" ] || fail pictures
[ ! -e "$dir/maps/$stem/$one.part" ] || fail "an unfinished folder of pictures"

cp -r "$dir/results" "$dir/first"
code 0 run "$dir/e.yaml"
says err "$((2 * classes)) of $((2 * classes)) runs are finished already"
says out "$stem"
diff -r "$dir/results" "$dir/first" || fail "a finished run was written again"

# Scores that are not there are made, without a second line.
rm "$dir/scores2/${stem}_$one.csv"
code 0 run "$dir/e.yaml" --scores "$dir/scores2" --maps "$dir/maps"
[ -e "$dir/scores2/${stem}_$one.csv" ] || fail "scores were not made again"
diff -r "$dir/results" "$dir/first" || fail "a line was written again"

for threads in 1 4; do
  rm -rf "$dir/results"
  code 0 run "$dir/e.yaml" --threads $threads --scores "$dir/scores$threads"
  diff -r "$dir/scores2" "$dir/scores$threads" || fail "scores differ between 2 and $threads threads"
  diff <(lasting "$dir"/first/*/t.jsonl) <(lasting "$dir"/results/*/t.jsonl) || fail "results differ between 2 and $threads threads"
done

rm -rf "$dir/results"
code 0 run "$dir/e.yaml" --shard 1/2
some=$(lines)
[ "$some" -gt 0 ] && [ "$some" -lt $((2 * classes)) ] || fail "shard 1/2 wrote $some lines"
code 0 run "$dir/e.yaml" --shard 2/2
diff <(lasting "$dir"/first/*/t.jsonl) <(lasting "$dir"/results/*/t.jsonl) || fail "two shards are not the whole"

rm -rf "$dir/results"
code 0 run "$dir/e.yaml" --class "$one"
[ "$(lines)" = 2 ] || fail "one class"
code 1 run "$dir/e.yaml" --class "${one}x"
says err "no class \`${one}x\`" "did you mean \`$one\`?"
