# bank: rows go out as .npy and as an index of FAISS and come in again, to the same scores; python's faiss reads ours, and we read its, where
# it is there. bench latency on the way.
. "$(dirname "$0")/common.sh" "$@"
make_data "$dir/data"
make_weights "$dir"
class=$(class_names | sed -n 1p)
images=$dir/data/synthetic/$class/test
fit() { "$program" fit "$dir/data/synthetic/$class" --out "$1" --backbone resnet18 --weights "$dir" --set image.resize=64 \
  --set image.crop=56 "${@:2}"; }
score() { code 0 "$program" score "$1" "$images" --weights "$dir"; sed 's/,[01]$//' "$dir/out" | tail -n +2; }

code 0 fit "$dir/model" --set layer_dimension=64 --set dimension=64
score "$dir/model" >"$dir/scores"
[ "$(wc -l <"$dir/scores")" -ge 3 ] || fail "no scores"
python=
for candidate in ${TOTALRECALL_PYTHON:-} python3; do
  "$candidate" -c 'import faiss, numpy' 2>/dev/null && python=$candidate && break
done

same_with() { # file that the model's bank came out as
  code 0 "$program" bank import "$dir/model" "$1" "$dir/new"
  score "$dir/new" | diff - "$dir/scores" || fail "other scores with the bank of $1"
}

code 0 "$program" bank export "$dir/model" "$dir/bank.npy"
same_with "$dir/bank.npy"
code 0 "$program" bank export "$dir/new" "$dir/again.npy" # what came in goes out
cmp "$dir/bank.npy" "$dir/again.npy"

if grep -q 'FAISS *missing' < <("$program" info); then
  code 1 "$program" bank export "$dir/model" "$dir/bank.index"
  says err libfaiss-dev
else
  code 0 "$program" bank export "$dir/model" "$dir/bank.index"
  same_with "$dir/bank.index"
  if [ -n "$python" ]; then
    "$python" - "$dir" <<'PYTHON'
import sys
import faiss
import numpy
folder = sys.argv[1]
rows = numpy.load(folder + "/bank.npy")
index = faiss.read_index(folder + "/bank.index")
assert rows.dtype == numpy.float32 and index.ntotal == len(rows) and index.d == rows.shape[1]
assert (index.reconstruct_n(0, index.ntotal) == rows).all()
numpy.save(folder + "/theirs.npy", rows)
for name, factory in (("theirs.index", "Flat"), ("lists.index", "IVF4,Flat")):
    made = faiss.index_factory(rows.shape[1], factory)
    made.train(rows)
    made.add(rows)
    faiss.write_index(made, folder + "/" + name)
PYTHON
    for theirs in theirs.npy theirs.index lists.index; do same_with "$dir/$theirs"; done
  else
    echo "python's faiss is not here: left out"
  fi
  head -c 100 "$dir/bank.index" >"$dir/cut.index"
  # FAISS forgets what it has read of it.
  code 1 env ASAN_OPTIONS=detect_leaks=0 "$program" bank import "$dir/model" "$dir/cut.index" "$dir/no"
  says err "$dir/cut.index"
  code 1 "$program" bank import "$dir/model" "$root/tests/golden/faiss_flat.index" "$dir/no"
  says err "the model's 64 dimensions, found 16"
fi

head -c 200 "$dir/bank.npy" >"$dir/cut.npy"
code 1 "$program" bank import "$dir/model" "$dir/cut.npy" "$dir/no"
says err "cut short"
code 1 "$program" bank import "$dir/model" "$root/tests/golden/faiss_flat_labels.npy" "$dir/no"
says err "<f4"
code 1 "$program" bank export "$dir/bank.npy" "$dir/no.npy"
says err "$dir/bank.npy"
code 0 fit "$dir/padim" --method padim --set dimension=20
code 1 "$program" bank export "$dir/padim" "$dir/no.npy"
says err "a model of padim has no memory bank"
code 2 "$program" bank export "$dir/model"
[ ! -e "$dir/no" ] && [ ! -e "$dir/no.npy" ] || fail "a file was written after an error"

# Stages add up to no more than the whole, and percentiles grow.
latency() { # device clock
  code 0 "$program" bench latency "$dir/model" "$images" --weights "$dir" --samples 20 --json "$dir/line" --device "$1"
  says out decode preprocess backbone aggregate search map "images a second in batches of 16" "stages by the $2"
  grep -q '"operator":"latency","run":"IM56' "$dir/line" || fail "no line: $(cat "$dir/line")"
  for field in '"warm_up":3' '"samples":' '"processor_mhz":' '"device_mhz":' '"libraries":{"' "\"clock\":\"$2\"" "\"device\":\"$1\""; do
    grep -qF "$field" "$dir/line" || fail "no $field: $(cat "$dir/line")"
  done
  awk '
    function number(block, name) {
      s = substr($0, index($0, "\"" block "\":{")); s = substr(s, index(s, "\"" name "\":")); sub(/^[^:]*:/, "", s)
      return s + 0
    }
    {
      split("decode preprocess backbone aggregate search map", stages, " ")
      for (i in stages) {
        p50 = number("seconds_p50", stages[i]); p95 = number("seconds_p95", stages[i]); p99 = number("seconds_p99", stages[i])
        if (!(p50 > 0 && p95 >= p50 && p99 >= p95 && p99 <= number("seconds_p99", "all"))) exit 1
      }
    }' "$dir/line" || fail "percentiles make no sense: $(cat "$dir/line")"
}
latency cpu "monotonic clock"
if "$program" bench copy --quick --device cuda:0 >/dev/null 2>&1; then latency cuda:0 "CUDA events"; fi
code 2 "$program" bench latency "$dir/model"
code 1 "$program" bench latency "$dir/bank.npy" "$images" --weights "$dir"
