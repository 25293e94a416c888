#!/usr/bin/env bash
# On a machine with a GPU, its driver, the CUDA toolkit with cuDNN, a C and C++ compiler and cmake: builds the GPU code for that GPU,
# runs every twin test on it, runs the default experiment on the GPU (twice, for the bits) and on the cpu and compares the scores,
# measures, compares with PyTorch where python3 has it, and writes all of it to results/<gpu>/. Under 8 minutes.
# It needs no network and none of Debian's packages: what these bring lies in build/gpu-deps.tar.gz, which --pack makes beforehand
# on a machine with Debian 12 and a network. Without that file the packages of scripts/setup.sh --tests are taken to be there.
#   scripts/gpu_check.sh --pack       downloads into build/gpu-deps.tar.gz (about 45 MB)
#   scripts/gpu_check.sh [--out DIR]  (default: results)
# TR_CHECK_PRESET=emulated checks the GPU code and this script without a GPU, on small images.
set -euo pipefail
cd "$(dirname "$0")/.."
pack=build/gpu-deps.tar.gz deps=$PWD/build/gpu-deps

# ---- packing ----

packages=(libcjson1 libcjson-dev libyaml-dev libssl-dev libxxhash-dev libjpeg62-turbo-dev libcmocka0 libcmocka-dev libstb-dev
          libdnnl2 libdnnl-dev libfaiss-dev ocl-icd-libopencl1 libgomp1 libopenblas0-pthread libopenblas-pthread-dev libgfortran5 libquadmath0
          pkgconf-bin libpkgconf3)

describe() { # folder, name, libraries, flags: a .pc file that works wherever the folder lies
  printf 'prefix=${pcfiledir}/../..\nName: %s\nDescription: %s\nVersion: 1\nLibs: -L${prefix}/lib %s\nCflags: -I${prefix}/include %s\n' \
    "$2" "$2" "$3" "${4:-}" >"$1/lib/pkgconfig/$2.pc"
}

# One prefix: include/, lib/ (static where Debian has it, so that nothing else of the machine sees these libraries), bin/pkg-config.
arrange() { # unpacked packages, prefix
  local arch from=$1 to=$2 name
  arch=$(gcc -print-multiarch)
  mkdir -p "$to/include" "$to/lib/pkgconfig" "$to/bin"
  cp -rL "$from"/usr/include/{cjson,faiss,oneapi,openssl,stb} "$from"/usr/include/*.h "$to/include/"
  cp -rL "$from/usr/include/$arch"/{jconfig.h,openssl} "$from/usr/include/$arch"/openblas-pthread/*.h "$to/include/"
  cp "$from/usr/lib/$arch"/lib{crypto,faiss,yaml,xxhash,jpeg}.a "$to/lib/"
  for name in cjson cmocka dnnl OpenCL gomp gfortran quadmath pkgconf; do cp -P "$from/usr/lib/$arch/lib$name".so* "$to/lib/"; done
  cp -P "$from/usr/lib/$arch"/openblas-pthread/libopenblas*.so* "$to/lib/"
  cp "$from/usr/bin/pkgconf" "$to/bin/"
  printf '#!/bin/sh\nhere=$(dirname "$0")\nLD_LIBRARY_PATH=$here/../lib exec "$here/pkgconf" "$@"\n' >"$to/bin/pkg-config"
  chmod +x "$to/bin/pkg-config"
  describe "$to" libcjson -lcjson '-I${prefix}/include/cjson'
  describe "$to" yaml-0.1 -lyaml
  describe "$to" libcrypto '-lcrypto -ldl -lpthread'
  describe "$to" libxxhash -lxxhash
  describe "$to" libjpeg -ljpeg
  describe "$to" cmocka -lcmocka
  describe "$to" openblas -lopenblas
}

make_pack() {
  # global, for the trap
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  chmod 755 "$work"
  mkdir "$work/debs" "$work/unpacked" "$work/gpu-deps"
  compgen -G 'weights/efficientnet*lite0*.pth' >/dev/null || scripts/setup.sh
  (cd "$work/debs" && apt-get download -qq -o APT::Sandbox::User=root "${packages[@]}")
  for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/unpacked"; done
  arrange "$work/unpacked" "$work/gpu-deps"
  mkdir "$work/gpu-deps/weights"
  cp weights/efficientnet*lite0*.pth "$work/gpu-deps/weights/"
  mkdir -p build
  tar -C "$work" -czf "$pack" gpu-deps
  echo "$pack: $(($(stat -c %s "$pack") / 1000000)) MB"
}

out=results
case ${1:-} in
  --pack) make_pack; exit ;;
  --out) out=$2 ;;
  '') ;;
  *) sed -n '2,11s/^# \?//p' "$0" >&2; exit 2 ;;
esac

# ---- what there is ----

preset=${TR_CHECK_PRESET:-cuda}
build=build/$preset-check
work=$PWD/build/gpu-check
rm -rf "$work"
mkdir -p "$work"
begin=$SECONDS limit=470
PATH=$PATH:/usr/local/cuda/bin
options=()
if [ -f "$pack" ]; then
  [ "$deps" -nt "$pack" ] || { rm -rf "$deps"; tar -C build -xzf "$pack"; touch "$deps"; }
  command -v pkg-config >/dev/null || PATH=$PATH:$deps/bin
  export PKG_CONFIG_LIBDIR=$deps/lib/pkgconfig LD_LIBRARY_PATH=$deps/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  options+=("-DCMAKE_PREFIX_PATH=$deps")
fi
if command -v ninja >/dev/null; then options+=(-G Ninja); else options+=(-G "Unix Makefiles"); fi
weights=weights
[ -d weights ] || weights=$deps/weights
if [ "$preset" = cuda ]; then
  options+=(-DCMAKE_CUDA_ARCHITECTURES=native)
  command -v nvcc >/dev/null || { echo "scripts/gpu_check.sh: nvcc is not there (the CUDA toolkit; looked in PATH and /usr/local/cuda/bin)" >&2; exit 1; }
fi

# ---- steps ----

failed=0
# step NAME SECONDS COMMAND...: output to $work/NAME.log; a line for the summary. Later steps go on after a failure.
step() {
  local name=$1 seconds=$2 left=$((limit - (SECONDS - begin))) start=$SECONDS code=0 verdict
  shift 2
  [ "$seconds" -lt "$left" ] || seconds=$left
  if [ "$seconds" -le 0 ]; then
    verdict="not run: no time left"
    failed=1
  else
    timeout -k 5 "$seconds" "$@" >"$work/$name.log" 2>&1 || code=$?
    case $code in
      0) verdict=passed ;;
      124 | 137) verdict="failed: more than $seconds s" ;;
      *) verdict="failed ($code)" ;;
    esac
    [ "$code" = 0 ] || { failed=1; tail -15 "$work/$name.log"; }
  fi
  printf '%-20s %5d s  %s\n' "$name" $((SECONDS - start)) "$verdict" | tee -a "$work/steps.txt"
  return "$code"
}

configure_and_build() {
  cmake --preset "$preset" -B "$build" "${options[@]}" && cmake --build "$build" -j "$(nproc)"
}
export -f configure_and_build
if ! step build 300 bash -c "preset=$preset build=$build; options=($(printf '%q ' "${options[@]}")); configure_and_build"; then
  exit 1
fi
program=$build/totalrecall
"$program" info >"$work/info.txt"
cat "$work/info.txt"

# Which tests: all kernels against goldens on the GPU, and the library's parts that work on any device.
TR_TEST_DEVICE=cuda:0 step twin_tests 150 ctest --test-dir "$build" --output-on-failure --no-tests=error -j 4 -L kernels || true
TR_TEST_DEVICE=cuda:0 step device_tests 100 ctest --test-dir "$build" --output-on-failure --no-tests=error -j 4 \
  -R '^(test_ring|test_metrics|test_backbone|test_faiss|test_index_model|cli_test_devices)$' || true

experiment=experiments/quick.yaml
if [ "$preset" = emulated ]; then # an emulated convolution takes its time
  experiment=$work/quick.yaml
  { cat experiments/quick.yaml; echo 'image: {resize: 64, crop: 64}'; echo 'classes: [board, nut]'; } | sed '/^classes: all/d' >"$experiment"
  "$program" synthesize "$work/data/synthetic" --train 6 --good 3 --per-defect 1 --size 64 >/dev/null
fi
run() { # device, folder of results, folder of scores
  "$program" run "$experiment" --data "$work/data" --weights "$weights" --device "$1" --results "$2" --scores "$work/$3"
}
export -f run
export program experiment work weights
step quick_on_gpu 200 bash -c "run cuda '$work/results' scores-gpu" || true
step quick_again 100 bash -c "run cuda '$work/again' scores-again && diff -r '$work/scores-gpu' '$work/scores-again'" || true
step quick_on_cpu 200 bash -c "run cpu '$work/cpu' scores-cpu" || true
step scores_agree 10 scripts/compare_scores.sh "$work/scores-cpu" "$work/scores-gpu" 1e-4 || true
cat "$work/scores_agree.log"

quick=()
[ "$preset" = cuda ] || quick=(--quick)
step bench 120 "$program" bench --device cuda --results "$work/results" "${quick[@]}" || true
machine=$(basename "$(dirname "$(ls "$work"/results/*/bench.jsonl)")")
folder=$work/results/$machine
cp "$work/bench.log" "$folder/bench.txt"
if python3 -c 'import torch' 2>/dev/null; then
  step pytorch 100 python3 scripts/compare_pytorch.py --bench "$folder/bench.jsonl" --out "$folder/pytorch.json" "${quick[@]}" || true
else
  echo "python3 has no torch: no comparison" >"$work/pytorch.log"
fi
if [ "$preset" = cuda ] && command -v python3 >/dev/null; then
  arch=sm_$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader -i 0 | tr -d .)
  step kernels 10 python3 scripts/kernel_table.py "$build" --arch "$arch" || true
fi

# ---- results ----

{
  echo "scripts/gpu_check.sh, preset $preset, $(date -u +%FT%TZ), $(git describe --always --dirty 2>/dev/null || echo 'no git')"
  [ "$preset" != cuda ] || nvidia-smi --query-gpu=name,driver_version,memory.total,power.limit,clocks.max.sm --format=csv,noheader
  printf '\n'; cat "$work/info.txt"
  printf '\n'; cat "$work/steps.txt"
  printf '\nscores: %s\n' "$(tail -1 "$work/scores_agree.log")"
  printf '\n'; cat "$work/pytorch.log"
  [ ! -f "$work/kernels.log" ] || { printf '\n'; cat "$work/kernels.log"; }
} >"$folder/gpu_check.txt"
mkdir -p "$out"
cp -r "$folder" "$out/"
echo "$out/$machine is written, $((SECONDS - begin)) s"
exit $failed
