# Files that are lost or cut short in the middle of a run, and disks that are full: an error that names the file, exit code 1, no half of a
# result; what is finished stays, and other classes go on. The process is stopped at a known point, the harm is done, and it goes on.
. "$(dirname "$0")/common.sh" "$@"
[ -d /proc/self/fd ] || { echo "no /proc"; exit 77; }
export TMPDIR=$dir
mkdir "$dir/weights"
make_weights "$dir/weights"
make_data "$dir/data" --train 64 --size 256
cp -r "$dir/data" "$dir/good"
printf '%s\n' 'name: t' 'dataset: synthetic' 'backbone: resnet18' 'layer_dimension: 512' 'dimension: 512' 'subsampling: {percent: 1}' \
  >"$dir/e.yaml"
readarray -t classes < <(class_names | sed -n 1,3p)
data=$dir/data/synthetic
restore() { rm -rf "$dir/data" "$dir/results"; cp -r "$dir/good" "$dir/data"; }
class_lines() { cat "$dir"/results/*/t.jsonl | grep -c "\"class\":\"$1\"" || true; }
no_file_left() { [ -z "$(ls "$dir" | grep features-)" ] || fail "a file of features is left"; }

# A limit under which features do not stay in memory: what is named as the least, and a little for what the process takes at another time.
code 0 run "$dir/e.yaml" --class "${classes[0]}" --dry-run --memory-limit 20M
limit=$(($(sed -n 's/.* a limit of \([0-9]*\)M would do.*/\1/p' "$dir/out" | sed -n 1p) + 2))M
code 0 run "$dir/e.yaml" --class "${classes[0]}" --dry-run --memory-limit "$limit"
says out "in a file"

begin() { "$@" >"$dir/out" 2>"$dir/err" & pid=$!; } # no function: the process itself
alive() { kill -0 $pid 2>/dev/null || { cat "$dir/err" >&2; fail "it ended before it was stopped"; }; }
# Stops it when so many result lines are there and it has a file of features, which is $file below /proc. Files of 32 MiB and more are those
# by which a plan measures the disk.
stop_at() {
  local wanted=$1 number
  file=
  until [ -n "$file" ]; do
    alive
    [ "$wanted" = 0 ] || [ "$(lines)" -ge "$wanted" ] || continue
    for number in /proc/$pid/fd/*; do
      case $(readlink "$number" || true) in
      "$dir"/features-*) [ "$(stat -Lc %s "$number" 2>/dev/null || echo 33554432)" -ge 33554432 ] || file=$number ;;
      esac
    done
  done
  kill -STOP $pid
  alive
}
go_on() { # with this exit code
  local wanted=$1 got=0
  kill -CONT $pid
  wait $pid || got=$?
  [ "$got" = "$wanted" ] || { cat "$dir/err" >&2; fail "ended with $got, expected $wanted"; }
  no_file_left
}
three=("$program" run "$dir/e.yaml" --data "$dir/data" --weights "$dir/weights" --results "$dir/results" --class "${classes[0]}" --class "${classes[1]}" --class "${classes[2]}" --memory-limit "$limit")
second_stops() {
  says err "class ${classes[1]} stops" "$@" "1 runs failed"
  [ "$(class_lines "${classes[0]}") $(class_lines "${classes[1]}") $(class_lines "${classes[2]}")" = "1 0 1" ] ||
    fail "$(cat "$dir"/results/*/t.jsonl | cut -c1-120)"
}
in_second() {
  restore
  begin "${three[@]}"
  stop_at 1
}

in_second # the temporary file, cut short
truncate -s 5000 "$file"
go_on 1
second_stops "something else cut the temporary file in $dir from" "to 4.9 KiB" "TMPDIR=FOLDER"
code 0 "${three[@]}" # only what is missing is done
[ "$(lines)" = 3 ] || fail "$(lines) lines"
code 0 run "$dir/e.yaml" --class "${classes[1]}" --results "$dir/unharmed"
diff <(lasting "$dir"/unharmed/*/t.jsonl) <(lasting "$dir"/results/*/t.jsonl | grep "\"class\":\"${classes[1]}\"") || fail "another result"

in_second # a training image that vanishes between the plan and its decode
rm "$data/${classes[1]}/train/good/063.png"
go_on 1
second_stops "${classes[1]}/train/good/063.png" "No such file"

in_second # a test image that is cut short
truncate -s 700 "$data/${classes[1]}/test/good/002.png"
go_on 1
second_stops "${classes[1]}/test/good/002.png"

in_second # of the class after that one: it is listed anew
rm "$data/${classes[2]}/train/good/010.png"
go_on 1
says err "class ${classes[2]} stops" "$data" "${classes[2]} had 64 training and" "now it has 63"
[ "$(class_lines "${classes[1]}") $(class_lines "${classes[2]}")" = "1 0" ] || fail "not the third class alone"
restore

# ---- detectors ----

fit=("$program" fit "$data/${classes[0]}" --backbone resnet18 --set layer_dimension=512 --set dimension=512 --set subsampling.percent=1
  --weights "$dir/weights")
append=("$program" fit "$data/${classes[1]}" --append "$dir/old.trbank" --rows 700 --weights "$dir/weights")
code 0 "${fit[@]}" --out "$dir/old.trbank"
code 1 "${fit[@]}" --out "$dir/none" --memory-limit 20M
fit+=(--memory-limit "$(($(sed -n 's/.* a limit of \([0-9]*\)M would do.*/\1/p' "$dir/err") + 2))M")
code 1 "${append[@]}" --out "$dir/none" --memory-limit 20M
append+=(--memory-limit "$(($(sed -n 's/.* a limit of \([0-9]*\)M would do.*/\1/p' "$dir/err") + 2))M")

begin "${fit[@]}" --out "$dir/none"
stop_at 0
truncate -s 0 "$file"
go_on 1
says err "something else cut the temporary file in $dir from"

begin "${fit[@]}" --out "$dir/none"
stop_at 0
rm "$data/${classes[0]}/train/good/063.png"
go_on 1
says err "${classes[0]}/train/good/063.png" "No such file"
restore

begin "${append[@]}" --out "$dir/none"
stop_at 0
truncate -s 100 "$file"
go_on 1
says err "something else cut the temporary file in $dir from"

begin "${append[@]}" --out "$dir/none"
stop_at 0
truncate -s 700 "$data/${classes[1]}/train/good/063.png"
go_on 1
says err "${classes[1]}/train/good/063.png"
restore

cp "$dir/old.trbank" "$dir/kept.trbank"
begin "${append[@]}" --out "$dir/none" # the bank itself, which is mapped
stop_at 0
truncate -s 100 "$dir/old.trbank"
go_on 1
says err "totalrecall: $dir/old.trbank was cut short by something else while it was read; put it back and run the command again"
cp "$dir/kept.trbank" "$dir/old.trbank"
[ ! -e "$dir/none" ] || fail "a model after an error"

# ---- a disk that is full: said before any image passes ----

full() { bash -c 'ulimit -f 8192; exec "$@"' _ "$@"; } # files of 8 MiB at most
code 1 full "${fit[@]}" --out "$dir/none"
says err "for training features in $dir: File too large"
code 1 full "${append[@]}" --out "$dir/none"
says err "for training features in $dir: File too large"
[ ! -e "$dir/none" ] || fail "a model after an error"
no_file_left

# A disk with 4 MiB, where one can be made.
mkdir "$dir/small"
on_small_disk() { unshare -rm bash -c 'mount -t tmpfs -o size=4M none "$1" && shift && exec "$@"' _ "$dir/small" "$@"; }
if on_small_disk true 2>/dev/null; then
  export TMPDIR=$dir/small
  code 1 on_small_disk "${fit[@]}" --out "$dir/none"
  says err "training features take" "of the disk of $dir/small, which has 4.0 MiB left"
  code 1 on_small_disk "${append[@]}" --out "$dir/none"
  says err "training features take" "of the disk of $dir/small, which has 4.0 MiB left"
  [ ! -e "$dir/none" ] || fail "a model after an error"
fi
