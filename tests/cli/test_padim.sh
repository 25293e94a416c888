# PaDiM as a run: the plan says what it does, any number of threads gives the same bytes, and what it is told matters.
. "$(dirname "$0")/common.sh" "$@"
mkdir "$dir/weights"
make_weights "$dir/weights"
make_data "$dir/data" --train 34 --good 3
one=$(class_names | sed -n 1p)
printf '%s\n' 'name: t' 'dataset: synthetic' 'backbone: resnet18' 'method: padim' 'image: {resize: 64, crop: 56}' 'dimension: [60, 40]' \
  'image_score: [smoothed_max, max]' >"$dir/e.yaml"

code 0 run "$dir/e.yaml" --dry-run
says out "resnet18 layer1+layer2+layer3, image" "once for 4 runs" "a Gaussian at each position of 40 drawn dimensions, seed 0"
code 0 run "$dir/e.yaml" --threads 2 --scores "$dir/scores2" --maps "$dir/maps"
says out padim_IM56_RN18_L1-2-3_D60_S0 padim_IM56_RN18_L1-2-3_D40_S0_max
[ "$(lines)" = $((4 * $(class_names | wc -l))) ] || fail "$(lines) lines"
for field in '"dimension":60' '"epsilon":0.01' '"placement":"nearest"' '"image_score":"smoothed_max"' '"method":"padim"'; do
  grep -q "$field" "$dir"/results/*/t.jsonl || fail "no $field"
done
for threads in 1 4; do
  code 0 run "$dir/e.yaml" --threads "$threads" --results "$dir/results$threads" --scores "$dir/scores$threads"
  diff -r "$dir/scores$threads" "$dir/scores2" || fail "scores of $threads threads"
  diff <(lasting "$dir/results$threads"/*/t.jsonl) <(lasting "$dir"/results/*/t.jsonl) || fail "results of $threads threads"
done
# Smoothing lowers a maximum.
paste -d, "$dir/scores2/padim_IM56_RN18_L1-2-3_D60_S0_$one.csv" "$dir/scores2/padim_IM56_RN18_L1-2-3_D60_S0_max_$one.csv" |
  awk -F, 'NR > 1 && !($3 > 0 && $3 < $6) { exit 1 }' || fail "scores of smoothed maps"
