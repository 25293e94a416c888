# shellcheck shell=bash disable=SC2154,SC2034 # variables go from one file to the other
# Sourced by slurm_sweep.sh and slurm_fit.sh: options, checks, and a job array with a job behind it. They set before: `script` (what messages
# begin with), `takes` (what the argument is, "experiment"), `help_end` (last line of the script's help), `own` (the options with a
# value that are the script's), `refused` (those of the program that make no sense here).

fail() { # exit code, text
  echo "$script: $2" >&2
  exit "$1"
}

among() { # word, list
  [[ " $2 " = *" $1 "* ]]
}

# The argument comes into `argument`, the script's own options into variables of their names, those behind -- into `batch`, and all others,
# which are the program's, into `options`.
read_options() {
  argument='' options=() batch=()
  local name
  while [ $# -gt 0 ]; do
    name=${1%%=*}
    case $1 in
      -h | --help) sed -n "2,${help_end}s/^# \?//p" "$0"; exit 0 ;;
      --) shift; batch=("$@"); break ;;
      --*)
        ! among "$name" "$refused" || fail 2 "$1 is no option here (see --help)"
        if [ "$name" = "$1" ]; then
          [ $# -ge 2 ] || fail 2 "$1 takes a value (see --help)"
          set -- "$1=$2" "${@:3}"
        fi
        if among "${name#--}" "$own"; then
          printf -v "${name#--}" %s "${1#*=}"
        else
          options+=("$name" "${1#*=}")
        fi
        shift ;;
      *)
        [ -z "$argument" ] || fail 2 "takes one $takes, found $argument and $1 (options of sbatch stand behind --)"
        argument=$1; shift ;;
    esac
  done
}

check_shards() { # least
  [[ $shards =~ ^[1-9][0-9]{0,4}$ && $shards -ge $1 ]] ||
    fail 2 "--shards takes a number from $1 to 99999, found \`$shards\`"
}

# Sets `program`. The commands are shown where there is no Slurm.
find_program() { # command of a part, command that merges the parts; both behind the program's name
  program=${TOTALRECALL:-build/cuda/totalrecall}
  [ -n "${TOTALRECALL:-}" ] || [ -x "$program" ] || program=build/cpu/totalrecall
  [ -x "$program" ] || fail 1 "there is no program $program: build it, or name it in TOTALRECALL"
  command -v sbatch >/dev/null || fail 1 "there is no sbatch here: run this where jobs are submitted to Slurm. Without Slurm, each machine
takes a part, and then they are merged:
  $program $1
  $program $2"
}

# Sets `name` and `work`, and makes the folder of logs.
make_work() { # file that the job is named after
  name=$(basename "$1")
  name=${name%.*}
  work=${work:-slurm/$name}
  mkdir -p "$work/logs"
}

write_job() { # file, names of variables that it gets; its lines from stdin, which may call the next two
  {
    printf '#!/bin/bash\n'
    declare -p "${@:2}"
    declare -f begin_task fail_if_missing
    cat
  } >"$work/$1"
}

# In a task: its number, its file or folder, its threads, and a line in its log.
begin_task() {
  shard=$SLURM_ARRAY_TASK_ID
  mine=$work/shards/$shard-of-$shards
  threads=${threads:-${SLURM_CPUS_PER_TASK:-}}
  echo "shard $shard of $shards on ${SLURMD_NODENAME:-$HOSTNAME}, requeued ${SLURM_RESTART_COUNT:-0} times, $(date -u +%FT%TZ)"
}

# In the last job: the numbers of the shards that are not done.
fail_if_missing() {
  [ $# -gt 0 ] || return 0
  echo "shards of $shards that are not done: $*; see $work/logs. The same command goes on from what there is." >&2
  exit 1
}

submit() { # script, log, options
  sbatch --parsable --requeue --open-mode=append --output="$work/logs/$2" "${@:3}" "${batch[@]}" "$work/$1"
}

# task.sh as an array, merge.sh when all its tasks have ended.
submit_all() { # where the merged results go
  local array last
  array=$(submit task.sh shard-%a.log --job-name="$name" --array="1-$shards") || exit
  array=${array%%;*} # a cluster's name may follow
  last=$(submit merge.sh merge.log --job-name="$name-merge" --dependency="afterany:$array") || { scancel "$array"; exit 1; }
  echo "job $array: $shards shards of $argument; job ${last%%;*} merges them into $1; logs in $work/logs"
}
