#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The life of a task through the installed programs: failures, dependencies, limits, pauses,
# items, clocks. The rules are proved one by one in tests/engine, tests/store and tests/sim;
# here they meet a person's commands.

load helper
setup() { setup_home; }
teardown() { teardown_home; }

# The states of the processes whose pids a file names, one letter each.
states_of() {
    local pid
    while read -r pid; do
        sed 's/.*) //; s/ .*//' "/proc/$pid/stat" 2>/dev/null || printf 'gone\n'
    done <"$1"
}
all_in() { [ "$(states_of "$1" | sort -u)" = "$2" ]; }
none_in() { ! states_of "$1" | grep -q "$2"; }

@test "a nightly chain of five commands, one of which fails twice" {
    dump=$(errand add -n dump -- sh -c 'echo rows >dump')
    pack=$(errand add -n pack --after "$dump" -- sh -c 'gzip -c dump >dump.gz')
    send=$(errand add -n send --after "$pack" --retries 2 --backoff 10ms -- \
        sh -c 'echo try >>tries; [ "$(wc -l <tries)" -ge 3 ] || exit 75; cp dump.gz there')
    check=$(errand add -n check --after "$send" -- sh -c 'gzip -dc there | cmp - dump')
    tell=$(errand add -n tell --after "$check:any" -- sh -c 'touch told')
    exits 0 errand wait "$tell" --timeout 200s
    same "$(errand tasks --completed --json | jq -r 'select(.state == "completed") | .id' | wc -l)" 5
    errand show "$send" --json | jq -e '.failures == 2 and .attempt == 3 and .state == "completed"'
    [ -e told ]
}

@test "a chain that breaks: what waits for success is cancelled with the reason, :any goes on" {
    one=$(errand add -- sh -c 'exit 3')
    two=$(errand add --after "$one" -- touch two)
    three=$(errand add --after "$two" -- touch three)
    after=$(errand add --after "$three:any" -- touch after)
    mend=$(errand add --after "$one:fail" -- touch mended)
    exits 0 errand wait "$after" "$mend" --timeout 200s
    errand show "$two" --json | jq -e '.state == "cancelled"'
    errand events --json --since 0 --task "$two" | jq -se 'map(select(.event == "task-cancelled"))[0].data | .reason == "dependency" and (.by | tostring | test("1"))'
    errand show "$three" --json | jq -e '.state == "cancelled"'
    [ -e after ] && [ -e mended ] && [ ! -e two ] && [ ! -e three ]
    # one that has failed already: accepted, and cancelled at once
    late=$(errand add --after "$one" -- true)
    errand show "$late" --json | jq -e '.state == "cancelled"'
    run -0 errand retry "$one"
    has "$output" "stay"
    exits 1 errand wait "$one" --timeout 200s
    errand show "$one" --json | jq -e '.run == 2 and .attempt == 2'
}

@test "a circle is refused with its chain, by edit and in a batch" {
    a=$(errand add --hold -- true)
    b=$(errand add --after "$a" -- true)
    c=$(errand add --after "$b" -- true)
    run errand edit "$a" --after "$c"
    [ "$status" -ne 0 ]
    has "$output" "$a"
    has "$output" "$b"
    has "$output" "$c"
    printf '%s\n' '{"ref":"x","args":{"argv":["true"]},"after":[{"ref":"y"}]}' \
        '{"ref":"y","args":{"argv":["true"]},"after":[{"ref":"x"}]}' |
        api '/v1/tasks?atomic=1' -X POST -H 'Content-Type: application/x-ndjson' --data-binary @- |
        jq -e '.chain | length == 3'
    errand show "$a" --json | jq -e '.after == []'
}

@test "a running command is paused as a whole tree, and goes on where it was" {
    id=$(errand add --timeout 200s -- sh -c 'echo $$ >pids; sleep 1000 & echo $! >>pids
        setsid sh -c "echo \$\$ >>pids; touch up; exec sleep 1000" & wait')
    eventually 120 test -e up
    same "$(wc -l <pids)" 3
    exits 0 errand pause "$id"
    eventually 120 state_is "$id" paused
    eventually 120 all_in pids T || fail "not all are stopped: $(states_of pids)"
    has "$(errand why "$id")" "paused"
    exits 0 errand resume "$id"
    eventually 120 state_is "$id" running
    eventually 120 none_in pids T || fail "not all go on: $(states_of pids)"
    same "$(field "$id" .attempt)" 1
    exits 0 errand pause "$id"
    exits 0 errand cancel "$id"
    all_gone pids || fail "left after a cancel while paused: $(states_of pids)"
    errand show "$id" --json | jq -e '.state == "cancelled"'
}

@test "paused in place: survives the daemon, and its worker's death is a loss" {
    id=$(errand add -- sh -c 'echo $$ >pid.$ERRAND_ATTEMPT; exec sleep 1000')
    eventually 120 test -s pid.1
    errand pause "$id"
    eventually 120 state_is "$id" paused
    kill -9 "$(daemon_pid)"
    errand stats >/dev/null
    eventually 120 has_worker
    eventually 120 state_is "$id" paused
    all_in pid.1 T || fail "it runs: $(states_of pid.1)"
    kill -9 "$(worker_pid)"
    eventually 120 test -s pid.2
    all_gone pid.1 || fail "attempt 1 is alive"
    errand show "$id" --json | jq -e '.losses == 1 and .failures == 0 and .attempt == 2'
    errand cancel "$id"
}

@test "pause --free-slot puts it back at its checkpoint" {
    id=$(errand add -- sh -c 'echo "$ERRAND_CHECKPOINT" >>seen
        errand progress --checkpoint "{\"at\":$ERRAND_ATTEMPT}"; touch up.$ERRAND_ATTEMPT; sleep 1000')
    eventually 120 test -e up.1
    exits 0 errand pause --free-slot "$id"
    eventually 120 state_is "$id" paused
    errand show "$id" --json | jq -e '.pid == null and .held'
    errand add --wait -- true
    errand resume "$id"
    eventually 120 test -e up.2
    same "$(sed -n 2p seen | jq -c .)" '{"at":1}'
    errand show "$id" --json | jq -e '.failures == 0 and .losses == 0'
    errand cancel "$id"
}

@test "a queue and everything: paused with what runs there, also what comes later" {
    id=$(errand add -q build -- sh -c 'echo $$ >pid; exec sleep 1000')
    eventually 120 test -s pid
    exits 0 errand pause --queue build
    eventually 120 all_in pid T
    later=$(errand add -q build -- true)
    has "$(errand why "$later")" "queue 'build' is paused"
    errand add --wait -- true
    exits 0 errand pause --all
    other=$(errand add -- true)
    has "$(errand why "$other")" "paused"
    kill -9 "$(daemon_pid)"
    errand stats >/dev/null
    state_is "$other" queued
    exits 0 errand resume --all
    exits 0 errand wait "$other" --timeout 200s
    exits 0 errand resume --queue build
    eventually 120 state_is "$id" running
    exits 0 errand cancel "$id"
    exits 0 errand wait "$later" --timeout 200s
}

@test "a rate limit that a task reports: paused until then, resumed by itself or earlier" {
    id=$(errand add -- sh -c 'echo x >>tries; [ "$(wc -l <tries)" -ge 3 ] && exit 0
        [ "$(wc -l <tries)" -eq 1 ] && errand progress --retry-after 300ms || errand progress --retry-after 1h; exit 1')
    eventually 120 sh -c "errand show $id --json | jq -e '.state == \"paused\" and .attempt == 2'" >/dev/null
    errand show "$id" --json | jq -e '.resumes_at != null and .failures == 0 and .error.code == "rate-limit"
        and (.error.message | test("rate limit exceeded \\(retry after 3600s\\)"))'
    has "$(errand why "$id")" "rate limit"
    has "$(errand tasks)" "rate limited, resumes in"
    exits 0 errand resume "$id"
    exits 0 errand wait "$id" --timeout 200s
    errand show "$id" --json | jq -e '.attempt == 3 and .failures == 0'
}

@test "error classes: fatal does not retry, user-actionable says what to do, exit codes are mapped" {
    fatal=$(errand add --retries 5 --backoff 10ms -- sh -c \
        'echo "{\"error\":{\"class\":\"fatal\",\"code\":\"bad-data\",\"message\":\"no\"}}" >&$ERRAND_PROGRESS_FD; exit 1')
    exits 1 errand wait "$fatal" --timeout 200s
    errand show "$fatal" --json | jq -e '.attempt == 1 and .error.code == "bad-data"'
    exits 0 errand types shell --exit-code 3=fatal --exit-code 24=completed --exit-code 40=rate-limit --rate-limit 1h
    three=$(errand add --retries 5 --backoff 10ms -- sh -c 'exit 3')
    part=$(errand add -- sh -c 'exit 24')
    slow=$(errand add -- sh -c 'exit 40')
    exits 1 errand wait "$three" --timeout 200s
    errand show "$three" --json | jq -e '.attempt == 1 and .error.class == "fatal"'
    exits 0 errand wait "$part" --timeout 200s
    eventually 120 state_is "$slow" paused
    missing=$(errand add --retries 5 --backoff 10ms -- no-such-program-anywhere now)
    exits 1 errand wait "$missing" --timeout 200s
    errand show "$missing" --json | jq -e '.attempt == 1 and .exit_code == 127 and .error.suggested_action != null'
}

@test "one at a time is strictly in order; a key's limit holds over queues" {
    errand queue line --concurrency 1
    for n in $(seq 20); do errand add -q line -- sh -c "echo $n >>order" >/dev/null; done
    errand limit repo --concurrency 1
    for n in $(seq 6); do
        errand add -q "q$((n % 2))" --limit-key repo -- sh -c \
            'mkdir busy || echo both >>clash; sleep 0.02; rmdir busy' >/dev/null
    done
    exits 0 errand wait --all --timeout 120s
    same "$(tr '\n' ' ' <order)" "$(seq 20 | tr '\n' ' ')"
    [ ! -e clash ] || fail "two of one key at once"
    run errand queue line --remove
    same "$status" 0
}

# A server that answers 429 to more than LIMIT requests for each second since /begin, and keeps
# count. (How long each request was on its way is chance; but none comes before it was started.)
fake_api='
import http.server, sys, threading, time
limit, begin, seen, refused = int(sys.argv[1]), [], [], [0]
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        now = time.monotonic()
        if self.path == "/begin":
            begin.append(now)
            ok = True
        else:
            seen.append(now)
            ok = len(seen) <= 1 + (now - begin[0]) * limit
        refused[0] += not ok
        self.send_response(200 if ok else 429); self.end_headers()
    def log_message(self, *a): pass
s = http.server.HTTPServer(("127.0.0.1", 0), H)
print(s.server_port, flush=True)
threading.Thread(target=s.serve_forever, daemon=True).start()
sys.stdin.read()
print("requests", len(seen), "refused", refused[0], "span", round(seen[-1] - seen[0], 1), flush=True)
'

@test "a fake API hammered by 200 tasks never sees more than its limit" {
    mkfifo stop
    python3 -c "$fake_api" 50 <stop >api 3>&- &
    server=$!
    exec 5>stop
    eventually 120 test -s api
    port=$(head -n 1 api)
    errand limit api --rate 50/1s
    curl -sf "http://127.0.0.1:$port/begin"
    for n in $(seq 200); do
        printf '{"args":{"argv":["curl","-sf","http://127.0.0.1:%s/"]},"limit_key":"api"}\n' "$port"
    done | api '/v1/tasks?brief=1' -X POST -H 'Content-Type: application/x-ndjson' --data-binary @- >/dev/null
    exits 0 errand wait --all --timeout 200s
    exec 5>&-
    wait "$server"
    has "$(tail -n 1 api)" "requests 200 refused 0"
}

@test "a job of 500 items killed in the middle goes on at the item where it was" {
    id=$(errand add -- sh -c 'for i in $(seq 500); do
            errand progress --has-item "item-$i" && continue
            echo "$i" >>"done.$ERRAND_ATTEMPT"
            echo "{\"item_completed\":\"item-$i\",\"current\":$i,\"total\":500}" >&$ERRAND_PROGRESS_FD
            [ "$ERRAND_ATTEMPT-$i" = 1-250 ] && { touch half; sleep 1000; }
        done; exit 0')
    eventually 300 test -e half
    eventually 120 sh -c "errand show $id --json | jq -e '.progress.items_completed == 250'" >/dev/null
    eventually 120 sh -c "[ \$(errand show $id --items | grep -c item-) = 250 ]"
    kill -9 "$(worker_pid)"
    exits 0 errand wait "$id" --timeout 300s
    same "$(head -n 1 done.2)" 251
    same "$(wc -l <done.2)" 250
    same "$(errand show "$id" --items | grep -c 'item-')" 500
    errand show "$id" --json | jq -e '.attempt == 2 and .losses == 1 and .progress.items_completed == 500'
}

@test "failed items: a warning above the threshold, a failure below it" {
    few=$(errand add -- sh -c 'for i in $(seq 40); do errand progress --item "$i"; done; errand progress --item bad --failed')
    many=$(errand add -- sh -c 'errand progress --item a; errand progress --item b --failed')
    exits 0 errand wait "$few" --timeout 200s
    errand show "$few" --json | jq -e '.state == "completed" and (.warnings | length) == 1'
    exits 1 errand wait "$many" --timeout 200s
    errand show "$many" --json | jq -e '.state == "failed" and .error.code == "items-failed" and .exit_code == 0'
}

@test "the clocks end with their own codes" {
    run=$(errand add --timeout 200ms -- sleep 1000)
    silent=$(errand add --heartbeat 300ms -- sleep 1000)
    exits 1 errand wait "$run" "$silent" --timeout 200s
    errand show "$run" --json | jq -e '.error.code == "timeout"'
    errand show "$silent" --json | jq -e '.error.code == "heartbeat"'
    wait=$(errand add --hold --expires 200ms -- true)
    exits 1 errand wait "$wait" --timeout 200s
    errand show "$wait" --json | jq -e '.error.code == "expired" and .attempt == 0'
    long=$(errand add -- sleep 1000)
    exits 124 errand wait "$long" --timeout 100ms
    errand cancel "$long"
}

@test "results of what it waited for are in a file" {
    one=$(errand add -- sh -c 'errand progress --result "{\"n\":7}"')
    two=$(errand add -- sh -c 'exit 3')
    sum=$(errand add --after "$one" --after "$two:any" -- sh -c 'cat "$ERRAND_AFTER_RESULTS"')
    exits 0 errand wait "$sum" --timeout 200s
    errand log "$sum" | jq -e --arg one "$one" --arg two "$two" \
        '.[$one].result.n == 7 and .[$one].state == "completed" and .[$two].exit_code == 3'
}

@test "a task from inside a task is its child, with its correlation id" {
    id=$(errand add --correlation chain-7 -- sh -c 'errand add -- true >child')
    exits 0 errand wait "$id" --timeout 200s
    child=$(cat child)
    errand show "$child" --json | jq -e --argjson id "$id" '.parent == $id and .correlation_id == "chain-7"'
    exits 0 errand wait "$child" --timeout 200s
    errand events --json --since 0 --correlation chain-7 | jq -se 'map(.task) | unique | length == 2'
}

@test "contradictions are refused with the option named" {
    run -2 errand add --delay 5s --at 12:00 -- true
    has "$output" "--at"
    run -2 errand add --cost 0 -- true
    has "$output" "cost"
    run -2 errand queue x --concurrency -1
    run -2 errand limit k --rate 10
    has "$output" "rate"
    run errand add --after 99999 -- true
    [ "$status" -ne 0 ]
    has "$output" "99999"
    run -2 errand add --key "$(head -c 1001 /dev/zero | tr '\0' k)" -- true
    id=$(errand add -q busy --hold -- true)
    run -5 errand queue busy --remove
    run errand edit "$id" --after "$id"
    [ "$status" -ne 0 ]
}
