# Help, exit codes of wrong usage, and experiment files that are wrong.
. "$(dirname "$0")/common.sh" "$@"

code 2 "$program"
says err "usage: totalrecall COMMAND"
code 2 "$program" rnu
says err 'no command `rnu`'
code 0 "$program" --help
code 0 "$program" --version
for command in run bank report compare verify synthesize bench info; do
  code 0 "$program" $command --help
  says out "usage: totalrecall $command"
  code 2 "$program" $command --no-such-option
  says err "totalrecall $command --help"
done
code 0 "$program" info
says out version threads memory cpu cuda oneDNN OpenBLAS FAISS stb
code 2 "$program" run
code 2 "$program" run a.yaml b.yaml
code 2 "$program" run a.yaml --shard 3/2
code 2 "$program" run a.yaml --memory-limit lots
code 2 "$program" run a.yaml --threads 0
code 2 "$program" verify mvtec
code 2 "$program" synthesize

code 1 "$program" run "$dir/nothing.yaml"
says err "$dir/nothing.yaml"
make_experiment "$dir/typo.yaml" 'subsampling: {kind: greedy, precent: 1}'
code 1 "$program" run "$dir/typo.yaml"
says err "$dir/typo.yaml:7:" 'unknown key `precent`' 'did you mean `percent`?'
make_experiment "$dir/value.yaml" 'patch: 4'
code 1 "$program" run "$dir/value.yaml"
says err ":7:" '`patch` is `4`' 'an odd number from 1 to 15'
make_experiment "$dir/device.yaml"
code 1 "$program" run "$dir/device.yaml" --device gpu
says err gpu
