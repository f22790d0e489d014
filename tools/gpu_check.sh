#!/usr/bin/env bash
# Builds against whatever CUDA libtorch it finds and runs the tests and benchmarks that need a GPU.
#   tools/gpu_check.sh                      the `torch` of python3 on PATH, or CMAKE_PREFIX_PATH
# Needs: a GPU, the CUDA toolkit that libtorch's CMake files look for, and tools/setup.sh's packages.
set -euo pipefail
cd "$(dirname "$0")/.."
prefix=${CMAKE_PREFIX_PATH:-}
if [ -z "$prefix" ]; then
  prefix=$(python3 -c 'import torch; assert torch.version.cuda, "CPU build"; print(torch.utils.cmake_prefix_path)') || {
    echo "gpu_check: python3 has no CUDA build of torch; set CMAKE_PREFIX_PATH to a CUDA libtorch" >&2
    exit 1
  }
fi
CMAKE_PREFIX_PATH=$prefix tools/setup.sh
cmake -S . -B build/cuda -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$prefix"
cmake --build build/cuda -j "$(nproc)"
# On a machine without a GPU the tests skip themselves; here that is a failure.
PRUNUS_NEED_GPU=1 ctest --test-dir build/cuda --output-on-failure -L gpu
PRUNUS_BENCH_DEVICE=cuda build/cuda/bench/train_bench
