#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: abi.sh --check LIBRARY     compares the shared library with the recorded interface
#        abi.sh --write LIBRARY     records it (abi/), on purpose: when something was added, or
#                                   for a new major version
# The list of symbols is compared as text; with abidiff also the types behind them. What was
# added is no breach, but has to be recorded. Without abidiff the test says so and ends with
# 77 (skipped) when the symbols are right.
set -eu
mode=$1 lib=$(realpath "$2")
cd "$(dirname "$0")/.."
names() { nm -D --defined-only "$1" | awk '{print $3}' | LC_ALL=C sort; }
dump() { # of the public interface only, without paths
    abidw --no-corpus-path --no-comp-dir-path --no-show-locs --no-elf-needed \
        --exported-interfaces-only --drop-private-types --headers-dir include \
        --type-id-style hash --out-file "$1" "$lib"
}
if [ "$mode" = --write ]; then
    mkdir -p abi
    names "$lib" >abi/symbols
    dump abi/liberrand.abi
    exit 0
fi
names "$lib" | diff -u abi/symbols - || {
    echo "abi: the symbols differ from abi/symbols (tools/abi.sh --write records them)"
    exit 1
}
command -v abidiff >/dev/null 2>&1 || {
    echo "1..0 # SKIP abidiff is not installed (Debian: abigail-tools); the symbols are right"
    exit 77
}
new=$(mktemp)
trap 'rm -f "$new"' EXIT
dump "$new"
abidiff --no-show-locs abi/liberrand.abi "$new" || {
    echo "abi: the interface differs from abi/liberrand.abi (tools/abi.sh --write records it)"
    exit 1
}
echo "abi: as it was recorded"
