#!/usr/bin/env bash
# Packs what Prunus needs besides libtorch, CUDA, CMake, Ninja and g++ into build/gpu-deps: headers and
# libraries of Debian's packages, under 60 MiB. For a machine with a GPU and no network: carry the
# folder there, beside the sources, and run tools/gpu_check.sh, which finds it.
#   tools/gpu_bundle.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in --help | -h) sed -n '2,/^set/{/^set/!p}' "$0" | cut -c3-; exit ;; esac
out=${1:-build/gpu-deps}
packages=(nlohmann-json3-dev libcli11-dev libtomlplusplus-dev libpcre2-dev libpcre2-8-0
  libutf8proc-dev libutf8proc2 libsentencepiece-dev libsentencepiece0 libssl-dev libssl3
  zlib1g-dev zlib1g libzstd-dev libzstd1 libgtest-dev libgmock-dev libbenchmark-dev
  libbenchmark1debian pkgconf-bin libpkgconf3)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && chmod 777 . && apt-get download -qq "${packages[@]}")
rm -rf "$out.partial"
mkdir -p "$out.partial"
for package in "$work"/*.deb; do dpkg-deb -x "$package" "$out.partial"; done
cd "$out.partial"
rm -rf usr/share/doc usr/share/man usr/share/lintian usr/share/bug etc
lib=usr/lib/$(gcc -dumpmachine)
# Runtime libraries that Debian keeps in /lib; and no archive of what is there as a shared library,
# nor libraries that nothing here links.
if [ -d "lib/$(gcc -dumpmachine)" ]; then cp -a "lib/$(gcc -dumpmachine)/." "$lib/" && rm -rf lib; fi
# Headers of this machine's kind stand where the compiler of another looks for them.
if [ -d "usr/include/$(gcc -dumpmachine)" ]; then cp -a "usr/include/$(gcc -dumpmachine)/." usr/include/; fi
for archive in "$lib"/*.a; do [ -e "${archive%.a}.so" ] && rm "$archive"; done
rm -rf "$lib"/libpcre2-16* "$lib"/libpcre2-32* "$lib"/libpcre2-posix* "$lib"/engines-3 "$lib"/ossl-modules
# Links with whole paths point into the folder.
find . -type l | while read -r link; do
  target=$(readlink "$link")
  case "$target" in /*) ln -sfr ".$([ -e ".$target" ] && echo "$target" || echo "/usr$target")" "$link" ;; esac
done
find . -xtype l -delete
cd - >/dev/null
rm -rf "$out" && mv "$out.partial" "$out"
echo "$out: $(du -sm "$out" | cut -f1) MiB"
