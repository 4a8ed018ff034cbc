#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The examples of the library, compiled as a user would: with pkg-config, against what is
# installed.

bats_require_minimum_version 1.5.0

setup() {
    load helper
    setup_home
    EXAMPLES=$BATS_TEST_DIRNAME/../../examples
    pc=$(find "$ERRAND_STAGE" -name errand.pc)
    LIB=$(dirname "$(dirname "$pc")")
    export PKG_CONFIG_PATH=${pc%/*} LD_LIBRARY_PATH=$LIB
    # a library with a sanitizer in it wants programs with the same
    case $(nm -D "$LIB/liberrand.so") in
    *__asan_*) SANITIZE=-fsanitize=address,undefined ;;
    *__tsan_*) SANITIZE=-fsanitize=thread ;;
    *) SANITIZE= ;;
    esac
}

teardown() { teardown_home; }

# build NAME [PACKAGE...]: a program from examples/NAME.c
build() {
    local name=$1
    shift
    # shellcheck disable=SC2046,SC2086
    cc -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror $SANITIZE -o "$name" "$EXAMPLES/$name.c" \
        $(pkg-config --define-variable=prefix="$ERRAND_STAGE" --cflags --libs errand) \
        $([ $# -eq 0 ] || pkg-config --cflags --libs "$@")
}

@test "examples: embed runs handlers on a store of its own, and answers calls" {
    build embed
    run -0 ./embed "sqlite:$WORK/embed.db"
    [ "${lines[0]}" = 'one: {"words":1}' ]
    [ "${lines[2]}" = 'one two three: {"words":3}' ]
    [ "${lines[3]}" = 'refused: txt' ]
    [ "${lines[4]}" = 'answered: {"words":1}' ]
    [ "${lines[5]}" = 'in the background' ]
    [ "${lines[6]}" = 'done' ]
    run -0 ./embed memory:
    [ "${lines[6]}" = 'done' ]
}

@test "examples: embed does the same with a daemon" {
    build embed
    run -0 ./embed "unix:$SOCKET"
    [ "${lines[6]}" = 'done' ]
    [ "$(errand tasks --all --json | jq -s 'map(select(.type == "words.count")) | length')" = 5 ]
}

@test "examples: a blocking handler is registered as it is" {
    build migrate_blocking_handler
    run -0 ./migrate_blocking_handler
    [ "${lines[0]}" = 'answer: report for {"pages":3}' ]
    [ "${lines[1]}" = 'takes longer; completed in the background' ]
    [ "${lines[2]}" = 'failed' ]
}

@test "examples: subscribers hear of tasks, topics and what was before them" {
    build subscribe
    run -0 ./subscribe
    [[ "$output" == *'fact task-queued'* ]]
    [[ "$output" == *'last page {"page":3}'* ]]
    [[ "$output" == *'durable import.done {"ok":true}'* ]]
}

@test "examples: an outbox hands on what was committed, once" {
    build outbox sqlite3
    run -0 ./outbox "$WORK/shop.db" "sqlite:$WORK/tasks.db" 3
    [ "${lines[0]}" = 'left over: 0' ]
    [ "${lines[1]}" = 'submitted: 3' ]
    run -0 ./outbox "$WORK/shop.db" "sqlite:$WORK/tasks.db" 0
    [ "${lines[1]}" = 'submitted: 0' ]
}

@test "examples: a program is built and runs by the lines of the manual" {
    local manual=$BATS_TEST_DIRNAME/../../docs/LIBRARY.md said
    unset PKG_CONFIG_PATH LD_LIBRARY_PATH
    export HOME=$WORK/home
    mkdir -p "$HOME/.local" # as ./dev install does it
    cp -R "$ERRAND_STAGE/." "$HOME/.local/"
    cp "$EXAMPLES/embed.c" app.c
    # shellcheck disable=SC2086
    cc() { command cc $SANITIZE "$@"; }
    said=$(sed -n '/^    cc app.c/,$!{s/^    //p}; /^    cc app.c/{s/^    //p;q}' "$manual")
    [[ "$said" == *PKG_CONFIG_PATH*'cc app.c'* ]]
    eval "$said"
    run -0 ./a.out memory:
    [ "${lines[6]}" = 'done' ]
    run -0 pkg-config --cflags errand
    [[ "$output" != *' '*-I* ]] # its own folder alone
    [ -e "$HOME/.local/share/doc/errand/PROTOCOL.md" ]
}

@test "examples: ./dev install --help tells, and installs nothing" {
    run -0 "$BATS_TEST_DIRNAME/../../dev" install --help
    [[ "$output" == *'install [DIR]'* ]]
    [ ! -e "$BATS_TEST_DIRNAME/../../--help" ]
    run -1 "$BATS_TEST_DIRNAME/../../dev" install -x
}

@test "examples: three event loops turn a handle" {
    build poll_app
    run -0 ./poll_app
    sorted=$(printf '%s\n' "${lines[@]}" | sort)
    [[ "$sorted" == *'hello!'* ]]
    [[ "$sorted" == *'refused: '*'volume'* ]]
    build uv_app libuv
    run -0 ./uv_app
    [ "${lines[0]}" = submitted ]
    [ "${lines[1]}" = task-completed ]
    pkg-config --exists glib-2.0 || skip "glib-2.0 is not installed"
    build glib_app glib-2.0
    run -0 ./glib_app
    [ "${lines[0]}" = painted ]
    [ "${lines[1]}" = 'saw progress' ]
}

@test "examples: a worker is tried, registered, killed, and goes on at its checkpoint" {
    build worker
    [ "$(./worker try math.primes below=1000)" = '{"primes":168}' ]
    errand tasks >/dev/null # starts the daemon
    ./worker register --socket "$SOCKET"
    id=$(errand submit math.primes below=100000)
    errand wait "$id"
    [ "$(errand result "$id")" = '{"primes":9592}' ]
    id=$(errand submit math.primes below=3000000)
    eventually 120 sh -c "errand show $id --json | jq -e '.checkpoint.from >= 20000'"
    errand pause "$id"
    eventually 120 sh -c "errand show $id --json | jq -e '.state == \"paused\"'"
    errand resume "$id"
    errand wait "$id"
    [[ "$(errand log "$id")" == *'going on at '* ]]
    [ "$(errand result "$id")" = '{"primes":216816}' ]
}
