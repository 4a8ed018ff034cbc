/* SPDX-License-Identifier: MIT */
/* Definitions of types in YAML: what a value is by the member it stands for, and that
 * what is wrong is told with its line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "wire/config_types.h"
#include "wire/type_json.h"

static char folder[] = "/tmp/errand-types-XXXXXX";
static char path[sizeof folder + 20];
static struct er_arena arena;
static struct er_err err;
static struct er_type type;

static int
setup(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) {
        return -1;
    }
    (void)snprintf(path, sizeof path, "%s/my.type.yml", folder);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    (void)unlink(path);
    er_arena_free(&arena);
    return rmdir(folder);
}

static int
read_text(const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    err.text[0] = '\0';
    return er_config_type_read(path, &arena, &type, &err);
}

static void
expect(const char *text, const char *json)
{
    struct er_buf b;
    if (read_text(text)) {
        fail_msg("%s: %s", text, err.text);
    }
    assert_string_equal(type.name, "my.type");
    er_buf_init(&b, 0);
    er_type_json_add(&type, &b);
    assert_string_equal(b.data, json);
    er_buf_fini(&b);
}

static void
values__are_what_their_member_wants(void **state)
{
    (void)state;
    expect("", "{}");
    expect("# nothing\n", "{}");
    expect("help: no\n", "{\"help\":\"no\"}");
    expect("help: 5\nidempotent: yes\nhandler: on\nretries: 7\n",
           "{\"help\":\"5\",\"retries\":7,\"idempotent\":true,\"handler\":true}");
    expect("timeout_s: 1.5\nbackoff_s: ~\nexit_codes: {3: fatal, '4': completed}\n",
           "{\"timeout_s\":1.5,\"exit_codes\":{\"3\":\"fatal\",\"4\":\"completed\"}}");
    expect(
        "command: [sleep, 5, \"{n}\", true]\n"
        "parameters:\n"
        "  - {name: n, kind: integer, default: 5, min: 1, max: 1e3}\n",
        "{\"parameters\":[{\"name\":\"n\",\"kind\":\"integer\",\"default\":5,\"min\":1,"
        "\"max\":1000}],\"command\":[\"sleep\",\"5\",\"{n}\",\"true\"]}");
    expect(
        "parameters:\n"
        "- name: s\n  kind: string\n  default: 5\n  choices: [5, no, 'x']\n"
        "- name: b\n  kind: boolean\n  default: no\n"
        "- name: d\n  kind: duration\n  default: 90\n"
        "- name: e\n  default: 1h30m\n  kind: duration\n"
        "- name: l\n  kind: strings\n  default: [1, yes]\n"
        "- name: o\n  kind: object\n  default: {a: 1, b: [true, x, '2', null]}\n"
        "- name: r\n  kind: path\n  required: true\n  secret: yes\n",
        "{\"parameters\":["
        "{\"name\":\"s\",\"kind\":\"string\",\"default\":\"5\",\"choices\":[\"5\",\"no\","
        "\"x\"]},{\"name\":\"b\",\"kind\":\"boolean\",\"default\":false},"
        "{\"name\":\"d\",\"kind\":\"duration\",\"default\":90},"
        "{\"name\":\"e\",\"kind\":\"duration\",\"default\":\"1h30m\"},"
        "{\"name\":\"l\",\"kind\":\"strings\",\"default\":[\"1\",\"yes\"]},"
        "{\"name\":\"o\",\"kind\":\"object\",\"default\":{\"a\":1,\"b\":[true,\"x\","
        "\"2\","
        "null]}},{\"name\":\"r\",\"kind\":\"path\",\"required\":true,\"secret\":true}]}");
}

static void
mistakes__have_their_line(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int line;
        const char *words;
    } all[] = {
        {"help: x\n\nretrys: 5\n", 3, "unknown member 'retrys' (did you mean retries?)"},
        {"help: x\nretries: many\n", 2, "retries must be an integer, not a string"},
        {"retries: 1\nhelp: x\nretries: 2\n", 3, "retries: it is there twice"},
        {"- a\n", 1, "a list of members"},
        {"just words\n", 1, "a list of members"},
        {"help: [\n", 2, "this is not YAML"},
        {"help: x\n---\nhelp: y\n", 3, "a second document"},
        {"help: x\norigin: file\n", 2, "unknown member 'origin'"},
        {"help: x\ncommand:\n  - echo\n  - '{who}'\n", 2, "command: word 2: {who} in"},
        {"handler: true\nprogram: [x]\n", 1, "handler: a type is executed by one of"},
        {"parameters:\n  - name: a\n    kind: string\n  - name: b\n    kind: integer\n"
         "    min: 3\n    default: 1\n",
         7, "params.b.default: b is 1 (at least 3)"},
        {"parameters:\n  - name: a\n    kind: text\n", 3, "params.a.kind: invalid kind"},
        {"parameters:\n  - name: a\n    kind: string\n  - name: b\n", 4,
         "params.b.kind: kind is missing"},
        {"parameters:\n  - name: a\n    kind: string\n    requird: yes\n", 4,
         "params.a.requird: unknown member"},
        {"parameters:\n  - kind: string\n", 1, "params[0].name: name is missing"},
        {"exit_codes:\n  3: good\n", 1, "exit_codes: 3 means one of"},
        {"help: &a [*a]\n", 1, "nested too deep"},
        {"help: \"a\\0b\"\n", 1, "contains a NUL"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char start[sizeof path + 20];
        assert_int_equal(read_text(all[i].text), ER_EINVALID);
        (void)snprintf(start, sizeof start, "%s:%d: ", path, all[i].line);
        if (strncmp(err.text, start, strlen(start)) != 0 ||
            !strstr(err.text, all[i].words)) {
            fail_msg("%s: '%s', not line %d with '%s'", all[i].text, err.text,
                     all[i].line, all[i].words);
        }
    }
}

static void
aliases__cannot_blow_it_up(void **state)
{
    (void)state;
    assert_int_equal(
        read_text("a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
                  "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
                  "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
                  "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n"),
        ER_EINVALID);
    assert_non_null(strstr(err.text, "too large"));
}

static void
files__are_called_as_their_type(void **state)
{
    (void)state;
    char name[ER_PARAM_NAME_MAX + 1];
    assert_true(er_config_type_name("http.get.yml", name));
    assert_string_equal(name, "http.get");
    assert_true(er_config_type_name("a.yml", NULL));
    static const char *const bad[] = {".yml",    "a.yaml", "a",
                                      "a b.yml", ".a.yml", "a.yml~"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(er_config_type_name(bad[i], name));
    }
    assert_int_equal(er_config_type_read("/nowhere/a b.yml", &arena, &type, &err),
                     ER_EINVALID);
    assert_int_equal(er_config_type_read("/nowhere/a.yml", &arena, &type, &err),
                     ER_ENOTFOUND);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values__are_what_their_member_wants),
        cmocka_unit_test(mistakes__have_their_line),
        cmocka_unit_test(aliases__cannot_blow_it_up),
        cmocka_unit_test(files__are_called_as_their_type),
    };
    return cmocka_run_group_tests_name("config_types", tests, setup, teardown);
}
