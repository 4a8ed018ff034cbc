#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The shutdown table of docs/SEMANTICS.md, line by line: nothing lost, no failure counted.

load helper
setup() {
    setup_home
    echo 'drain: 2s' >"$ERRAND_HOME/config.yml"
}
teardown() { teardown_home; }

# A task that runs for ever, with its pid in a file; and one that waits behind nothing.
start_one() {
    id=$(errand add --grace 1s -- sh -c 'echo $$ >pid.$ERRAND_ATTEMPT; exec sleep 1000')
    eventually 120 test -s pid.1
    daemon=$(daemon_pid)
}

# It was put back, without a failure, and runs again under the next daemon.
put_back() {
    all_gone pid.1 || fail "attempt 1 is alive"
    errand stats >/dev/null
    eventually 120 test -s pid.2
    errand show "$id" --json | jq -e '.failures == 0 and .losses == 0 and .attempt == 2'
    errand cancel "$id"
}

@test "SIGTERM: what ends within the bound ends, the rest is put back" {
    echo 'drain: 10m' >"$ERRAND_HOME/config.yml"
    start_one
    short=$(errand add -- sh -c 'touch started; until [ -e go ]; do sleep 0.05; done; touch ended')
    eventually 120 test -e started
    waits=$(errand add --hold -- true)
    kill -TERM "$daemon"
    touch go
    eventually 120 state_is "$short" completed
    [ -e ended ] || fail "the short one was not let end"
    state_is "$id" running
    kill -TERM "$daemon" # or the bound is over: tests/serve/test_ending.py
    eventually 120 gone "$daemon"
    put_back
    errand show "$short" --json | jq -e '.state == "completed" and .attempt == 1'
    errand show "$waits" --json | jq -e '.state == "paused" and .held'
}

@test "a second SIGTERM, SIGQUIT and shutdown --now put back at once" {
    echo 'drain: 10m' >"$ERRAND_HOME/config.yml"
    for how in second quit now; do
        rm -f pid.*
        start_one
        case $how in
        second) kill -TERM "$daemon" && eventually 120 sh -c "! errand --no-autostart add -- true 2>/dev/null" && kill -TERM "$daemon" ;;
        quit) kill -QUIT "$daemon" ;;
        now) exits 0 errand shutdown --now ;;
        esac
        eventually 120 gone "$daemon"
        put_back
    done
}

@test "shutdown --keep-running: commands go on, the next daemon takes them up" {
    start_one
    worker=$(worker_pid)
    exits 0 errand shutdown --keep-running
    eventually 120 gone "$daemon"
    all_in_state pid.1
    errand stats >/dev/null
    eventually 120 has_worker
    same "$(worker_pid)" "$worker"
    errand show "$id" --json | jq -e '.attempt == 1 and .state == "running"'
    errand cancel "$id"
}
all_in_state() { kill -0 "$(cat "$1")" || fail "it has ended"; }

@test "while draining: submits are refused with 503, readyz says so" {
    echo 'drain: 10m' >"$ERRAND_HOME/config.yml"
    start_one
    kill -TERM "$daemon"
    eventually 120 sh -c "curl -s -o /dev/null -w '%{http_code}' --unix-socket '$SOCKET' -X POST \
        -d '{\"args\":{\"argv\":[\"true\"]}}' http://errand/v1/tasks | grep -qx 503"
    same "$(curl -s -o /dev/null -w '%{http_code}' --unix-socket "$SOCKET" http://errand/readyz)" 503
    kill -QUIT "$daemon"
    eventually 120 gone "$daemon"
    put_back
}

@test "SIGHUP: the configuration is read again, what runs goes on" {
    start_one
    printf 'drain: 2s\nconcurrency: 3\n' >"$ERRAND_HOME/config.yml"
    kill -HUP "$daemon"
    eventually 120 sh -c "errand stats --json | jq -e '.workers[0].slots == 3'" >/dev/null
    errand show "$id" --json | jq -e '.state == "running" and .attempt == 1'
    same "$(daemon_pid)" "$daemon"
    errand cancel "$id"
}

@test "SIGTERM to the worker: what runs is put back, another worker takes it" {
    start_one
    kill -TERM "$(worker_pid)"
    eventually 120 test -s pid.2
    all_gone pid.1 || fail "attempt 1 is alive"
    errand show "$id" --json | jq -e '.failures == 0 and .losses == 0'
    errand cancel "$id"
}

@test "a worker that hangs does not keep the daemon: it is killed, its tasks are put back" {
    start_one
    worker=$(worker_pid)
    kill -STOP "$worker"
    exits 0 errand shutdown --now
    eventually 120 gone "$daemon"
    eventually 120 gone "$worker"
    all_gone pid.1 || fail "attempt 1 is alive"
    errand stats >/dev/null
    eventually 120 test -s pid.2
    errand show "$id" --json | jq -e '.failures == 0'
    errand cancel "$id"
}
