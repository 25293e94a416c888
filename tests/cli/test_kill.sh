# A sweep that is killed (kill -9) at random instants and started again ends with the lines of one that was not: one process, shards
# side by side in one folder, two processes that both do the whole, and shards with a folder each that are merged. KILLS (default 5) for
# each; SEED draws the instants.
. "$(dirname "$0")/common.sh" "$@"
kills=${KILLS:-5}
RANDOM=${SEED:-1}
mkdir "$dir/weights"
make_weights "$dir/weights"
make_data "$dir/data" --train 10
make_experiment "$dir/e.yaml" 'patch: [1, 3]' 'subsampling: {percent: [25, 5]}' 'seed: [0, 1]'
start=$(date +%s%N)
code 0 run "$dir/e.yaml" --results "$dir/whole"
length_ms=$((($(date +%s%N) - start) / 1000000))
lasting "$dir"/whole/*/t.jsonl >"$dir/wanted"

# Whole lines only, each one that is wanted, none twice; but for the last one, which may be torn.
check_lines() { # folder
  local file
  for file in "$dir/$1"/*/t.jsonl; do
    [ -s "$file" ] || continue
    head -n "$(wc -l <"$file")" "$file" >"$dir/lines" # wc counts line ends
    lasting "$dir/lines" >"$dir/found"
    [ -z "$(uniq -d "$dir/found")" ] || fail "a line stands twice in $file"
    [ -z "$(comm -13 "$dir/wanted" "$dir/found")" ] || fail "$file has a line that the whole sweep has not"
  done
}

begin() { # number, options: a process of the sweep. Not through a function, which would be another process around it
  "$program" run "$dir/e.yaml" --data "$dir/data" --weights "$dir/weights" "${@:2}" >"$dir/out$1" 2>"$dir/err$1" &
}

# Kills the jobs, each at an instant of its own, and waits for them. Those that ended before must have ended well. Called without
# stderr, where bash reports whoever was killed.
kill_at_random() { # jobs
  local job instant=0 ended=0
  for job; do
    instant=$((RANDOM % (length_ms * 6 / 5 / $# + 1)))
    sleep "$(printf '%d.%03d' $((instant / 1000)) $((instant % 1000)))"
    kill -9 "$job" || true
  done
  for job; do
    ended=0
    wait "$job" || ended=$?
    case $ended in
      0) ;;
      137) killed=$((killed + 1)) ;;
      *) wrong="a process ended with $ended" ;;
    esac
  done
}

found_lines() { # folders
  local folder
  for folder; do
    cat "$dir/$folder"/*/t.jsonl 2>/dev/null || true
  done
}

# storm FOLDERS OPTIONS...: a process for each string of options, all side by side, killed until there were enough kills; a sweep that
# ends before is compared, and another one begins. Then they are let run to their end.
storm() {
  local folders=$1 folder options jobs rounds=0
  killed=0 wrong=
  while [ $killed -lt "$kills" ]; do
    jobs=()
    for options in "${@:2}"; do
      # shellcheck disable=SC2086
      begin ${#jobs[@]} $options
      jobs+=($!)
    done
    kill_at_random "${jobs[@]}" 2>/dev/null
    [ -z "$wrong" ] || { cat "$dir"/err* >&2; fail "$wrong"; }
    rounds=$((rounds + 1))
    for folder in $folders; do check_lines "$folder"; done
    # shellcheck disable=SC2086
    if found_lines $folders | lasting | cmp -s - "$dir/wanted"; then
      for folder in $folders; do rm -r "${dir:?}/$folder"; done
    fi
  done
  for options in "${@:2}"; do
    # shellcheck disable=SC2086
    code 0 run "$dir/e.yaml" $options
  done
  # shellcheck disable=SC2086
  found_lines $folders | lasting | diff - "$dir/wanted" || fail "after $killed kills the lines are others: $*"
  echo "$killed kills in $rounds rounds: ${*:2}"
  for folder in $folders; do mv "$dir/$folder" "$dir/$folder.done"; done
}

storm one "--results $dir/one"
storm shared "--results $dir/shared --shard 1/3" "--results $dir/shared --shard 2/3" "--results $dir/shared --shard 3/3"
storm both "--results $dir/both" "--results $dir/both"
storm "a b" "--results $dir/a --shard 1/2" "--results $dir/b --shard 2/2"
code 0 "$program" merge "$dir/merged" "$dir/a.done" "$dir/b.done"
found_lines merged | lasting | diff - "$dir/wanted" || fail "merged shards are not the whole"
