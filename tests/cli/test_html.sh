# The report's page and figures: what is in them, the same bytes each time, nothing fetched, and what is said without gnuplot.
. "$(dirname "$0")/common.sh" "$@"
mkdir -p "$dir/weights" "$dir/results/other"
make_weights "$dir/weights"
make_data "$dir/data"
make_experiment "$dir/e.yaml"
cp -r "$root/results/published" "$dir/results/"
report() { "$program" report --results "$dir/results" "$@"; }

code 0 run "$dir/e.yaml" --scores "$dir/scores" --maps "$dir/maps"
class=$(class_names | sed -n 1p)

# Lines as runs of bottle with other neighbourhoods would leave them.
line=$(grep -m1 '_P10_[^"]*_S0".*"class":"bottle"' "$root/results/amd-epyc-2core/mvtec.jsonl")
for p in 1 3 5; do
  sed "s/_PS-3_/_PS-$p""_/; s/\"patch\":3/\"patch\":$p/; s/\"image_auroc\":[0-9.e-]*/\"image_auroc\":0.9$p/" <<<"$line"
done >"$dir/results/other/mvtec.jsonl"

if command -v gnuplot >/dev/null; then
  code 0 report --out "$dir/report.md" --html "$dir/page.html" --maps "$dir/maps" --scores "$dir/scores"
  svg=figure4_neighbourhood_mvtec_resnet50_v1.svg
  for text in '</svg>' '>Image AUROC<' '>Image AUROC, paper<' '<text>99</text>'; do
    grep -qF -- "$text" "$dir/results/figures/$svg" || fail "no $text in $svg"
  done
  says report.md "results/figures/$svg)" "MVTec AD (bottle), resnet50_v1"
  says page.html '<svg xmlns=' 'id="figure-figure4_neighbourhood_mvtec_resnet50_v1"' "<code>totalrecall run experiments/figure5.yaml" \
    "<h3>$class (synthetic), patchcore</h3>" 'src="data:image/jpeg;base64,/9j/' '<details>' '</html>'
  [ "$(grep -c '<img ' "$dir/page.html")" = $((3 * $(class_names | wc -l))) ] || fail "heat maps of every class"
  ids=$(grep -oE " id=[\"'][^\"']*[\"']" "$dir/page.html" | tr -d "\"'" | sort | uniq -d)
  [ -z "$ids" ] || fail "the page has an id twice: $ids"
  cp "$dir/page.html" "$dir/first.html"
  code 0 report --html "$dir/page.html" --maps "$dir/maps" --scores "$dir/scores"
  [ ! -s "$dir/out" ] || fail "--html alone printed Markdown as well"
  cmp "$dir/first.html" "$dir/page.html" || fail "the page differs from call to call"
  if command -v xmllint >/dev/null; then xmllint --noout "$dir"/results/figures/*.svg || fail "an SVG is not XML"; fi
fi

# Heat maps are looked for beside the results.
machine=$(basename "$(dirname "$dir"/results/*/t.jsonl)")
mv "$dir/maps" "$dir/scores" "$dir/results/$machine/"

# Without gnuplot the page has the figures' numbers.
mkdir "$dir/bin"
PATH=$dir/bin code 0 "$program" info
says out "gnuplot     missing"
PATH=$dir/bin code 0 report --out "$dir/bare.md" --html "$dir/bare.html"
says err "warning: no figures are drawn" "gnuplot-nox"
says bare.md "not drawn" "gnuplot-nox"
says bare.html '<details open>' "<h3>$class (synthetic), patchcore</h3>"
if grep '<svg' "$dir/bare.html" >/dev/null; then fail "an SVG without gnuplot"; fi

for page in "$dir"/*.html; do
  if sed 's/ xmlns="[^"]*"//g' "$page" | grep -E '(src|href|action|url|import)[=( ]*["'\'']?(https?:|//|file:|\.|/)' >/dev/null; then fail "$page fetches something"; fi
done

rm -r "$dir/results/$machine/maps"
code 0 report --html "$dir/page.html"
says page.html "None at hand."
code 1 report --html "$dir/none/page.html"
says err "$dir/none/page.html"
code 1 report --html "$dir/page.html" --maps "$dir/none"
says err "$dir/none"
code 2 report --html
