#!/bin/sh
# SPDX-License-Identifier: MIT
# Fails when a mutex, a condition variable or a lock of another kind stands anywhere but in
# src/base/mailbox.c and src/base/lock.c, when base/lock.h is used anywhere but in the library
# (src/lib: the event bus, and what handlers report from threads of their own), or when an
# atomic stands anywhere but in the files named below, each of which says in its head why its
# memory order is right (counters have none).
# Everything else hands whole objects from thread to thread through a mailbox.
set -u
cd "$(dirname "$0")/.." || exit 1
bad=0
refuse() { # PATTERN WHAT FILE...: the files in which it may stand
    pattern=$1 what=$2
    shift 2
    found=$(grep -rnE "$pattern" src --include='*.c' --include='*.h')
    for home in "$@"; do
        found=$(printf '%s\n' "$found" | grep -v "^$home:")
    done
    [ -z "$found" ] || {
        printf '%s\n' "$found"
        printf 'locks: %s belong into %s only\n' "$what" "$*"
        bad=1
    }
}
refuse '\b(pthread_(mutex|cond|rwlock|spin|barrier)_|sem_(init|wait|post)|uv_(mutex|cond|rwlock|sem)_)' \
    'mutexes and condition variables' src/base/mailbox.c src/base/mailbox.h \
    src/base/lock.c src/base/lock.h
refuse '"base/lock\.h"' 'users of base/lock.h' src/base/lock.c 'src/lib/[a-z_]*\.[ch]'
refuse '\b(_Atomic|atomic_[a-z]+|__atomic_|__sync_)' 'atomics' \
    src/base/mailbox.c src/base/mailbox.h \
    src/base/ring.c src/base/roster.c src/base/roster.h src/base/count.h
[ $bad -ne 0 ] || echo "locks: only where they belong"
exit $bad
