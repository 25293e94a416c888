# fit and score: detectors of every method give what `run` gives; thresholds, weights, broken images, maps, and other devices.
. "$(dirname "$0")/common.sh" "$@"
mkdir "$dir/weights"
make_weights "$dir/weights"
make_data "$dir/data" --train 10 --good 4
one=$(class_names | sed -n 1p)
class=$dir/data/synthetic/$one weights=$dir/weights/resnet18_random.safetensors
sets=(--backbone resnet18 --set image.resize=64 --set image.crop=56 --set layer_dimension=64 --weights "$dir/weights")
fit() { "$program" fit "$class" --out "$dir/model" "${sets[@]}" "$@"; }
score() { "$program" score "$dir/model" --weights "$dir/weights" "$@"; }

# ---- the scores of `run`, bit for bit ----

# same_scores FILE: of the test images, those that a run wrote to $dir/scores.
same_scores() {
  sed 1d "$dir"/scores/*"_$one.csv" | sed -E 's/^([^,]*),[01],/\1,/' | sort >"$dir/wanted"
  sed 1d "$1" | sed "s|^$class/test/||" | cut -d, -f1,2 | sort | diff "$dir/wanted" - || fail "$1: scores differ from run's"
}
for method in patchcore padim spade; do
  rm -rf "$dir/scores" "$dir/results"
  make_experiment "$dir/e.yaml" "method: $method" 'neighbours: 3' 'subsampling: {percent: 20}'
  code 0 run "$dir/e.yaml" --class "$one" --scores "$dir/scores"
  code 0 fit --method $method --set dimension=64 --set neighbours=3 --set subsampling.percent=20
  says err "$method fitted on 10 images" "forecast/measured: seconds "
  code 0 score "$class/test" --out "$dir/all.csv"
  [ "$(head -1 "$dir/all.csv")" = image,score ] || fail "head $(head -1 "$dir/all.csv")"
  [ "$(wc -l <"$dir/all.csv")" = $((1 + 4 + 4)) ] || fail "$(wc -l <"$dir/all.csv") lines"
  same_scores "$dir/all.csv"
  cp "$dir/model" "$dir/model.$method"
  code 0 "$program" fit "$class" --experiment "$dir/e.yaml" --weights "$dir/weights" --out "$dir/model"
  code 0 score "$class"/test/*/*.png --threads 1 --out "$dir/alone.csv"
  same_scores "$dir/alone.csv"
  mapfile -t images < <(ls "$class"/test/*/*.png | sort)
  "$helpers/detector_checks" "$dir/model" "$weights" "${images[@]}" || fail "the C library's promises, $method"
  "$helpers/detector_example" "$dir/model" "$dir/weights" "${images[@]}" >"$dir/example"
  sed 1d "$dir/alone.csv" | sort | diff - <(sort "$dir/example") || fail "the example's scores differ"
done

if grep -qE '^ *FAISS +[0-9]' < <("$program" info); then # an index goes with the model
  rm -rf "$dir/scores" "$dir/results"
  make_experiment "$dir/e.yaml" 'search: faiss:"IVF4,Flat"' 'nprobe: 2'
  code 0 run "$dir/e.yaml" --class "$one" --scores "$dir/scores"
  code 0 fit --set dimension=64 --set 'search=faiss:IVF4,Flat' --set nprobe=2
  code 0 score "$class/test" --out "$dir/all.csv"
  same_scores "$dir/all.csv"
fi

# ---- where nominal images lie ----

cp "$dir/model.patchcore" "$dir/model"
code 0 score "$class/test" --out "$dir/all.csv"
mkdir "$dir/plain"
cp "$class"/train/good/*.png "$dir/plain"
code 0 "$program" fit "$dir/plain" --out "$dir/model" "${sets[@]}" --set dimension=64 --set neighbours=3 --set subsampling.percent=20
code 0 score "$class/test" --out "$dir/plain.csv"
diff "$dir/all.csv" "$dir/plain.csv" || fail "a plain folder gives another model"
code 1 "$program" fit "$dir/data/synthetic" --out "$dir/none" "${sets[@]}"
says err "$one" "give one of them"
mkdir "$dir/nothing"
code 1 "$program" fit "$dir/nothing" --out "$dir/none" "${sets[@]}"
says err "$dir/nothing" "no image"
code 1 "$program" fit "$dir/gone" --out "$dir/none" "${sets[@]}"
says err "$dir/gone"
cp "$class/train/good/000.png" "$dir/plain/cut.png"
truncate -s 500 "$dir/plain/cut.png"
code 1 "$program" fit "$dir/plain" --out "$dir/none" "${sets[@]}"
says err "$dir/plain/cut.png"
[ ! -e "$dir/none" ] || fail "a model of broken images"

# ---- thresholds ----

code 0 fit --set dimension=64 --quantile 0.5
says err "fitted on 8 images" "threshold" "2 held-out images"
code 0 fit --set dimension=64 --quantile 0.8 # 4 images of 10: the fewest that 0.8 takes
says err "fitted on 6 images" "4 held-out images"
code 1 fit --set dimension=64 --quantile 0.9
says err "takes 9 held-out images, and there are 5" "up to 0.8333"
code 0 fit --set dimension=64 --quantile 0.5 --held-out "$class/test/good"
says err "fitted on 10 images" "4 held-out images"
threshold=$(sed -n 's/^threshold \(.*\): 4 held-out.*/\1/p' "$dir/err")
code 0 score "$class/test" --out "$dir/t.csv"
[ "$(head -1 "$dir/t.csv")" = image,score,anomalous ] || fail "no column of the threshold"
third=$(grep /good/ "$dir/t.csv" | cut -d, -f2 | sort -g | sed -n 3p) # ceil((4 + 1) 0.5)
[ "$threshold" = "$third" ] || fail "threshold $threshold, expected $third"
awk -F, -v t="$third" 'NR > 1 && ($3 != ($2 > t)) { exit 1 }' "$dir/t.csv" || fail "anomalous is not score > $third"
code 0 score "$class/test" --threshold 0 --out "$dir/t.csv"
if grep -q ',0$' "$dir/t.csv"; then fail "a score below 0"; fi
code 0 score "$class/test/good/000.png"
grep -qE "^$class/test/good/000.png,[0-9.e+-]+,[01]$" "$dir/out" || fail "a line on the standard output"

# ---- what cannot be read is left out ----

cp -r "$class/test" "$dir/broken"
truncate -s 500 "$dir/broken/good/001.png"
echo text >"$dir/broken/good/text.png"
code 1 score "$dir/broken" "$dir/broken/gone.png" --out "$dir/b.csv"
says err "$dir/broken/good/001.png" "$dir/broken/good/text.png" "$dir/broken/gone.png" "7 images scored" "3 could not be read"
code 0 score "$class/test" --out "$dir/t.csv"
sed "s|^$dir/broken|$class/test|" "$dir/b.csv" | diff <(grep -v /good/001.png "$dir/t.csv") - || fail "the others' scores changed"
code 1 score "$dir/nothing"
says err "$dir/nothing" "no image"

# ---- maps ----

code 0 score "$class/test" --maps "$dir/maps" --out "$dir/t.csv"
[ "$(find "$dir/maps/test" -name '*.png' | wc -l)" = 8 ] || fail "$(find "$dir/maps" -name '*.png' | wc -l) pictures"
size=$(od -A n -t x1 -j 16 -N 8 "$(find "$dir/maps" -name '*.png' | sed -n 1p)" | tr -d ' ')
[ "$size" = "$(printf '%08x%08x' $((56 + 4 + 56)) 56)" ] || fail "pictures of $size"
code 1 score "$class/test/good" "$dir/broken/good" --maps "$dir/maps2" --out "$dir/t.csv"
says err "$dir/maps2/good/000.png" "two calls"
[ ! -e "$dir/maps2" ] || fail "pictures before the names were checked"

# ---- weights, damage, room ----

mkdir "$dir/others"
cp "$weights" "$dir/others/resnet18_random.safetensors"
printf '\1' | dd of="$dir/others/resnet18_random.safetensors" bs=1 seek=$(($(stat -c %s "$weights") - 2)) conv=notrunc 2>/dev/null
code 1 "$program" score "$dir/model" "$class/test" --weights "$dir/others"
says err "other weights" "$(sha256sum <"$weights" | cut -d' ' -f1)" "$(sha256sum <"$dir/others/resnet18_random.safetensors" | cut -d' ' -f1)"
head -c $(($(stat -c %s "$dir/model") - 100)) "$dir/model" >"$dir/cut"
code 1 "$program" score "$dir/cut" "$class/test" --weights "$dir/weights"
says err "$dir/cut"
code 1 "$program" score "$weights" "$class/test" --weights "$dir/weights"
says err "$weights"
code 1 "$program" fit "$class" --out "$dir/none/model" "${sets[@]}"
says err "$dir/none/model"
code 1 score "$class/test" --out "$dir/none/t.csv"
says err "$dir/none/t.csv"
code 1 fit --set dimension=64 --memory-limit 8M
says err "more than the memory limit of 8.0 MiB" "M would do"
code 0 fit --set dimension=64 --dry-run --quantile 0.5
says out "8 nominal images" "2 images held out" "about" "peak"

# ---- options ----

code 2 "$program" fit "$class" "${sets[@]}"
says err "--out"
code 2 fit --quantile 1
code 2 fit --held-out "$class/test/good"
code 2 fit --set dimension
code 2 fit --experiment "$dir/e.yaml"
code 1 fit --set dimensoin=64
says err 'unknown key `dimensoin`; did you mean `dimension`?'
code 1 fit --set 'seed=[0, 1]'
says err "2 settings"
code 1 fit --set 'train_images=3'
says err "train_images"
code 2 "$program" score "$dir/model"
code 2 score "$class/test" --threshold high
code 0 "$program" fit --help
says out "usage: totalrecall fit" "(n + 1) Q"
code 0 "$program" score --help
says out "usage: totalrecall score"

# ---- a model of one device on another ----

if "$program" bench copy --quick --device cuda:0 >/dev/null 2>&1; then
  for method in patchcore padim spade; do
    options=(--method $method --set dimension=64 --set neighbours=3 --set subsampling.percent=20)
    code 0 fit "${options[@]}" --device cuda:0
    mv "$dir/model" "$dir/model.cuda"
    code 0 fit "${options[@]}"
    mv "$dir/model" "$dir/model.cpu"
    for model in cpu cuda; do
      for device in cpu cuda:0; do
        cp "$dir/model.$model" "$dir/model"
        code 0 score "$class/test" --device $device --out "$dir/$model-$device.csv"
        paste -d, "$dir/cpu-cpu.csv" "$dir/$model-$device.csv" |
          awk -F, 'NR > 1 { d = $2 - $4; if (d < 0) d = -d; if ($1 != $3 || !($2 > 0) || d > 1e-4 * $2) exit 1 }' ||
          fail "$method: a model of $model scores otherwise on $device"
      done
    done
  done
fi
