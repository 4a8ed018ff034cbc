#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Progress of anything: what a command says, prints, reads, and how long it took before.

load helper
setup() { setup_home; }
teardown() { teardown_home; }

# shows SCRIPT FILTER WANTED: runs the script, which goes on until `go` is there, and waits
# until the running task's progress is so
shows() {
    local id
    rm -f go
    id=$(errand add -- bash -c "$1; $(until_file go)")
    eventually 120 is "$id" "$2" "$3" || {
        errand show "$id" --json | jq -c .progress
        touch go
        return 1
    }
    touch go
    errand wait "$id"
    same "$(field "$id" .progress.percent)" 100
}

@test "errand progress: percent, counts, text, items" {
    shows 'errand progress 40 linking' '.progress | "\(.percent) \(.message) \(.source)"' '40 linking reported'
    shows 'errand progress 2/4 cloning' '.progress | "\(.percent) \(.current) \(.total)"' '50 2 4'
    errand types shell --success 50
    shows 'errand progress 1/4; errand progress --item one; errand progress --item two --failed' \
        '.progress | "\(.items_completed) \(.items_failed)"' '1 1'
}

@test "a line on the descriptor that ERRAND_PROGRESS_FD names" {
    shows 'echo "30% reading" >&$ERRAND_PROGRESS_FD' '.progress | "\(.percent) \(.message)"' '30 reading'
    shows 'echo "{\"current\":3,\"total\":12,\"unit\":\"files\",\"item\":\"x.c\"}" >&$ERRAND_PROGRESS_FD' \
        '.progress | "\(.percent) \(.unit) \(.item)"' '25 files x.c'
}

@test "what is read from the output: percent, n/m, ninja, OSC 9;4" {
    shows 'echo "Progress: 42%"' .progress.percent 42
    shows 'for i in 1 2 3; do echo "[$i/12] CC x$i.o"; done' '.progress | "\(.percent) \(.current) \(.total)"' '25 3 12'
    shows 'printf "\e]9;4;1;37\a"' .progress.percent 37
    shows 'printf "Receiving objects:  10%% (10/100)\rReceiving objects:  90%% (90/100)\r" >&2' \
        '.progress.percent > 20' true
}

@test "cargo, curl and rsync lines" {
    shows 'echo "    Building [=====>        ] 30/120: serde" >&2' .progress.percent 25
    shows 'printf "  %% Total    %% Received %% Xferd  Average Speed   Time    Time     Time  Current\n                                 Dload  Upload   Total   Spent    Left  Speed\n 64  100M   64 64.0M    0     0  10.0M      0  0:00:10  0:00:06  0:00:04 10.0M\r" >&2' \
        .progress.percent 64
    shows 'for p in 11 55; do printf "\r     32,768,000  $p%%   10.00MB/s    0:00:03 (xfr#$p, to-chk=4/99)"; done; echo' .progress.percent 55
}

@test "never backwards, clamped, and 100 at the end" {
    id=$(errand add -- sh -c "errand progress 70; errand progress 20; errand progress 400; touch up; $(until_file go)")
    eventually 120 test -e up
    eventually 120 is "$id" '.progress.percent >= 70 and .progress.percent <= 100' true
    touch go
    errand wait "$id"
    same "$(field "$id" .progress.percent)" 100
}

@test "a failed task keeps how far it was" {
    id=$(errand add -- sh -c 'errand progress 35 "half way"; exit 1')
    errand wait "$id" || :
    same "$(field "$id" .progress.percent)" 35
}

@test "the report is read to its end before the exit is told" {
    for n in 1 2 3 4 5; do
        id=$(errand add -- sh -c 'for i in $(seq 50); do echo "$i/50" >&$ERRAND_PROGRESS_FD; done; echo "{\"result\": \"last\"}" >&$ERRAND_PROGRESS_FD')
        errand wait "$id"
        same "$(field "$id" .result)" last
    done
}

@test "the file that a single reader works through" {
    truncate -s 400M large
    id=$(errand add -- python3 -c '
import time
with open("large", "rb", buffering=0) as f:
    for _ in range(50): # and no further
        f.read(4 << 20)
        time.sleep(0.02)
    time.sleep(1000)')
    eventually 120 is "$id" '.progress.percent != null and .progress.percent > 2 and .progress.percent < 100' true
    errand cancel "$id"
}

@test "how long the same command took before" {
    touch go
    id=$(errand add -- sh -c 'sleep 1.5; until [ -e go ]; do sleep 0.05; done')
    errand wait "$id"
    rm go
    id=$(errand add -- sh -c 'sleep 1.5; until [ -e go ]; do sleep 0.05; done')
    eventually 120 is "$id" '.progress.percent != null and .progress.percent > 0 and .progress.percent < 100' true
    touch go
    errand wait "$id"
}

@test "rate and time left; unknown is null" {
    id=$(errand add -- sh -c "i=0; until [ -e go ]; do i=\$((i + 1)); echo \"\$i/10000\"; sleep 0.3; done")
    eventually 120 is "$id" '.progress.rate != null and .progress.rate > 0 and .progress.eta_s > 0' true
    touch go
    errand wait "$id"
    id=$(errand add -- sh -c "touch up; $(until_file go2)")
    eventually 120 test -e up
    same "$(field "$id" '.progress.eta_s')" null
    touch go2
    errand wait "$id"
}

@test "a thousand reports a second end in the last one, and the store is spared" {
    id=$(errand add -- sh -c 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo "$i/3000"; done >&$ERRAND_PROGRESS_FD; exit 1')
    errand wait "$id" || :
    same "$(field "$id" .progress.current)" 3000
}

@test "retry-after and error of a report win over the exit code" {
    id=$(errand add --retries 2 --backoff 1h -- sh -c '[ $ERRAND_ATTEMPT = 2 ] || { errand progress --retry-after 100ms; exit 1; }')
    exits 0 errand wait "$id" --timeout 200s
    same "$(field "$id" .attempt)" 2
}
