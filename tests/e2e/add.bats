#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# From `errand add` to a finished task, as a person at a terminal sees it.

load helper
setup() { setup_home; }
teardown() { teardown_home; }

@test "add prints the id alone, wait tells the failure, show and log have the facts" {
    id=$(errand add -- sh -c 'echo out; echo err >&2; exit 3')
    [[ $id =~ ^[0-9]+$ ]] || fail "not an id: $id"
    exits 1 errand wait "$id"
    same "$(field "$id" .state)" failed
    same "$(field "$id" .exit_code)" 3
    same "$(field "$id" .signal)" null
    same "$(errand log "$id" --stderr)" err
    same "$(errand log "$id" --stdout)" out
    same "$(errand log "$id" | sort | tr '\n' ' ')" 'err out '
}

@test "what succeeds is completed, with its times and its use of the machine" {
    id=$(errand add -n 'My name' -- sh -c 'echo hello')
    exits 0 errand wait "$id"
    same "$(errand log "$id")" hello
    errand show "$id" --json | jq -e '
        .state == "completed" and .exit_code == 0 and .run == 1 and .attempt == 1
        and .failures == 0 and .losses == 0 and .held == false and .name == "My name"
        and .type == "shell" and .queue == "default" and (.created_at | test("^20..-..-..T..:..:..[.]...Z$")) and .started_at != null
        and .finished_at != null and .cpu_s != null and .peak_rss_bytes > 0
        and (.correlation_id | test("^[0-9a-f-]{36}$")) and .error == null'
}

@test "one argument is a shell line, several are run as they are" {
    a=$(errand add 'echo one; echo two')
    b=$(errand add -- echo 'a  b' '$HOME' '*')
    exits 0 errand wait "$a" "$b"
    same "$(errand log "$a")" $'one\ntwo'
    same "$(errand log "$b")" 'a  b $HOME *'
}

@test "ids grow and are never used again" {
    a=$(errand add -- true)
    errand wait "$a"
    errand remove "$a"
    b=$(errand add -- true)
    [ "$b" -gt "$a" ] || fail "$b after $a"
    errand wait "$b"
    exits 3 errand show "$a"
    exits 0 errand wait "$a"
}

@test "working directory and environment are the submitter's" {
    mkdir sub && cd sub
    id=$(MY_OWN='a b' errand add -- sh -c 'pwd; echo "$MY_OWN"; echo "$ERRAND_TASK_ID $ERRAND_ATTEMPT $ERRAND_SOCKET"')
    errand wait "$id"
    same "$(errand log "$id")" "$WORK/sub"$'\na b\n'"$id 1 $SOCKET"
    id=$(errand add --env X=1 --env Y=2 --cwd "$WORK" -- sh -c 'echo $X$Y; pwd')
    errand wait "$id"
    same "$(errand log "$id")" $'12\n'"$WORK"
}

@test "the command is searched on the submitter's PATH" {
    mkdir "$WORK/bin"
    printf '#!/bin/sh\necho mine "$@"\n' >"$WORK/bin/mycmd"
    chmod +x "$WORK/bin/mycmd"
    id=$(PATH=$WORK/bin:$PATH errand add -- mycmd x)
    exits 0 errand wait "$id"
    same "$(errand log "$id")" 'mine x'
}

@test "secrets do not travel with the environment, nor show in commands" {
    id=$(MY_API_TOKEN=sesame DB_PASSWORD=sesame AWS_SECRET_ACCESS_KEY=sesame PLAIN=open \
        errand add -- sh -c 'echo "$MY_API_TOKEN$DB_PASSWORD$AWS_SECRET_ACCESS_KEY$PLAIN"')
    errand wait "$id"
    same "$(errand log "$id")" open
    id=$(errand add -- true https://me:sesame@example.org/x.git)
    errand wait "$id"
    hasnt "$(errand show "$id")" sesame
    hasnt "$(errand show "$id" --json)" sesame
    hasnt "$(errand tasks --all)" sesame
    hasnt "$(errand tasks --all --json)" sesame
    hasnt "$(errand events --since 0 --json </dev/null)" sesame
    has "$(errand show "$id")" example.org/x.git
}

@test "children see only their own descriptors" {
    id=$(errand add -- sh -c 'ls /proc/self/fd | wc -l; echo $ERRAND_PROGRESS_FD')
    errand wait "$id"
    # 0, 1, 2, the progress pipe, and the one with which ls reads the folder
    same "$(errand log "$id" | head -n 1)" 5
}

@test "standard input: nothing, a file, a text, or what is sent" {
    id=$(errand add -- cat)
    exits 0 errand wait "$id"
    same "$(errand log "$id")" ''
    echo from-file >in
    id=$(errand add --stdin in -- cat)
    errand wait "$id"
    same "$(errand log "$id")" from-file
    id=$(echo from-pipe | errand add --stdin - -- cat)
    errand wait "$id"
    same "$(errand log "$id")" from-pipe
}

@test "send reaches a running task whose input is open, --eof ends it" {
    id=$(errand add --input -- sh -c 'read a; echo "got $a"; cat; echo end')
    eventually 120 state_is "$id" running
    exits 0 errand send "$id" hello
    exits 0 errand send "$id" more --eof
    exits 0 errand wait "$id" --timeout 200s
    has "$(errand log "$id")" 'got hello'
    has "$(errand log "$id")" more
    has "$(errand log "$id")" end
    # without --input it is refused, with the way to get it
    id=$(errand add -- sh -c "$(until_file go)")
    eventually 120 state_is "$id" running
    exits 5 errand send "$id" hello
    has "$stderr" --input
    touch go
}

@test "--wait gives the command's own exit code, --follow its output too" {
    exits 3 errand add --wait -- sh -c 'exit 3'
    exits 143 errand add --wait -- sh -c 'kill -TERM $$'
    exits 127 errand add --wait -- /no/such/command
    exits 0 errand add --wait -- true
    exits 7 errand add --follow -- sh -c 'echo a; echo b >&2; exit 7'
    has "$output" a
}

@test "a signal is told apart from an exit code" {
    id=$(errand add -- sh -c 'kill -KILL $$')
    exits 1 errand wait "$id"
    same "$(field "$id" .signal)" 9
    same "$(field "$id" .exit_code)" null
    same "$(field "$id" .state)" failed
}

@test "a command that fails twice and then succeeds, with --retries" {
    id=$(errand add --retries 3 --backoff 50ms -- sh -c '[ "$ERRAND_ATTEMPT" -ge 3 ]')
    exits 0 errand wait "$id"
    errand show "$id" --json | jq -e '.attempt == 3 and .failures == 2 and .losses == 0 and .retries == 3'
    events=$(errand events --since 0 --task "$id" --json | jq -r .event | tr '\n' ' ')
    same "$(grep -o task-retrying <<<"$events" | wc -l)" 2
    same "$(grep -o task-completed <<<"$events" | wc -l)" 1
    api "/v1/tasks/$id/attempts" | jq -e '[.attempts[].exit_code] == [1, 1, 0]'
}

@test "the retry budget is spent: failed, once" {
    id=$(errand add --retries 1 --backoff 10ms -- false)
    exits 1 errand wait "$id"
    errand show "$id" --json | jq -e '.state == "failed" and .attempt == 2 and .failures == 2'
    same "$(errand events --since 0 --task "$id" --json | jq -r .event | grep -c task-failed)" 1
}

@test "retry opens a new run of a finished task" {
    id=$(errand add -- sh -c '[ -e '"$WORK"'/there ]')
    exits 1 errand wait "$id"
    touch there
    exits 0 errand retry "$id"
    exits 0 errand wait "$id"
    errand show "$id" --json | jq -e '.run == 2 and .attempt == 2 and .state == "completed"'
}

@test "after: released by success, cancelled by failure, any takes both" {
    bad=$(errand add -- false)
    good=$(errand add -- true)
    a=$(errand add --after "$good" -- true)
    b=$(errand add --after "$bad" -- true)
    c=$(errand add --after "$bad:any,$good" -- true)
    d=$(errand add --after "$bad:fail" -- true)
    errand wait "$a" "$c" "$d"
    errand wait "$b" || :
    same "$(field "$a" .state)$(field "$b" .state)$(field "$c" .state)$(field "$d" .state)" \
        completedcancelledcompletedcompleted
}

@test "delay: scheduled first, and not before its time" {
    id=$(errand add --delay 1h -- true)
    same "$(field "$id" .state)" scheduled
    [ "$(field "$id" .run_at)" != null ]
    exits 124 errand wait "$id" --timeout 100ms
    errand cancel "$id"
    before=$(date +%s%3N)
    id=$(errand add --delay 700ms -- true)
    exits 0 errand wait "$id"
    [ $(($(date +%s%3N) - before)) -ge 700 ] || fail "too early"
}

@test "hold, pause and resume of what waits" {
    id=$(errand add --hold -- true)
    same "$(field "$id" .state)" paused
    exits 124 errand wait "$id" --timeout 100ms
    errand resume "$id"
    exits 0 errand wait "$id"
    id=$(errand add --delay 1h -- true)
    errand pause "$id"
    same "$(field "$id" .held)" true
    errand resume "$id"
    same "$(field "$id" .state)" scheduled
    errand cancel "$id"
}

@test "--timeout ends the attempt" {
    id=$(errand add --timeout 300ms --grace 200ms -- sleep 1000)
    exits 1 errand wait "$id" --timeout 200s
    same "$(field "$id" .state)" failed
    same "$(field "$id" .error.code)" timeout
}

@test "a key is taken once" {
    a=$(errand add --key k1 -- true)
    b=$(errand add --key k1 -- true)
    same "$a" "$b"
    exits 5 errand add --key k1 -- false
    has "$stderr" k1
    errand wait "$a"
}

@test "priority goes first" {
    echo 'concurrency: 1' >"$ERRAND_HOME/config.yml"
    gate=$(errand add -- sh -c "$(until_file go)")
    eventually 120 state_is "$gate" running
    low=$(errand add -- sh -c 'echo low >>order')
    high=$(errand add -p 100 -- sh -c 'echo high >>order')
    touch go
    errand wait "$low" "$high"
    same "$(tr '\n' ' ' <order)" 'high low '
}

@test "result: what the task left by errand progress --result" {
    id=$(errand add -- sh -c 'errand progress --result "the answer"')
    exits 0 errand wait "$id"
    same "$(errand result "$id")" 'the answer'
    same "$(field "$id" .result)" 'the answer'
    id=$(errand add -- sh -c 'echo "{\"n\": 42}" | errand progress --result -')
    exits 0 errand wait "$id"
    same "$(field "$id" .result.n)" 42
    id=$(errand add -- true)
    errand wait "$id"
    exits 3 errand result "$id"
}

@test "errand add from inside a task knows its parent's correlation" {
    id=$(errand add --correlation chain-1 -- sh -c 'errand add -- true >'"$WORK"'/child')
    exits 0 errand wait "$id"
    child=$(cat child)
    exits 0 errand wait "$child"
    same "$(field "$child" .correlation_id)" chain-1
    same "$(field "$child" .parent)" "$id"
}

@test "wait: --all, --any and a timeout" {
    a=$(errand add -- sh -c "$(until_file go)")
    b=$(errand add -- true)
    exits 0 errand wait --any "$a" "$b"
    exits 124 errand wait "$a" --timeout 50ms
    touch go
    exits 0 errand wait --all --timeout 200s
    same "$(field "$a" .state)" completed
}

@test "ids: a range, several, @last" {
    a=$(errand add -- true)
    b=$(errand add -- true)
    c=$(errand add -- true)
    exits 0 errand wait "$a-$c"
    same "$(errand show @last --json | jq .id)" "$c"
    errand remove "$a" "$b"
    exits 3 errand show "$a"
    exits 0 errand show "$c"
}

@test "the daemon starts by itself, and not with --no-autostart" {
    exits 4 errand --no-autostart tasks
    exits 0 errand tasks
    has "$output$stderr" 'No tasks yet. Try: errand add -- sleep 3'
    exits 0 errand --no-autostart tasks
    errand shutdown
    exits 4 errand --no-autostart tasks
}
