# A fit as a Slurm job array on a cluster of one machine (slurm_cluster.sh): the model of the shards merged by hand; a shard that fails, and the
# same command again.
. "$(dirname "$0")/common.sh" "$@"
script=$root/scripts/slurm_fit.sh
make_data "$dir/data" --train 13
mkdir "$dir/weights" "$dir/bin"
make_weights "$dir/weights"
class=data/synthetic/granite
sets=(--backbone resnet18 --weights weights --set image.resize=64 --set image.crop=56 --set layer_dimension=64 --set dimension=64)
cd "$dir"

# What is wrong is said before anything is submitted.
export TOTALRECALL=$program
code 2 "$script" $class --percent 10 --out model
says err "--shards takes a number"
code 2 "$script" $class --shards 3 --out model
says err "--percent takes a number"
code 2 "$script" $class --shards 3 --percent 10
says err "--out names"
code 2 "$script" $class --shards 3 --percent 10 --out model --quantile 0.9
code 1 "$script" none --shards 3 --percent 10 --out model
says err "there is no folder none"
for tool in bash basename dirname mkdir sed; do ln -s "$(command -v $tool)" "$dir/bin/$tool"; done
code 1 env PATH="$dir/bin" bash "$script" $class --shards 3 --percent 10 --out model
says err "there is no sbatch here" "fit $class --shard I/3 --set subsampling.percent=10" "bank merge SHARD_1 SHARD_2"
[ ! -e slurm ] || fail "it made folders for nothing"

for i in 1 2 3 4; do
  code 0 "$program" fit $class "${sets[@]}" --set subsampling.percent=10 --shard $i/4 --out shard$i
done
code 0 "$program" bank merge shard{3,1,4,2} --percent 10 --out by_hand

. "$root/tests/cli/slurm_cluster.sh"

code 0 "$script" $class --shards 4 --percent 10 --out model --work work "${sets[@]}" -- --time 5
says out "4 shards of $class" "logs in work/logs"
wait_for_jobs 60
[ -s model ] || { cat work/logs/* >&2; fail "no model"; }
[ ! -e work/shards ] || fail "the shards stay"
for model in by_hand model; do
  code 0 "$program" bank export $model $model.npy
  code 0 "$program" bank origins $model --csv $model.csv
done
cmp by_hand.npy model.npy
cmp by_hand.csv model.csv

# A shard that fails: nothing is merged, and the others are not fitted again.
last=$(ls $class/train/good/*.png | tail -1)
mv "$last" kept.png
head -c 300 kept.png >"$last"
code 0 "$script" $class --shards 4 --percent 10 --out second --work work "${sets[@]}" -- --time 5
wait_for_jobs 60
grep -q "shards of 4 that are not done: 4;" work/logs/merge.log || { cat work/logs/* >&2; fail "a failed shard went unnoticed"; }
[ ! -e second ] || fail "a model of some shards"
mv kept.png "$last"
code 0 "$script" $class --shards 4 --percent 10 --out second --work work "${sets[@]}" -- --time 5
wait_for_jobs 60
[ "$(cat work/logs/shard-*.log | grep -c "it is there already")" = 3 ] || { cat work/logs/* >&2; fail "shards were fitted twice"; }
code 0 "$program" bank export second second.npy
cmp by_hand.npy second.npy
