# Banks that grow: merged from fits of parts of the images.
. "$(dirname "$0")/common.sh" "$@"
make_data "$dir/data" --train 12
make_weights "$dir"
class=$dir/data/synthetic/granite
sets=(--backbone resnet18 --weights "$dir" --set image.resize=64 --set image.crop=56 --set layer_dimension=64 --set dimension=64)
fit() { "$program" fit "$1" --out "$2" "${sets[@]}" "${@:3}"; }
score() { code 0 "$program" score "$1" "$class/test" --weights "$dir"; grep -v '^image' "$dir/out"; }

# ---- merge ----

mkdir "$dir/a" "$dir/b"
cp "$class"/train/good/00[0-6].png "$dir/a"
cp "$class"/train/good/00[7-9].png "$class"/train/good/01*.png "$dir/b"
code 0 fit "$dir/a" "$dir/a.model" --set subsampling.percent=50
code 0 fit "$dir/b" "$dir/b.model" --set subsampling.percent=50
code 0 "$program" bank merge "$dir/a.model" "$dir/b.model" --out "$dir/ab.model"
says err "$dir/ab.model: 293 of 293 rows, of 12 images" "no training patch is farther than"
score "$dir/ab.model" >"$dir/ab"
[ "$(wc -l <"$dir/ab")" = 7 ] || fail "$(wc -l <"$dir/ab") scores"
code 0 fit "$dir/a" "$dir/with" --set subsampling.percent=50 --quantile 0.5
code 0 "$program" bank merge "$dir/with" "$dir/b.model" --out "$dir/without"
says err "the thresholds were of other banks and are gone"
code 0 "$program" score "$dir/without" "$class/test" --weights "$dir"
[ "$(head -1 "$dir/out")" = image,score ] || fail "a threshold of another bank"
threshold() { "$program" bank threshold "$dir/without" --weights "$dir" --held-out "$class/test/good" "$@"; }
code 0 threshold --quantile 0.5 --out "$dir/without" # in its place
says err "threshold " "3 held-out images"
third=$(score "$dir/without" | grep /good/ | cut -d, -f2 | sort -g | sed -n 2p) # k = (3 + 1) 0.5
[ "$(grep -c ",1$" "$dir/out")" = "$(awk -F, -v t="$third" 'NR > 1 && $2 > t' "$dir/out" | wc -l)" ] || fail "not the threshold"
[ "$(head -1 "$dir/out")" = image,score,anomalous ] || fail "no threshold"
code 1 threshold --quantile 0.9 --out "$dir/none"
says err "takes 9 held-out images, and there are 3"
code 1 "$program" bank threshold "$dir/without" --weights "$dir" --quantile 0.5 --held-out "$dir/model.none" --out "$dir/none"
code 2 threshold --quantile 2 --out "$dir/none"
code 2 threshold --out "$dir/none"
code 2 threshold --quantile 0.5
code 0 "$program" bank origins "$dir/ab.model"
says out "293 rows of 12 training images" "011.png"
code 0 "$program" bank merge "$dir/a.model" "$dir/b.model" --out "$dir/small.model" --percent 10
says err "58 of 293 rows" # floor(12 * 49 * 0.1)
score "$dir/small.model" >/dev/null
# The union of all patches is the fit of all images.
for part in a b; do code 0 fit "$dir/$part" "$dir/$part.all" --set subsampling.kind=none; done
code 0 "$program" bank merge "$dir/a.all" "$dir/b.all" --out "$dir/ab.all"
code 0 fit "$class" "$dir/all" --set subsampling.kind=none
code 0 "$program" bank export "$dir/all" "$dir/all.npy"
code 0 "$program" bank export "$dir/ab.all" "$dir/ab.npy"
cmp "$dir/all.npy" "$dir/ab.npy"
diff <(score "$dir/all") <(score "$dir/ab.all")
if grep -qE '^ *FAISS +[0-9]' < <("$program" info); then # the index is made anew
  for part in a b; do code 0 fit "$dir/$part" "$dir/$part.index" --set subsampling.percent=50 --set 'search=faiss:Flat'; done
  code 0 "$program" bank merge "$dir/a.index" "$dir/b.index" --out "$dir/ab.index"
  paste -d, <(score "$dir/ab.index") "$dir/ab" |
    awk -F, '{ d = $2 - $4; if ($1 != $3 || d > 1e-4 * $4 || d < -1e-4 * $4) exit 1 }' || fail "the index gives other scores"
fi

code 0 fit "$dir/b" "$dir/other.model" --set patch=5
code 1 "$program" bank merge "$dir/a.model" "$dir/other.model" --out "$dir/none"
says err "patch is 3 in the first and 5 in the second"
code 0 fit "$dir/b" "$dir/padim" --method padim --set epsilon=0.01
code 1 "$program" bank merge "$dir/a.model" "$dir/padim" --out "$dir/none"
says err "$dir/padim: a model of padim has no memory bank"
score "$dir/padim" >"$dir/before"
code 0 "$program" bank threshold "$dir/padim" --weights "$dir" --held-out "$class/test/good" --quantile 0.5 --out "$dir/padim"
score "$dir/padim" | sed 's/,[01]$//' | diff "$dir/before" - || fail "another model with a threshold"
head -c 20000 "$dir/b.model" >"$dir/cut"
code 1 "$program" bank merge "$dir/a.model" "$dir/cut" --out "$dir/none"
says err "$dir/cut is cut short"
cp "$dir/b.model" "$dir/later"
printf '\3' | dd of="$dir/later" bs=1 seek=8 conv=notrunc 2>/dev/null
code 1 "$program" bank merge "$dir/a.model" "$dir/later" --out "$dir/none"
says err "$dir/later is a model of format 3; this program reads formats 1 and 2"
[ ! -e "$dir/none" ] || fail "a file after an error"
code 2 "$program" bank merge "$dir/a.model" --out "$dir/none"
code 2 "$program" bank merge "$dir/a.model" "$dir/b.model"
code 2 "$program" bank merge "$dir/a.model" "$dir/b.model" --out "$dir/none" --percent 10 --rows 5
code 2 "$program" bank merge "$dir/a.model" "$dir/b.model" --out "$dir/none" --percent 101
code 2 "$program" bank merge "$dir/a.model" "$dir/b.model" --out "$dir/none" --rows 0
code 2 "$program" bank merge "$dir/a.model" "$dir/b.model" --out "$dir/none" --radius x

# ---- shards ----

make_data "$dir/more" --train 13 --good 6 --per-defect 3
class=$dir/more/synthetic/granite
# Not projected: the selection measures as the score does, so the farthest patch of the training images has the covering radius.
sets+=(--set projection=64)
radius_of() { code 0 "$program" score "$1" "$class/train" --weights "$dir"; sed 1d "$dir/out" | cut -d, -f2 | sort -g | tail -1 | awk '{ print sqrt($1) }'; }
told() { sed -n 's/^no training patch is farther than \([^ ]*\) .*/\1/p' "$dir/err"; }
holds() { awk "BEGIN { exit !($1) }" || fail "not so: $1"; }
code 0 fit "$class" "$dir/single" --set subsampling.percent=10
single=$(radius_of "$dir/single")
code 0 fit "$class" "$dir/shard1" --set subsampling.bank_rows=50 --shard 1/3
code 0 "$program" bank origins "$dir/shard1"
says out "50 rows of"
for i in 1 2 3; do
  code 0 fit "$class" "$dir/shard$i" --set subsampling.percent=10 --shard $i/3
  says err "fitted on $((13 * i / 3 - 13 * (i - 1) / 3)) images"
  code 0 "$program" bank origins "$dir/shard$i"
  says out "63 rows of" # as many as of all images: floor(13 * 49 * 0.1)
done
code 0 "$program" bank merge "$dir"/shard{1,2,3} --out "$dir/merged" --percent 10
says err "63 of 189 rows, of 13 images"
bound=$(told) merged=$(radius_of "$dir/merged")
# The radius that is told holds, and is within the guarantee: the best one of as many rows is at most the single fit's.
holds "$merged <= $bound * 1.00001 && $bound <= 4 * $single && $single > 0"
echo "covering radius: single fit $single, three shards $merged, told $bound"
code 0 "$program" bank export "$dir/merged" "$dir/merged.npy"
code 0 "$program" bank origins "$dir/merged" --csv "$dir/merged.csv"
code 0 "$program" bank merge "$dir"/shard{3,1,2} --out "$dir/again" --percent 10
code 0 "$program" bank export "$dir/again" "$dir/again.npy"
code 0 "$program" bank origins "$dir/again" --csv "$dir/again.csv"
cmp "$dir/merged.npy" "$dir/again.npy"
cmp "$dir/merged.csv" "$dir/again.csv"
code 0 "$program" bank merge "$dir"/shard{1,2,3} --out "$dir/near" --radius "$(awk "BEGIN { print 1.5 * $single }")"
holds "$(radius_of "$dir/near") <= 1.5 * $single"

code 1 "$program" bank merge "$dir"/shard{1,3} --out "$dir/none"
says err "shard 2 of 3 is missing"
code 0 fit "$class" "$dir/one" --shard 13/13 --dry-run
says out "shard 13 of 13 of 13 images"
code 1 fit "$class" "$dir/none" --shard 1/20
says err "shard 1 of 20 has no image"
code 1 fit "$class" "$dir/none" --shard 1/2 --method padim
says err "padim has none"
code 1 fit "$class" "$dir/none" --shard 1/2 --set subsampling.kind=random
code 2 fit "$class" "$dir/none" --shard 1/2 --quantile 0.5
code 2 fit "$class" "$dir/none" --shard 0/2
[ ! -e "$dir/none" ] || fail "a file after an error"

# ---- append ----

class=$dir/more/synthetic/granite
mkdir "$dir/old" "$dir/new"
cp "$class"/train/good/00[0-6].png "$dir/old"
cp "$class"/train/good/00[7-9].png "$class"/train/good/01*.png "$dir/new"
append() { "$program" fit "$dir/new" --append "$dir/old.model" --out "$dir/$1" --weights "$dir" "${@:2}"; }
rows_told() { sed -n 's/^.*: \([0-9]*\) rows, .*/\1/p' "$dir/err"; }
code 0 fit "$dir/old" "$dir/old.model" --set subsampling.percent=20 # 68 rows
old=$(radius_of "$dir/old.model") # of all images, by the old bank alone
code 0 append grown
says err "of 6 new images" "no training patch is farther than"
bound=$(told) rows=$(rows_told) grown=$(radius_of "$dir/grown")
holds "$grown <= $bound * 1.00001 && $grown < $old && $rows > 68 && $rows < $((6 * 49))"
echo "covering radius: $old of all images by the old 68 rows, $grown by $rows, told $bound"
code 0 "$program" bank origins "$dir/grown" --csv "$dir/grown.csv" --pictures "$dir/pictures"
says out "$rows rows of 13 training images"
grep -q ",012.png," "$dir/grown.csv" || fail "no row of the new images"
cp "$dir/grown" "$dir/grown.first"
code 0 append sized --percent 20
[ "$(rows_told)" = 127 ] || fail "$(rows_told) rows, expected floor(13 * 49 * 0.2)"
bound=$(told)
holds "$(radius_of "$dir/sized") <= $bound * 1.00001"
code 0 append sized --rows 80
[ "$(rows_told)" = 80 ] || fail "$(rows_told) rows of 80"
code 0 append sized --radius "$(awk "BEGIN { print 0.8 * $grown }")"
holds "$(rows_told) > $rows"
code 0 append sized --rows 5 # rows are never dropped
says err "68 rows, 0 of them of 6 new images"
# The old bank is as it was: its rows come first, and the same images once more add nothing.
code 0 "$program" bank export "$dir/old.model" "$dir/old.npy"
code 0 "$program" bank export "$dir/sized" "$dir/sized.npy"
cmp "$dir/old.npy" "$dir/sized.npy"
code 0 "$program" fit "$dir/new" --append "$dir/grown" --out "$dir/grown" --weights "$dir"
says err "0 of them of 6 new images"
code 0 "$program" bank origins "$dir/grown"
says out "of 19 training images"
# The C library gives the same.
mkdir "$dir/api"
"$helpers/detector_grow" "$dir/old.model" "$dir" "$dir/new" "$dir/api" 73 || fail "the C library"
code 0 append kept
for model in kept api/appended; do
  code 0 "$program" bank export "$dir/$model" "$dir/rows.npy"
  sha256sum <"$dir/rows.npy"
done | uniq | wc -l | grep -qx 1 || fail "the C library appends other rows"
code 0 "$program" bank origins "$dir/api/rows"
says out "73 rows of 13"
code 0 "$program" bank origins "$dir/api/merged"
says out "9 rows of 26"
# Under a limit features, and projected ones, lie in files or are made twice, for the same rows.
code 0 append kept
mkdir "$dir/many"
for i in $(seq 60); do for image in "$dir"/new/*; do ln -s "$image" "$dir/many/$i-${image##*/}"; done; done
many() { TMPDIR=$folder "$program" fit "$dir/many" --append "$dir/old.model" --out "$dir/$1" --weights "$dir" "${@:2}"; }
peak_told() { grep -oE 'peak [0-9.]+ MiB' "$dir/out" | grep -oE '[0-9.]+' | cut -d. -f1; }
folder=$dir
code 0 many kept
code 0 "$program" bank export "$dir/kept" "$dir/kept.npy"
code 0 many "" --dry-run
most=$(peak_told)
code 1 many none --memory-limit 4M
says err "appending 360 images: needs" "more than the memory limit of 4.0 MiB"
least=$(sed -n 's/.* a limit of \([0-9]*\)M would do.*/\1/p' "$dir/err")
for case in "$dir $least" "$dir $((most - 1))" "/no/such/folder $((most - 1))"; do
  folder=${case% *} limit=${case#* }
  code 0 many "" --dry-run --memory-limit "${limit}M"
  says out "of the training features"
  [ "$(peak_told)" -le "$limit" ] || fail "a peak of $(peak_told) MiB told, limit $limit"
  code 0 many less --memory-limit "$((limit + 1))M"
  code 0 "$program" bank export "$dir/less" "$dir/less.npy"
  cmp "$dir/kept.npy" "$dir/less.npy"
  [ -z "$(ls "$dir" | grep features-)" ] || fail "a file of features is left"
done
code 1 many none --memory-limit $((least - 1))M
says err "so would" "training images"
# Images that bring more rows than was expected from the old ones: the selection is taken up again, to the rows of one in one go; where that
# takes more than the limit it says so.
code 0 fit "$dir/old" "$dir/few" --set subsampling.percent=2 # 6 rows
other() { "$program" fit "$dir/more/synthetic/nut" --append "$dir/few" --out "$dir/$1" --weights "$dir" "${@:2}"; }
code 0 other started.again
radius=$(sed -n 's/.* (old ones \([^,]*\), .*/\1/p' "$dir/err")
code 0 other started.again --radius "$(awk "BEGIN { print 0.3 * $radius }")"
rows=$(rows_told)
[ "$rows" -gt 40 ] || fail "$rows rows, no more than were expected"
code 0 other at.once --rows "$rows"
for model in started.again at.once; do code 0 "$program" bank export "$dir/$model" "$dir/$model.npy"; done
cmp "$dir/started.again.npy" "$dir/at.once.npy"
# The threshold is made anew, or it is gone.
code 0 fit "$dir/old" "$dir/with" --set subsampling.percent=20 --quantile 0.5
code 0 "$program" fit "$dir/new" --append "$dir/with" --out "$dir/without" --weights "$dir"
says err "the threshold was of the old bank and is gone"
code 0 "$program" fit "$dir/new" --append "$dir/with" --out "$dir/anew" --weights "$dir" --quantile 0.6
says err "of 4 new images" "2 held-out images"
code 0 "$program" score "$dir/anew" "$class/test" --weights "$dir"
[ "$(head -1 "$dir/out")" = image,score,anomalous ] || fail "no threshold"
code 0 append anew --quantile 0.6 --held-out "$class/test/good"
says err "6 held-out images"
# On a GPU: the same rows.
if "$program" bench copy --quick --device cuda:0 >/dev/null 2>&1; then
  code 0 append cuda --device cuda:0
  code 0 "$program" bank merge "$dir/old.model" "$dir/cuda" --rows 30 --out "$dir/cuda.merged" --device cuda:0
  code 0 "$program" bank merge "$dir/old.model" "$dir/grown.first" --rows 30 --out "$dir/cpu.merged"
  for model in cuda grown.first cuda.merged cpu.merged; do
    code 0 "$program" bank origins "$dir/$model" --csv "$dir/rows.csv"
    cut -d, -f1-4 "$dir/rows.csv" | sort >"$dir/$model.rows"
  done
  cmp "$dir/cuda.rows" "$dir/grown.first.rows"
  cmp "$dir/cuda.merged.rows" "$dir/cpu.merged.rows"
fi
# In tiles.
code 0 fit "$dir/old" "$dir/tiles" --tile 32 --overlap 8 --set subsampling.percent=20
code 0 "$program" fit "$dir/new" --append "$dir/tiles" --out "$dir/tiles" --weights "$dir"
bound=$(told)
holds "$(radius_of "$dir/tiles") <= $bound * 1.00001"
code 0 "$program" bank origins "$dir/tiles"
says out "of 13 training images"
code 0 append "" --dry-run --rows 100
says out "6 nominal images of" "68 rows of 7 images" "100 rows"

for method in padim spade; do
  code 0 "$program" fit "$dir/old" --out "$dir/$method" --method $method --weights "$dir" --backbone resnet18 --set image.resize=64 --set image.crop=56
  code 1 "$program" fit "$dir/new" --append "$dir/$method" --out "$dir/none" --weights "$dir"
  says err "a model of $method has no memory bank"
done
code 0 fit "$dir/old" "$dir/random" --set subsampling.kind=random
code 1 "$program" fit "$dir/new" --append "$dir/random" --out "$dir/none" --weights "$dir"
says err "this bank's rows are random"
code 1 "$program" fit "$dir/new" --append "$dir/ab.all" --out "$dir/none" --weights "$dir"
says err "merge it with a fit of the new images"
code 1 "$program" fit "$dir/new" --append "$dir/shard1" --out "$dir/none" --weights "$dir"
says err "is shard 1 of 3: merge the shards first"
code 0 "$program" fit "$dir/old" --out "$dir/whole" --weights "$dir" --backbone resnet18 --set image.resize=64 --set image.crop=0
"$program" synthesize "$dir/wide/synthetic" --train 2 --good 1 --per-defect 1 --size 96 >/dev/null
code 1 "$program" fit "$dir/wide/synthetic/capsule" --append "$dir/whole" --out "$dir/none" --weights "$dir"
says err "after the resize" "was fitted on 64x64"
mkdir "$dir/others"
cp "$dir/resnet18_random.safetensors" "$dir/others"
printf '\1' | dd of="$dir/others/resnet18_random.safetensors" bs=1 seek=$(($(stat -c %s "$dir/resnet18_random.safetensors") - 2)) conv=notrunc 2>/dev/null
code 1 "$program" fit "$dir/new" --append "$dir/old.model" --out "$dir/none" --weights "$dir/others"
says err "other weights"
head -c 10000 "$dir/old.model" >"$dir/cut"
code 1 "$program" fit "$dir/new" --append "$dir/cut" --out "$dir/none" --weights "$dir"
says err "$dir/cut is cut short"
code 1 append none/model
code 2 append none --percent 10 --rows 5
code 2 append none --set patch=5
code 2 fit "$dir/new" "$dir/none" --percent 10
[ ! -e "$dir/none" ] || fail "a file after an error"

# ---- with real weights, where they are: the image AUROC of shards within 0.05 of the single fit's ----

weights=$root/weights
ls "$weights"/efficientnet-lite0*.pth >/dev/null 2>&1 || { echo "no EfficientNet-Lite0 in $weights: left out"; exit 0; }
"$program" synthesize "$dir/large/synthetic" --train 24 --good 12 --per-defect 6 >/dev/null
class=$dir/large/synthetic/capsule
auroc_of() { # defective images above good ones, half of the ties
  code 0 "$program" score "$1" "$class/test" --weights "$weights"
  sed 1d "$dir/out" | awk -F, '{ if ($1 ~ "/good/") g[n++] = $2; else b[m++] = $2 }
    END { for (i = 0; i < n; ++i) for (j = 0; j < m; ++j) s += b[j] > g[i] ? 1 : b[j] == g[i] ? 0.5 : 0; print s / (n * m) }'
}
sets=(--weights "$weights" --set subsampling.percent=10)
code 0 fit "$class" "$dir/single"
for i in 1 2 3 4; do code 0 fit "$class" "$dir/shard$i" --shard $i/4; done
code 0 "$program" bank merge "$dir"/shard{1,2,3,4} --out "$dir/merged" --percent 10
single=$(auroc_of "$dir/single") merged=$(auroc_of "$dir/merged")
echo "image AUROC: single fit $single, four shards $merged"
holds "$single > 0.8 && $single - $merged < 0.05 && $merged - $single < 0.05"
