#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The command's faces: lists, help, configuration, doctor, clean, installation.

load helper
setup() { setup_home; }
teardown() { teardown_home; }

@test "the empty list, the list, and its footer" {
    exits 0 errand
    same "$output" 'No tasks yet. Try: errand add -- sleep 3'
    good=$(errand add -n good -- true)
    bad=$(errand add -n bad -- false)
    held=$(errand add -n held --hold -- true)
    errand wait "$good" "$bad" || :
    exits 0 errand tasks
    [[ $output =~ ✓\ +$good\ +good ]] || fail "$output"
    [[ $output =~ ✗\ +$bad\ +bad ]] || fail "$output"
    [[ $output =~ ‖\ +$held\ +held ]] || fail "$output"
    has "$output" 'Completed 1'
    has "$output" 'Failed 1'
    exits 0 env LC_ALL=C errand tasks
    has "$output" '[OK]'
    has "$output" '[X]'
    exits 0 errand tasks --queue none-such
    has "$output" 'No tasks match.'
}

@test "cancelled ones show only when asked for" {
    id=$(errand add -n vanished --hold -- true)
    errand cancel "$id"
    hasnt "$(errand tasks)" vanished
    has "$(errand tasks --all)" vanished
    has "$(errand tasks --completed)" vanished
    has "$(errand tasks --state cancelled)" vanished
    hasnt "$(errand tasks --running)" vanished
}

@test "--json lists one object a line with stable keys" {
    errand add --hold --tag a -- true
    errand add --hold --tag b -- true
    same "$(errand tasks --json | jq -s length)" 2
    same "$(errand tasks --tag b --json | jq -c .tags)" '["b"]'
    errand tasks --json | jq -es 'all(.[]; has("id") and has("run") and has("state") and has("progress")
        and has("error") and has("correlation_id") and has("created_at") and has("waiting_for"))'
}

@test "no colour unless on a terminal" {
    errand add --wait -- true 2>/dev/null || :
    hasnt "$(errand tasks; errand show 1; errand stats; errand doctor)" $'\e'
}

@test "log: the last lines, an earlier attempt, times, follow" {
    id=$(errand add --retries 1 --backoff 10ms -- sh -c 'echo "attempt $ERRAND_ATTEMPT"; for i in 1 2 3; do echo $i; done; [ $ERRAND_ATTEMPT = 2 ]')
    errand wait "$id"
    same "$(errand log "$id" -n 2 | tr '\n' ' ')" '2 3 '
    same "$(errand log "$id" --attempt 1 | head -n 1)" 'attempt 1'
    same "$(errand log "$id" | head -n 1)" 'attempt 2'
    errand log "$id" --timestamps | head -n 1 | grep -qE '^20..-..-..T..:..:..'
    id=$(errand add -- sh -c 'for i in 1 2 3; do echo $i; sleep 0.2; done')
    same "$(errand log -f "$id" | tr '\n' ' ')" '1 2 3 '
}

@test "show has the last 20 lines and says what is missing" {
    id=$(errand add -- seq 100)
    errand wait "$id"
    # (the output alone: above it are words by chance, which may end in any number)
    errand show "$id" | sed -n '/^Output:/,$p' >shown
    same "$(cat shown)" "$(printf '%s\n' Output: '  … (truncated)' && seq -f '  %g' 81 100)"
}

@test "help and version of everything" {
    exits 0 errand --help
    has "$output" 'queue a command'
    exits 0 errand --version
    has "$output" errand
    for verb in add tasks show log result events wait cancel pause resume retry requeue remove send progress stats clean serve worker shutdown config doctor; do
        exits 0 errand "$verb" --help
        has "$output" "$verb"
    done
}

@test "every option is in the manual" {
    man=$ERRAND_STAGE/share/man/man1/errand.1
    [ -e "$man" ] || man=$man.gz
    [ -e "$man" ] || fail "no manual page in the stage"
    text=$(zcat -f "$man" | sed 's/\\-/-/g')
    for verb in add tasks show log events wait cancel requeue send progress clean serve shutdown config doctor; do
        for option in $(errand "$verb" --help | grep -oE -- '--[a-z][a-z-]+' | sort -u); do
            has "$text" "$option"
        done
    done
}

@test "config shows each value with its origin" {
    printf 'concurrency: 3\n' >"$ERRAND_HOME/config.yml"
    errand config | grep -E 'concurrency' | grep -q 3
    errand config | grep -E 'concurrency' | grep -q 'config.yml'
    errand config --json | jq -e .
}

@test "concurrency of the configuration holds" {
    printf 'concurrency: 1\n' >"$ERRAND_HOME/config.yml"
    for n in 1 2 3 4 5 6; do errand add -- sh -c 'echo + >>o; sleep 0.1; echo - >>o' >/dev/null; done
    errand wait --all
    same "$(tr -d '\n' <o)" '+-+-+-+-+-+-'
}

@test "stats and doctor" {
    errand add --wait -- true
    errand stats --json | jq -e .
    errand doctor --json | jq -e '.daemon.pid > 0 and (.workers | length) >= 1'
    exits 0 errand doctor
}

@test "clean removes what is finished, as asked" {
    for n in 1 2 3 4 5; do errand add -- true >/dev/null; done
    bad=$(errand add -- false)
    errand wait --all || :
    errand clean --state completed --keep 2
    same "$(errand tasks --all --json | jq -rs 'map(.state) | sort | join(" ")')" 'completed completed failed'
    errand clean
    hasnt "$(errand tasks --all)" true
    # the outcome is still known
    exits 1 errand wait "$bad"
    eventually 120 sh -c '[ "$(find "$ERRAND_HOME/logs" -name "*.log" | wc -l)" -le 3 ]'
}

@test "remove deletes a finished task and its output" {
    id=$(errand add -- echo output)
    errand wait "$id"
    [ "$(find "$ERRAND_HOME/logs" -name "$id-*" | wc -l)" -ge 1 ]
    errand remove "$id"
    eventually 120 sh -c '[ "$(find '"$ERRAND_HOME/logs"' -name "'"$id"'-*" | wc -l)" -eq 0 ]'
    exits 3 errand log "$id"
}

@test "the command links neither libcurl, nor the HTTP server, nor SQLite" {
    libs=$(ldd "$ERRAND_STAGE/bin/errand")
    hasnt "$libs" curl
    hasnt "$libs" microhttpd
    hasnt "$libs" sqlite
}

@test "XDG places: a user's instance, found again" {
    home=$ERRAND_HOME
    mkdir -m 700 "$home/run" "$home/state" "$home/conf"
    run env -u ERRAND_HOME XDG_RUNTIME_DIR="$home/run" XDG_STATE_HOME="$home/state" XDG_CONFIG_HOME="$home/conf" \
        HOME="$home" "$ERRAND_STAGE/bin/errand" add --wait -- sh -c 'echo "$ERRAND_SOCKET"'
    same "$status" 0
    [ -S "$home/run/errand/errand.sock" ] && [ -e "$home/state/errand/tasks.db" ]
    # without XDG_RUNTIME_DIR (cron, ssh) the owner's lock file tells where it listens
    run env -u ERRAND_HOME -u XDG_RUNTIME_DIR XDG_STATE_HOME="$home/state" XDG_CONFIG_HOME="$home/conf" \
        HOME="$home" "$ERRAND_STAGE/bin/errand" --no-autostart tasks --json
    same "$status" 0
    env -u ERRAND_HOME XDG_RUNTIME_DIR="$home/run" XDG_STATE_HOME="$home/state" XDG_CONFIG_HOME="$home/conf" \
        HOME="$home" "$ERRAND_STAGE/bin/errand" shutdown --now
}

@test "drained: a graceful shutdown leaves no process when nothing runs" {
    errand add --wait -- true
    daemon=$(daemon_pid) worker=$(worker_pid)
    errand shutdown
    eventually 120 gone "$daemon"
    errand shutdown --now || :
    same "$(errand --no-autostart tasks >/dev/null 2>&1; echo $?)" 4
    kill -9 "$worker" 2>/dev/null || :
}
