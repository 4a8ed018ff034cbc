#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Types and calls, through the installed programs: arguments as people type them, what is
# refused, definitions from files, answers within a budget and after it.
# shellcheck shell=bash disable=SC2154
load helper

setup() { setup_home; }
teardown() { teardown_home; }

# What the daemon knows of no task at all.
nothing_stored() { same "$(errand tasks --all --json)" ""; }

# define NAME: a type, from JSON on standard input.
define() { exits 0 errand types "$1" --define -; }

@test "arguments are read as the type wants them" {
    run errand submit --wait sleep 300ms
    same "$status $output" "0 1"
    field 1 .args | jq -e '.for == 0.3'
    define t <<<'{"command": ["printf", "%s\\n", "{n}", "{f}", "{list}", "{o}"], "parameters": [
        {"name": "n", "kind": "integer", "min": 1}, {"name": "f", "kind": "boolean", "default": false},
        {"name": "list", "kind": "strings"}, {"name": "p", "kind": "path"}, {"name": "o", "kind": "string"}]}'
    errand submit t n=3 f=yes list=a,b p=x
    field 2 .args | jq -e '. == {"n": 3, "f": true, "list": ["a", "b"], "p": "x"}'
    errand submit t n=3 'list:=["a,b"]' o=@@x
    field 3 .args | jq -e '. == {"n": 3, "f": false, "list": ["a,b"], "o": "@x"}'
    printf 'from\na file\n' >text
    errand submit t o=@text
    same "$(field 4 .args.o)" $'from\na file'
    errand submit t '{"n": 4}'
    field 5 .args | jq -e '. == {"n": 4, "f": false}'
    errand wait 2-5
    same "$(errand log 2)" $'3\ntrue\na\nb'
}

@test "what does not fit is refused by name, and leaves no trace" {
    exits 3 errand submit htp.request url=https://example.org/
    same "$stderr" "errand: unknown type 'htp.request' (did you mean http.request?)"
    exits 3 errand call htp.request url=https://example.org/
    same "$stderr" "errand: unknown type 'htp.request' (did you mean http.request?)"
    exits 2 errand submit sleep
    has "$stderr" "for"
    exits 2 errand submit sleep for=soon
    has "$stderr" "for"
    exits 2 errand submit sleep form=1s
    has "$stderr" "form"
    exits 2 errand submit sleep 1s 2s
    has "$stderr" "only one argument can be without its name"
    exits 2 errand call sleep '{"for": "1s", "x": 1}'
    has "$stderr" "x"
    exits 3 errand types htp.request
    same "$stderr" "errand: unknown type 'htp.request' (did you mean http.request?)"
    exits 3 errand call ls
    has "$stderr" "errand call -- ls"
    nothing_stored
}

@test "many tasks come from standard input" {
    exits 0 errand submit --tag x sleep - <<<$'{"for": 0.01}\n\n{"for": "10ms"}'
    same "$output" $'1\n2'
    exits 0 errand submit - <<<$'{"type": "sleep", "args": {"for": 0.01}, "ref": "a"}\n{"type": "sh", "args": {"script": "echo after"}, "after": [{"ref": "a"}]}'
    same "$output" $'3\n4'
    exits 2 errand submit sleep - <<<$'{"for": 0.01}\n{"fro": 1}\n{"for": 0.02}'
    same "$output" $'5\n6'
    has "$stderr" "line 2: "
    has "$stderr" "fro"
    exits 2 errand submit --atomic sleep - <<<$'{"for": 0.01}\n\n{"fro": 1}'
    same "$output" ""
    has "$stderr" "errand: line 3: unknown parameter 'fro'"
    errand wait 1-6
    same "$(errand log 4)" after
    exits 3 errand show 7
    exits 3 errand submit slep - <<<'{"for": 0.01}'
    has "$stderr" "unknown type 'slep' (did you mean sleep?)"
}

@test "a file in types.d is a type; its words are never given to a shell" {
    mkdir "$ERRAND_HOME/types.d"
    cat >"$ERRAND_HOME/types.d/greet.yml" <<'YML'
help: greets somebody
command: [printf, "%s|", hello, "{name}", "{words}", "{token}"]
stdin: "{name}"
parameters:
  - {name: name, kind: string, required: true, help: who}
  - {name: words, kind: strings}
  - {name: token, kind: string, secret: true}
YML
    exits 0 errand call --budget 5m greet 'a b; touch x $(touch y)'
    same "$output" 'hello|a b; touch x $(touch y)|'
    [ ! -e x ] && [ ! -e y ]
    exits 0 errand call --budget 5m greet name=n words=a,b token=hunter2
    same "$output" 'hello|n|a|b|hunter2|'
    hasnt "$(errand show 2 --json)" hunter2
    hasnt "$(errand tasks --all --json; errand tasks --all)" hunter2
    same "$(field 2 .args.token)" "***"
    hasnt "$(errand events --json)" hunter2
    exits 0 errand types greet
    has "$output" "greet: greets somebody"
    has "$output" "required"
    has "$output" "secret"
}

@test "types lists them; one in full can be copied from" {
    local name list
    list=$(errand types)
    for name in shell sh bash sleep wait file.hash http.request; do
        has "$list" "$name "
        exits 0 errand types "$name" --json
        jq -e --arg n "$name" '.name == $n and .origin == "built-in" and (.schema | type) == "object"' <<<"$output"
    done
    exits 0 errand types sleep
    has "$output" "for"
    has "$output" "duration"
    has "$output" "required"
    local example
    example=$(errand types sleep | sed -n '/^Example:/{n;s/^ *//;p}')
    has "$example" "errand submit sleep "
    eval "exits 0 $example --hold"
    same "$output" 1
}

@test "a definition lasts; a type that nobody serves waits" {
    define job <<<'{"handler": true, "parameters": [{"name": "n", "kind": "integer", "required": true}]}'
    errand shutdown
    exits 0 errand submit job 5
    same "$output" 1
    state_is 1 queued
    exits 0 errand why 1
    has "$output" job
    exits 6 errand call --budget 50ms job 6
    same "$output" 2
    exits 0 errand types job --remove
    exits 3 errand submit job 7
    exits 0 errand types shel --retries 2 # not what was meant, or what is to come
    has "$stderr" "nothing executes 'shel' yet"
    exits 0 errand types shell --retries 2
    same "$stderr" ""
}

@test "a call of a type gives its answer" {
    printf 'some bytes' >file
    exits 0 errand call --budget 5m file.hash path=file
    has "$output" "$(sha256sum file | cut -d' ' -f1)"
    mkdir other
    (cd other && exits 0 errand call --budget 5m file.hash ../file)
    exits 1 errand call --budget 5m file.hash nothing.here
    same "$output" ""
    has "$stderr" "nothing.here"
    define out <<<'{"command": ["sh", "-c", "echo \"$0\"; echo words >&2; exit 3", "{a}"], "parameters": [
        {"name": "a", "kind": "string", "required": true}], "retries": 0}'
    exits 3 errand call --budget 5m out 'a  b'
    same "$output" 'a  b'
    same "$stderr" words
    define res <<<'{"command": ["sh", "-c", "echo noise; errand progress --result \"{{\\\"k\\\": 1}}\""], "parameters": []}'
    exits 0 errand call --budget 5m res
    same "$output" '{"k": 1}'
}

@test "a call of a command has its output and its exit code" {
    exits 3 errand call --budget 5m -- 'echo out; echo err >&2; exit 3'
    same "$output" out
    same "$stderr" err
    exits 0 errand call --budget 5m -- printf '%s|' 'a  b' '$HOME' --json
    same "$output" 'a  b|$HOME|--json|'
    exits 127 errand call --budget 5m -- no-such-command x
    has "$stderr" no-such-command
    touch plain
    exits 126 errand call --budget 5m -- ./plain x
    exits 137 errand call --budget 5m -- 'kill -9 $$'
    exits 0 errand call --budget 5m --cwd / --env A=b -- 'pwd; echo $A'
    same "$output" $'/\nb'
    same "$(printf 'in\nput' | errand call --budget 5m --stdin - -- cat)" $'in\nput'
    same "$(errand call --budget 5m -- head -c 3000000 /dev/zero | wc -c)" 3000000
    exits 0 errand call --budget 5m --json -- true
    jq -e '.state == "completed" and .exit_code == 0' <<<"$output"
}

@test "past the budget only the id comes, and the same attempt goes on" {
    exits 6 errand call --budget 100ms -- "echo early; $(until_file go); echo late"
    same "$output" 1
    has "$stderr" "errand wait 1"
    eventually 120 state_is 1 running
    touch go
    exits 0 errand wait 1
    same "$(errand log 1)" $'early\nlate'
    field 1 .attempt | jq -e '. == 1'
    exits 6 errand call --background sh 'echo x'
    same "$output" 2
    exits 6 errand call --budget 50ms sleep 1h
    same "$output" 3
    exits 6 errand call --budget 50ms --json sleep 1h
    jq -e '.id == 4 and .type == "sleep"' <<<"$output"
    errand cancel 3,4
    exits 0 errand call --wait sh 'sleep 0.1; echo done'
    same "$output" "done"
}

@test "what is known to take longer is not waited for" {
    define slow <<<'{"command": ["sh", "-c", "sleep 0.05; echo quick"], "parameters": [], "expected_s": 3600}'
    exits 6 errand call --budget 10m slow --hold
    same "$output" 1
    has "$stderr" "slow takes about 1h00m"
    exits 0 errand call --budget 10m --wait-anyway slow
    same "$output" quick
    exits 0 errand call --budget 10m slow # it has been quick: that is known now
    same "$output" quick
    errand types slow --json | jq -e '.expected_s == 3600 and .takes_s < 600'
    # two scripts have nothing in common
    errand types sh --json >/dev/null
    exits 0 errand call --budget 5m sh 'sleep 0.2; echo 1'
    exits 0 errand call --budget 100s sh 'echo 2'
    same "$output" 2
}

@test "who interrupts a call gets the id, and loses nothing" {
    local pid code=0
    errand add true && errand wait 1
    "$ERRAND_STAGE/bin/errand" call --budget 1h -- "$(until_file go); echo went on" >out 2>err 3>&- 4>&- &
    pid=$!
    eventually 120 state_is 2 running
    kill -TERM "$pid"
    wait "$pid" || code=$?
    same "$code $(cat out)" "6 2"
    has "$(cat err)" "errand: task 2 goes on in the background"
    touch go
    exits 0 errand wait 2
    same "$(errand log 2)" "went on"
}
