#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Facts by server-sent events: none missed, none twice, across a SIGKILL of the daemon.

load helper
setup() {
    setup_home
    errand stats >/dev/null
}
teardown() { teardown_home; }

# follow FILE [CURL OPTION...]: events into the file, in the background; the pid in $curl.
follow() {
    local file=$1
    shift
    curl -sN --unix-socket "$SOCKET" "$@" 'http://errand/v1/events?since=0' >"$file" 3>&- &
    curl=$!
}
listens() { errand stats --json | jq -e '.events.subscribers == 1' >/dev/null; }
ids() { sed -n 's/^id: //p' "$@"; }
seen() { grep -q "\"event\":\"$2\".*\"task\":$3[,}]" "$1"; }

@test "since=0 replays all facts and then follows" {
    a=$(errand add -- true)
    errand wait "$a"
    follow ev
    eventually 120 seen ev task-completed "$a"
    b=$(errand add -- false)
    eventually 120 seen ev task-failed "$b"
    kill "$curl"
    same "$(ids ev | tr '\n' ' ')" "$(seq 1 "$(ids ev | wc -l)" | tr '\n' ' ')"
    sed -n 's/^data: //p' ev | jq -es '
        all(.[]; has("seq") and has("event") and has("time") and has("task") and has("run")
            and has("type") and has("queue") and has("correlation_id") and has("attempt") and has("data"))' >/dev/null
}

@test "Last-Event-ID misses and repeats none, also across a SIGKILL" {
    follow ev1
    for n in 1 2 3 4 5; do errand add -- true >>tasks; done
    eventually 120 sh -c '[ "$(grep -c ^id: ev1)" -ge 4 ]'
    kill -9 "$(daemon_pid)"
    wait "$curl" || :
    for n in 1 2 3 4 5; do errand add -- true >>tasks; done
    # the last event may be cut short: what has no empty line behind it did not arrive
    python3 - <<'PY'
text = open("ev1").read()
open("ev1", "w").write(text[: text.rfind("\n\n") + 2])
PY
    last=$(ids ev1 | tail -n 1)
    follow ev2 -H "Last-Event-ID: $last"
    # shellcheck disable=SC2046
    errand wait $(cat tasks)
    eventually 120 seen ev2 task-completed "$(tail -n 1 tasks)"
    for id in $(cat tasks); do eventually 120 sh -c "cat ev1 ev2 | grep -q '\"event\":\"task-completed\".*\"task\":$id[,}]'"; done
    kill "$curl"
    same "$(ids ev1 ev2 | tr '\n' ' ')" "$(seq 1 "$(ids ev1 ev2 | wc -l)" | tr '\n' ' ')"
    for id in $(cat tasks); do
        same "$(cat ev1 ev2 | grep -c "\"event\":\"task-completed\".*\"task\":$id[,}]")" 1
    done
}

@test "filters: task, event, correlation" {
    a=$(errand add --correlation one -- true)
    b=$(errand add --correlation two -- true)
    errand wait "$a" "$b"
    same "$(errand events --since 0 --task "$a" --json | jq -s '[.[].task] | unique | .[]')" "$a"
    same "$(errand events --since 0 --correlation two --json | jq -s '[.[].task] | unique | .[]')" "$b"
    same "$(errand events --since 0 --event task-completed --json | jq -rs '[.[].event] | unique | .[]')" task-completed
    exits 2 errand events --since 0 --event task-exploded
    has "$stderr" task-exploded
}

@test "one final event for a task and its run, with the progress in it" {
    id=$(errand add -- sh -c 'echo 10%; echo 60%')
    errand wait "$id"
    errand events --since 0 --task "$id" --json >ev
    same "$(jq -r .event ev | tr '\n' ' ')" 'task-queued task-started task-completed '
    jq -es '.[-1].data | .progress.percent == 100 and .duration_s >= 0' ev
}

@test "samples: progress and output arrive, unnumbered, the last before the end" {
    follow ev
    eventually 120 listens # samples are for those who listen when they come
    id=$(errand add -- sh -c 'for i in 10 20 30; do echo $i%; sleep 0.2; done')
    errand wait "$id"
    eventually 120 seen ev task-completed "$id"
    kill "$curl"
    sed -n 's/^data: //p' ev | jq -cs '.[] | select(.event == "task-progress")' >samples
    [ -s samples ] || fail "no progress was published"
    jq -es 'all(.[]; .seq == null) and (.[-1].data.percent >= 30)' samples >/dev/null
    grep -q '"event":"task-output"' ev
}

@test "a slow subscriber holds up nobody" {
    python3 - "$SOCKET" <<'PY' &
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
s.connect(sys.argv[1])
s.sendall(b"GET /v1/events?since=0 HTTP/1.1\r\nHost: errand\r\n\r\n")
open("reading-nothing", "w").close()
time.sleep(600)
PY
    slow=$!
    eventually 120 test -e reading-nothing
    for n in $(seq 300); do printf '{"args":{"argv":["true"]}}\n'; done >many
    api /v1/tasks -H 'Content-Type: application/x-ndjson' --data-binary @many >/dev/null
    exits 0 errand wait --all --timeout 200s
    kill "$slow"
}
