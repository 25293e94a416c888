#!/usr/bin/env python3
"""Sorts the collected published numbers into results/published/, a file per table or figure of the paper.

Usage: scripts/import_published.py PUBLISHED.csv [FOLDER]

Every row goes to exactly one file, in its old order; a row that belongs nowhere is an error. Rows whose status is RECALLED are left
out: nobody has read those numbers anywhere. results/published/README.md says what the files and columns are.
"""
import csv
import pathlib
import re
import sys

COLUMNS = ["table", "method", "dataset", "class", "metric", "value", "unit", "source", "confidence", "note", "status"]
OFFICIAL = {"official_csv", "official_lfs", "official_readme"}
REIMPLEMENTATIONS = {"anomalib", "anomalib_3708", "autopatch", "hcw", "indknn", "padim_pt", "patchcore_ex", "pwc", "spade_fast", "spade_pt",
                     "xaver"}
# First match wins: (pattern of the row's table, sources or None for any, file).
RULES = [
    (r"", {"official_csv", "official_lfs"}, "counts"),
    (r".*RECALLED.*|(PaDiM|SPADE) paper|PaDiM Table III", None, "baselines"),
    (r"(?:.*; )?Table (\w+)", None, "table{}"),
    (r"Table S5/Fig 6", None, "figure6"),
    (r"Fig (\d).*", None, "figure{}"),
    (r"(text|section|supplement) .*", None, "text"),
    (r".*", OFFICIAL, "official_release"),
    (r".*", REIMPLEMENTATIONS, "reimplementations"),
]


def file_of(row):
    for pattern, sources, name in RULES:
        match = re.fullmatch(pattern, row["table"])
        if match and (sources is None or row["source"] in sources):
            return name.format(*match.groups()) + ".csv"
    raise SystemExit(f"no file for a row of table \"{row['table']}\", source \"{row['source']}\"")


def main():
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    folder = pathlib.Path(sys.argv[2] if len(sys.argv) == 3 else pathlib.Path(__file__).parent.parent / "results" / "published")
    files, left_out = {}, 0
    with open(sys.argv[1], newline="", encoding="utf-8") as source:
        for row in csv.DictReader(source):
            if row["status"] == "RECALLED":
                left_out += 1
            else:
                files.setdefault(file_of(row), []).append(row)
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in sorted(files.items()):
        with open(folder / name, "w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, COLUMNS, lineterminator="\n", extrasaction="raise")
            writer.writeheader()
            writer.writerows(rows)
        print(f"{name}: {len(rows)} rows")
    print(f"left out: {left_out} rows")


if __name__ == "__main__":
    main()
