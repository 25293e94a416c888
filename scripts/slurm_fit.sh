#!/usr/bin/env bash
# Fits a detector as a Slurm job array: N tasks fit a shard of the folder's images each, a last job merges their banks.
#   scripts/slurm_fit.sh FOLDER --shards N --percent P --out MODEL [--work DIR] [options of `totalrecall fit`] [-- options of sbatch]
#   scripts/slurm_fit.sh /data/screws --shards 8 --percent 1 --out screws.trbank --weights /weights -- --gpus-per-task 1 --time 4:00:00
#
# Each task selects as many rows of its images as P per cent of all images' patches are, and the last job selects as many from the tasks' together: the
# covering radius is at most 4 times the least possible (host/detector/bank_merge.h), where one process has at most twice. Shards that are
# there already, of a requeued task or of this command given again with the same options, are not fitted twice. The last job runs when all
# tasks have ended; it fails with the numbers of the shards that are not done, else it writes MODEL and removes the shards below DIR
# (default: slurm/<MODEL's name>). Logs: DIR/logs. The program: $TOTALRECALL, else build/cuda/totalrecall, else build/cpu/totalrecall.
# Paths are relative to where this is called; all nodes must see them.
set -euo pipefail

script=scripts/slurm_fit.sh takes=folder help_end=13
own='shards work out percent threads' refused='--shard --dry-run --quantile --append'
shards='' work='' out='' percent='' threads=''
# shellcheck source=scripts/slurm_common.sh
. "$(dirname "$0")/slurm_common.sh"
read_options "$@"
folder=$argument
[ -n "$folder" ] || fail 2 "takes a folder of nominal images (see --help)"
[ -d "$folder" ] || fail 1 "there is no folder $folder"
[ -n "$out" ] || fail 2 "--out names the file of the model (see --help)"
check_shards 2
[[ $percent =~ ^[0-9]*\.?[0-9]+$ ]] || fail 2 "--percent takes a number, found \`$percent\`"
fit=("${options[@]}" --set "subsampling.percent=$percent")
find_program "fit $folder --shard I/$shards ${fit[*]} --out SHARD_I" "bank merge SHARD_1 SHARD_2 … --percent $percent --out $out"

make_work "$out"
# Shards of other options or another folder are not these.
settings=$(printf '%q ' "$folder" "$shards" "${fit[@]}")
if [ "$(cat "$work/settings" 2>/dev/null)" != "$settings" ]; then
  rm -rf "$work/shards"
  echo "$settings" >"$work/settings"
fi
mkdir -p "$work/shards"

write_job task.sh program folder fit work shards threads <<'TASK'
begin_task
[ ! -s "$mine" ] || { echo "it is there already"; exit 0; }
exec "$program" fit "$folder" "${fit[@]}" --shard "$shard/$shards" --out "$mine" ${threads:+--threads "$threads"}
TASK

write_job merge.sh program out work shards percent <<'MERGE'
missing=() parts=()
for ((i = 1; i <= shards; ++i)); do
  parts+=("$work/shards/$i-of-$shards")
  [ -s "${parts[-1]}" ] || missing+=("$i")
done
fail_if_missing "${missing[@]}"
"$program" bank merge "${parts[@]}" --percent "$percent" --out "$out" || exit
rm -r "$work/shards"
MERGE
submit_all "$out"
