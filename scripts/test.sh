#!/usr/bin/env bash
# All checks that need no GPU and no external data. Tests on real data run where it is found (TOTALRECALL_DATA,
# TOTALRECALL_WEIGHTS, or ../shared) and are reported as skipped otherwise.
#   scripts/test.sh [STEP ...]   steps: format gcc clang asan lint emulated nvcc; default: all of these
#   scripts/test.sh seeds        the GPU code of every operator in 20 orders of threads and streams (TR_SEEDS="4 7": in these), and under
#                                AddressSanitizer and UBSan: half an hour
#   scripts/test.sh quick        experiments/quick.yaml on the emulated GPU against the cpu, in two orders of threads: half an hour
set -euo pipefail
cd "$(dirname "$0")/.."

steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(format gcc clang asan lint emulated nvcc)
scripts/setup.sh --tests

sources() { git ls-files '*.c' '*.h' '*.cpp' '*.cu'; }
jobs=$(nproc)

run_tests() { # build folder
  ctest --test-dir "$1" --output-on-failure --no-tests=error -j "$jobs"
}

missing_headers() {
  for header; do
    [ -f "/usr/local/cuda/include/$header" ] || [ -f "/usr/include/$header" ] || printf '%s ' "$header"
  done
}

for step in "${steps[@]}"; do
  echo "== $step"
  start=$SECONDS
  case $step in
    format)
      sources | xargs clang-format --dry-run -Werror
      ;;
    gcc)
      cmake --preset cpu -G Ninja -DCMAKE_C_COMPILER=gcc -DBUILD_TESTING=ON >/dev/null
      cmake --build build/cpu
      run_tests build/cpu
      ;;
    clang) # without oneDNN, OpenBLAS and libjpeg: what steps in for them is tested here
      cmake --preset cpu -B build/clang -G Ninja -DCMAKE_C_COMPILER=clang -DTR_ONEDNN=OFF -DTR_OPENBLAS=OFF -DTR_JPEG=OFF >/dev/null
      cmake --build build/clang
      ctest --test-dir build/clang --output-on-failure --no-tests=error -j "$jobs" -L kernels
      ;;
    asan)
      cmake --preset asan -G Ninja -DCMAKE_C_COMPILER=gcc >/dev/null
      cmake --build build/asan
      export LSAN_OPTIONS=suppressions=$PWD/tests/lsan.supp
      ctest --test-dir build/asan --output-on-failure --no-tests=error -j "$jobs" \
        -E '^(test_parity|cli_test_(bounded|copies|detector|dry_run|ensemble|experiments|grow|joint|kill|lost|processes|slurm|slurm_fit|tiles))$' # minutes each
      ;;
    lint)
      cmake --preset cpu -B build/lint -G Ninja -DCMAKE_C_COMPILER=clang >/dev/null
      git ls-files 'kernels/*.c' 'host/*.c' 'datasets/*.c' | xargs -P "$jobs" -n 4 clang-tidy --quiet -p build/lint
      cppcheck --quiet --error-exitcode=1 --inline-suppr --enable=warning,performance,portability --std=c11 -j "$jobs" \
        -I . --suppress=missingIncludeSystem kernels host datasets
      ;;
    emulated) # the GPU code on the cpu: every twin, the program with --device cuda, and the errors that the emulation must find
      missing=$(missing_headers cuda_runtime.h cublas_v2.h cudnn.h)
      if [ -n "$missing" ]; then
        echo "skipped: $missing not found in /usr/local/cuda/include or /usr/include"
      else
        cmake --preset emulated -G Ninja -DCMAKE_C_COMPILER=gcc >/dev/null
        cmake --build build/emulated
        ctest --test-dir build/emulated --output-on-failure --no-tests=error -j "$jobs" -L '^(kernels|emu)$'
        ctest --test-dir build/emulated --output-on-failure --no-tests=error -j "$jobs" \
          -R '^(emu_planted|test_ring|test_backbone|test_faiss|test_index_model|test_patchcore|cli_test_bank|cli_test_bench|cli_test_detector|cli_test_devices|cli_test_grow|cli_test_small_gpu|cli_test_tiles)$'
      fi
      ;;
    seeds)
      cmake --preset emulated -G Ninja -DCMAKE_C_COMPILER=gcc >/dev/null
      cmake --preset emulated -B build/emulated-asan -G Ninja -DCMAKE_C_COMPILER=gcc -DTR_SANITIZE=address,undefined \
        -DCMAKE_BUILD_TYPE=RelWithDebInfo >/dev/null
      cmake --build build/emulated
      cmake --build build/emulated-asan
      for seed in ${TR_SEEDS:-$(seq 20)}; do
        echo "-- seed $seed"
        TR_EMU_SEED=$seed TR_TEST_DEVICE=cuda:0 ctest --test-dir build/emulated --output-on-failure --no-tests=error -j "$jobs" \
          -L '^kernels$'
      done
      echo "-- sanitizers"
      TR_TEST_DEVICE=cuda:0 ctest --test-dir build/emulated-asan --output-on-failure --no-tests=error -j "$jobs" -L '^kernels$'
      ;;
    quick) # scores within 1e-4 of the cpu's, and the same bits whatever the order of threads
      cmake --preset cpu -G Ninja -DCMAKE_C_COMPILER=gcc >/dev/null
      cmake --preset emulated -G Ninja -DCMAKE_C_COMPILER=gcc >/dev/null
      cmake --build build/cpu --target totalrecall
      cmake --build build/emulated --target totalrecall
      rm -rf build/quick
      quick() { # build device folder
        "build/$1/totalrecall" run experiments/quick.yaml --device "$2" --data build/quick/data --results "build/quick/$3" \
          --scores "build/quick/$3-scores" >"build/quick/$3.txt"
      }
      mkdir -p build/quick
      quick cpu cpu cpu
      for seed in 1 2; do TR_EMU_SEED=$seed quick emulated cuda "cuda$seed"; done
      scripts/compare_scores.sh build/quick/cpu-scores build/quick/cuda1-scores 1e-4
      diff -r build/quick/cuda1-scores build/quick/cuda2-scores
      ;;
    nvcc) # the real compiler: warnings and spills are errors
      if ! PATH=$PATH:/usr/local/cuda/bin command -v nvcc >/dev/null; then
        echo "skipped: no nvcc"
      else
        PATH=$PATH:/usr/local/cuda/bin cmake --preset cuda -G Ninja -DBUILD_TESTING=OFF >/dev/null
        cmake --build build/cuda
        for arch in sm_80 sm_86 sm_89 sm_90; do scripts/kernel_table.py build/cuda --arch $arch >build/cuda/kernels_$arch.txt; done
        cat build/cuda/kernels_sm_90.txt
      fi
      ;;
    *)
      echo "scripts/test.sh: unknown step $step (format gcc clang asan lint emulated nvcc seeds quick)" >&2
      exit 2
      ;;
  esac
  echo "== $step: $((SECONDS - start)) s"
done
