#!/bin/sh
# A real llama.cpp to check against: fetches npm's node-llama-cpp with its prebuilt library and the
# source that belongs to it (for its headers), and builds DIR/llama_oracle (tools/llama_cpp/oracle.cpp,
# which says what it does when run without arguments). Needs npm, git and g++; x86-64 Linux.
# usage: tools/llama_cpp/install.sh [DIR]     DIR: build/llama
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-build/llama}
version=3.21.1

mkdir -p "$dir"
cd "$dir"
root=$(pwd)
[ -f package.json ] || echo '{"private": true}' > package.json
library=$root/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64
if [ ! -e "$library" ]; then
  npm install --ignore-scripts --no-audit --no-fund "node-llama-cpp@$version"
  # The packages of other machines, which some versions of npm install as well.
  find node_modules/@node-llama-cpp -mindepth 1 -maxdepth 1 ! -name linux-x64 -exec rm -r {} +
fi
if [ ! -e llama.cpp/include/llama.h ]; then
  rm -rf llama.cpp
  git clone -q --no-checkout node_modules/node-llama-cpp/llama/gitRelease.bundle llama.cpp
  # Headers, vocabularies to test with, and the converter to compare with.
  git -C llama.cpp sparse-checkout set -q include ggml/include models conversion gguf-py
  git -C llama.cpp checkout -q
fi
g++ -std=c++20 -O2 -Wall -Wextra -o llama_oracle "$here/oracle.cpp" \
    -isystem llama.cpp/include -isystem llama.cpp/ggml/include \
    -DLLAMA_LIBRARIES="\"$library\"" "$library"/libllama.v*.so "$library"/libggml.v*.so \
    "$library"/libggml-base.so -Wl,-rpath,"$library"
echo "$root/llama_oracle"
