#!/usr/bin/env bash
# Builds against whatever CUDA libtorch it finds, runs the tests that need a GPU, and prints a table of
# prefill, decoding, calibration and training beside the card's own rate (tools/gpu_table.py).
#   tools/gpu_check.sh                      the `torch` of python3 on PATH, or CMAKE_PREFIX_PATH
# Needs: a GPU, libtorch 2.11 or newer with CUDA, nvcc, CMake, Ninja, g++; the other dependencies from
# build/gpu-deps where tools/gpu_bundle.sh made it (no network needed), else as tools/setup.sh installs.
#   PRUNUS_DEVICE=cpu tools/gpu_check.sh    the same against a CPU libtorch, to prove the bundle: the tests
#                                           of devices skip themselves, the table is of a tiny model
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in --help | -h) sed -n '2,/^set/{/^set/!p}' "$0" | cut -c3-; exit ;; esac
device=${PRUNUS_DEVICE:-cuda}
prefix=${CMAKE_PREFIX_PATH:-}
if [ -z "$prefix" ]; then
  prefix=$(python3 -c 'import sys, torch
assert torch.version.cuda or sys.argv[1] == "cpu", "CPU build"
print(torch.utils.cmake_prefix_path)' "$device") || {
    echo "gpu_check: python3 has no CUDA build of torch; set CMAKE_PREFIX_PATH to a CUDA libtorch" >&2
    exit 1
  }
fi
settings=()
deps=${PRUNUS_DEPS:-$PWD/build/gpu-deps}
if [ -d "$deps/usr/include" ]; then
  lib=$deps/usr/lib/$(gcc -dumpmachine)
  export LD_LIBRARY_PATH=$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export PKG_CONFIG_SYSROOT_DIR=$deps PKG_CONFIG_LIBDIR=$lib/pkgconfig:$deps/usr/share/pkgconfig
  settings+=(-DOPENSSL_ROOT_DIR="$deps/usr" -DZLIB_ROOT="$deps/usr"
    -DPKG_CONFIG_EXECUTABLE="$deps/usr/bin/pkgconf" -DCMAKE_LIBRARY_PATH="$lib")
  prefix="$prefix;$deps/usr"
else
  CMAKE_PREFIX_PATH=$prefix tools/setup.sh
fi
build=build/$device
mkdir -p build
begin=$SECONDS
# The targets alone that are run: whole folders at once, no tests for the CPU.
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE=-O2 \
  -DPRUNUS_UNITY=ON -DPRUNUS_BENCH=OFF -DCMAKE_PREFIX_PATH="$prefix" "${settings[@]}" >"$build.log" 2>&1 || {
  cat "$build.log" >&2
  exit 1
}
tests=$(cd tests && ls -d -- */*_gpu_test.cpp */*_device_test.cpp | cut -d/ -f1 | sort -u)
# shellcheck disable=SC2086
cmake --build "$build" -j "$(nproc)" --target prunus $(printf 'test_%s_gpu ' $tests)
echo "gpu_check: built in $((SECONDS - begin)) s"
# On a machine without a GPU the tests skip themselves; here that is a failure.
[ "$device" = cpu ] || export PRUNUS_NEED_GPU=1
ctest --test-dir "$build" --output-on-failure -L gpu
python3 tools/gpu_table.py --prunus "$build/prunus" --device "$device"
