#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Ending the whole tree of a task, and putting it back.

load helper
setup() { setup_home; }
teardown() { teardown_home; }

@test "cancel ends a tree that ignores TERM and has left its session" {
    id=$(errand add -- sh -c 'setsid sleep 1000 & echo $! >>pids; trap "" TERM; echo $$ >>pids
        setsid sh -c "echo \$\$ >>pids; trap \"\" TERM; sleep 1000 & echo \$! >>pids; wait" &
        touch up; sleep 1000 & echo $! >>pids; touch up; wait; wait; sleep 1000')
    eventually 120 test -e up
    eventually 120 sh -c '[ "$(wc -l <pids)" -ge 5 ]'
    exits 0 errand cancel "$id" # which waits for its end: the tree would run on for 1000 s
    all_gone pids || fail "left: $(for p in $(cat pids); do ls -d /proc/$p; done 2>/dev/null)"
    same "$(field "$id" .state)" cancelled
    same "$(errand events --since 0 --task "$id" --json | jq -r .event | grep -c task-cancelled)" 1
}

@test "what ends on TERM is not made to wait for the grace" {
    id=$(errand add --grace 1h -- sh -c 'trap "echo bye; exit 0" TERM; touch up; while :; do sleep 0.1; done')
    eventually 120 test -e up
    exits 0 errand cancel "$id"
    has "$(errand log "$id")" bye
    same "$(field "$id" .state)" cancelled
}

@test "what waits is cancelled at once, with those that wait for it" {
    id=$(errand add --hold -- true)
    next=$(errand add --after "$id" -- true)
    errand cancel "$id"
    same "$(field "$id" .state) $(field "$next" .state)" 'cancelled cancelled'
}

@test "cancel of what is final is refused with the way on" {
    id=$(errand add -- true)
    errand wait "$id"
    exits 5 errand cancel "$id"
    same "$stderr" "errand: cannot cancel $id: it is completed (errand retry $id runs it again)"
}

@test "requeue stops it and runs it again, --hold keeps it back" {
    id=$(errand add -- sh -c 'echo $$ >pid.$ERRAND_ATTEMPT; touch up.$ERRAND_ATTEMPT; sleep 1000')
    eventually 120 test -e up.1
    exits 0 errand requeue "$id"
    eventually 120 test -e up.2
    all_gone pid.1
    errand show "$id" --json | jq -e '.failures == 0 and .losses == 0'
    exits 0 errand requeue "$id" --hold
    eventually 120 state_is "$id" paused
    all_gone pid.2
    errand cancel "$id"
}

@test "cancel by tag and by queue" {
    a=$(errand add --hold --tag x -- true)
    b=$(errand add --hold --tag y -- true)
    c=$(errand add --hold -q other -- true)
    exits 0 errand cancel --tag x
    same "$(field "$a" .state) $(field "$b" .state)" 'cancelled paused'
    exits 0 errand cancel --queue other
    same "$(field "$c" .state)" cancelled
    exits 0 errand cancel --all
    same "$(field "$b" .state)" cancelled
}

@test "cancel of a chain: by ids, a tag, or all, none of it is refused" {
    for target in '1-3' '--tag x' '--all'; do
        errand clean
        a=$(errand add --hold --tag x -- true)
        b=$(errand add --after "$a" --tag x -- true)
        c=$(errand add --after "$a:any,$b:any" --tag x -- true)
        target=${target/1-3/$a-$c}
        # shellcheck disable=SC2086
        exits 0 errand cancel $target
        same "$stderr" "errand: $a was cancelled"$'\n'"errand: $b was cancelled"$'\n'"errand: $c was cancelled"
        same "$(field "$c" .state)" cancelled
    done
}

@test "a grandchild that holds the pipe does not hold the slot, nor the task" {
    id=$(errand add -- sh -c 'setsid sh -c "echo \$\$ >pid; exec sleep 1000" & until [ -s pid ]; do sleep 0.02; done; echo parent')
    exits 0 errand wait "$id" --timeout 200s
    has "$(errand log "$id")" parent
    same "$(field "$id" .state)" completed
}

@test "a child that closes its output and lives on is still running" {
    id=$(errand add -- sh -c "exec >&- 2>&-; touch up; $(until_file go)")
    eventually 120 test -e up
    same "$(field "$id" .state)" running
    touch go
    exits 0 errand wait "$id" --timeout 200s
}
