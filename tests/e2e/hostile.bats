#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Requests of clumsy and hostile clients, and requests that race with what happens.

load helper
setup() {
    setup_home
    errand stats >/dev/null
}
teardown() { teardown_home; }

post_status() { api_status "$1" -X POST -H 'Content-Type: application/json' -d "$2"; }
wrong_field() { # PATH BODY FIELD
    same "$(post_status "$1" "$2")" 400
    same "$(jq -r .field "$WORK/body")" "$3"
}
ndjson() { api "$1" -H 'Content-Type: application/x-ndjson' --data-binary @-; }

@test "a filter of the wrong kind is not a filter for everything" {
    id=$(errand add --hold -- true)
    for body in '{"queue":5}' '{"queue":null}' '{"queue":""}'; do
        wrong_field /v1/actions/cancel "$body" queue
    done
    wrong_field /v1/actions/cancel '{"tag":["x"]}' tag
    wrong_field /v1/actions/cancel '{"all":"no"}' all
    wrong_field /v1/actions/cancel '{"all":true,"state":5}' state
    wrong_field /v1/actions/cancel '{"ids":["1"]}' ids
    wrong_field /v1/actions/cancel '{"ids":[1.5]}' ids
    wrong_field /v1/actions/cancel '{"ids":[0]}' ids
    wrong_field /v1/actions/cancel '{"all":true,"reason":7}' reason
    state_is "$id" paused
}

@test "clean with bounds of the wrong kind removes nothing" {
    id=$(errand add --wait -- true)
    wrong_field /v1/clean '{"keep":"5"}' keep
    wrong_field /v1/clean '{"older_than_s":"7d"}' older_than_s
    wrong_field /v1/clean '{"state":null}' state
    state_is "$id" completed
}

@test "a request that is refused has done nothing" {
    id=$(errand add -- sleep 1000)
    eventually 120 state_is "$id" running
    same "$(post_status "/v1/tasks/$id/cancel?wait=soon" '')" 400
    is "$id" .cancel_requested false
    errand cancel "$id"
}

@test "actions for many say the state after them" {
    a=$(errand add --hold -- true)
    b=$(errand add --delay 1h -- true)
    same "$(api /v1/actions/pause -d "{\"ids\":[$b]}" | jq -r .state)" paused
    same "$(api /v1/actions/resume -d "{\"ids\":[$b]}" | jq -r .state)" scheduled
    same "$(api /v1/actions/cancel -d '{"all":true}' | jq -r .state | sort -u)" cancelled
    same "$(api /v1/actions/retry -d "{\"ids\":[$a]}" | jq -r .state)" queued
}

@test "requeue says what there is not, and what is over" {
    id=$(errand add --wait -- true)
    same "$(post_status /v1/tasks/999999/requeue '')" 404
    same "$(post_status "/v1/tasks/$id/requeue" '')" 409
    same "$(jq -r .state body)" completed
    exits 3 errand requeue 999999
}

@test "an edit takes whole numbers and plain names only" {
    id=$(errand add --hold -- true)
    for body in '{"priority":1.5}' '{"retries":"2"}' '{"queue":"a\nb"}' '{"name":""}'; do
        same "$(api_status "/v1/tasks/$id" -X PATCH -d "$body")" 400
    done
    same "$(api_status /v1/queues/a%01b -X PUT -d '{}')" 400
    is "$id" .priority 0
    is "$id" .queue default
}

@test "NDJSON: a name that is not there concerns only those that use it" {
    c='"args":{"command":"true"}'
    printf '%s\n' "{$c}" "{$c,\"after\":[{\"ref\":\"nobody\"}]}" "{\"args\":{},\"ref\":\"bad\"}" \
        "{$c,\"ref\":\"x\",\"after\":[{\"ref\":\"bad\"}]}" "{$c,\"after\":[{\"ref\":\"x\"}]}" \
        "{$c,\"ref\":\"good\"}" "{$c,\"after\":[{\"ref\":\"good\"}]}" | ndjson /v1/tasks >out
    same "$(jq -r '.id // .code' out | sed 's/^[0-9]*$/id/' | tr '\n' ' ')" \
        'id invalid invalid invalid cancelled id id '
    good=$(jq -s '.[5].id' out)
    same "$(api "/v1/tasks/$(jq -s '.[6].id' out)" | jq -c '[.after[].id]')" "[$good]"
}

@test "NDJSON has no key for all of its lines" {
    for _ in 1 2; do
        same "$(api_status /v1/tasks -H 'Content-Type: application/x-ndjson' \
            -H 'Idempotency-Key: k' -d '{"args":{"command":"true"}}')" 400
        same "$(jq -r .field body)" Idempotency-Key
    done
    same "$(api /v1/tasks | jq '.tasks | length')" 0
}

@test "a cancel that comes before the run's environment is heard" {
    python3 - "$SOCKET" <<'PY'
import http.client, json, os, socket, sys

class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(300)
        self.sock.connect(sys.argv[1])

c = Unix("errand")

def ask(path, body=None):
    c.request("POST", path, json.dumps(body) if body is not None else "")
    return json.loads(c.getresponse().read())

late = []
for n in range(60):
    task = {"args": {"command": "sleep 1000"}, "env": {"PATH": os.environ["PATH"], "N": str(n)}}
    ended = ask("/v1/tasks/%d/cancel?wait=120" % ask("/v1/tasks?brief=1", task)["id"])
    if ended["state"] != "cancelled":
        late.append(ended["id"])
        break
sys.exit(f"did not end: {late}" if late else 0)
PY
}

@test "cancel wins over a requeue that was asked for before" {
    id=$(errand add --grace 300ms -- sh -c 'trap "" TERM; while :; do sleep 0.05; done')
    eventually 120 state_is "$id" running
    eventually 120 is "$id" '.pid > 0' true
    api "/v1/tasks/$id/requeue" -X POST -d '{}' >/dev/null
    api "/v1/tasks/$id/cancel?wait=120" -X POST -d '{}' | jq -e '.state == "cancelled"'
}

@test "events: an empty name is refused, a number from the future means now" {
    same "$(api_status '/v1/events?event=')" 400
    curl -sN --max-time 300 --unix-socket "$SOCKET" 'http://errand/v1/events?since=99999999' >got 3>&- &
    reader=$!
    eventually 120 sh -c 'errand stats --json | jq -e ".events.subscribers == 1"' >/dev/null
    id=$(errand add --wait -- true)
    eventually 120 grep -q task-completed got
    kill "$reader"
    # The worker's own start may well come while we listen: it is now, too.
    same "$(sed -n 's/^data: //p' got |
        jq -s "all(.[]; .task == $id or .event == \"worker-started\")")" true
}

@test "a follower sees the output of each attempt, in order" {
    id=$(errand add --hold --retries 3 --backoff 10ms -- sh -c 'echo "try $ERRAND_ATTEMPT"; printf end; exit 1')
    curl -sN -D head --max-time 300 --unix-socket "$SOCKET" \
        "http://errand/v1/tasks/$id/log?follow=1" >followed 3>&- &
    follower=$!
    eventually 120 grep -qi '^x-errand-attempt: 0' head
    errand resume "$id"
    wait "$follower"
    same "$(grep -o 'try [0-9]' followed | tr '\n' ' ')" 'try 1 try 2 try 3 try 4 '
}

@test "a worker that attaches again and then closes the old stream is left alone" {
    eventually 120 has_worker
    python3 - "$SOCKET" <<'PY'
import http.client, json, socket, sys

class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(300)
        self.sock.connect(sys.argv[1])

def claim(session=None, token=None):
    c = Unix("errand")
    hello = {"protocol": 1, "pid": 1, "slots": 1, "session": session, "token": token,
             "held": [], "owed": []}
    c.request("POST", "/v1/work/claim", json.dumps(hello))
    answer = c.getresponse()
    line = json.loads(answer.readline())
    return c, line["welcome"]

def connected(session):
    c = Unix("errand")
    c.request("GET", "/v1/stats")
    stats = json.loads(c.getresponse().read())
    return [w["connected"] for w in stats["workers"] if w["session"] == session]

old, first = claim()
new, second = claim(first["session"], first["token"])
assert second["session"] == first["session"]
old.sock.shutdown(socket.SHUT_RDWR)
old.close()
for _ in range(50):
    assert connected(first["session"]) == [True]
PY
}
