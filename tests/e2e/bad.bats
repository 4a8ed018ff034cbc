#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Bad input at the command line: a message that names the thing and the way on, the right
# exit code, and nothing half-done.

load helper
setup() { setup_home; }
teardown() { teardown_home; }

# refused CODE PART COMMAND...: exit code, and what the message has to name
refused() {
    local code=$1 part=$2
    shift 2
    exits "$code" errand "$@"
    has "$stderr" "$part"
    has "$stderr" 'errand:'
    same "$output" ''
}

@test "unknown verbs and flags: usage" {
    refused 2 frobnicate frobnicate
    refused 2 cancle cancle
    has "$stderr" cancel
    refused 2 --sideways add --sideways -- true
    refused 2 --frobnicate tasks --frobnicate
    refused 2 '' add
    refused 2 '' show
    refused 2 '' wait
}

@test "ids" {
    refused 3 99 show 99
    refused 3 99 log 99
    refused 3 99 wait 99
    refused 3 99 cancel 99
    refused 2 abc show abc
    refused 2 0 show 0
    refused 2 7-3 show 7-3
    refused 2 99999999999999999999 show 99999999999999999999
    refused 3 @last show @last
}

@test "durations, numbers, states, words" {
    refused 2 "invalid duration '5 parsecs' (try 250ms, 2s, 5m, 1h30m)" add --delay '5 parsecs' -- true
    refused 2 parsecs wait 1 --timeout '5 parsecs'
    refused 2 -5s add --timeout -5s -- true
    refused 2 high add -p high -- true
    refused 2 99999 add -p 99999 -- true
    refused 2 x add --retries x -- true
    refused 2 panic add --on-lost panic -- true
    refused 2 dozing tasks --state dozing
    refused 2 ABC=1x add --after ABC=1x -- true
    refused 3 99 add --after 99 -- true
    same "$(errand tasks --all --json | jq -s length)" 0
}

@test "a command that does not exist: 127 and its reason" {
    id=$(errand add -- no-such-command-at-all x)
    exits 1 errand wait "$id"
    same "$(field "$id" .exit_code)" 127
    has "$(field "$id" .error.message)" no-such-command-at-all
    run -127 errand add --wait -- ./not-here
    touch file
    id=$(errand add -- ./file)
    exits 1 errand wait "$id"
    same "$(field "$id" .exit_code)" 126
}

@test "a working directory that is gone" {
    mkdir gone
    cd gone
    id=$(errand add --hold -- true)
    cd ..
    rmdir gone
    errand resume "$id"
    exits 1 errand wait "$id"
    same "$(field "$id" .state)" failed
    has "$(field "$id" .error.message)" "$WORK/gone"
}

@test "over-long names, arguments, keys, tags" {
    long=$(head -c 2000 /dev/zero | tr '\0' x)
    refused 2 name add -n "$long" -- true
    refused 2 key add --key "$long" -- true
    refused 2 tag add --tag "$long" -- true
    refused 2 queue add -q "$long" -- true
    # arguments: 1 MiB is the bound; each argument may be 128 KiB for the kernel
    part=$(head -c 120000 /dev/zero | tr '\0' x)
    refused 2 args add -- true "$part" "$part" "$part" "$part" "$part" "$part" "$part" "$part" "$part" "$part"
    same "$(errand tasks --all --json | jq -s length)" 0
}

@test "names with control bytes do not reach the terminal" {
    id=$(errand add -n $'a\e[31mb\ac' -- true)
    errand wait "$id"
    hasnt "$(errand tasks)" $'\e'
    hasnt "$(errand show "$id")" $'\a'
    same "$(field "$id" .name)" $'a\e[31mb\ac'
}

@test "text that is not UTF-8 in arguments is passed on as it is, or refused by name" {
    run --separate-stderr errand add -- printf '%s' $'\xff\xfe'
    if [ "$status" -eq 0 ]; then
        exits 0 errand wait "$output"
        same "$(errand log @last | od -An -tx1 | tr -d ' \n')" fffe
    else
        same "$status" 2
        has "$stderr" UTF-8
    fi
}

@test "wrong use inside a task, and outside of one" {
    refused 2 progress progress 50
    id=$(errand add -- sh -c 'errand progress lots 2>err; echo $?; errand progress 3/many 2>>err; echo $?')
    errand wait "$id"
    same "$(errand log "$id" | tr '\n' ' ')" '2 2 '
    has "$(cat err)" lots
}

@test "the configuration: unknown keys and wrong values by name, with the line" {
    exits 0 errand config
    printf 'concurrency: 2\n' >good.yml
    exits 0 errand config --check good.yml
    printf 'concurrency: many\n' >bad.yml
    exits 2 errand config --check bad.yml
    has "$stderr" concurrency
    has "$stderr" bad.yml
    printf 'concurency: 2\n' >bad.yml
    exits 2 errand config --check bad.yml
    has "$stderr" concurency
    printf 'a: [b\n' >bad.yml
    exits 2 errand config --check bad.yml
    refused 3 none.yml config --check none.yml
    printf 'concurrency: many\n' >"$ERRAND_HOME/config.yml"
    run --separate-stderr errand add -- true
    [ "$status" -ne 0 ] || fail "a wrong configuration was taken"
    has "$stderr$(cat "$ERRAND_HOME/errandd.log" 2>/dev/null)" concurrency
    rm "$ERRAND_HOME/config.yml"
}

@test "states refuse by name, with the way on" {
    id=$(errand add -- true)
    errand wait "$id"
    refused 5 completed cancel "$id"
    refused 5 completed pause "$id"
    refused 5 "$id" send "$id" x
    id=$(errand add --hold -- true)
    refused 5 paused retry "$id"
    refused 5 paused remove "$id"
    refused 5 "only what runs" requeue "$id"
    errand cancel "$id"
}
