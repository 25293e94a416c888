# mSTC end to end on the tiny set in ShanghaiTech's layout: videos to train on, frames and .npy masks to test on.
. "$(dirname "$0")/common.sh" "$@"
mkdir "$dir/weights" "$dir/data"
make_weights "$dir/weights"
cp -r "$root/tests/golden/mstc" "$dir/data/"
experiment() { # file, lines that are added
  local file=$1
  shift
  printf '%s\n' 'name: t' 'dataset: mstc' 'backbone: resnet18' 'layers: layer3+layer4' 'image: {resize: 64, crop: 0, squash: true}' \
    'layer_dimension: 64' 'dimension: 64' 'subsampling: {kind: greedy, percent: 50}' "$@" >"$file"
}
field() { # class, run, name: of the one line that fits
  local line
  line=$(grep -F "\"class\":\"$1\"" "$dir"/results/*/t.jsonl | grep -F "\"run\":\"$2\"")
  [ "$(wc -l <<<"$line")" = 1 ] || fail "$1, $2: not one line"
  sed -E "s/.*\"$3\":(\"[^\"]*\"|[^,}]*).*/\1/" <<<"$line"
}
is() { [ "$(field "$1" "$2" "$3")" = "$4" ] || fail "$1, $2: $3 is $(field "$1" "$2" "$3"), expected $4"; }
stem=IM64-uncropped-squash_RN18_L3-4_P50_D64-64_PS-3_AN-1_S0

# The set that the program draws, by `run` where it is not there: its lines bear its own name, and the page sets them apart.
experiment "$dir/e.yaml"
code 0 run "$dir/e.yaml" --dataset synthetic_mstc --data "$dir/drawn" --class scene_03
says err "drawing the data set synthetic_mstc into $dir/drawn/synthetic_mstc"
is scene_03 $stem dataset '"synthetic_mstc"'
is scene_03 $stem train_images 12
is scene_03 $stem images 10
is scene_03 $stem anomalous_images 5
code 0 "$program" verify synthetic_mstc "$dir/drawn"
says out "4 classes, 0 errors"
code 1 run "$dir/e.yaml" --data "$dir/drawn/synthetic_mstc"
says err "its data set is synthetic_mstc"
sed -i 's/^name: t$/name: mstc/; s/64, crop/256, crop/; s/^layer_dimension.*//; s/^dimension.*//; s/percent: 50/percent: 10/' "$dir/e.yaml"
code 0 "$program" synthesize "$dir/small/synthetic_mstc" --clips frames --size 32
code 0 run "$dir/e.yaml" --dataset synthetic_mstc --data "$dir/small"
code 0 "$program" report --results "$dir/results"
says out "ShanghaiTech Campus was not at hand, and nothing here has been run on it" \
  "totalrecall run experiments/mstc.yaml --data ROOT --weights DIR" "| PatchCore-10 % | resnet18 |"
rm -r "$dir/results"
code 2 "$program" synthesize "$dir/x" --clips film
code 2 "$program" synthesize "$dir/x" --clips videos --train 3

info=$("$program" info)
if grep '^libav *missing' <<<"$info" >/dev/null; then
  experiment "$dir/e.yaml"
  code 1 run "$dir/e.yaml"
  says err "Extracted frames are read without them"
  echo "skipped: this build reads no videos"
  exit 77
fi

code 0 "$program" verify mstc "$dir/data"
says out "3 classes, 0 errors"

experiment "$dir/e.yaml" 'frames: [{}, {offset: 2}, {step: 1, tested_only: true}, {mask: any}]'
code 0 run "$dir/e.yaml" --scores "$dir/scores" --maps "$dir/maps"
[ "$(lines)" = 12 ] || fail "$(lines) lines for 3 classes and 4 choices of frames"
for list in "pooled 21 6 3" "scene_01 12 3 2" "scene_02 6 3 1"; do
  read -r class train test anomalous <<<"$list"
  is "$class" $stem train_images "$train"
  is "$class" $stem images "$test"
  is "$class" $stem anomalous_images "$anomalous"
  is "$class" $stem frame_step 5
  is "$class" $stem mask_rule '"full"'
done
is pooled ${stem}_from2 train_images 18
is pooled ${stem}_from2 images 5
is pooled ${stem}_from2 frame_offset 2
is pooled ${stem}_every1_tested-only train_images 81
is pooled ${stem}_every1_tested-only images 24
is pooled ${stem}_mask-any mask_rule '"any"'

# Another rule moves what is measured on pixels, and nothing else.
for class in pooled scene_01; do
  [ "$(field $class $stem image_auroc)" = "$(field $class ${stem}_mask-any image_auroc)" ] || fail "the masks moved image AUROC"
  [ "$(field $class $stem pixel_auroc)" != "$(field $class ${stem}_mask-any pixel_auroc)" ] || fail "the masks' rule moves nothing"
  [ "$(field $class $stem pixel_auroc)" != null ] || fail "no pixel AUROC"
done
diff <(tail -n +2 "$dir/scores/${stem}_pooled.csv" | cut -d, -f1,2 | sort) - <<END || fail "not every fifth frame with its label"
01_0014/000.jpg,0
01_0014/005.jpg,1
01_0014/010.jpg,1
02_0003/000.jpg,0
02_0003/005.jpg,1
02_0003/010.jpg,0
END
[ -s "$dir/maps/$stem/pooled/01_0014/005.png" ] || fail "no picture"

# Any number of threads decodes the same frames.
cp -r "$dir/results" "$dir/first"
rm -r "$dir/results"
code 0 run "$dir/e.yaml" --threads 3
diff <(lasting "$dir"/first/*/t.jsonl) <(lasting "$dir"/results/*/t.jsonl) || fail "threads change the results"

# A video that was cut short ends its classes with an error that names it; the others stay.
rm -r "$dir/results"
experiment "$dir/e.yaml"
video=$dir/data/mstc/training/videos/01_001.avi
head -c 6500 "$video" >"$dir/cut" && mv "$dir/cut" "$video"
code 1 run "$dir/e.yaml"
says err "class pooled stops" "class scene_01 stops" "01_001.avi"
[ "$(lines)" = 1 ] || fail "$(lines) lines beside a broken video"
is scene_02 $stem train_images 6
code 1 "$program" verify mstc "$dir/data"
says out "01_001.avi"

# Likewise a mask file, a frame of a test clip, and a video without compression.
cut() { # file, bytes, classes that stop, the one that stays
  local file=$1 bytes=$2 kept=$4
  rm -rf "$dir/results" "$dir/data/mstc"
  cp -r "$root/tests/golden/mstc" "$dir/data/"
  head -c "$bytes" "$dir/data/mstc/$file" >"$dir/cut" && mv "$dir/cut" "$dir/data/mstc/$file"
  code 1 run "$dir/e.yaml"
  for class in $3; do
    grep -E "error: $class, |class $class stops: " "$dir/err" >/dev/null || fail "no error of $class" # found by listing, or by decoding
  done
  says err "${file##*/}"
  [ "$(lines)" = 1 ] || fail "$(lines) lines beside $file cut short"
  is "$kept" $stem mask_rule '"full"'
  code 1 "$program" verify mstc "$dir/data"
  says out "${file##*/}"
}
cut testing/test_pixel_mask/02_0003.npy 30000 "pooled scene_02" scene_01
cut testing/test_pixel_mask/02_0003.npy 60 "pooled scene_02" scene_01
cut testing/frames/01_0014/005.jpg 900 "pooled scene_01" scene_02
rm -rf "$dir/results" "$dir/small"
code 0 "$program" synthesize "$dir/small/synthetic_mstc" --clips videos --size 32
video=$dir/small/synthetic_mstc/training/videos/02_002.avi
head -c 100000 "$video" >"$dir/cut" && mv "$dir/cut" "$video"
code 1 run "$dir/e.yaml" --dataset synthetic_mstc --data "$dir/small"
says err "class pooled stops" "class scene_02 stops" "02_002.avi cannot be decoded after 18 frames"
[ "$(lines)" = 2 ] || fail "$(lines) lines beside a drawn video cut short"

# Data that is not at hand leaves no file.
rm -r "$dir/results"
code 1 run "$dir/e.yaml" --data "$dir/nowhere"
[ -z "$(find "$dir/results" -name '*.jsonl')" ] || fail "an empty file of results"

# Frames are counted below the step.
experiment "$dir/e.yaml" 'frames: {step: 3, offset: 3}'
code 1 run "$dir/e.yaml"
says err "an offset from 0 to step - 1"
