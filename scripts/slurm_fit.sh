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

fail() { # exit code, text
  echo "scripts/slurm_fit.sh: $2" >&2
  exit "$1"
}

folder='' shards='' work='' out='' percent='' threads='' fit=() batch=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,13s/^# \?//p' "$0"; exit 0 ;;
    --) shift; batch=("$@"); break ;;
    --shard | --shard=* | --dry-run | --quantile | --quantile=* | --append | --append=*) fail 2 "$1 is no option here (see --help)" ;;
    --shards=* | --work=* | --out=* | --percent=* | --threads=*)
      name=${1%%=*}
      printf -v "${name#--}" %s "${1#*=}"; shift ;;
    --*=*) fit+=("$1"); shift ;;
    --*)
      [ $# -ge 2 ] || fail 2 "$1 takes a value (see --help)"
      case $1 in
        --shards | --work | --out | --percent | --threads) printf -v "${1#--}" %s "$2" ;;
        *) fit+=("$1" "$2") ;;
      esac
      shift 2 ;;
    *)
      [ -z "$folder" ] || fail 2 "takes one folder, found $folder and $1 (options of sbatch stand behind --)"
      folder=$1; shift ;;
  esac
done
[ -n "$folder" ] || fail 2 "takes a folder of nominal images (see --help)"
[ -d "$folder" ] || fail 1 "there is no folder $folder"
[ -n "$out" ] || fail 2 "--out names the file of the model (see --help)"
[[ $shards =~ ^[1-9][0-9]{0,4}$ ]] && [ "$shards" -ge 2 ] || fail 2 "--shards takes a number from 2 to 99999, found \`$shards\`"
[[ $percent =~ ^[0-9]*\.?[0-9]+$ ]] || fail 2 "--percent takes a number, found \`$percent\`"
program=${TOTALRECALL:-build/cuda/totalrecall}
[ -n "${TOTALRECALL:-}" ] || [ -x "$program" ] || program=build/cpu/totalrecall
[ -x "$program" ] || fail 1 "there is no program $program: build it, or name it in TOTALRECALL"
command -v sbatch >/dev/null || fail 1 "there is no sbatch here: run this where jobs are submitted to Slurm. Without Slurm, each machine
takes a part, and then they are merged:
  $program fit $folder --shard I/$shards --set subsampling.percent=$percent --out SHARD_I ${fit[*]}
  $program bank merge SHARD_1 SHARD_2 … --percent $percent --out $out"

name=$(basename "$out")
name=${name%.*}
work=${work:-slurm/$name}
fit+=(--set "subsampling.percent=$percent")
mkdir -p "$work/logs"
# Shards of other options or another folder are not these.
settings=$(printf '%q ' "$folder" "$shards" "${fit[@]}")
if [ "$(cat "$work/settings" 2>/dev/null)" != "$settings" ]; then
  rm -rf "$work/shards"
  echo "$settings" >"$work/settings"
fi
mkdir -p "$work/shards"

{
  printf '#!/bin/bash\n'
  declare -p program folder fit work shards threads
  cat <<'TASK'
shard=$SLURM_ARRAY_TASK_ID
mine=$work/shards/$shard-of-$shards
threads=${threads:-${SLURM_CPUS_PER_TASK:-}}
echo "shard $shard of $shards on ${SLURMD_NODENAME:-$HOSTNAME}, requeued ${SLURM_RESTART_COUNT:-0} times, $(date -u +%FT%TZ)"
[ ! -s "$mine" ] || { echo "it is there already"; exit 0; }
exec "$program" fit "$folder" "${fit[@]}" --shard "$shard/$shards" --out "$mine" ${threads:+--threads "$threads"}
TASK
} >"$work/task.sh"

{
  printf '#!/bin/bash\n'
  declare -p program out work shards percent
  cat <<'MERGE'
missing=() parts=()
for ((i = 1; i <= shards; ++i)); do
  parts+=("$work/shards/$i-of-$shards")
  [ -s "${parts[-1]}" ] || missing+=("$i")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "shards of $shards that are not done: ${missing[*]}; see $work/logs. The same command goes on from what there is." >&2
  exit 1
fi
"$program" bank merge "${parts[@]}" --percent "$percent" --out "$out" || exit
rm -r "$work/shards"
MERGE
} >"$work/merge.sh"

submit() { # script, log, options
  sbatch --parsable --requeue --open-mode=append --output="$work/logs/$2" "${@:3}" "${batch[@]}" "$work/$1"
}
array=$(submit task.sh shard-%a.log --job-name="$name" --array="1-$shards") || exit
array=${array%%;*} # a cluster's name may follow
last=$(submit merge.sh merge.log --job-name="$name-merge" --dependency="afterany:$array") || { scancel "$array"; exit 1; }
echo "job $array: $shards shards of $folder; job ${last%%;*} merges them into $out; logs in $work/logs"
