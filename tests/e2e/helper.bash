# SPDX-License-Identifier: MIT
# Shared by the end-to-end tests. Each test has an instance of its own in a temporary
# ERRAND_HOME; its daemon, worker and tasks are ended and looked for when the test is over.
# Nothing here sleeps for a fixed time: `eventually` waits for what is expected.
# shellcheck shell=bash disable=SC2034,SC2154

bats_require_minimum_version 1.5.0

: "${ERRAND_STAGE:?the folder with bin/errand; run the tests by ./dev e2e}"

# The programs hold none of bats' own descriptors (it waits until they are closed).
errand() { "$ERRAND_STAGE/bin/errand" "$@" 3>&- 4>&-; }

setup_home() {
    local name
    for name in $(compgen -e | grep '^ERRAND_' | grep -v '^ERRAND_STAGE$'); do unset "$name"; done
    unset XDG_RUNTIME_DIR XDG_STATE_HOME XDG_CONFIG_HOME NO_COLOR
    ERRAND_HOME=$(mktemp -d "${TMPDIR:-/tmp}/errand-e2e.XXXXXX")
    export ERRAND_HOME
    export PATH="$ERRAND_STAGE/bin:$PATH" LC_ALL=C.UTF-8 TERM=dumb
    SOCKET=$ERRAND_HOME/errand.sock
    WORK=$ERRAND_HOME/work
    mkdir "$WORK"
    cd "$WORK" || return 1
}

# The processes of this instance: its folder's name is in their environment, and nowhere else.
own_processes() {
    local d
    for d in /proc/[0-9]*; do
        [ "${d#/proc/}" != $$ ] || continue
        grep -qzE "^ERRAND_(HOME|SOCKET)=$ERRAND_HOME(/|$)" "$d/environ" 2>/dev/null || continue
        case $(cat "$d/comm" 2>/dev/null) in
        errandd | errand-worker | memcheck*) echo "${d#/proc/}" ;;
        *) grep -qz '^ERRAND_COOKIE=' "$d/environ" 2>/dev/null && echo "${d#/proc/}" ;;
        esac
    done
    return 0
}

teardown_home() {
    local i left pid
    [ -d "${ERRAND_HOME:-}" ] || return 0
    if [ -z "${BATS_TEST_COMPLETED:-}" ] && [ -s "$ERRAND_HOME/errandd.log" ]; then
        echo "---- errandd.log" && tail -n 20 "$ERRAND_HOME/errandd.log"
    fi
    errand --no-autostart shutdown --now >/dev/null 2>&1 || :
    for ((i = 0; i < 1200; i++)); do
        left=$(own_processes)
        [ -n "$left" ] || break
        sleep 0.05
    done
    for pid in $left; do kill -9 "$pid" 2>/dev/null || :; done
    cd /
    rm -rf "$ERRAND_HOME"
    if [ -n "$left" ]; then
        echo "still there a minute after the shutdown: $left"
        return 1
    fi
}

# eventually SECONDS COMMAND...: until it succeeds; fails when the time is over.
eventually() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || {
            echo "never came true: $*"
            return 1
        }
        sleep 0.05
    done
}

fail() {
    printf '%s\n' "$*"
    return 1
}

# same GOT WANTED
same() {
    [ "$1" = "$2" ] || fail "got '$1', wanted '$2'"
}

has() { # TEXT PART
    case $1 in
    *"$2"*) ;;
    *) fail "'$1' does not contain '$2'" ;;
    esac
}

hasnt() { # TEXT PART
    case $1 in
    *"$2"*) fail "'$1' contains '$2'" ;;
    esac
}

# exits CODE COMMAND...: runs it and checks its exit code; $output and $stderr are there.
exits() {
    local code=$1
    shift
    run --separate-stderr "$@"
    [ "$status" -eq "$code" ] || fail "exit code $status, wanted $code: $* (out: $output, err: $stderr)"
}

# (doctor ends with 1 while something is not well, such as a worker that is not back yet)
daemon_pid() { errand --no-autostart doctor --json | jq -er '.daemon.pid'; }
worker_pid() { errand --no-autostart doctor --json | jq -er '.workers[0].pid'; }
has_worker() { worker_pid >/dev/null 2>&1; }
gone() { ! kill -0 "$1" 2>/dev/null || [ "$(awk '{print $3}' "/proc/$1/stat" 2>/dev/null)" = Z ]; }
all_gone() { # FILE with pids
    local pid
    for pid in $(cat "$1"); do gone "$pid" || return 1; done
}

# field ID FILTER: of the task as JSON.
field() { errand show "$1" --json | jq -r "$2"; }
is() { [ "$(field "$1" "$2")" = "$3" ]; }
state_is() { is "$1" .state "$2"; }

# api PATH [CURL OPTION...]: the body. api_status: the status alone.
api() {
    local path=$1
    shift
    curl -sS --unix-socket "$SOCKET" "$@" "http://errand$path" 3>&-
}
api_status() {
    local path=$1
    shift
    curl -sS -o "$WORK/body" -w '%{http_code}' --unix-socket "$SOCKET" "$@" "http://errand$path" 3>&-
}
# raw TEXT: sends bytes as they are (printf escapes) to the socket, prints the whole answer.
raw() {
    python3 - "$SOCKET" "$1" <<'PY'
import re, socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(120)
s.connect(sys.argv[1])
s.sendall(sys.argv[2].encode().decode("unicode_escape").encode("latin-1"))
got = b""
try:
    while True:
        piece = s.recv(65536)
        if not piece:
            break
        got += piece
        head, end, body = got.partition(b"\r\n\r\n")
        size = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if end and len(body) >= int(size[1] if size else 0):
            break
except (TimeoutError, ConnectionResetError):
    pass
print(got.decode("latin-1"))
PY
}

# A task that goes on until the file $WORK/NAME is there.
until_file() { printf 'until [ -e %s/%s ]; do sleep 0.05; done' "$WORK" "$1"; }
