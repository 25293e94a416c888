# A run that another experiment of the same results folder has is copied as a line, not computed again.
. "$(dirname "$0")/common.sh" "$@"

mkdir "$dir/weights"
make_weights "$dir/weights"
make_data "$dir/data"
one=$(class_names | sed -n 1p)
make_experiment "$dir/e.yaml" "classes: [$one]" 'subsampling: {percent: [25, 5]}'
code 0 run "$dir/e.yaml"

sed 's/^name: .*/name: u/; s/\[25, 5\]/[50, 25, 5]/' "$dir/e.yaml" >"$dir/u.yaml"
code 0 run "$dir/u.yaml" --dry-run
says out "3 runs of a class, 2 finished"
[ "$(lines)" = 2 ] || fail "a dry run leaves $(lines) lines"
code 0 run "$dir/u.yaml"
says err "2 of 3 runs are finished already"
says err "2 of them are other experiments' runs, whose lines are copied"
[ "$(lines)" = 5 ] || fail "$(lines) lines"
# The lines as they were, date and seconds too, but for the name.
diff <(sort "$dir"/results/*/t.jsonl) <(grep -v _P50_ "$dir"/results/*/u.jsonl | sed 's/"experiment":"u"/"experiment":"t"/' | sort) ||
  fail "copied lines differ"
code 0 run "$dir/u.yaml"
says err "3 of 3 runs are finished already"
[ "$(lines)" = 5 ] || fail "$(lines) lines after another run"

# Neither of another version or device, nor where files are asked for that are not there.
for change in 's/"version":"[^"]*"/"version":"0.0.1"/' 's/"device":"[^"]*"/"device":"cuda:7"/'; do
  rm -f "$dir"/results/*/u.jsonl
  sed -i.kept -E "$change" "$dir"/results/*/t.jsonl
  code 0 run "$dir/u.yaml" --dry-run
  says out "3 runs of a class, 0 finished"
  for kept in "$dir"/results/*/t.jsonl.kept; do mv "$kept" "${kept%.kept}"; done
done
code 0 run "$dir/u.yaml" --scores "$dir/scores"
[ "$(ls "$dir/scores" | wc -l)" = 3 ] || fail "scores of $(ls "$dir/scores" | wc -l) runs"
diff <(lasting "$dir"/results/*/t.jsonl) <(lasting "$dir"/results/*/u.jsonl | grep -v _P50_ | sed 's/"experiment":"u"/"experiment":"t"/') ||
  fail "computed lines differ"
