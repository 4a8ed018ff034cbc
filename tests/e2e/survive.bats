#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# SIGKILL of the daemon, of the worker and of both, at moments that are chosen here; the
# kill campaign (tools/crash.py) does it at moments that nobody chose.

load helper
setup() { setup_home; }
teardown() { teardown_home; }

# A task that leaves its pids behind, one file an attempt, with a child and a runaway.
tree='echo $$ >>pids.$ERRAND_ATTEMPT; sleep 1000 & echo $! >>pids.$ERRAND_ATTEMPT
setsid sh -c "echo \$\$ >>pids.$ERRAND_ATTEMPT; exec sleep 1000" &
touch up.$ERRAND_ATTEMPT; wait'

log_has() { [ "$(errand log "$1" | head -n "$2" | wc -l)" -ge "$2" ]; }

@test "SIGKILL of the daemon: the same attempt goes on, its output whole" {
    id=$(errand add -- sh -c 'for i in 1 2 3 4 5; do echo $i; sleep 0.4; done')
    eventually 120 log_has "$id" 2
    worker=$(worker_pid)
    kill -9 "$(daemon_pid)"
    exits 0 errand wait "$id" --timeout 200s
    same "$(errand log "$id" | tr '\n' ' ')" '1 2 3 4 5 '
    errand show "$id" --json | jq -e '.attempt == 1 and .losses == 0 and .failures == 0'
    same "$(worker_pid)" "$worker"
}

@test "what ends while the daemon is down is handed in when it is back" {
    id=$(errand add -- sh -c "$(until_file go); echo done; exit 4")
    eventually 120 state_is "$id" running
    pid=$(field "$id" .pid)
    kill -9 "$(daemon_pid)"
    touch go
    eventually 120 gone "$pid"
    exits 1 errand wait "$id" --timeout 200s
    errand show "$id" --json | jq -e '.attempt == 1 and .exit_code == 4 and .losses == 0'
    same "$(errand log "$id")" done
}

@test "SIGKILL of the worker: the task runs again, nothing of attempt 1 is alive" {
    id=$(errand add -- sh -c "$tree")
    eventually 120 test -e up.1
    eventually 120 sh -c '[ "$(wc -l <pids.1)" -eq 3 ]'
    kill -9 "$(worker_pid)"
    eventually 120 test -e up.2
    all_gone pids.1 || fail "attempt 1 is alive beside attempt 2: $(cat pids.1)"
    errand show "$id" --json | jq -e '.attempt == 2 and .losses == 1 and .failures == 0 and .state == "running"'
    exits 0 errand cancel "$id"
    all_gone pids.2 || fail "left after cancel: $(cat pids.2)"
}

@test "the third loss in a row ends it failed, by name" {
    id=$(errand add -- sh -c 'touch up.$ERRAND_ATTEMPT; sleep 1000')
    for n in 1 2 3; do
        eventually 120 test -e up.$n
        eventually 120 has_worker
        kill -9 "$(worker_pid)"
    done
    exits 1 errand wait "$id" --timeout 200s
    errand show "$id" --json | jq -e '.state == "failed" and .error.code == "worker-lost" and .losses == 3 and .attempt == 3'
}

@test "both killed at once, and the daemon started again: the same" {
    id=$(errand add -- sh -c "$tree")
    eventually 120 test -e up.1
    kill -9 "$(worker_pid)" "$(daemon_pid)"
    errand stats >/dev/null
    eventually 120 test -e up.2
    all_gone pids.1 || fail "attempt 1 is alive beside attempt 2: $(cat pids.1)"
    errand show "$id" --json | jq -e '.attempt == 2 and .losses == 1 and .failures == 0'
    errand cancel "$id"
}

@test "--on-lost fail and hold" {
    a=$(errand add --on-lost fail -- sh -c 'touch up.a; sleep 1000')
    b=$(errand add --on-lost hold -- sh -c 'touch up.b.$ERRAND_ATTEMPT; [ $ERRAND_ATTEMPT = 2 ] || sleep 1000')
    eventually 120 test -e up.a
    eventually 120 test -e up.b.1
    kill -9 "$(worker_pid)"
    exits 1 errand wait "$a" --timeout 200s
    same "$(field "$a" .error.code)" worker-lost
    eventually 120 state_is "$b" paused
    errand resume "$b"
    exits 0 errand wait "$b" --timeout 200s
}

@test "shutdown --keep-running keeps what runs; --now puts it back" {
    id=$(errand add -- sh -c "$(until_file go)")
    eventually 120 state_is "$id" running
    pid=$(field "$id" .pid)
    errand shutdown --keep-running
    kill -0 "$pid" || fail "the task went with the daemon"
    touch go
    exits 0 errand wait "$id" --timeout 200s
    same "$(field "$id" .attempt)" 1
    id=$(errand add -- sh -c "touch up.\$ERRAND_ATTEMPT; $(until_file go2)")
    eventually 120 test -e up.1
    errand shutdown --now
    touch go2
    exits 0 errand wait "$id" --timeout 200s
    errand show "$id" --json | jq -e '.losses == 0 and .failures == 0'
}

@test "acknowledged, then killed at once: every task is there and ends" {
    for n in 1 2 3 4 5; do
        for i in 1 2 3 4 5 6; do errand add -- sh -c 'echo ok' >>ids; done
        kill -9 "$(daemon_pid)"
    done
    # shellcheck disable=SC2046
    exits 0 errand wait --timeout 200s $(cat ids)
    same "$(sort -u ids | wc -l)" 30
    for id in $(cat ids); do same "$(errand log "$id")" ok; done
}

@test "without a daemon the command says so; progress inside a task goes on" {
    id=$(errand add -- sh -c "touch up; $(until_file go); errand progress 50 half && echo said")
    eventually 120 test -e up
    daemon=$(daemon_pid)
    kill -9 "$daemon"
    eventually 120 gone "$daemon"
    no_daemon() { run errand --no-autostart show "$id"; [ "$status" -eq 4 ]; }
    eventually 120 no_daemon # its children may hold its socket for a moment
    touch go
    exits 0 errand wait "$id" --timeout 200s
    same "$(errand log "$id")" said
}
