# --device cuda:0,1: classes shared out over two GPUs give what one gives, and what the cpu gives but for rounding. Skipped without two.
. "$(dirname "$0")/common.sh" "$@"
mkdir "$dir/weights"
make_weights "$dir/weights"
make_data "$dir/data"
classes=3
make_experiment "$dir/e.yaml" "classes: [$(class_names | sed -n "1,${classes}p" | paste -sd,)]" 'subsampling: {percent: [25, 5]}'

code 1 run "$dir/e.yaml" --device cpu,cpu
says err "cpu,cpu" "cuda:0,1"
code 1 run "$dir/e.yaml" --device cpu:0,1
says err "cpu:0"
got=0
"$program" bench copy --quick --device cuda:1 >/dev/null 2>&1 || got=$?
[ "$got" -lt 128 ] || fail "the second GPU ends the program ($got)"
[ "$got" = 0 ] || exit 77
code 1 run "$dir/e.yaml" --device cuda:0,0
says err "cuda:0 is named twice"
code 1 run "$dir/e.yaml" --device cuda:0,99
says err "cuda:99"
code 1 run "$dir/e.yaml" --device cuda,1
says err "cuda,1"

one_gpu() { sed 's/"device":"cuda:1"/"device":"cuda:0"/' | lasting; }
code 0 run "$dir/e.yaml" --device cuda:0 --scores "$dir/scores0"
one_gpu <"$(echo "$dir"/results/*/t.jsonl)" >"$dir/one"
rm -rf "$dir/results"
for threads in 1 4; do
  code 0 run "$dir/e.yaml" --device cuda:0,1 --scores "$dir/scores01" --threads $threads
  says out mean
  for device in cuda:0 cuda:1; do grep -q "\"device\":\"$device\"" "$dir"/results/*/t.jsonl || fail "$device did nothing"; done
  [ "$(lines)" = $((2 * classes)) ] || fail "$(lines) lines"
  one_gpu <"$(echo "$dir"/results/*/t.jsonl)" | diff "$dir/one" - || fail "results on two GPUs differ from one's"
  diff -r "$dir/scores0" "$dir/scores01" || fail "scores on two GPUs differ from one's"
  grep -o '"class":"[^"]*"\|"device":"[^"]*"' "$dir"/results/*/t.jsonl | paste - - | sort -u >"$dir/shares$threads"
  rm -rf "$dir/results" "$dir/scores01"
done
diff "$dir/shares1" "$dir/shares4" || fail "classes are not shared out the same way every time"

code 0 run "$dir/e.yaml" --device cpu --scores "$dir/scorescpu"
for file in "$dir"/scorescpu/*.csv; do
  paste -d, "$file" "$dir/scores0/$(basename "$file")" |
    awk -F, 'NR > 1 { d = $3 - $6; if (d < 0) d = -d; if ($1 != $4 || !($3 > 0) || d > 1e-4 * $3) exit 1 }' ||
    fail "$(basename "$file"): scores of the GPU are not the cpu's"
done

# What is wrong with one class leaves the others, whichever device has it.
rm -rf "$dir/results"
broken=$(class_names | sed -n 1p)
for image in "$dir"/data/synthetic/"$broken"/train/good/*.png; do head -c 200 "$image" >"$dir/cut" && mv "$dir/cut" "$image"; done
code 1 run "$dir/e.yaml" --device cuda:0,1
says err "class $broken stops" "2 runs failed"
[ "$(lines)" = $((2 * (classes - 1))) ] || fail "$(lines) lines with a broken class"
