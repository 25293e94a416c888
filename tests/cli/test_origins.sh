# bank origins: an image of another kind among the nominal ones comes first, the table and the pictures are of the right images and places.
. "$(dirname "$0")/common.sh" "$@"
make_data "$dir/data" --train 10
make_weights "$dir"
mkdir "$dir/images"
cp "$dir"/data/synthetic/board/train/good/*.png "$dir/images"
cp "$dir/data/synthetic/capsule/train/good/000.png" "$dir/images/004,b.png"
sets=(--backbone resnet18 --weights "$dir" --set image.resize=64 --set image.crop=56 --set layer_dimension=64 --set dimension=64)
code 0 "$program" fit "$dir/images" --out "$dir/model" "${sets[@]}" --set subsampling.percent=20
origins() { "$program" bank origins "$dir/model" "$@"; }

code 0 origins --csv "$dir/rows.csv" --pictures "$dir/pictures" --top 4
says out "107 rows of 11 training images" "7x7 patches of each"
grep -A 1 farthest "$dir/out" | grep -q ' 004,b\.png$' || { cat "$dir/out"; fail "the planted image is not the first"; }
[ "$(wc -l <"$dir/rows.csv")" = 108 ] || fail "$(wc -l <"$dir/rows.csv") lines"
sed -n 2p "$dir/rows.csv" | grep -qE '^[0-9]+,"004,b.png",[0-6],[0-6],[0-9.]+,[0-9.]+,[0-9]+,[0-9]+.png$' || fail "$(sed -n 2p "$dir/rows.csv")"
[ -s "$dir/pictures/001_004,b.png" ] || fail "no picture: $(ls "$dir/pictures")"
pictured=$(ls "$dir/pictures" | wc -l)
[ "$pictured" -ge 1 ] && [ "$pictured" -le 4 ] || fail "$pictured pictures of 4 rows"

# Images may have moved.
mv "$dir/images" "$dir/moved"
code 1 origins --pictures "$dir/none"
says err "$dir/images/004,b.png"
code 0 origins --pictures "$dir/again" --top 4 --images "$dir/moved"
diff -r "$dir/pictures" "$dir/again"
code 1 origins --pictures "$dir/again" --images "$dir/moved" --images "$dir"
says err "each of the model's 1 sources of images, found 2"

code 0 "$program" bank export "$dir/model" "$dir/rows.npy"
code 0 "$program" bank import "$dir/model" "$dir/rows.npy" "$dir/model"
code 1 origins
says err "learned or imported"
code 0 "$program" fit "$dir/moved" --out "$dir/model" "${sets[@]}" --method padim
code 1 origins
says err "a model of padim has no memory bank"
code 0 "$program" fit "$dir/moved" --out "$dir/model" "${sets[@]}" --set subsampling.kind=none
code 0 origins --top 1 --csv "$dir/rows.csv"
says out "539 rows of 11" "and 10 more images"
head -c 5000 "$dir/model" >"$dir/cut"
code 1 "$program" bank origins "$dir/cut"
says err "$dir/cut is cut short"
code 1 origins --csv "$dir/none/rows.csv"
code 2 origins --top 0
code 2 origins --images "$dir/moved"
code 2 "$program" bank origins
code 0 "$program" bank origins --help

# A real defect with real weights, where they are.
weights=$root/weights
ls "$weights"/efficientnet-lite0*.pth >/dev/null 2>&1 || { echo "no EfficientNet-Lite0 in $weights: left out"; exit 0; }
"$program" synthesize "$dir/large/synthetic" --train 20 --good 1 --per-defect 2 >/dev/null
cp "$dir/large/synthetic/capsule/test/crack/001.png" "$dir/large/synthetic/capsule/train/good/004x.png"
code 0 "$program" fit "$dir/large/synthetic/capsule" --out "$dir/model" --weights "$weights" --set subsampling.percent=5
code 0 origins
grep -A 1 farthest "$dir/out" | grep -q ' train/good/004x\.png$' || { cat "$dir/out"; fail "the planted defect is not the first"; }
