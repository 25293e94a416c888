# A fit that --memory-limit leaves no room for all training features gives the same scores, within the limit.
. "$(dirname "$0")/common.sh" "$@"
mkdir "$dir/weights"
make_weights "$dir/weights"
make_data "$dir/data" --train 80 --size 256
printf '%s\n' 'name: t' 'dataset: synthetic' 'backbone: resnet18' 'layer_dimension: 512' 'dimension: 512' \
  'subsampling: [{percent: [2, 1]}, {kind: random, percent: 1}]' >"$dir/e.yaml"
one=$(class_names | head -1)

code 0 run "$dir/e.yaml" --class "$one" --scores "$dir/all"
[ "$(lines)" = 3 ] || fail "$(lines) lines"
all=$(sed -E 's/.*"peak_bytes":([0-9]+).*/\1/' "$dir"/results/*/t.jsonl | head -1)

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

# A disk that is full in the middle: the class fails and says why; what is finished stays.
two=$(class_names | sed -n 2p)
TMPDIR=$dir code 1 bash -c 'ulimit -f 20000; exec "$@"' _ "$program" run "$dir/e.yaml" --data "$dir/data" --weights "$dir/weights" \
  --results "$dir/less" --class "$one" --class "$two" --memory-limit "$limit"
says err "writing training features into $dir: File too large" "$two"
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
says err "80 images would take" "the limit is 30.0 MiB" "would do"
[ ! -e "$dir/less.trbank" ] || fail "a model in spite of the limit"
least=$(grep -oE 'a limit of [0-9]+M would do' "$dir/err" | grep -oE '[0-9]+')
code 0 fit --dry-run --memory-limit "$((least + 2))M"
says out "projected ones are kept" "pass once more" " s (decode" peak
code 0 fit --out "$dir/less.trbank" --memory-limit "$((least + 2))M"
undated() { head -c -16 "$1" | LC_ALL=C sed -E 's/"date":"[^"]*"//'; } # nor the checksum at the end
cmp <(undated "$dir/all.trbank") <(undated "$dir/less.trbank") || fail "another model under a limit"
