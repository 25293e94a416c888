# Broken files, missing files, results that cannot be written: said clearly, with exit code 1, and nothing finished lost.
. "$(dirname "$0")/common.sh" "$@"
mkdir "$dir/weights"
make_weights "$dir/weights"
make_data "$dir/data"
make_experiment "$dir/e.yaml" 'subsampling: {percent: [25, 5]}'
one=$(class_names | sed -n 1p) all=$(class_names | wc -l)
restore() { rm -rf "$dir/data" "$dir/results"; cp -r "$dir/good" "$dir/data"; }
cp -r "$dir/data" "$dir/good"
data=$dir/data/synthetic

for image in train/good/000.png test/good/000.png; do # a truncated image stops its class, not the others
  restore
  truncate -s 500 "$data/$one/$image"
  code 1 run "$dir/e.yaml"
  says err "class $one stops" "$one/$image" "2 runs failed"
  [ "$(lines)" = $((2 * (all - 1))) ] || fail "$(lines) lines with one class broken"
  if grep -q "\"class\":\"$one\"" "$dir"/results/*/t.jsonl; then fail "a result of the broken class"; fi
done

restore # a mask of another size
mask=$(ls "$data/$one"/ground_truth/*/*.png | sed -n 1p)
"$program" synthesize "$dir/other" --train 1 --good 1 --per-defect 1 --size 96 >/dev/null
cp "$(ls "$dir/other/$one"/ground_truth/*/*.png | sed -n 1p)" "$mask"
code 1 run "$dir/e.yaml"
says err "class $one stops" "$mask" 64x64

restore # no training images
rm "$data/$one"/train/good/*
code 1 run "$dir/e.yaml"
says err "$one" train
[ "$(lines)" = $((2 * (all - 1))) ] || fail "$(lines) lines with one class empty"

restore # weights
code 1 run "$dir/e.yaml" --weights "$dir/none"
says err "$dir/none"
mkdir -p "$dir/empty" "$dir/cut"
code 1 run "$dir/e.yaml" --weights "$dir/empty"
says err resnet18
head -c 100000 "$dir/weights/resnet18_random.safetensors" >"$dir/cut/resnet18_random.safetensors"
code 1 run "$dir/e.yaml" --weights "$dir/cut"
says err "$dir/cut/resnet18_random.safetensors"
[ "$(lines)" = 0 ] || fail "results without weights"

touch "$dir/plain" # a data set that is not there is drawn, but not below a file
code 1 run "$dir/e.yaml" --data "$dir/plain"
says err "$dir/plain"
touch "$dir/file"
code 1 run "$dir/e.yaml" --results "$dir/file"
says err "$dir/file"

# A disk without room: said before the work, and nothing of it is left over.
code 1 bash -c 'ulimit -f 8; exec "$@"' _ "$program" run "$dir/e.yaml" --data "$dir/data" --weights "$dir/weights" --results "$dir/results"
says err "$dir/results"
[ "$(lines)" = 0 ] || fail "lines on a full disk"
if ls "$dir"/results/*/*probe* 2>/dev/null; then fail "the probe was left"; fi
code 0 run "$dir/e.yaml"
