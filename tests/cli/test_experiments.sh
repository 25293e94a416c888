# Every file of experiments/ can be planned, from a list of files and without weights, and with other backbones than it names. What is
# replaced is said, and result lines have the network that ran.
. "$(dirname "$0")/common.sh" "$@"

mkdir -p "$dir/weights" "$dir/data/mvtec/bottle"/{train/good,test/good,test/broken,ground_truth/broken} "$dir/data/mtd"/MT_{Free,Break}/Imgs
touch "$dir/data/mvtec/bottle"/{train/good/{0..5}.png,test/{good,broken}/{0..2}.png,ground_truth/broken/{0..2}_mask.png}
touch "$dir/data/mtd"/MT_Free/Imgs/{1..5}.{jpg,png} "$dir/data/mtd"/MT_Break/Imgs/{1,2}.{jpg,png}
printf '%s.jpg\n' 1 2 3 >"$dir/data/mtd/differnet_train.txt"

plans() { # file [options]
  code 0 run "$@" --dry-run
  grep -E '^[0-9]+ runs of a class' "$dir/out" >/dev/null || { cat "$dir/out" "$dir/err" >&2; fail "$* prints no plan"; }
}

for file in "$root"/experiments/*.yaml; do
  case $file in
  */paper.yaml) continue ;; # test_dry_run.sh
  esac
  plans "$file" --backbone resnet50_v1
  case $file in
  */mstc.yaml) continue ;; # whose data is not there
  esac
  grep -E '^[1-9]' "$dir/out" >/dev/null || { cat "$dir/out" >&2; fail "$file: no runs"; }
  names=$(grep -oE '(wide_)?resnex?t[0-9]+[a-z0-9_]*|densenet[0-9]+|efficientnet_lite0' "$dir/out" | sort -u)
  [ "$names" = resnet50_v1 ] || { cat "$dir/out" >&2; fail "$file: plans $names with --backbone resnet50_v1"; }
done

plans "$root/experiments/table4.yaml" --backbone densenet201=efficientnet_lite0 --backbone resnet50_v1
says err "efficientnet_lite0 takes the place of densenet201" "resnet50_v1 takes the place of wide_resnet101_2" \
  "an ensemble of 3 becomes one of 2: efficientnet_lite0+resnet50_v1"
plans "$root/experiments/table4.yaml" --backbone resnet50_v1
says err "an ensemble of 3 is left out: all its members become resnet50_v1"
plans "$root/experiments/table5.yaml" --backbone resnet50_v1 --dataset mvtec=mtd
says err "data set mtd takes the place of mvtec"
says out "mtd mtd: "
code 2 run "$root/experiments/table5.yaml" --dry-run --dataset mvtek
says err 'did you mean `mvtec`?'
code 2 run "$root/experiments/table4.yaml" --dry-run --backbone resnet55
says err 'did you mean `resnet50`?'

# Learned proxies, drawn images and another backbone, run.
make_weights "$dir/weights"
make_data "$dir/data"
make_experiment "$dir/e.yaml" 'subsampling: {kind: [learned, none], percent: 5}' 'train_images: [2, 0]'
sed -i 's/^backbone:.*/backbone: wide_resnet50_2/' "$dir/e.yaml"
one=$(class_names | sed -n 1p)
code 0 run "$dir/e.yaml" --class "$one" --backbone resnet18
[ "$(lines)" = 4 ] || fail "$(lines) lines"
[ "$(grep -c '"backbone":"resnet18"' "$dir"/results/*/t.jsonl)" = 4 ] || fail "lines of another backbone"
[ "$(grep -c '"subsampling":"learned"' "$dir"/results/*/t.jsonl)" = 2 ] || fail "no lines of learned proxies"
[ "$(grep -c '"low_shot":2' "$dir"/results/*/t.jsonl)" = 2 ] || fail "no lines of two images"

# The same bits with other threads.
mv "$dir/results" "$dir/first"
code 0 run "$dir/e.yaml" --class "$one" --backbone resnet18 --threads 3
diff <(lasting "$dir"/first/*/t.jsonl) <(lasting "$dir"/results/*/t.jsonl) || fail "three threads give other results"

# Banks by rows, by bytes and by radius; one selection that ends at a radius is the prefix of another.
rm -r "$dir/results" "$dir/first"
make_experiment "$dir/e.yaml" \
  'subsampling: [{bank_rows: [40, 9]}, {bank_bytes: 4K}, {radius: [0.5, 1]}, {bank_rows: 20, seconds: 0.001}, {kind: random, bank_rows: 9}]'
code 0 run "$dir/e.yaml" --class "$one"
number() { sed -nE "s/.*\"run\":\"[^\"]*_$1_[^\"]*\".*\"$2\":([0-9.]+).*/\1/p" "$dir"/results/*/t.jsonl; }
[ "$(lines)" = 7 ] || fail "$(lines) lines"
[ "$(number R40 bank_rows) $(number R9 bank_rows) $(number R9-random bank_rows)" = "40 9 9" ] || fail "rows"
dimension=$(number R40 dimension)
[ "$(number B4K bank_rows)" = $((4096 / (4 * dimension))) ] || fail "$(number B4K bank_rows) rows in 4 KiB of $dimension dimensions"
awk "BEGIN { exit !($(number P100-radius0.5 covering_radius) <= 0.5 && $(number P100-radius1 covering_radius) <= 1 &&
  $(number P100-radius0.5 bank_rows) >= $(number P100-radius1 bank_rows) && $(number R40 covering_radius) < $(number R9 covering_radius)) }" ||
  fail "radii"
[ "$(number R20-seconds0.001 bank_rows)" -le 20 ] || fail "rows after a millisecond"
if number R9-random covering_radius | grep -q .; then fail "random rows with a covering radius"; fi

code 0 "$program" fit "$dir/data/synthetic/$one/train/good" --out "$dir/model" --backbone resnet18 --weights "$dir/weights" \
  --set image.resize=64 --set image.crop=56 --set subsampling.bank_rows=12
head -c 4096 "$dir/model" | grep -a '"bank_rows":12' >/dev/null || fail "a detector without its 12 rows"
