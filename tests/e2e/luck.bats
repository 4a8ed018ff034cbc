#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Bad luck: odd output, lost folders, full disks, damaged and foreign stores.

load helper
setup() { setup_home; }
teardown() {
    if [ -n "${outer:-}" ]; then # the test has made another home inside
        errand --no-autostart shutdown --now >/dev/null 2>&1 || :
        ERRAND_HOME=$outer
    fi
    [ -z "${small:-}" ] || eventually 120 umount "$small" 2>/dev/null || umount -l "$small"
    teardown_home
}

@test "one line of 10 MiB without a newline" {
    id=$(errand add -- sh -c 'head -c 10485760 /dev/zero | tr "\0" x')
    exits 0 errand wait "$id" --timeout 200s
    errand log "$id" >out
    same "$(stat -c %s out)" 10485760
    same "$(tr -d x <out | wc -c)" 0
    errand show "$id" | head -c 100000 >shown
    [ "$(stat -c %s shown)" -lt 20000 ] || fail "show printed the whole line"
}

@test "binary output comes back byte for byte, and not onto the terminal" {
    id=$(errand add -- sh -c 'head -c 300000 /dev/urandom | tee rnd')
    exits 0 errand wait "$id"
    errand log "$id" >out
    cmp out rnd
    errand show "$id" >shown
    hasnt "$(tr -d '\0' <shown)" $'\e'
    errand show "$id" --json | jq -e .id
}

@test "a script that reads and writes its own standard streams by path" {
    id=$(errand add -- sh -c 'echo a >/dev/stdout; echo b >/dev/stderr; cat </dev/stdin')
    exits 0 errand wait "$id"
    same "$(errand log "$id" | sort | tr '\n' ' ')" 'a b '
}

@test "the socket's folder gone: the daemon is found or made again, the store is safe" {
    id=$(errand add -- true)
    errand wait "$id"
    rm "$SOCKET"
    pid=$(head -n 1 "$ERRAND_HOME/tasks.db.lock")
    # its owner still lives, but cannot be reached: say so, or have it listen again
    run --separate-stderr errand show "$id" --json
    if [ "$status" -ne 0 ]; then
        same "$status" 4
        has "$stderr" "$SOCKET"
        kill "$pid"
        eventually 120 gone "$pid"
    fi
    exits 0 errand show "$id" --json
    same "$(jq -r .state <<<"$output")" completed
}

@test "the whole home deleted: the daemon and what it ran end" {
    id=$(errand add -- sleep 1000)
    eventually 120 state_is "$id" running
    [ -n "$(own_processes)" ]
    cd /
    rm -rf "$ERRAND_HOME"
    none_left() { [ -z "$(own_processes)" ]; }
    eventually 120 none_left
}

@test "an environment that is gone: the task fails and says so, it does not run without" {
    id=$(errand add --hold -- sh -c 'touch ran')
    errand shutdown
    python3 -c 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute("DELETE FROM env"); c.commit()' \
        "$ERRAND_HOME/tasks.db"
    errand resume "$id"
    exits 1 errand wait "$id" --timeout 200s
    has "$(field "$id" .error.message)" 'environment'
    [ ! -e ran ] || fail "it ran without its environment"
}

@test "two daemons on one store: the second is refused and says who has it" {
    errand stats >/dev/null
    pid=$(daemon_pid)
    exits 5 errand serve --foreground
    has "$stderr" "$pid"
    same "$(daemon_pid)" "$pid"
}

@test "two commands at once start one daemon" {
    for n in 1 2 3 4 5 6; do errand add -- true >"id.$n" 3>&- & done
    wait
    same "$(cat id.* | sort -u | wc -l)" 6
    exits 0 errand wait --all --timeout 200s
    # one that came too late ends by itself; a child has the name until it is another program
    one_daemon() {
        local p n=0
        for p in $(own_processes); do [ "$(cat "/proc/$p/comm" 2>/dev/null)" != errandd ] || n=$((n + 1)); done
        [ "$n" = 1 ]
    }
    eventually 120 one_daemon
}

@test "a store from the future is refused, untouched" {
    errand add -- true >/dev/null
    errand wait --all
    errand shutdown --now
    python3 - "$ERRAND_HOME/tasks.db" <<'PY'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("pragma user_version = 9999")
db.commit()
db.execute("pragma wal_checkpoint(truncate)")
PY
    sum=$(sha256sum <"$ERRAND_HOME/tasks.db")
    run --separate-stderr errand serve --foreground
    [ "$status" -ne 0 ]
    has "$stderr" 9999
    run --separate-stderr errand tasks
    [ "$status" -ne 0 ]
    has "$stderr" 9999
    same "$(sha256sum <"$ERRAND_HOME/tasks.db")" "$sum"
}

@test "a store that is not one, or is damaged, is refused and kept" {
    echo 'these are my notes, not a store, and long enough to look like a page' >"$ERRAND_HOME/tasks.db"
    run --separate-stderr errand serve --foreground
    [ "$status" -ne 0 ]
    has "$stderr" "$ERRAND_HOME/tasks.db"
    grep -q 'my notes' "$ERRAND_HOME/tasks.db"
    run --separate-stderr errand add -- true
    [ "$status" -ne 0 ]
    has "$stderr" tasks.db
    rm "$ERRAND_HOME/tasks.db"
    exits 0 errand add --wait -- true
}

@test "a home that cannot be written" {
    [ "$(id -u)" -ne 0 ] || skip "root may write everywhere"
    chmod 500 "$ERRAND_HOME"
    run --separate-stderr errand add -- true
    chmod 700 "$ERRAND_HOME"
    [ "$status" -ne 0 ]
    has "$stderr" "$ERRAND_HOME"
}

@test "a folder that others may write is not trusted" {
    chmod 777 "$ERRAND_HOME"
    run --separate-stderr errand add -- true
    chmod 700 "$ERRAND_HOME"
    [ "$status" -ne 0 ]
    has "$stderr" "$ERRAND_HOME"
}

@test "a full disk refuses submits clearly; finishes still get in; service comes back" {
    small=$ERRAND_HOME/small
    mkdir "$small"
    mount -t tmpfs -o size=12m,mode=700 errand-e2e "$small" 2>/dev/null || {
        small=
        skip "cannot mount a small file system here"
    }
    outer=$ERRAND_HOME
    ERRAND_HOME=$small SOCKET=$small/errand.sock
    before=$(errand add -- true)
    exits 0 errand wait "$before"
    running=$(errand add -- sh -c "$(until_file go)")
    eventually 120 state_is "$running" running
    dd if=/dev/zero of="$small/filler" bs=64k 2>/dev/null || :
    # what is acknowledged is kept: take ids until the disk refuses
    refused=
    for n in $(seq 3000); do
        run --separate-stderr errand add --hold -n "$(printf 'x%.0s' $(seq 900))" -- true
        if [ "$status" -ne 0 ]; then
            refused=$stderr
            break
        fi
        echo "$output" >>acknowledged
    done
    [ -n "$refused" ] || fail "nothing was refused on a full disk"
    same "$status" 1
    has "$refused" 'disk'
    [ "$(api_status /readyz)" = 503 ] || fail "ready with a full disk"
    [ "$(api_status /healthz)" = 200 ]
    touch go
    exits 0 errand wait "$running" --timeout 200s
    rm "$small/filler"
    eventually 120 errand add -- true
    for id in $(cat acknowledged 2>/dev/null); do same "$(field "$id" .state)" paused; done
}

@test "a store that cannot be written refuses submits clearly; service comes back" {
    # A limit on the size of files, as `ulimit -f` sets it; the daemon's own log meets it, too.
    before=$(errand add -- true)
    exits 0 errand wait "$before"
    pid=$(daemon_pid)
    kept=$(errand add --hold -- true)
    prlimit --pid "$pid" --fsize=1:
    for n in 1 2 3; do
        exits 1 errand add -- true
        has "$stderr" "errand: the store '$ERRAND_HOME/tasks.db' cannot be written"
        has "$stderr" 'nothing was queued'
    done
    same "$(daemon_pid)" "$pid"
    same "$(field "$before" .state)" completed
    [ "$(api_status /readyz)" = 503 ] || fail "ready with a store that refuses"
    prlimit --pid "$pid" --fsize=unlimited:
    eventually 120 errand add -- true
    exits 0 errand wait @last --timeout 200s
    same "$(daemon_pid)" "$pid"
    same "$(field "$kept" .state)" paused
}

@test "output that meets the limit on files is told, and the worker lives" {
    id=$(errand add -- true)
    exits 0 errand wait "$id"
    pid=$(worker_pid)
    prlimit --pid "$pid" --fsize=65536:
    id=$(errand add -- sh -c 'head -c 200000 /dev/zero; exit 3')
    exits 1 errand wait "$id" --timeout 200s
    same "$(field "$id" .exit_code)" 3
    same "$(worker_pid)" "$pid"
    errand log "$id" >out
    grep -qa 'bytes could not be written' out
}

@test "long paths: a socket's path of more than 107 bytes works" {
    deep=$ERRAND_HOME/$(printf 'a%.0s' $(seq 100))/$(printf 'b%.0s' $(seq 100))
    mkdir -p "$deep"
    chmod 700 "$deep"
    outer=$ERRAND_HOME
    ERRAND_HOME=$deep
    id=$(errand add -- echo deep)
    exits 0 errand wait "$id"
    same "$(errand log "$id")" deep
}

@test "the instance of the system: its group can use it, nobody else" {
    unshare -m sh -c 'mount -t tmpfs t /run && mount -t tmpfs t /var/lib' 2>/dev/null ||
        skip "cannot mount a small file system here"
    # shellcheck disable=SC2016
    run --separate-stderr unshare -m sh -euc '
        mount -t tmpfs t /run && mount -t tmpfs t /var/lib
        unset ERRAND_HOME
        "$ERRAND_STAGE/libexec/errandd" --system 3>&- 4>&- &
        until [ -S /run/errand/errand.sock ]; do sleep 0.02; done
        stat -c %a /run/errand /run/errand/errand.sock /var/lib/errand
        errand() { "$ERRAND_STAGE/bin/errand" --socket /run/errand/errand.sock "$@"; }
        errand add --follow -- echo out
        errand shutdown
        wait'
    same "$output" "750"$'\n'"660"$'\n'"700"$'\n'"out"
    same "$status" 0
}
