# Sourced by the tests: $program, a folder $dir that is removed at the end, and what they share. Images are 64 pixels wide and the
# weights random: the scores mean nothing, but they are the same every time.
set -euo pipefail
program=$1 root=$2 helpers=$3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
unset TOTALRECALL_DATA TOTALRECALL_WEIGHTS

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# code N COMMAND...: runs it, output to $dir/out and $dir/err, and wants exit code N.
code() {
  local wanted=$1 got=0
  shift
  "$@" >"$dir/out" 2>"$dir/err" || got=$?
  [ "$got" = "$wanted" ] || { cat "$dir/out" "$dir/err" >&2; fail "$* ended with $got, expected $wanted"; }
}

# says FILE TEXT...: each text stands in $dir/FILE.
says() {
  local file=$dir/$1
  shift
  for text; do
    grep -qF -- "$text" "$file" || { cat "$file" >&2; fail "no \"$text\""; }
  done
}

make_data() { # folder [options of synthesize]
  local folder=$1
  shift
  "$program" synthesize "$folder/synthetic" --train 6 --good 3 --per-defect 1 --size 64 "$@" >/dev/null
}

make_experiment() { # file, then lines that are added
  local file=$1
  shift
  printf '%s\n' 'name: t' 'dataset: synthetic' 'backbone: resnet18' 'image: {resize: 64, crop: 56}' \
    'layer_dimension: 64' 'dimension: 64' "$@" >"$file"
}

make_weights() { "$helpers/make_weights" "$1/resnet18_random.safetensors"; }

# run EXPERIMENT [options]: on $dir/data with $dir/weights into $dir/results, unless the options say otherwise.
run() {
  local experiment=$1
  shift
  "$program" run "$experiment" --data "$dir/data" --weights "$dir/weights" --results "$dir/results" "$@"
}

# Result lines without what differs from run to run: times, memory, date, threads.
lasting() { sed -E 's/"(peak_bytes|forecast_bytes|device_peak_bytes|threads)":[0-9]+/"\1":0/g; s/"other_load":[^,]*/"other_load":0/; s/"date":"[^"]*"/"date":""/; s/"(forecast_)?seconds":\{[^}]*\}/"\1seconds":{}/g' "$@" | sort; }

class_names() { (cd "$dir/data/synthetic" && ls -d */ | tr -d /); }

lines() { cat "$dir"/results/*/*.jsonl 2>/dev/null | wc -l; }

# AddressSanitizer's own memory is not forecast. Not grep -q: it closes the pipe at the first match, and pipefail reports the writer.
forecasts_hold() {
  ! nm -D "$program" | grep __asan_init >/dev/null
}
