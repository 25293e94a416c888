#!/usr/bin/env bash
# results/published/*.csv against the collected list they are made from: the import gives the same files, and together they hold
# each row of the list that somebody read, unchanged. (official_on_resnet50v1.csv was measured, not read.) Arguments: program (unused), project root.
set -euo pipefail
root=$2
list=$root/../shared/paper/published.csv
if [ ! -r "$list" ] || ! command -v python3 >/dev/null; then
  echo "skipped: no $list, or no python3"
  exit 77
fi
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
python3 "$root/scripts/import_published.py" "$list" "$fresh" >/dev/null
diff -r --exclude=README.md --exclude=official_on_resnet50v1.csv "$root/results/published" "$fresh"

python3 - "$list" "$root/results/published" <<'PYTHON'
import collections, csv, pathlib, sys

def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return [tuple(sorted(row.items())) for row in csv.DictReader(file)]

wanted = collections.Counter(row for row in rows(sys.argv[1]) if dict(row)["status"] != "RECALLED")
found = collections.Counter(row for path in pathlib.Path(sys.argv[2]).glob("*.csv")
                            if path.name != "official_on_resnet50v1.csv" for row in rows(path))
for text, difference in (("missing", wanted - found), ("not in the list", found - wanted)):
    for row in difference:
        print(f"{text}: {dict(row)}")
if wanted != found or not wanted:
    sys.exit(1)
readme = pathlib.Path(sys.argv[2], "README.md").read_text(encoding="utf-8")
named = {name for row in found for name in dict(row)["source"].split("; ")}
unexplained = [name for name in sorted(named) if f"| `{name}` |" not in readme]
if unexplained:
    sys.exit(f"README.md does not explain the sources {unexplained}")
print(f"{sum(found.values())} rows agree")
PYTHON
