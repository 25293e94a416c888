# Ensembles: members are runs of the plan, shared with equal runs elsewhere; their scores are averaged; shards keep members together;
# what is finished stays, and members that have their lines are computed again for an ensemble that has not.
. "$(dirname "$0")/common.sh" "$@"
mkdir "$dir/weights"
make_weights "$dir/weights"
make_data "$dir/data"
one=$(class_names | sed -n 1p)
head='dataset: synthetic, backbone: resnet18, image: {resize: 64, crop: 56}, layer_dimension: 64, dimension: 64, subsampling: {percent: 20}'
members='members: [{layers: layer1}, {layers: layer2+layer3}]'
echo "- {name: e, $head, ensemble: {normalise: [official, nominal], $members}}" >"$dir/e.yaml"
echo "- {name: f, $head, layers: [layer1, layer2+layer3]}" >"$dir/f.yaml"
cat "$dir/e.yaml" "$dir/f.yaml" >"$dir/both.yaml"
stem=IM56_RN18+RN18_L1+2-3_P20_D64-64_PS-3_AN-1_S0

code 0 run "$dir/both.yaml" --class "$one" --dry-run
says out "once for 2 models" "ensemble of 2: $stem" "(for an ensemble)"
code 0 run "$dir/both.yaml" --class "$one" --scores "$dir/scores" --maps "$dir/maps"
[ "$(lines)" = 4 ] || fail "$(lines) lines"
[ -d "$dir/maps/${stem}_nominal/$one" ] || fail "no pictures of the ensemble"
grep -q '"normalise":"nominal"' "$dir"/results/*/e.jsonl || fail "no nominal ensemble"

# official: the mean of scores scaled to [0, 1].
column() { tail -n +2 "$dir/scores/$1_$one.csv" | cut -d, -f3; }
paste <(column IM56_RN18_L1_P20_D64-64_PS-3_AN-1_S0) <(column IM56_RN18_L2-3_P20_D64-64_PS-3_AN-1_S0) <(column "$stem") |
  awk '{ for (m = 1; m <= 2; ++m) { if (NR == 1 || $m < low[m]) low[m] = $m; if (NR == 1 || $m > high[m]) high[m] = $m; s[NR, m] = $m } e[NR] = $3 }
       END { for (i = 1; i <= NR; ++i) { d = e[i] - ((s[i, 1] - low[1]) / (high[1] - low[1]) + (s[i, 2] - low[2]) / (high[2] - low[2])) / 2
                                         if (d > 1e-6 || d < -1e-6) exit 1 } exit NR < 2 }' || fail "the ensemble's scores are not the mean"

# Alone the ensemble has the same numbers, and its members no lines; with their lines there it is computed all the same.
mv "$dir/results" "$dir/all"
code 0 run "$dir/e.yaml" --class "$one" --scores "$dir/scores1"
[ "$(lines)" = 2 ] || fail "$(lines) lines of ensembles alone"
diff <(lasting "$dir"/all/*/e.jsonl) <(lasting "$dir"/results/*/e.jsonl) || fail "an ensemble alone differs"
[ "$(ls "$dir/scores1" | wc -l)" = 2 ] || fail "scores of members that nobody asked for"
rm -rf "$dir/results"
code 0 run "$dir/f.yaml" --class "$one"
code 0 run "$dir/both.yaml" --class "$one"
for name in e f; do
  diff <(lasting "$dir/all"/*/$name.jsonl) <(lasting "$dir/results"/*/$name.jsonl) || fail "$name differs after its members' lines"
done
code 0 run "$dir/both.yaml" --class "$one"
says err "4 of 4 runs are finished already"

# Shards do not part members.
code 0 run "$dir/both.yaml" --results "$dir/whole"
for shard in 1 2 3 4 5 6 7; do code 0 run "$dir/both.yaml" --results "$dir/shards" --shard $shard/7; done
for name in e f; do
  diff <(lasting "$dir/whole"/*/$name.jsonl) <(lasting "$dir/shards"/*/$name.jsonl) || fail "$name: seven shards are not the whole"
done

# Without a memory bank there is nothing to leave an image's own rows out of; the others go on.
echo "- {name: g, $head, method: padim, ensemble: {normalise: [official, nominal], $members}}" >"$dir/g.yaml"
code 1 run "$dir/g.yaml" --class "$one"
says err "memory bank" "1 runs failed"
grep -q '"normalise":"official"' "$dir"/results/*/g.jsonl || fail "padim's official ensemble"
