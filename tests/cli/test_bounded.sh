# A fit that --memory-limit leaves no room for all training features gives the same scores, within the limit.
. "$(dirname "$0")/common.sh" "$@"
mkdir "$dir/weights"
make_weights "$dir/weights"
make_data "$dir/data" --train 80 --size 256
printf '%s\n' 'name: t' 'dataset: synthetic' 'backbone: resnet18' 'layer_dimension: 512' 'dimension: 512' \
  'subsampling: [{percent: [2, 1]}, {kind: random, percent: 1}]' >"$dir/e.yaml"
one=$(class_names | sed -n 1p)

code 0 run "$dir/e.yaml" --class "$one" --scores "$dir/all"
[ "$(lines)" = 3 ] || fail "$(lines) lines"
all=$(sed -E 's/.*"peak_bytes":([0-9]+).*/\1/' "$dir"/results/*/t.jsonl | sed -n 1p)

# 80 images' features are 122 MiB; projected ones an eighth of it or, at 512 dimensions, a quarter. Where there is not even room for these
# they are in a file as well; where no file can be made, neither of them is anywhere.
for case in "$dir 64" "/no/such/folder 64" "$dir 130"; do
  folder=${case% *} limit=$((all - ${case#* } * 1048576))
  rm -rf "$dir/less"
  TMPDIR=$folder code 0 run "$dir/e.yaml" --class "$one" --memory-limit "$limit" --results "$dir/less" --scores "$dir/some"
  diff -r "$dir/all" "$dir/some" || fail "scores under a limit of $limit, TMPDIR=$folder"
  diff <(lasting "$dir"/results/*/t.jsonl) <(lasting "$dir"/less/*/t.jsonl) || fail "results under a limit of $limit, TMPDIR=$folder"
  peak=$(sed -E 's/.*"peak_bytes":([0-9]+).*/\1/' "$dir"/less/*/t.jsonl | sort -n | tail -1)
  ! forecasts_hold || [ "$peak" -le "$limit" ] || fail "peak $peak, limit $limit"
  rm -rf "$dir/some"
  [ -z "$(ls "$dir" | grep features-)" ] || fail "a file of features is left"
done

# A disk that is full: the class fails and says why; what is finished stays.
two=$(class_names | sed -n 2p)
TMPDIR=$dir code 1 bash -c 'ulimit -f 20000; exec "$@"' _ "$program" run "$dir/e.yaml" --data "$dir/data" --weights "$dir/weights" \
  --results "$dir/less" --class "$one" --class "$two" --memory-limit "$limit"
says err "for training features in $dir: File too large" "$two"
[ "$(cat "$dir"/less/*/t.jsonl | wc -l)" = 3 ] || fail "finished lines are gone"
[ -z "$(ls "$dir" | grep features-)" ] || fail "a file of features is left"

# A detector is the same, too. Its plan says what it takes before anything is allocated; a limit that is too low ends there, and one that does
# is named.
fit() {
  "$program" fit "$dir/data/synthetic/$one" --backbone resnet18 --set layer_dimension=512 --set dimension=512 --set subsampling.percent=2 \
    --weights "$dir/weights" "$@"
}
code 0 fit --out "$dir/all.trbank"
code 1 fit --out "$dir/less.trbank" --memory-limit 30M
says err "patchcore on 80 images: needs" "more than the memory limit of 30.0 MiB" "would do"
[ ! -e "$dir/less.trbank" ] || fail "a model in spite of the limit"
undated() { head -c -16 "$1" | LC_ALL=C sed -E 's/"date":"[^"]*"//'; } # nor the checksum at the end
peak_told() { grep -oE 'peak [0-9.]+ MiB' "$dir/out" | grep -oE '[0-9.]+' | cut -d. -f1; }
# within LIMIT (MiB) TEXT...: the plan says TEXT, and the model is the same.
within() {
  local limit=$1
  shift
  code 0 fit --dry-run --memory-limit "${limit}M"
  says out "$@" " s (decode" peak
  [ "$(peak_told)" -le "$limit" ] || fail "a peak of $(peak_told) MiB told, limit $limit"
  rm -f "$dir/less.trbank"
  code 0 fit --out "$dir/less.trbank" --memory-limit "${limit}M"
  cmp <(undated "$dir/all.trbank") <(undated "$dir/less.trbank") || fail "another model under a limit of $limit MiB"
  [ -z "$(ls "$dir" | grep features-)" ] || fail "a file of features is left"
}
export TMPDIR=$dir
least=$(grep -oE 'a limit of [0-9]+M would do' "$dir/err" | grep -oE '[0-9]+')
within $((least + 1)) "projected ones are kept in a file (30.6 MiB of disk)" "pass once more" # 80 * 784 * 128 floats
code 0 fit --dry-run
most=$(peak_told)
within $((most - 64)) "of the training features"
TMPDIR=/no/such/folder within $((most - 64)) "projected ones are kept; images with selected rows pass once more"
code 1 fit --out "$dir/less.trbank" --memory-limit "$((least - 8))M"
says err "more than the memory limit of $((least - 8)).0 MiB; a limit of ${least}M would do, so would" "training images" "the setting"

# What is named there fits.
images=$(grep -oE 'so would [0-9]+ training' "$dir/err" | grep -oE '[0-9]+')
sets=$(sed -E 's/.*or the setting //; s/ with / --set /; s/ or .*//' "$dir/err")
code 0 fit --dry-run --memory-limit "$((least - 8))M" --set $sets
mkdir "$dir/fewer"
ls "$dir/data/synthetic/$one"/train/good/* | sed -n "1,${images}p" | xargs -I{} ln -s {} "$dir/fewer"
code 0 "$program" fit "$dir/fewer" --backbone resnet18 --set layer_dimension=512 --set dimension=512 --set subsampling.percent=2 \
  --weights "$dir/weights" --dry-run --memory-limit "$((least - 8))M"
