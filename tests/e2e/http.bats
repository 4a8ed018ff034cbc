#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The protocol as any program speaks it: curl on the unix socket. docs/PROTOCOL.md.

load helper
setup() {
    setup_home
    errand stats >/dev/null
}
teardown() { teardown_home; }

post() { api "$1" -X POST -H 'Content-Type: application/json' -d "$2"; }
post_status() { api_status "$1" -X POST -H 'Content-Type: application/json' -d "$2"; }
# problem STATUS CODE FIELD: of the last api_status in $WORK/body
problem() {
    jq -e --argjson s "$1" --arg c "$2" --arg f "$3" \
        '.status == $s and .code == $c and (.field // "") == $f and (.detail | length) > 5' "$WORK/body" >/dev/null ||
        fail "$(cat "$WORK/body")"
}

@test "POST /tasks answers 201 with the place and the task" {
    api /v1/tasks -i -X POST -d '{"args":{"argv":["echo","hi"]},"name":"n","tags":["t"],"meta":{"k":"v"}}' >answer
    grep -q '^HTTP/1.1 201' answer
    id=$(sed -n 's/^[Ll]ocation: .*\/v1\/tasks\/\([0-9]*\).*/\1/p' answer)
    api "/v1/tasks/$id" | jq -e --argjson id "$id" \
        '.id == $id and .name == "n" and .tags == ["t"] and .meta == {"k":"v"} and .run == 1'
    api "/v1/tasks/$id?wait=120&until=final" | jq -e '.state == "completed" and .exit_code == 0'
    same "$(api "/v1/tasks/$id/log")" hi
    post '/v1/tasks?brief=1' '{"args":{"command":"exit 0"}}' | jq -e 'keys == ["id","state"]'
}

@test "the socket is ours alone" {
    same "$(stat -c %a "$SOCKET")" 600
    same "$(stat -c %U "$SOCKET")" "$(id -un)"
}

@test "Idempotency-Key: the same body gets the same task, another is refused" {
    body='{"args":{"argv":["true"]}}'
    same "$(api_status /v1/tasks -H 'Idempotency-Key: a1' -d "$body")" 201
    first=$(jq .id body)
    same "$(api_status /v1/tasks -H 'Idempotency-Key: a1' -d "$body")" 200
    same "$(jq .id body)" "$first"
    same "$(api_status /v1/tasks -H 'Idempotency-Key: a1' -d '{"args":{"argv":["false"]}}')" 409
    problem 409 exists key
}

@test "NDJSON: each line its own answer, good ones stay" {
    printf '%s\n' '{"args":{"argv":["true"]}}' '{"args":{"argv":[]}}' '{nonsense' '{"args":{"argv":["true"]},"priority":1}' >many
    api /v1/tasks -H 'Content-Type: application/x-ndjson' --data-binary @many >out
    same "$(wc -l <out)" 4
    same "$(jq -r '.id // .code' out | sed 's/^[0-9]*$/id/' | tr '\n' ' ')" 'id invalid invalid id '
    same "$(jq -c 'select(.code) | .line' out | tr '\n' ' ')" '2 3 '
}

@test "NDJSON, atomic: all or none, ref names point both ways" {
    before=$(api /v1/stats)
    printf '%s\n' '{"args":{"argv":["true"]}}' '{"args":{"argv":["true"]},"nope":1}' >many
    same "$(api_status '/v1/tasks?atomic=1' -H 'Content-Type: application/x-ndjson' --data-binary @many)" 400
    problem 400 invalid nope
    same "$(jq .line body)" 2
    same "$(api '/v1/tasks' | jq '.tasks | length')" 0
    printf '%s\n' '{"ref":"a","args":{"command":"echo a >>order"},"after":[{"ref":"b"}],"cwd":"'"$WORK"'"}' \
        '{"ref":"b","args":{"command":"echo b >>order"},"cwd":"'"$WORK"'"}' >many
    api '/v1/tasks?atomic=1' -H 'Content-Type: application/x-ndjson' --data-binary @many >out
    same "$(jq -r .state out | tr '\n' ' ')" 'blocked queued '
    errand wait "$(jq -s '.[0].id' out)"
    same "$(tr '\n' ' ' <order)" 'b a '
}

@test "lists: pages, filters, counts" {
    for n in $(seq 12); do printf '{"args":{"argv":["true"]},"held":true,"tags":["t%s"],"queue":"q%s"}\n' $((n % 2)) $((n % 3)); done >many
    api /v1/tasks -H 'Content-Type: application/x-ndjson' --data-binary @many >/dev/null
    api '/v1/tasks?limit=5' >p1
    same "$(jq '.tasks | length' p1)" 5
    api "/v1/tasks?limit=100&cursor=$(jq -r .next p1)" >p2
    same "$(jq -s '[.[].tasks[].id] | unique | length' p1 p2)" 12
    same "$(jq -s '[.[].tasks[].id] | . == (sort | reverse)' p1 p2)" true
    same "$(jq .next p2)" null
    same "$(api '/v1/tasks?tag=t1' | jq '.tasks | length')" 6
    same "$(api '/v1/tasks?queue=q2' | jq '.tasks | length')" 4
    same "$(api '/v1/tasks?state=paused' | jq '.tasks | length')" 12
    same "$(api '/v1/tasks?state=running,failed' | jq '.tasks | length')" 0
    same "$(api_status '/v1/tasks?state=dozing')" 400
    problem 400 invalid state
    same "$(api_status '/v1/tasks?limit=0')" 400
    problem 400 invalid limit
    same "$(api_status '/v1/tasks?colour=red')" 400
    problem 400 invalid colour
}

@test "actions on one and on many" {
    id=$(post /v1/tasks '{"args":{"argv":["true"]},"held":true}' | jq .id)
    same "$(post "/v1/tasks/$id/resume" '' | jq -r .id)" "$id"
    api "/v1/tasks/$id?wait=120" >/dev/null
    same "$(post_status "/v1/tasks/$id/cancel" '')" 409
    problem 409 state ''
    same "$(jq -r .state body)" completed
    same "$(post_status "/v1/tasks/999/cancel" '')" 404
    problem 404 not-found ''
    same "$(post_status "/v1/tasks/$id/explode" '')" 404
    b=$(post /v1/tasks '{"args":{"argv":["true"]},"held":true}' | jq .id)
    post /v1/actions/cancel '{"ids":['"$b"',999]}' >out
    same "$(jq -r '.state // .code' out | tr '\n' ' ')" 'cancelled not-found '
}

@test "PATCH of what waits" {
    id=$(post /v1/tasks '{"args":{"argv":["true"]},"held":true}' | jq .id)
    api "/v1/tasks/$id" -X PATCH -d '{"priority":7,"name":"new"}' | jq -e '.priority == 7 and .name == "new"'
    same "$(api_status "/v1/tasks/$id" -X PATCH -d '{"state":"completed"}')" 400
    problem 400 invalid state
    api "/v1/tasks/$id/resume" -X POST >/dev/null
    api "/v1/tasks/$id?wait=120" >/dev/null
    same "$(api_status "/v1/tasks/$id" -X PATCH -d '{"priority":8}')" 409
}

@test "DELETE leaves a tombstone" {
    id=$(errand add -- sh -c 'exit 3')
    errand wait "$id" || :
    same "$(api_status "/v1/tasks/$id" -X DELETE)" 204
    same "$(api_status "/v1/tasks/$id")" 404
    jq -e '.tombstone.state == "failed" and .tombstone.exit_code == 3' body
}

@test "the log: streams, tail, times, NDJSON, follow" {
    id=$(errand add -- sh -c "echo a; echo b; echo c >&2; touch up; $(until_file go); echo d")
    eventually 120 test -e up
    api "/v1/tasks/$id/log?follow=1" -N >followed &
    curl=$!
    eventually 120 grep -q b followed
    touch go
    wait "$curl"
    same "$(sort followed | tr '\n' ' ')" 'a b c d '
    same "$(api "/v1/tasks/$id/log?stream=stderr")" c
    same "$(api "/v1/tasks/$id/log?stream=stdout&tail=2" | tr '\n' ' ')" 'b d '
    api "/v1/tasks/$id/log?timestamps=1" | grep -qE '^20[0-9-]+T[0-9:.]+Z err c$'
    api "/v1/tasks/$id/log?format=ndjson" | jq -es 'map(select(.stream == "stderr").data) | join("") == "c\n"'
    same "$(api_status "/v1/tasks/$id/log?attempt=9")" 404
    same "$(api_status "/v1/tasks/$id/log?stream=x")" 400
    problem 400 invalid stream
}

@test "queues: made, listed, limited, removed" {
    same "$(api_status /v1/queues/build -X PUT -d '{"concurrency":1,"size":3,"paused":true}')" 200
    api /v1/queues | jq -e '.queues[] | select(.name == "build") | .concurrency == 1 and .size == 3 and .paused'
    for n in 1 2 3; do post /v1/tasks '{"args":{"argv":["true"]},"queue":"build"}' >/dev/null; done
    same "$(post_status /v1/tasks '{"args":{"argv":["true"]},"queue":"build"}')" 429
    problem 429 full queue
    exits 5 errand add -q build -- true
    same "$stderr" "errand: queue 'build' is full: 3 queued tasks (max: 3)"
    same "$(api_status /v1/queues/build -X DELETE)" 409
    api_status /v1/queues/build -X PUT -d '{"concurrency":1,"paused":false}' >/dev/null
    exits 0 errand wait --all --timeout 200s
    same "$(api_status /v1/queues/build -X PUT -d '{"concurrency":-1}')" 400
    problem 400 invalid concurrency
}

@test "a paused or saturated queue holds up nothing behind it" {
    api_status /v1/queues/shut -X PUT -d '{"paused":true}' >/dev/null
    api_status /v1/queues/one -X PUT -d '{"concurrency":1}' >/dev/null
    for n in $(seq 50); do printf '{"args":{"argv":["true"]},"queue":"shut","priority":1000}\n'; done >many
    api /v1/tasks -H 'Content-Type: application/x-ndjson' --data-binary @many >/dev/null
    gate=$(errand add -q one -- sh -c "$(until_file go)")
    for n in $(seq 5); do errand add -p 1000 -q one -- true >/dev/null; done
    id=$(errand add -p -1000 -- true)
    exits 0 errand wait "$id" --timeout 200s
    touch go
    exits 0 errand wait "$gate" --timeout 200s
}

@test "health, readiness, stats, metrics" {
    same "$(api_status /healthz)" 200
    ready() { [ "$(api_status /readyz)" = 200 ]; }
    eventually 120 ready
    id=$(errand add -- true)
    errand wait "$id"
    api /v1/stats | jq -e '.daemon.pid > 0 and .daemon.version != null and (.workers | length) == 1'
    api /v1/types | jq -e '.types[] | select(.name == "shell")'
    same "$(api_status /metrics)" 200
}

@test "malformed JSON and fields get an error that names them" {
    same "$(post_status /v1/tasks '{"args":')" 400
    problem 400 invalid ''
    for pair in 'args={}' 'args={"args":{"argv":"x"}}' 'args={"args":{"argv":[1]}}' 'args={"args":{"argv":["a"],"command":"b"}}' \
        'priority={"args":{"argv":["a"]},"priority":"high"}' 'priority={"args":{"argv":["a"]},"priority":1001}' \
        'retries={"args":{"argv":["a"]},"retries":-1}' 'timeout_s={"args":{"argv":["a"]},"timeout_s":"5 parsecs"}' \
        'on_lost={"args":{"argv":["a"]},"on_lost":"panic"}' 'type={"type":"no.such","args":{}}' \
        'env={"args":{"argv":["a"]},"env":{"A":1}}' 'after={"args":{"argv":["a"]},"after":[{"id":99}]}' \
        'colour={"args":{"argv":["a"]},"colour":"red"}' 'cwd={"args":{"argv":["a"]},"cwd":"relative"}' \
        'run_at={"args":{"argv":["a"]},"run_at":"tomorrow"}' 'tags={"args":{"argv":["a"]},"tags":"x"}'; do
        got=$(post_status /v1/tasks "${pair#*=}")
        [[ $got = 400 || $got = 404 ]] || fail "$got for $pair: $(cat body)"
        has "$(jq -r '"\(.field) \(.detail)"' body)" "${pair%%=*}"
    done
    same "$(api '/v1/tasks' | jq '.tasks | length')" 0
    same "$(post_status /v1/tasks '{"args":{"argv":["a"],"argv":["b"]}}')" 400
    deep=$(printf '[%.0s' $(seq 100))
    same "$(post_status /v1/tasks "{\"args\":$deep")" 400
}

@test "sizes: long documents, lines, headers, paths" {
    head -c 3000000 /dev/zero | tr '\0' x >big
    same "$(api_status /v1/tasks --data-binary @big)" 413
    (printf '{"args":{"argv":["true"]},"name":"' && head -c 2000 big && printf '"}') >long
    same "$(api_status /v1/tasks --data-binary @long)" 400
    problem 400 invalid name
    # an answer of the status, or a closed connection: never a hang, never a crash
    api_status /v1/tasks -H "X-Long: $(head -c 20000 big)" >status || :
    [[ $(cat status) =~ ^(431|413|400|000)$ ]] || fail "$(cat status)"
    api_status "/v1/tasks/$(head -c 20000 big)" >status || :
    [[ $(cat status) =~ ^(431|414|413|400|404|000)$ ]] || fail "$(cat status)"
    same "$(api_status /healthz)" 200
}

@test "HTTP that smuggles or is broken is refused" {
    has "$(raw 'GET / HTTP/9.9\r\n\r\n')" 'HTTP/1.'
    has "$(raw 'POST /v1/tasks HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc')" ' 400 '
    has "$(raw 'POST /v1/tasks HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc')" ' 400 '
    has "$(raw 'GET /v1/tasks HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n')" ' 400 '
    raw 'nonsense\r\n\r\n' >/dev/null
    raw 'GET /v1/tasks HTTP/1.1\r\nHost: a\r\nX: \rb\r\n\r\n' >answer
    grep -qv ' 200 ' answer
    same "$(api_status /healthz)" 200
    same "$(api_status /v1/nothing)" 404
    same "$(api_status /v1/tasks -X BREW)" 405
    has "$(raw 'PUT /v1/tasks/1 HTTP/1.1\r\nHost: a\r\n\r\n')" 'Allow: GET, HEAD, PATCH, DELETE'
    has "$(raw 'PUT /v1/tasks HTTP/1.1\r\nHost: a\r\n\r\n')" '"status":405'
    [[ $(api_status '/v1/tasks/..%2f..%2fetc%2fpasswd') =~ ^(400|404)$ ]]
    [[ $(api_status '/v1/tasks/99999999999999999999999') =~ ^(400|404)$ ]]
    [[ $(api_status '/v1/tasks/-1') =~ ^(400|404)$ ]]
}

@test "a connection that says nothing or half a request harms nobody" {
    python3 - "$SOCKET" <<'PY' &
import socket, sys, time
held = []
for n in range(50):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.sendall(b"POST /v1/tasks HTTP/1.1\r\nHost: a\r\nContent-Le" if n % 2 else b"")
    held.append(s)
open("held", "w").close()
time.sleep(600)
PY
    slow=$!
    eventually 120 test -e held
    exits 0 errand add --wait -- true
    kill "$slow"
}
