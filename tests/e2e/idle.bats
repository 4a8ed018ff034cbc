#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# An idle daemon and worker make no system calls but the wait they sleep in.

load helper
setup() { setup_home; }
teardown() { teardown_home; }

traced() { grep -q '^TracerPid:[[:space:]]*[1-9]' "/proc/$1/status"; }

@test "strace on an idle daemon and worker for 10 s shows nothing" {
    id=$(errand add -- sh -c 'echo 50%; errand progress 60')
    exits 0 errand wait "$id"
    # a follower that waits costs nothing either
    "$ERRAND_STAGE/bin/errand" events -f >/dev/null 3>&- &
    follower=$!
    daemon=$(daemon_pid) worker=$(worker_pid)
    strace -f -p "$daemon" -p "$worker" -o trace 2>strace.err 3>&- &
    tracer=$!
    eventually 120 traced "$worker" || skip "processes cannot be traced here: $(cat strace.err)"
    # What follows a finished task (its learnt duration, a progress write) comes within a
    # second; what is measured begins after the first ten seconds without any new line.
    python3 - <<'PY'
import os, time
deadline = time.monotonic() + 300
size, since = -1, time.monotonic()
while time.monotonic() < deadline:
    now = os.stat("trace").st_size
    if now != size:
        size, since = now, time.monotonic()
    elif time.monotonic() - since >= 10:
        break
    time.sleep(0.25)
else:
    raise SystemExit("never quiet for 10 s")
PY
    kill "$tracer" "$follower"
    wait "$tracer" || :
    cat trace
}
