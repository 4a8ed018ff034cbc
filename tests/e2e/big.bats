#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Much of everything. On the plain build only: a sanitizer makes these long, not better.

load helper
setup() { setup_home; }
teardown() { teardown_home; }

resident() { awk '/^VmHWM/ { print $2 }' "/proc/$1/status"; }

@test "1 GiB of output: head and tail are kept, memory is not used up" {
    id=$(errand add -- sh -c 'echo first; head -c 1073741824 /dev/zero; echo; echo last')
    exits 0 errand wait "$id" --timeout 200s
    errand log "$id" >out
    size=$(stat -c %s out)
    [ "$size" -ge 16777216 ] && [ "$size" -le 34000000 ] || fail "$size bytes kept"
    same "$(head -n 1 out)" first
    same "$(tail -n 1 out)" last
    grep -qa 'bytes omitted' out
    same "$(du -sm "$ERRAND_HOME/logs" | cut -f 1 | awk '{ print ($1 < 40) }')" 1
    for pid in $(worker_pid) $(daemon_pid); do
        [ "$(resident "$pid")" -lt 65536 ] || fail "$(cat "/proc/$pid/comm") took $(resident "$pid") KiB"
    done
}

@test "10,000 tasks at once, all run, each once" {
    for n in $(seq 10000); do printf '{"args":{"argv":["true"]},"name":"t%s"}\n' "$n"; done >many
    errand stats >/dev/null
    api /v1/tasks -H 'Content-Type: application/x-ndjson' --data-binary @many >out
    same "$(jq -r .id out | sort -un | wc -l)" 10000
    exits 0 errand wait --all --timeout 200s
    api '/v1/stats' >stats
    errand shutdown --now
    python3 - "$ERRAND_HOME/tasks.db" <<'PY'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
states = db.execute("select state, attempt, losses, count(*) from task group by 1, 2, 3").fetchall()
gone = db.execute("select state, count(*) from tombstone group by 1").fetchall()
assert all(row[:3] == (5, 1, 0) for row in states), states
assert all(row[0] == 5 for row in gone), gone
assert sum(row[3] for row in states) + sum(row[1] for row in gone) == 10000, (states, gone)
finals = db.execute("select task, count(*) from event where event in (8, 9, 10) group by 1 having count(*) <> 1").fetchall()
assert not finals, finals[:5]
PY
}

@test "100 commands at once" {
    printf 'concurrency: 100\n' >"$ERRAND_HOME/config.yml"
    for n in $(seq 100); do printf '{"args":{"argv":["sleep","1000"]}}\n'; done >many
    errand stats >/dev/null
    api /v1/tasks -H 'Content-Type: application/x-ndjson' --data-binary @many >/dev/null
    eventually 120 sh -c 'errand stats --json | jq -e ".tasks.running == 100 or .counts.running == 100"'
    exits 0 errand tasks
    exits 0 errand cancel --all
    same "$(errand tasks --running --json | jq -s length)" 0
}
