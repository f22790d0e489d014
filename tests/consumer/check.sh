#!/usr/bin/env bash
# Installs a finished build into a folder of its own, then builds and runs a program against it.
#   tests/consumer/check.sh BUILD [COMPILER]
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$1" && pwd)
work=$build/consumer_check
prefix=$work/prefix
fail() { echo "check.sh: $*" >&2 && exit 1; }

rm -rf "$work"
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$prefix" >/dev/null

# What was needed to build the libraries, and where, is no business of those who use them.
package=$(find "$prefix" -type d -path '*/cmake/Prunus')
! grep -nE 'prunus_options|prunus_pch|cmake_pch|-Werror|libgomp' "$package"/PrunusTargets*.cmake ||
  fail "PrunusTargets.cmake names what only the build needs"
! grep -nF -e "$source_dir" "$package"/PrunusTargets*.cmake ||
  fail "PrunusTargets.cmake names a path of the source tree"

cmake -S "$source_dir/tests/consumer" -B "$work/build" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" \
  ${2:+-DCMAKE_CXX_COMPILER="$2"} >"$work/configure.log" 2>&1 ||
  { cat "$work/configure.log" >&2 && fail "find_package(Prunus) failed"; }
cmake --build "$work/build" >"$work/build.log" 2>&1 ||
  { cat "$work/build.log" >&2 && fail "the consumer does not build"; }

model=$source_dir/assets/seedling
"$work/build/consumer" "$model" "$work/out"
for file in model.safetensors config.json plan.json run.json; do
  [ -s "$work/out/$file" ] || fail "the consumer did not write $file"
done
before=$("$work/build/count" "$model")
after=$("$work/build/count" "$work/out")
[ "$after" -lt "$before" ] || fail "parameters: $before before pruning, $after after"

# The installed program finds its libraries; its page and scripts are where they are looked for.
"$prefix/bin/prunus" inspect "$work/out" >/dev/null
for file in man/man1/prunus.1 bash-completion/completions/prunus zsh/site-functions/_prunus \
  fish/vendor_completions.d/prunus.fish; do
  [ -s "$prefix/share/$file" ] || fail "share/$file is not installed"
done
[ -z "$(find "$prefix/include" -path '*prunus/cli*')" ] || fail "headers of cli/ are installed"
echo "installed; a consumer of it pruned $before parameters to $after"
