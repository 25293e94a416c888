# search: in experiments and detectors: what cannot be is refused run by run with its reason, and the others go on; lines say who searched. Without
# FAISS, exact search goes on, and what is missing is said.
. "$(dirname "$0")/common.sh" "$@"
mkdir "$dir/weights"
make_data "$dir/data"
make_weights "$dir/weights"
one=$(class_names | sed -n 1p)
info=$("$program" info)
experiment() { make_experiment "$dir/e.yaml" 'subsampling: {percent: 50}' "search: [$1]" 'nprobe: [1, 4]'; }
fit() { "$program" fit "$dir/data/synthetic/$one" --out "$1" --backbone resnet18 --weights "$dir/weights" --set image.resize=64 \
  --set image.crop=56 --set layer_dimension=64 --set dimension=64 --set subsampling.percent=50 "${@:2}"; }
line_of() { grep -- "$1" "$dir"/results/*/t.jsonl || fail "no line of $1"; }

if [[ $info =~ FAISS\ +missing ]]; then
  experiment 'exact, '\''faiss:"IVF8,Flat"'\'
  code 1 run "$dir/e.yaml" --class "$one"
  says err "IVF8-Flat-nprobe1: this build has no FAISS: install libfaiss-dev" "2 runs failed"
  [ "$(lines)" = 1 ] || fail "$(lines) lines, expected that of exact search"
  code 1 fit "$dir/model" --set 'search=faiss:IVF8,Flat'
  says err "this build has no FAISS: install libfaiss-dev"
  exit 0
fi

# Each of these is wrong in its own way; the runs beside them end as they should.
experiment 'exact, '\''faiss:"IVFx,Flat"'\'', '\''faiss:"IVF8,Flat"'\'', '\''faiss:"IVF9000,Flat"'\'', '\''faiss:"IDMap,Flat"'\'', '\''faiss:"LSH"'\'', '\''faiss:"IVF8,PQ7np"'\'', '\''faiss:"HNSW8"'\'
code 1 run "$dir/e.yaml" --class "$one"
says err '"IVFx,Flat" for 64 dimensions: could not parse index string IVFx,Flat' \
  '"IVF9000,Flat" for 64 dimensions: expected at least 9000 bank rows, one for each centroid, found 147' \
  '"IDMap,Flat" for 64 dimensions: the rows of a bank have no other numbers' \
  '"LSH" for 64 dimensions: it measures Hamming distances' \
  '"IVF8,PQ7np" for 64 dimensions: The dimension of the vector (d) should be a multiple' "runs failed"
[ "$(lines)" = 4 ] || { cat "$dir/err" >&2; fail "$(lines) lines, expected those of exact search, two of IVF8,Flat and HNSW8"; }
[[ $(line_of 'IVF8-Flat-nprobe4') = *'"searched_by":"ivf"'* ]] || fail "IVF8,Flat is not the operator's"
[[ $(line_of 'HNSW8') = *'"searched_by":"faiss"'* ]] || fail "HNSW8 is not FAISS's"
[[ $(line_of '_S0"') = *'"searched_by":null'* ]] || fail "exact search has an index"
code 1 fit "$dir/no" --set 'search=faiss:IVFx,Flat'
says err '"IVFx,Flat" for 64 dimensions: could not parse'
code 1 fit "$dir/no" --set 'search=IVF8,Flat'
says err 'allowed: exact, or a factory string of FAISS'
[ ! -e "$dir/no" ] || fail "a model was written after an error"

# A detector with an index: scored as its file says, timed, and its rows come back from files that are whole.
code 0 fit "$dir/model" --set 'search=faiss:IVF8,Flat' --set nprobe=2
code 0 "$program" score "$dir/model" "$dir/data/synthetic/$one/test" --weights "$dir/weights"
code 0 "$program" bench latency "$dir/model" "$dir/data/synthetic/$one/test" --weights "$dir/weights" --samples 3
says out "faiss-IVF8-Flat-nprobe2" "search "
code 0 "$program" bank export "$dir/model" "$dir/model.index"
code 0 "$program" bank import "$dir/model" "$dir/model.index" "$dir/same"
golden=$root/tests/golden
head -c 3000 "$dir/model.index" >"$dir/cut.index"
wrong() { # index, what is said of it
  code 1 env ASAN_OPTIONS=detect_leaks=0 "$program" bank import "$dir/model" "$1" "$dir/no" # FAISS forgets what it has read
  says err "$1: $2"
  [ ! -e "$dir/no" ] || fail "a model with the bank of $1"
}
wrong "$dir/cut.index" "expected an index of FAISS, found one that is cut short"
wrong "$golden/faiss_untrained.index" "expected a trained index, found one that is not"
wrong "$golden/faiss_product.index" "expected an index that measures squared L2"
wrong "$golden/faiss_ivfflat.index" "expected rows of the model's 64 dimensions, found 16"
wrong "$dir/e.yaml" "FAISS does not read it as an index: Index type"
code 1 "$program" bank import "$dir/model" "$dir/none.index" "$dir/no"
says err "$dir/none.index"
