#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: exports.sh LIBRARY. Fails when the shared library exports a symbol that is not
# part of its public interface (errand_*), or exports nothing.
set -eu
names=$(nm -D --defined-only "$1" | awk '{print $3}')
others=$(printf '%s\n' "$names" | grep -v '^errand_' || true)
[ -n "$names" ] || {
    echo "exports: $1 exports nothing"
    exit 1
}
[ -z "$others" ] || {
    printf '%s\n' "$others"
    echo "exports: these are not errand_*"
    exit 1
}
printf 'exports: %s symbols, all errand_*\n' "$(printf '%s\n' "$names" | wc -l)"
