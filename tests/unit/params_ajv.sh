#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: params_ajv.sh NODE_MODULES: params_ajv.mjs as one test (TAP). It is skipped where node,
# or ajv (`./dev deps schema`), is not there.
here=$(dirname "$0")
if ! command -v node >/dev/null 2>&1; then
    echo '1..0 # SKIP there is no node (./dev deps schema)'
elif ! [ -d "$1/ajv" ]; then
    echo "1..0 # SKIP there is no $1/ajv (./dev deps schema)"
else
    echo 1..1
    if said=$(NODE_PATH=$1 node "$here/params_ajv.mjs" "$here/fixtures/params.ndjson" 2>&1); then
        echo 'ok 1 - another implementation of JSON Schema has the same verdicts'
    else
        echo 'not ok 1 - another implementation of JSON Schema has the same verdicts'
    fi
    printf '%s\n' "$said" | sed 's/^/# /'
fi
