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
if "$program" info | grep -qE '^ *FAISS +[0-9]'; then # the index is made anew
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
head -c 20000 "$dir/b.model" >"$dir/cut"
code 1 "$program" bank merge "$dir/a.model" "$dir/cut" --out "$dir/none"
says err "$dir/cut is cut short"
cp "$dir/b.model" "$dir/later"
printf '\2' | dd of="$dir/later" bs=1 seek=8 conv=notrunc 2>/dev/null
code 1 "$program" bank merge "$dir/a.model" "$dir/later" --out "$dir/none"
says err "$dir/later is a model of format 2; this program reads format 1"
[ ! -e "$dir/none" ] || fail "a file after an error"
code 2 "$program" bank merge "$dir/a.model" --out "$dir/none"
code 2 "$program" bank merge "$dir/a.model" "$dir/b.model"
code 2 "$program" bank merge "$dir/a.model" "$dir/b.model" --out "$dir/none" --percent 10 --rows 5
code 2 "$program" bank merge "$dir/a.model" "$dir/b.model" --out "$dir/none" --percent 101
code 2 "$program" bank merge "$dir/a.model" "$dir/b.model" --out "$dir/none" --rows 0
code 2 "$program" bank merge "$dir/a.model" "$dir/b.model" --out "$dir/none" --radius x
