# Large images in tiles: one tile that is the whole image gives what no tiles give, a bank per position gives the same in one lot and in
# several, any number of threads gives the same, a detector gives what a run gives, and memory does not grow with the image.
. "$(dirname "$0")/common.sh" "$@"
mkdir "$dir/weights"
make_weights "$dir/weights"
make_data "$dir/data" --size 192 --class granite --train 12

tile='tile: {size: 64, overlap: 16'
name=IM176-resize192_RN18_L2-3_P10_D64-64_PS-3_AN-1_S0
make() { # file, then lines that are added
  make_experiment "$@"
  sed -i 's/^image: .*/image: {resize: 192, crop: 176}/' "$1"
}
make "$dir/e.yaml" "tile: [{size: 64, overlap: 16}, {size: 64, overlap: 16, bank: position}, {size: 176}, {size: 0}]"

code 0 run "$dir/e.yaml" --dry-run
says out "image 192 to 176 in 16 tiles of 64, once" "in 16 tiles of 64 with a bank each, 16 at a time" "in 1 tile of 176" "8x8 patches"
code 0 run "$dir/e.yaml" --threads 2 --scores "$dir/scores" --maps "$dir/maps"
cmp "$dir/scores/${name}_T176-0_granite.csv" "$dir/scores/${name}_granite.csv" || fail "scores of one tile that is the image"
diff -r "$dir/maps/${name}_T176-0" "$dir/maps/$name" || fail "maps of one tile that is the image"
metrics() { sed -nE "s/.*\"run\":\"$1\".*(\"image_auroc\".*)\"dimension\".*/\1/p" "$dir"/results/*/t.jsonl; }
[ -n "$(metrics "$name")" ] && [ "$(metrics "$name")" = "$(metrics "${name}_T176-0")" ] || fail "metrics of one tile that is the image"
for run in T64-16 T64-16-position; do
  cmp -s "$dir/scores/${name}_${run}_granite.csv" "$dir/scores/${name}_granite.csv" && fail "tiles changed nothing"
done
for field in '"tile":64,"tile_overlap":16,"tile_bank":"shared"' '"tile_bank":"position"' '"tile":0,"tile_overlap":0,"tile_bank":null'; do
  grep -qF "$field" "$dir"/results/*/t.jsonl || fail "no $field"
done
code 0 run "$dir/e.yaml" --threads 3 --results "$dir/results3" --scores "$dir/scores3"
diff -r "$dir/scores3" "$dir/scores" || fail "scores of three threads"
diff <(lasting "$dir/results3"/*/t.jsonl) <(lasting "$dir"/results/*/t.jsonl) || fail "results of three threads"

# A bank per position, few positions at a time; few images drawn; images that pass again, as no features are kept.
make "$dir/p.yaml" "$tile, bank: position}" 'subsampling: {percent: [5, 10]}' 'train_images: [0, 5]'
sed -i 's/dimension: 64/dimension: 1024/' "$dir/p.yaml"
code 0 run "$dir/p.yaml" --scores "$dir/at_once"
if forecasts_hold; then
  code 0 run "$dir/p.yaml" --dry-run --results "$dir/few" --threads 2 --memory-limit 80M
  grep -qE "with a bank each, [1-9] at a time" "$dir/out" || fail "all positions at a time under a memory limit"
  code 0 run "$dir/p.yaml" --scores "$dir/in_lots" --results "$dir/few" --threads 2 --memory-limit 80M
  diff -r "$dir/at_once" "$dir/in_lots" || fail "positions in lots"
fi
make "$dir/k.yaml" "$tile}"
sed -i 's/dimension: 64/dimension: 1024/' "$dir/k.yaml"
code 0 run "$dir/k.yaml" --scores "$dir/kept"
if forecasts_hold; then
  code 0 run "$dir/k.yaml" --scores "$dir/not_kept" --results "$dir/less" --threads 2 --memory-limit 90M
  diff -r "$dir/kept" "$dir/not_kept" || fail "features that are not kept"
fi

# The other methods.
printf '%s\n' 'name: m' 'dataset: synthetic' 'backbone: resnet18' 'method: [padim, spade]' 'image: {resize: 192, crop: 176}' \
  "$tile, bank: [shared, position]}" >"$dir/m.yaml"
code 0 run "$dir/m.yaml" --scores "$dir/methods" --threads 2
code 0 run "$dir/m.yaml" --scores "$dir/methods1" --results "$dir/results_m" --threads 1
diff -r "$dir/methods" "$dir/methods1" || fail "methods with one thread"
[ "$(ls "$dir/methods" | wc -l)" = 4 ] || fail "four runs of other methods"

# An ensemble's members are cut alike. Nominal images score without the rows of all tiles of their image, or of their position's bank, also where
# positions come in lots; one tile that is the image gives what no tiles give.
printf '%s\n' 'name: s' 'dataset: synthetic' 'image: {resize: 192, crop: 176}' 'dimension: 1024' 'subsampling: {percent: 5}' \
  "tile: [{size: 64, overlap: 16}, {size: 64, overlap: 16, bank: position}, {size: 176}, {size: 0}]" \
  'ensemble: {normalise: [official, nominal], members: [{backbone: resnet18, layers: layer2}, {backbone: resnet18, layers: layer3}]}' >"$dir/s.yaml"
code 0 run "$dir/s.yaml" --scores "$dir/joint" --threads 2
[ "$(ls "$dir/joint" | wc -l)" = 8 ] || fail "eight ensembles"
for mean in '' _nominal; do
  cmp "$dir"/joint/*_T176-0${mean}_granite.csv "$dir"/joint/*_S0${mean}_granite.csv || fail "an ensemble of one tile that is the image"
done
code 0 run "$dir/s.yaml" --scores "$dir/joint1" --results "$dir/results_s" --threads 1
diff -r "$dir/joint" "$dir/joint1" || fail "ensembles with one thread"
if forecasts_hold; then
  sed 's/, {size: 176}, {size: 0}\]/]/; s/normalise: .*, members/normalise: nominal, members/' "$dir/s.yaml" >"$dir/l.yaml"
  code 0 run "$dir/l.yaml" --dry-run --results "$dir/lots" --threads 2 --memory-limit 72M
  grep -qE "with a bank each, ([1-9]|1[0-5]) at a time" "$dir/out" || fail "an ensemble's positions all at a time under a memory limit"
  code 0 run "$dir/l.yaml" --scores "$dir/joint_in_lots" --results "$dir/lots" --threads 2 --memory-limit 72M
  for file in "$dir"/joint_in_lots/*; do cmp "$file" "$dir/joint/$(basename "$file")" || fail "an ensemble in lots"; done
fi

# Detectors: the same scores; a map is of the whole image.
fit() { "$program" fit "$dir/data/synthetic/granite" --backbone resnet18 --weights "$dir/weights" --set image.resize=192 --set image.crop=176 \
  --set layer_dimension=64 --set dimension=64 "$@"; }
code 0 fit --out "$dir/model" --tile 64 --overlap 16
code 0 "$program" score "$dir/model" "$dir/data/synthetic/granite/test" --weights "$dir/weights" --out "$dir/scored.csv" --maps "$dir/drawn"
diff <(sed -n 's#.*/test/##p' "$dir/scored.csv" | sort) <(sed -n 's/,[01],/,/p' "$dir/scores/${name}_T64-16_granite.csv" | sort) ||
  fail "a detector's scores"
od -An -tu1 -j16 -N8 "$(find "$dir/drawn" -name 000.png | sed -n 1p)" | grep -E '^ +0 +0 +[0-9]+ +[0-9]+ +0 +0 +0 +176' >/dev/null || fail "a picture's height"
code 0 fit --out "$dir/model" --tile 64 --overlap 16 --set image_score=smoothed_max --quantile 0.5
code 0 "$program" score "$dir/model" "$dir/data/synthetic/granite/test" --weights "$dir/weights" --out "$dir/scored.csv"

# A bank per position in a file: of any method, fitted at once or some at a time, the same scores as a run's.
check_scores() { # model, file of a run's scores
  code 0 "$program" score "$1" "$dir/data/synthetic/granite/test" --weights "$dir/weights" --out "$dir/scored.csv" --maps "$1.drawn"
  diff <(sed -n 's#.*/test/##p' "$dir/scored.csv" | cut -d, -f1,2 | sort) <(sed -n 's/,[01],/,/p' "$2" | sort) || fail "scores of $1"
}
code 0 fit --out "$dir/positions" --tile 64 --overlap 16 --set tile.bank=position
check_scores "$dir/positions" "$dir/scores/${name}_T64-16-position_granite.csv"
mapfile -t images < <(ls "$dir"/data/synthetic/granite/test/*/*.png | sort)
"$helpers/detector_example" "$dir/positions" "$dir/weights" "${images[@]}" >"$dir/example"
sed 1d "$dir/scored.csv" | sort | diff - <(sort "$dir/example") || fail "the C library's scores"
od -An -tu4 -j8 -N4 "$dir/positions" | tr -d ' ' | diff - <(echo 2) || fail "a file of several banks is of format 2"
od -An -tu4 -j8 -N4 "$dir/model" | tr -d ' ' | diff - <(echo 1) || fail "a file of one bank is of format 1"
code 0 fit --out "$dir/same" --tile 64 --overlap 16 --set tile.bank=position --threads 1
cmp <(sed 's/"date":"[^"]*"//' "$dir/positions" | head -c -8) <(sed 's/"date":"[^"]*"//' "$dir/same" | head -c -8) || fail "a fit with one thread"
code 0 fit --out "$dir/refused" --dry-run --tile 64 --overlap 16 --set tile.bank=position
says out "images of 176x176 in 16 tiles of 64 with a bank each, 16 at a time"
if forecasts_hold; then
  big() { "$program" fit "$dir/data/synthetic/granite" --backbone resnet18 --weights "$dir/weights" --set image.resize=192 \
    --set image.crop=176 --tile 64 --overlap 16 --set tile.bank=position --set subsampling.percent=5 "$@"; }
  code 0 big --out "$dir/fitted_at_once"
  code 0 big --dry-run --threads 2 --memory-limit 80M
  says out "in 16 tiles of 64 with a bank each, "
  lot=$(sed -nE 's/.* with a bank each, ([0-9]+) at a time.*/\1/p' "$dir/out")
  [ "$lot" -lt 16 ] || fail "all positions at a time under a memory limit"
  mkdir "$dir/spare"
  TMPDIR=$dir/spare code 0 big --out "$dir/fitted_in_lots" --threads 2 --memory-limit 80M
  [ -z "$(ls "$dir/spare")" ] || fail "files of finished banks are left"
  cmp <(sed 's/"date":"[^"]*"//' "$dir/fitted_at_once" | head -c -8) <(sed 's/"date":"[^"]*"//' "$dir/fitted_in_lots" | head -c -8) || fail "a fit in lots"
fi
code 0 fit --out "$dir/quantile" --tile 64 --overlap 16 --set tile.bank=position --quantile 0.5
code 0 "$program" bank threshold "$dir/positions" --quantile 0.5 --held-out "$dir/data/synthetic/granite/test/good" --weights "$dir/weights" --out "$dir/later"
check_scores "$dir/later" "$dir/scores/${name}_T64-16-position_granite.csv"
[ "$(sed -n 2p "$dir/scored.csv" | tr -cd , | wc -c)" = 2 ] || fail "a verdict by the threshold"
for of in padim spade; do
  code 0 "$program" fit "$dir/data/synthetic/granite" --method $of --backbone resnet18 --weights "$dir/weights" --set image.resize=192 \
    --set image.crop=176 --tile 64 --overlap 16 --set tile.bank=position --out "$dir/$of"
  check_scores "$dir/$of" "$(ls "$dir/methods"/*_T64-16-position_granite.csv | grep -i "$of")"
done
for command in "bank export $dir/positions $dir/x.npy" "bank merge $dir/positions $dir/same --out $dir/x" \
  "fit $dir/data/synthetic/granite --append $dir/positions --out $dir/x --weights $dir/weights"; do
  code 1 "$program" $command
  says err "has a bank for each of its 16 tile positions"
done
code 1 fit --out "$dir/x" --tile 64 --set tile.bank=position --shard 1/2
says err "banks of tile positions are not merged"

# Peak memory: twice as wide an image takes little more in tiles, and four times the maps without.
if forecasts_hold; then
  for size in 192 384; do
    make_data "$dir/data$size" --size $size --class granite
    make "$dir/f.yaml" 'tile: [{size: 64, overlap: 16}, {size: 0}]' 'subsampling: {kind: random, percent: 1}'
    sed -i "s/^image: .*/image: {resize: 0, crop: 0}/; s/^name: t/name: f/" "$dir/f.yaml"
    code 0 run "$dir/f.yaml" --data "$dir/data$size" --results "$dir/results$size"
  done
  bytes() { sed -nE "s/.*\"tile\":$2,.*\"$3\":([0-9]+).*/\1/p" "$dir/results$1"/*/f.jsonl; }
  for field in peak_bytes forecast_bytes; do
    tiled=$(($(bytes 384 64 $field) - $(bytes 192 64 $field))) whole=$(($(bytes 384 0 $field) - $(bytes 192 0 $field)))
    [ "$whole" -gt $((20 << 20)) ] && [ "$tiled" -lt $((whole / 2)) ] || fail "$field grew by $tiled in tiles, by $whole without"
  done
fi

# Native size: images of one size, or an error that names the one that is not.
"$program" synthesize "$dir/other/synthetic" --size 160 --class granite --train 6 --good 3 --per-defect 1 >/dev/null
cp -r "$dir/data" "$dir/mixed"
odd=$(ls "$dir"/mixed/synthetic/granite/test/good/*.png | tail -1)
cp "$(ls "$dir"/other/synthetic/granite/test/good/*.png | sed -n 1p)" "$odd"
make "$dir/n.yaml" "$tile}"
sed -i "s/^image: .*/image: {resize: 0, crop: 0}/; s/^name: t/name: n/" "$dir/n.yaml"
code 1 run "$dir/n.yaml" --data "$dir/mixed"
says err "$(basename "$odd") is 160x160 after the resize, the first image of its class 192x192"

# Wrong values.
refuse() { # line, text
  make "$dir/w.yaml" "$1"
  code 1 run "$dir/w.yaml"
  says err "w.yaml:7: " "$2"
}
refuse 'tile: {size: 31}' '`size` of `tile` is 31; allowed: 0 (images are not cut), or 32 to 4096 pixels'
refuse 'tile: {size: 64, overlap: 33}' '`overlap` is 33, more than half of a tile'
refuse 'tile: {overlap: 16}' '`tile` has no `size`'
refuse 'tile: {bank: position}' '`tile` has no `size`'
refuse 'tile: {size: 177}' 'tiles of 177 pixels are larger than the image after the resize, whose shorter side is 176'
refuse 'tile: {size: 64, bank: positions}' 'did you mean `position`'
refuse 'tile: {sice: 64}' 'did you mean `size`'
make "$dir/w.yaml" 'tile: {size: 193}'
sed -i "s/^image: .*/image: {resize: 0, crop: 0}/" "$dir/w.yaml"
code 1 run "$dir/w.yaml"
says err "tiles of 193 pixels are larger than the image, which is 192x192 after the resize"

# The GPU, where there is one.
if "$program" bench copy --quick --device cuda:0 >/dev/null 2>&1; then
  make "$dir/c.yaml" "$tile, bank: [shared, position]}" 'train_images: 3'
  code 0 run "$dir/c.yaml" --scores "$dir/on_cpu" --results "$dir/results_cpu"
  code 0 run "$dir/c.yaml" --scores "$dir/on_gpu" --results "$dir/results_gpu" --device cuda:0
  for run in T64-16 T64-16-position; do
    paste -d, "$dir/on_cpu/${name}_${run}_N3_granite.csv" "$dir/on_gpu/${name}_${run}_N3_granite.csv" |
      awk -F, 'NR > 1 && !($3 - $6 <= 1e-3 * $3 && $6 - $3 <= 1e-3 * $3) { exit 1 }' || fail "scores of the GPU"
  done
fi
