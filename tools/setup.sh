#!/usr/bin/env bash
# Installs what the build needs and the machine lacks. Safe to run again: it does nothing when done.
#   tools/setup.sh            packages, and libtorch in .venv
#   CMAKE_PREFIX_PATH=/path/to/libtorch tools/setup.sh     packages only; that libtorch is used
#   tools/setup.sh --fuzz     Clang and its sanitizer runtimes as well, for `make fuzz`
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(build-essential cmake ninja-build ccache pkg-config python3 python3-venv clang-format-14
  nlohmann-json3-dev libcli11-dev libtomlplusplus-dev libpcre2-dev libutf8proc-dev
  libsentencepiece-dev libssl-dev zlib1g-dev libzstd-dev
  libgtest-dev libgmock-dev libbenchmark-dev)
[ "${1:-}" != --fuzz ] || packages+=(clang-19 libclang-rt-19-dev)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' ||
    missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
  command -v apt-get >/dev/null || {
    echo "setup: needs apt (Debian 12 or a recent Ubuntu); missing: ${missing[*]}" >&2
    exit 1
  }
  sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  echo "setup: installing ${missing[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# A libtorch given by the user wins; then no virtual environment is made.
IFS=: read -r -a prefixes <<<"${CMAKE_PREFIX_PATH:-}"
for prefix in "${prefixes[@]}"; do
  for config in "$prefix/share/cmake/Torch" "$prefix/Torch"; do
    [ -f "$config/TorchConfig.cmake" ] && exit 0
  done
done

torch=2.13.0
if ! ls .venv/lib/python3*/site-packages/torch-"$torch"*.dist-info/RECORD >/dev/null 2>&1; then
  echo "setup: installing torch $torch into .venv (once)" >&2
  [ -x .venv/bin/pip ] || { rm -rf .venv && python3 -m venv .venv; }
  .venv/bin/pip install --quiet --disable-pip-version-check "torch==$torch"
fi
