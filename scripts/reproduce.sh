#!/usr/bin/env bash
# From a fresh clone to a table: sets up, builds, runs an experiment and writes paper-repro.md and the same as a page, build/report.html.
#   scripts/reproduce.sh                                     the embedded default: synthetic images, EfficientNet-Lite0
#   scripts/reproduce.sh --data ROOT --weights DIR [EXPERIMENT.yaml ...]   real data; default experiments: mvtec.yaml and mtd.yaml
# ROOT holds mvtec/ or mtd/ as README.md says. Other options of `totalrecall run` may follow after "--".
set -euo pipefail
cd "$(dirname "$0")/.."

data= weights=weights experiments=() extra=()
while [ $# -gt 0 ]; do
  case $1 in
    --data) data=$(realpath "$2"); shift 2 ;;
    --weights) weights=$(realpath "$2"); shift 2 ;;
    --) shift; extra=("$@"); break ;;
    -h|--help) sed -n '2,5s/^# \?//p' "$0"; exit 0 ;;
    -*) echo "scripts/reproduce.sh: unknown option $1 (see --help)" >&2; exit 2 ;;
    *) experiments+=("$1"); shift ;;
  esac
done

scripts/setup.sh
cmake --preset cpu -G Ninja -DBUILD_TESTING=OFF >/dev/null
cmake --build build/cpu --target totalrecall
program=build/cpu/totalrecall

if [ -z "$data" ]; then
  [ ${#experiments[@]} -gt 0 ] || experiments=(experiments/quick.yaml)
  data=synthetic
else
  if [ ${#experiments[@]} -eq 0 ]; then
    [ -d "$data/mvtec" ] && experiments+=(experiments/mvtec.yaml)
    [ -d "$data/mtd" ] && experiments+=(experiments/mtd.yaml)
  fi
  [ ${#experiments[@]} -gt 0 ] || { echo "scripts/reproduce.sh: neither mvtec/ nor mtd/ in $data" >&2; exit 1; }
fi

failed=0
folders=()
for experiment in "${experiments[@]}"; do
  name=$(basename "$experiment" .yaml)
  "$program" run "$experiment" --data "$data" --weights "$weights" --scores "build/scores/$name" --maps "build/maps/$name" \
    "${extra[@]}" || failed=1
  folders+=(--scores "build/scores/$name" --maps "build/maps/$name")
done
"$program" report --out paper-repro.md --html build/report.html "${folders[@]}"
echo "paper-repro.md and build/report.html are written; scores are in build/scores, heat maps in build/maps"
exit $failed
