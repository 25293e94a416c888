#!/usr/bin/env bash
# Compares two folders of scores that `totalrecall run --scores` wrote: the same files, the same images, and each score within
# TOLERANCE of the other, relative. Prints the largest difference.
#   scripts/compare_scores.sh FOLDER FOLDER TOLERANCE
set -euo pipefail
[ $# = 3 ] || { echo "usage: scripts/compare_scores.sh FOLDER FOLDER TOLERANCE" >&2; exit 2; }
diff <(cd "$1" && ls) <(cd "$2" && ls) >&2 || { echo "$1 and $2 hold different files" >&2; exit 1; }
[ -n "$(ls "$1")" ] || { echo "$1 is empty" >&2; exit 1; }
for file in "$1"/*.csv; do paste -d, "$file" "$2/$(basename "$file")"; done | awk -F, -v tolerance="$3" -v folder="$2" '
  $3 == "score" { next }
  {
    difference = $3 > $6 ? $3 - $6 : $6 - $3
    relative = $3 > 0 ? difference / $3 : difference > 0 ? 1 : 0
    if (NF != 6 || $1 != $4 || $2 != $5 || !(relative <= tolerance)) { print folder ": " $0 > "/dev/stderr"; bad = 1 }
    if (relative > most) most = relative
    ++images
  }
  END { printf "%d scores, largest relative difference %.2e (limit %g)\n", images, most, tolerance; exit bad || !images }'
