# bench: every operator has a row that makes sense, on the terminal and as JSON; names are checked; the report leaves the file alone.
. "$(dirname "$0")/common.sh" "$@"
devices=(cpu)
"$program" bench copy --quick --device cuda:0 >/dev/null 2>&1 && devices+=(cuda:0)

# Each row's seconds, samples and counts are positive and its share follows from its own figures.
check_rows() { # file
  awk '
    function number(name) { return match($0, "\"" name "\":-?[0-9.e+-]+") ? substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3) + 0 : -1 }
    {
      flops = number("flops"); bytes = number("bytes"); median = number("seconds_median"); least = number("seconds_min")
      if (!(least > 0 && median >= least && number("samples") >= 1 && number("items") >= 1 && flops >= 0 && bytes > 0)) exit 1
      products = flops / number("limit_flops_per_second"); copies = bytes / number("limit_bytes_per_second")
      expected = (products > copies ? products : copies) / median; share = number("share")
      if (share < 0) { if ($0 !~ /"share":null/ || $0 !~ /"copy"/) exit 1; next }
      if (share < 0.999 * expected || share > 1.001 * expected) exit 1
      if ($0 !~ ("\"limit\":\"" (copies >= products ? "copy" : "product"))) exit 1
    }' "$1" || { cat "$1" >&2; fail "a row of $1 makes no sense"; }
}

operators=$("$program" bench --help | sed -n 's/^Operators: //p')
[ "$(wc -w <<<"$operators")" -ge 15 ] || fail "operators: $operators"
for device in "${devices[@]}"; do
  code 0 "$program" bench --quick --device "$device" --json "$dir/rows"
  says out "$device" "products" "copies" "of the limit"
  for operator in $operators; do
    if [ "$operator" = ivf ] && ! grep -q '^FAISS  *[0-9]' < <("$program" info); then continue; fi
    says out "$operator "
    grep -q "\"operator\":\"$operator\",.*\"quick\":true,.*\"device\":\"$device\"" "$dir/rows" || fail "no line of $operator"
  done
  [ "$(grep -c . "$dir/rows")" = $(($(grep -c . "$dir/out") - 2)) ] || fail "rows and lines differ in number"
  check_rows "$dir/rows"
done

# Exact search and FAISS's, in one run: how many times as long the second one takes.
if grep -q '^FAISS  *[0-9]' < <("$program" info); then
  code 0 "$program" bench search --quick --json "$dir/search"
  says out "times exact search"
  awk '
    function number(name) { return match($0, "\"" name "\":-?[0-9.e+-]+") ? substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3) + 0 : -1 }
    /, exact"/ { exact = number("seconds_median") }
    /, FAISS Flat"/ { ++pairs; ratio = number("ratio") * exact / number("seconds_median"); if (!(ratio > 0.999 && ratio < 1.001)) exit 1 }
    END { if (pairs != 1) exit 1 }' "$dir/search" || fail "the ratio makes no sense: $(cat "$dir/search")"
  for field in '"ratio_to":"exact search"' '"clock":"monotonic clock"' '"libraries":{' '"FAISS":"'; do
    grep -qF "$field" "$dir/search" || fail "no $field in the lines of search"
  done
fi

code 0 "$program" bench smooth upsample --quick --results "$dir/results" --threads 1
code 0 "$program" bench smooth --quick --results "$dir/results" --threads 1
[ "$(cat "$dir"/results/*/bench.jsonl | wc -l)" = 3 ] || fail "lines are not appended"
if grep -qE 'conv|resize' "$dir/out"; then fail "an operator that was not named"; fi

cp -r "$root/results/published" "$dir/results/"
code 0 "$program" report --results "$dir/results"
[ ! -s "$dir/err" ] || fail "the report stumbles over measurements: $(cat "$dir/err")"

code 1 "$program" bench smoth
says err 'no operator `smoth`' smooth sort_scan
code 2 "$program" bench --json a --results b
code 2 "$program" bench --threads none
code 1 "$program" bench smooth --quick --json "$dir/none/rows"
says err "$dir/none/rows"
code 1 "$program" bench smooth --quick --device gpu
says err gpu
code 0 "$program" bench --help
says out "usage: totalrecall bench" sort_scan
