#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The built-in types with handlers, through a daemon: wait, file.hash, http.request.

load helper
setup() { setup_home; }
teardown() {
    [ -z "${server:-}" ] || kill "$server" 2>/dev/null || :
    teardown_home
}

# submit TYPE ARGS-AS-JSON [JQ FILTER over the whole]: the id.
submit() {
    jq -nc --arg type "$1" --argjson args "$2" "{type: \$type, args: \$args} | ${3:-.}" |
        api '/v1/tasks?brief=1' -H 'Content-Type: application/json' --data-binary @- |
        jq -er .id
}
result() { errand result "$1" | jq -r "$2"; }
# A definition as it counts: without what says where it comes from and how it goes now.
definition() { api "/v1/types/$1" | jq -S 'del(.origin, .program, .running, .served, .takes_s)'; }

@test "the definitions of the daemon are those of the programs" {
    errand stats >/dev/null
    for type in wait file.hash; do definition "$type" >"$type.ours"; done
    definition http.request >http.request.ours
    "$ERRAND_STAGE/libexec/errand-types" register --socket "$SOCKET"
    "$ERRAND_STAGE/libexec/errand-http" register --socket "$SOCKET"
    for type in wait file.hash http.request; do
        same "$(api "/v1/types/$type" | jq -r '.program[0]' | head -c 1)" /
        definition "$type" >"$type.theirs"
        diff "$type.ours" "$type.theirs"
    done
}

@test "wait: paused and resumed, it goes on at its checkpoint" {
    errand stats >/dev/null
    id=$(submit wait '{"for": 3600, "steps": 7200}')
    eventually 120 is "$id" '.checkpoint.waited_ms > 0' true
    errand pause "$id"
    eventually 120 state_is "$id" paused
    ms=$(field "$id" .checkpoint.waited_ms)
    [ "$ms" -gt 0 ]
    errand resume "$id"
    eventually 120 is "$id" ".state == \"running\" and .checkpoint.waited_ms > $ms" true
    same "$(field "$id" .attempts)" 2
    errand cancel "$id"
    eventually 120 state_is "$id" cancelled
}

@test "file.hash: killed in the middle, it goes on behind the files it has done" {
    mkdir tree
    for i in $(seq 100 300); do echo "file $i" >"tree/$i"; done
    want=$(python3 - <<'PY'
import hashlib
h = bytes(32)
for i in range(100, 301):
    data = b"" if i == 200 else b"file %d\n" % i
    h = hashlib.sha256(h + hashlib.sha256(data).digest() + b"%d\0" % i).digest()
print(h.hex())
PY
)
    truncate -s 1T tree/200 # a hole: hours
    errand stats >/dev/null
    id=$(submit file.hash "{\"path\": \"$WORK/tree\"}" '. + {retries: 3, backoff_s: 0.1}')
    eventually 120 is "$id" '.items_completed >= 100' true
    # its process alone is killed: a failed attempt, and the next one goes on
    pid=$(pgrep -f "errand-types run file.hash" | while read -r p; do
        if grep -qz "ERRAND_SOCKET=$SOCKET" "/proc/$p/environ" 2>/dev/null; then echo "$p"; fi
    done)
    kill -STOP "$pid" # or it would be done before it is killed
    : >tree/200
    kill -9 "$pid"
    errand wait "$id"
    same "$(result "$id" .sha256)" "$want"
    same "$(result "$id" .files)" 201
    same "$(field "$id" .items_completed)" 201
    same "$(field "$id" .attempts)" 2
    # what the second attempt has read: at most what came after the last checkpoint
    has "$(errand log "$id" --attempt 1)" "  100"
    hasnt "$(errand log "$id" --attempt 2)" "  100"
    has "$(errand log "$id" --attempt 2)" "  300"
}

# A server on loopback: /ok, /limit (429 once, then ok), /busy (503 once, then ok), /gone (404).
serve() {
    cat >server.py <<'PY'
import http.server
seen = []
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass
    def do_GET(self):
        first = self.path not in seen
        seen.append(self.path)
        status = {"/ok": 200, "/limit": 429 if first else 200, "/busy": 503 if first else 200}.get(self.path, 404)
        out = b'{"path": "%s"}' % self.path.encode()
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
open("port.new", "w").write(f"{server.server_port}\n")
__import__("os").rename("port.new", "port")
server.serve_forever()
PY
    python3 server.py 3>&- 4>&- &
    server=$!
    eventually 120 test -e port
    url=http://127.0.0.1:$(cat port)
}

@test "http.request: an answer, a rate limit, a busy server, a page that is not there" {
    serve
    errand stats >/dev/null
    ok=$(submit http.request "{\"url\": \"$url/ok\"}")
    limit=$(submit http.request "{\"url\": \"$url/limit\"}")
    busy=$(submit http.request "{\"url\": \"$url/busy\"}" '. + {retries: 1, backoff_s: 0.1}')
    gone=$(submit http.request "{\"url\": \"$url/gone\"}" '. + {retries: 5, backoff_s: 0.1}')
    errand wait "$ok" "$limit" "$busy"
    same "$(result "$ok" .path)" /ok
    has "$(errand log "$ok")" "200 OK"
    same "$(result "$limit" .path)" /limit
    same "$(field "$limit" '"\(.attempts) \(.failures)"')" "2 0"
    same "$(result "$busy" .path)" /busy
    same "$(field "$busy" '"\(.attempts) \(.failures)"')" "2 1"
    exits 1 errand wait "$gone"
    same "$(field "$gone" '"\(.state) \(.attempts) \(.error.class) \(.error.code)"')" "failed 1 fatal http-404"
}

@test "a type of the user's: a command with arguments, and sh" {
    errand stats >/dev/null
    api /v1/types/greet -X PUT -H 'Content-Type: application/json' -d '{
        "parameters": [{"name": "who", "kind": "string", "required": true},
                       {"name": "flags", "kind": "strings"}, {"name": "text", "kind": "string"}],
        "command": ["printf", "%s|", "Hello {who}", "{flags}", "{{}}"], "stdin": "{text}"}' >/dev/null
    id=$(submit greet '{"who": "a $(b) c", "flags": ["-x", "y z"]}')
    errand wait "$id"
    same "$(errand log "$id")" 'Hello a $(b) c|-x|y z|{}|'
    id=$(submit sh '{"script": "echo $# $2", "args": ["one", "two words"]}')
    errand wait "$id"
    same "$(errand log "$id")" '2 two words'
}
