#!/bin/bash
# Makes VENV and installs Python's packages into it: those of the lock file that pods import, by their hashes, and torch,
# whose builds have other hashes on every index, by its version. Called while the image is built.
#   packages.sh VENV TORCH [TORCH_INDEX]
set -euo pipefail
venv=$1 torch=$2 index=${3:-}
cd "$(dirname "$0")"

# A requirement is a line with == and the lines of hashes below it.
awk -F '==' 'NR == FNR { unused[$1]; next } /^[a-z]/ { keep = !($1 in unused) && $1 !~ /^types-/ } keep' \
  unused.txt requirements.lock > requirements.txt
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --no-deps --require-hashes -r requirements.txt
options=()
[ -z "$index" ] || options+=(--extra-index-url "$index")
# What a CPU build needs is in the lock file; a CUDA build brings NVIDIA's libraries and Triton, which are in none of ours.
case $torch in *+cpu) options+=(--no-deps) ;; esac
"$venv/bin/pip" install --quiet "${options[@]}" "torch==$torch"
