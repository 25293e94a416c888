# The report: published numbers, ours where there are some, and what is missing where there are none.
. "$(dirname "$0")/common.sh" "$@"
mkdir "$dir/weights" "$dir/results"
make_weights "$dir/weights"
make_data "$dir/data"
make_experiment "$dir/e.yaml" 'seed: [0, 1]'
cp -r "$root/results/published" "$dir/results/"

code 0 "$program" report --results "$dir/results"
says out "## The authors' code" "Table S1" "not run" "experiments/table1.yaml" "wide_resnet50_2" "| bottle | not published | not run [1] |" "PatchCore-10 % | 97.9"
# Every command that the report names runs an experiment that is there.
code 0 "$program" report --results "$dir/results" --tables "$dir/tables"
[ ! -s "$dir/out" ] || fail "Markdown on standard output beside --tables"
for file in $(grep -oh 'experiments/[a-z0-9_]*\.yaml' "$dir"/tables/*.csv "$dir/err" | sort -u); do
  [ -f "$root/$file" ] || fail "the report names $file, which is not there"
done
head -1 "$dir/tables/table1.csv" | grep -qx 'row,column,unit,published,source,ours,deviation,seeds,difference,reason,command' || fail "head of table1.csv"
says tables/table1.csv 'PatchCore-10 %,Image AUROC,percent,99,note_A; note_B,,,,,Not run: needs MVTec AD'
says tables/tableS2.tex '\label{tab:tableS2}' 'metal\_nut' 'PatchCore-25 \%'
code 0 run "$dir/e.yaml" --scores "$dir/scores"
code 0 "$program" report --results "$dir/results" --out "$dir/report.md"
says report.md "IM56_RN18_L2-3_P10_D64-64_PS-3_AN-1_S0" "resnet18_random.safetensors" "±"

# A line as a full run of bottle at 10 % with the paper's backbone would leave it, and one with another backbone.
line=$(head -1 "$dir"/results/*/t.jsonl)
as() { # backbone, train images, seed, image AUROC
  sed -E "s/\"dataset\":\"synthetic\"/\"dataset\":\"mvtec\"/; s/\"class\":\"[^\"]*\"/\"class\":\"bottle\"/; s/\"backbone\":\"[^\"]*\"/\"backbone\":\"$1\"/
    s/\"train_images\":[0-9]+/\"train_images\":$2/; s/\"images\":[0-9]+/\"images\":83/; s/_S0\"/_S$3\"/; s/\"seed\":0/\"seed\":$3/
    s/\"resize\":[0-9]+,\"crop\":[0-9]+/\"resize\":256,\"crop\":224/; s/\"layer_dimension\":64,\"target_dimension\":64/\"layer_dimension\":1024,\"target_dimension\":1024/
    s/\"image_auroc\":[0-9.e-]+/\"image_auroc\":$4/; s/IM56/IM224/; s/D64-64/D1024-1024/" <<<"$line"
}
mkdir "$dir/results/other"
as resnet50_v1 120 0 0.5 | sed 's/_RN18_/_RN50V1_/' >"$dir/results/other/mvtec.jsonl"
code 0 "$program" report --results "$dir/results"
says out "| 100.0 | not run [1] | 100.0 | 50.00 (-50.00) [2] |" '`resnet50_v1` in place of `wide_resnet50_2`; 120 of 209 training images.'
says out "| bottle, 10 % | Image AUROC | 1.0000 | 0.5000 (-0.5000) | 1 | 0.005 | **no** |"
{ as wide_resnet50_2 209 0 0.99; as wide_resnet50_2 209 1 0.97; } | sed 's/_RN18_/_WR50_/' >>"$dir/results/other/mvtec.jsonl"
code 0 "$program" report --results "$dir/results"
says out "| 100.0 | 98.00 ± 1.41 (-2.00) |" "1 of 15 classes (bottle). Published for these: 100.00, so that ours differs by -2.00."

printf '{"torn' >>"$dir/results/other/mvtec.jsonl"
code 0 "$program" report --results "$dir/results"
says err "torn by a crash"
code 1 "$program" report --results "$dir/none"
says err "$dir/none"

# Two files of scores.
scores=("$dir"/scores/*_S0_*.csv)
code 0 "$program" compare "${scores[0]}" "${scores[0]}"
says out "3 good and 4 anomalous images" "difference  +0.0000, 95 % interval +0.0000 to +0.0000 (2000 paired draws): equal"
awk -F, 'NR == 1 { print; next } { print $1 "," $2 "," ($2 == 1 ? 9 + NR : NR) }' OFS=, "${scores[0]}" >"$dir/good.csv"
awk -F, 'NR == 1 { print; next } { print $1 "," $2 "," ($2 == 1 ? NR : 90 + NR) }' OFS=, "${scores[0]}" >"$dir/bad.csv"
code 0 "$program" compare "$dir/good.csv" "$dir/bad.csv"
says out "image AUROC 1.0000" "image AUROC 0.0000" "+1.0000 to +1.0000" "the first is better"
code 1 "$program" compare "$dir/good.csv" "${scores[-1]}"
says err "only scores of the same images can be compared"
echo 'image,score' >"$dir/other.csv"
code 1 "$program" compare "$dir/good.csv" "$dir/other.csv"
says err "other.csv has no column \`label\`"
code 1 "$program" compare "$dir/good.csv" "$dir/none.csv"
says err "none.csv"
code 2 "$program" compare "$dir/good.csv"
