#!/bin/sh
# Runs nvcc (CMake's compiler launcher) and keeps what ptxas says of registers and memory beside the object, as OBJECT.ptxas, for
# scripts/kernel_table.py. All else that is said comes through.
object= previous=
for argument; do
  [ "$previous" = -o ] && object=$argument
  previous=$argument
done
[ -n "$object" ] || exec "$@"
rm -f "$object.ptxas"
"$@" 2>"$object.ptxas.part"
status=$?
if [ $status = 0 ]; then
  grep -vE '^ptxas info|^ +[0-9]+ bytes stack frame' "$object.ptxas.part" >&2
  mv "$object.ptxas.part" "$object.ptxas"
else
  cat "$object.ptxas.part" >&2
  rm -f "$object.ptxas.part"
fi
exit $status
