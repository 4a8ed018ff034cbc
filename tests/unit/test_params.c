/* SPDX-License-Identifier: MIT */
/* Parameters: which definitions are refused and how, what arguments they allow (the cases
 * of fixtures/params.ndjson, whose verdicts another implementation of JSON Schema shares:
 * see params_ajv.mjs), what is made of texts, what is shown, and what becomes of
 * commands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/json.h"
#include "wire/params.h"

static struct er_arena arena;
static struct er_params_fault fault;
static struct er_param *params;
static size_t n_params;

static int
teardown(void **state)
{
    (void)state;
    er_arena_free(&arena);
    return 0;
}

static json_t *
json(const char *text)
{
    struct er_err err;
    json_t *v = NULL;
    if (er_json_parse(text, strlen(text), &v, &err)) {
        fail_msg("%s: %s", text, err.text);
    }
    return v;
}

static int
read_params(const char *text)
{
    json_t *v = json(text);
    int rc = er_params_read(v, &arena, &params, &n_params, &fault);
    json_decref(v);
    return rc;
}

static void
expect_text(json_t *v, const char *expected)
{
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    assert_string_equal(text, expected);
    free(text);
    json_decref(v);
}

/* ---- definitions ---- */

static void
definitions__read_the_same_again(void **state)
{
    (void)state;
    static const char text[] =
        "[{\"name\":\"path\",\"kind\":\"path\",\"required\":true,\"help\":\"what\"},"
        "{\"name\":\"depth\",\"kind\":\"integer\",\"default\":3,\"min\":0,\"max\":10},"
        "{\"name\":\"f\",\"kind\":\"number\",\"default\":0.1,\"min\":0.1,\"max\":1e+300},"
        "{\"name\":\"mode\",\"kind\":\"string\",\"default\":\"fast\","
        "\"choices\":[\"fast\",\"good\"]},"
        "{\"name\":\"token\",\"kind\":\"string\",\"pattern\":\"^[a-z]+$\",\"secret\":"
        "true},"
        "{\"name\":\"for\",\"kind\":\"duration\",\"default\":\"1m30s\"},"
        "{\"name\":\"all\",\"kind\":\"strings\",\"default\":[\"a\"]},"
        "{\"name\":\"more\",\"kind\":\"object\",\"default\":{\"b\":1,\"a\":2.5}},"
        "{\"name\":\"url\",\"kind\":\"url\"},{\"name\":\"yes\",\"kind\":\"boolean\"}]";
    struct er_buf b;
    assert_int_equal(read_params(text), 0);
    assert_int_equal(n_params, 10);
    assert_string_equal(fault.field, "");
    er_buf_init(&b, 0);
    er_params_add(params, n_params, &b);
    assert_string_equal(b.data, text);
    er_buf_fini(&b);
    assert_int_equal(read_params("[]"), 0);
    assert_int_equal(n_params, 0);
    assert_int_equal(read_params("[{\"name\":\"a\",\"kind\":\"string\",\"default\":null,"
                                 "\"min\":null,\"help\":null}]"),
                     0);
    assert_null(params[0].default_json);
    assert_false(params[0].has_min);
    /* bounds at the edge, and choices of several strings whose number is bounded */
    assert_int_equal(
        read_params("[{\"name\":\"a\",\"kind\":\"integer\",\"min\":1.2,\"max\":2.9},"
                    "{\"name\":\"b\",\"kind\":\"integer\",\"min\":-1e300,\"max\":1e300},"
                    "{\"name\":\"c\",\"kind\":\"url\",\"max\":5},"
                    "{\"name\":\"d\",\"kind\":\"string\",\"min\":0,\"max\":0},"
                    "{\"name\":\"e\",\"kind\":\"strings\",\"max\":1,\"pattern\":\"^..\","
                    "\"choices\":[\"xy\",\"z1\"],\"default\":[\"z1\"]}]"),
        0);
}

/* A parameter "a" of string kind, unless `rest` says otherwise. */
#define A(rest) "[{\"name\":\"a\"," rest "}]"
#define STRING  "\"kind\":\"string\","
#define INTEGER "\"kind\":\"integer\","

static void
definitions__are_refused_by_member(void **state)
{
    (void)state;
    static const struct {
        const char *text, *field, *words;
    } all[] = {
        {"{}", "params", "must be an array"},
        {"[1]", "params[0]", "an object is needed"},
        {"[{\"kind\":\"string\"}]", "params[0].name", "name is missing"},
        {"[{\"name\":\"a\"}]", "params.a.kind", "kind is missing"},
        {"[{\"name\":\"1a\",\"kind\":\"string\"}]", "params[0].name", "'1a' cannot be"},
        {"[{\"name\":\"\",\"kind\":\"string\"}]", "params[0].name", "a letter first"},
        {"[{\"name\":5,\"kind\":\"string\"}]", "params[0].name", "must be a string"},
        {"[{\"name\":\"a\",\"kind\":\"string\"},{\"name\":\"a\",\"kind\":\"path\"}]",
         "params[1].name", "two parameters 'a'"},
        {A("\"kind\":\"text\""), "params.a.kind", "string, integer, number"},
        {A(STRING "\"requird\":true"), "params.a.requird", "did you mean required"},
        {A(STRING "\"required\":1"), "params.a.required", "true or false"},
        {A(STRING "\"required\":true,\"default\":\"x\""), "params.a.default",
         "required has no default"},
        {A(STRING "\"secret\":true,\"default\":\"x\""), "params.a.default",
         "secret has no default"},
        {A(STRING "\"default\":5"), "params.a.default", "a must be a string"},
        {A(INTEGER "\"default\":11,\"max\":10"), "params.a.default",
         "a is 11 (at most 10)"},
        {A("\"kind\":\"duration\",\"default\":\"soon\""), "params.a.default",
         "invalid duration 'soon'"},
        {A(STRING "\"choices\":[\"x\"],\"default\":\"y\""), "params.a.default",
         "a is 'y' (one of x)"},
        {A(STRING "\"pattern\":\"^x\",\"default\":\"y\""), "params.a.default",
         "does not match ^x"},
        {A(INTEGER "\"min\":5,\"max\":4"), "params.a.min", "above max"},
        {A(INTEGER "\"min\":\"5\""), "params.a.min", "must be a number"},
        {A(STRING "\"min\":-1"), "params.a.min", "below 0"},
        {A(STRING "\"max\":-1"), "params.a.max", "below 0"},
        {A(STRING "\"min\":1.5"), "params.a.min", "whole numbers"},
        {A("\"kind\":\"duration\",\"min\":-1"), "params.a.min", "below 0"},
        {A("\"kind\":\"boolean\",\"min\":0"), "params.a.min", "not for kind boolean"},
        {A("\"kind\":\"object\",\"max\":0"), "params.a.max", "not for kind object"},
        {A(STRING "\"pattern\":\"(\""), "params.a.pattern", "not a regular expression"},
        {A(STRING "\"pattern\":\"\\\\C\""), "params.a.pattern", "regular expression"},
        {A(STRING "\"pattern\":\"\""), "params.a.pattern", "bytes"},
        {A(INTEGER "\"pattern\":\"1\""), "params.a.pattern", "not for kind integer"},
        {A(STRING "\"choices\":[]"), "params.a.choices", "elements"},
        {A(STRING "\"choices\":[1]"), "params.a.choices", "choices[0] must be a string"},
        {A(STRING "\"choices\":[\"x\",\"x\"]"), "params.a.choices", "'x' is there twice"},
        {A(INTEGER "\"choices\":[\"1\"]"), "params.a.choices", "not for kind integer"},
        {A(STRING "\"help\":1"), "params.a.help", "must be a string"},
        /* what cannot be true together */
        {A(STRING "\"min\":1,\"max\":-1"), "params.a.max", "below 0"},
        {A(STRING "\"min\":1,\"max\":1.5"), "params.a.max", "whole numbers"},
        {A(INTEGER "\"min\":1.2,\"max\":1.8"), "params.a.min", "no whole number"},
        {A(INTEGER "\"min\":1e16"), "params.a.min", "no value of kind integer is above"},
        {A(INTEGER "\"max\":-1e16"), "params.a.max", "no value of kind integer is below"},
        {A("\"kind\":\"duration\",\"min\":1e12"), "params.a.min", "is above"},
        {A(STRING "\"min\":1048577"), "params.a.min", "is above 1048576"},
        {A("\"kind\":\"path\",\"max\":0"), "params.a.max", "is below 1"},
        {A("\"kind\":\"url\",\"max\":4"), "params.a.max", "is below 5"},
        {A("\"kind\":\"strings\",\"min\":2,\"default\":[\"x\"]"), "params.a.default",
         "at least 2"},
        {A("\"kind\":\"boolean\",\"default\":1"), "params.a.default", "true or false"},
        {A("\"kind\":\"object\",\"default\":[]"), "params.a.default", "an object"},
        {A("\"kind\":\"url\",\"default\":\"x\""), "params.a.default", "a URL"},
        {A(INTEGER "\"default\":1.5"), "params.a.default", "an integer"},
        {A(STRING "\"pattern\":\"^x\",\"choices\":[\"xa\",\"y\"]"), "params.a.choices",
         "choices[1] cannot be: a does not match ^x"},
        {A(STRING "\"max\":2,\"choices\":[\"abc\"]"), "params.a.choices", "at most 2"},
        {A("\"kind\":\"url\",\"choices\":[\"here\"]"), "params.a.choices", "a URL"},
        {A("\"kind\":\"path\",\"choices\":[\"\"]"), "params.a.choices", "choices[0]"},
        {A("\"kind\":\"strings\",\"pattern\":\"^x\",\"choices\":[\"y\"]"),
         "params.a.choices", "does not match ^x"},
        {A(STRING "\"secret\":true,\"pattern\":\"^x\",\"choices\":[\"y\"]"),
         "params.a.choices", "choices[0]"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        assert_int_equal(read_params(all[i].text), ER_EINVALID);
        if (strcmp(fault.field, all[i].field) != 0 ||
            !strstr(fault.err.text, all[i].words)) {
            fail_msg("%s: %s: '%s', not %s with '%s'", all[i].text, fault.field,
                     fault.err.text, all[i].field, all[i].words);
        }
    }
}

static void
definitions__have_bounds(void **state)
{
    (void)state;
    struct er_buf b;
    er_buf_init(&b, 0);
    for (int i = 0; i <= ER_PARAMS_MAX; i++) {
        er_buf_addf(&b, "%s{\"name\":\"a%d\",\"kind\":\"string\"}", i ? "," : "[", i);
    }
    er_buf_add_str(&b, "]");
    assert_int_equal(read_params(b.data), ER_EINVALID);
    assert_non_null(strstr(fault.err.text, "at most 100"));
    er_buf_clear(&b);
    er_buf_add_str(&b, "[{\"name\":\"a\",\"kind\":\"string\",\"pattern\":\"");
    for (int i = 0; i < 400; i++) {
        er_buf_add_str(&b, "(a)");
    }
    er_buf_add_str(&b, "\"}]");
    assert_int_equal(read_params(b.data), ER_EINVALID);
    assert_string_equal(fault.field, "params.a.pattern");
    er_buf_fini(&b);
}

/* ---- arguments ---- */

static void
check_all(const json_t *all, int wanted, size_t *count)
{
    size_t i;
    const json_t *args;
    json_array_foreach(all, i, args)
    {
        json_t *fine = NULL;
        int rc = er_params_check(params, n_params, args, &fine, &fault);
        if (rc != wanted) {
            char *text = json_dumps(args, JSON_COMPACT);
            fail_msg("%s: %d: %s", text, rc, fault.err.text);
        }
        if (rc == 0) { /* what is stored is fine, too, and stays as it is */
            json_t *again = NULL;
            assert_int_equal(er_params_check(params, n_params, fine, &again, &fault), 0);
            assert_true(json_equal(fine, again));
            json_decref(again);
        }
        json_decref(fine);
        (*count)++;
    }
}

static void
verdicts__are_those_of_the_schema(void **state)
{
    (void)state;
    char path[4096];
    static char line[1 << 16];
    size_t count = 0;
    (void)snprintf(path, sizeof path, "%s/params.ndjson", getenv("TEST_FIXTURES"));
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        json_t *o = json(line);
        struct er_buf b;
        assert_int_equal(er_params_read(json_object_get(o, "parameters"), &arena, &params,
                                        &n_params, &fault),
                         0);
        er_buf_init(&b, 0);
        er_params_schema_add(params, n_params, &b);
        json_t *schema = json(b.data);
        if (!json_equal(schema, json_object_get(o, "schema"))) {
            fail_msg("another schema: %s", b.data);
        }
        check_all(json_object_get(o, "good"), 0, &count);
        check_all(json_object_get(o, "bad"), ER_EINVALID, &count);
        check_all(json_object_get(o, "bad_here"), ER_EINVALID, &count);
        json_decref(schema);
        er_buf_fini(&b);
        json_decref(o);
    }
    (void)fclose(f);
    assert_true(count > 200);
}

static const char several[] =
    "[{\"name\":\"path\",\"kind\":\"path\",\"required\":true,\"help\":\"what to hash\"},"
    "{\"name\":\"depth\",\"kind\":\"integer\",\"default\":3,\"min\":0,\"max\":10},"
    "{\"name\":\"f\",\"kind\":\"number\"},"
    "{\"name\":\"mode\",\"kind\":\"string\",\"choices\":[\"fast\",\"good\"]},"
    "{\"name\":\"token\",\"kind\":\"string\",\"pattern\":\"^[a-z]+$\",\"secret\":true},"
    "{\"name\":\"for\",\"kind\":\"duration\",\"default\":\"1m30s\",\"max\":3600},"
    "{\"name\":\"all\",\"kind\":\"strings\"},{\"name\":\"more\",\"kind\":\"object\"},"
    "{\"name\":\"url\",\"kind\":\"url\"},{\"name\":\"force\",\"kind\":\"boolean\"}]";

static void
arguments__are_stored_as_they_mean(void **state)
{
    (void)state;
    static const struct {
        const char *args, *stored;
    } all[] = {
        {"{\"path\":\"x\"}", "{\"path\":\"x\",\"depth\":3,\"for\":90}"},
        {"{\"for\":\"250ms\",\"depth\":1e0,\"path\":\"x\"}",
         "{\"path\":\"x\",\"depth\":1,\"for\":0.25}"},
        {"{\"path\":\"x\",\"for\":\"1h\",\"f\":1.5,\"all\":[],\"more\":{\"a\":[1]}}",
         "{\"path\":\"x\",\"depth\":3,\"f\":1.5,\"for\":3600,\"all\":[],"
         "\"more\":{\"a\":[1]}}"},
        {"{\"path\":\"x\",\"for\":0.0000015}",
         "{\"path\":\"x\",\"depth\":3,\"for\":2e-6}"},
    };
    assert_int_equal(read_params(several), 0);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        json_t *args = json(all[i].args), *out = NULL;
        assert_int_equal(er_params_check(params, n_params, args, &out, &fault), 0);
        expect_text(out, all[i].stored);
        json_decref(args);
    }
}

static void
refuse_all(const char *const (*all)[3], size_t n, bool text)
{
    assert_int_equal(read_params(several), 0);
    for (size_t i = 0; i < n; i++) {
        json_t *args = json(all[i][0]), *out = NULL;
        int rc = text ? er_params_check_text(params, n_params, args, &out, &fault)
                      : er_params_check(params, n_params, args, &out, &fault);
        assert_int_equal(rc, ER_EINVALID);
        assert_null(out);
        if (strcmp(fault.field, all[i][1]) != 0 || !strstr(fault.err.text, all[i][2])) {
            fail_msg("%s: %s: '%s', not %s with '%s'", all[i][0], fault.field,
                     fault.err.text, all[i][1], all[i][2]);
        }
        assert_null(strstr(fault.err.text, "SECRET"));
        json_decref(args);
    }
}

static void
arguments__are_refused_by_name(void **state)
{
    (void)state;
    static const char *const all[][3] = {
        {"[]", "", "must be an object, not an array"},
        {"{}", "path", "path is missing: a path (what to hash)"},
        {"{\"pth\":\"x\"}", "pth", "unknown parameter 'pth' (did you mean path?)"},
        {"{\"path\":\"\"}", "path", "path is empty"},
        {"{\"path\":\"x\",\"depth\":11}", "depth", "depth is 11 (0 to 10)"},
        {"{\"path\":\"x\",\"depth\":1.5}", "depth", "must be an integer, not a number"},
        {"{\"path\":\"x\",\"mode\":\"fats\"}", "mode",
         "mode is 'fats' (did you mean fast"},
        {"{\"path\":\"x\",\"mode\":\"\"}", "mode", "(one of fast, good)"},
        {"{\"path\":\"x\",\"token\":\"SECRET\"}", "token",
         "token does not match ^[a-z]+$"},
        {"{\"path\":\"x\",\"token\":5}", "token", "must be a string, not an integer"},
        {"{\"path\":\"x\",\"for\":\"2h\"}", "for", "for is 7200 (at most 3600)"},
        {"{\"path\":\"x\",\"for\":-1}", "for", "0 to 3153600000 seconds"},
        {"{\"path\":\"x\",\"all\":[\"a\",1]}", "all", "all[1] must be a string, not an"},
        {"{\"path\":\"x\",\"url\":\"example.org\"}", "url",
         "is not a URL such as https:"},
        {"{\"path\":\"x\",\"force\":\"yes\"}", "force",
         "must be true or false, not a str"},
    };
    refuse_all(all, sizeof all / sizeof *all, false);
}

static void
patterns__never_take_long(void **state)
{
    (void)state;
    static const char *const patterns[] = {"^(a+)+$", "^(a|aa)*$", "^(?:(?:a*)*)*$"};
    struct er_buf text;
    er_buf_init(&text, 0);
    er_buf_add_str(&text, "{\"a\":\"");
    for (int i = 0; i < 50000; i++) {
        er_buf_add_char(&text, 'a');
    }
    er_buf_add_str(&text, "b\"}");
    json_t *args = json(text.data);
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        json_t *out = NULL;
        struct er_param p = {
            .name = "a", .kind = ER_PARAM_STRING, .pattern = patterns[i]};
        assert_int_equal(er_params_check(&p, 1, args, &out, &fault), ER_EINVALID);
        assert_non_null(strstr(fault.err.text, "would take too long"));
    }
    json_decref(args);
    er_buf_fini(&text);
}

/* ---- texts ---- */

static void
texts__become_what_the_kind_wants(void **state)
{
    (void)state;
    static const struct {
        const char *args, *stored;
    } all[] = {
        {"{\"path\":\"5\",\"depth\":\"7\",\"f\":\"-1.5e2\"}",
         "{\"path\":\"5\",\"depth\":7,\"f\":-150.0,\"for\":90}"},
        {"{\"path\":\"x\",\"for\":\"2m\",\"force\":\"yes\"}",
         "{\"path\":\"x\",\"depth\":3,\"for\":120,\"force\":true}"},
        {"{\"path\":\"x\",\"for\":\"45\",\"force\":\"off\"}",
         "{\"path\":\"x\",\"depth\":3,\"for\":45,\"force\":false}"},
        {"{\"path\":\"x\",\"all\":\"a,b c,\",\"more\":\"{\\\"k\\\":1}\"}",
         "{\"path\":\"x\",\"depth\":3,\"for\":90,\"all\":[\"a\",\"b c\",\"\"],"
         "\"more\":{\"k\":1}}"},
        {"{\"path\":\"x\",\"all\":\"\"}",
         "{\"path\":\"x\",\"depth\":3,\"for\":90,\"all\":[]}"},
        {"{\"path\":\"x\",\"all\":\"[\\\"a,b\\\"]\"}",
         "{\"path\":\"x\",\"depth\":3,\"for\":90,\"all\":[\"a,b\"]}"},
    };
    assert_int_equal(read_params(several), 0);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        json_t *args = json(all[i].args), *out = NULL;
        int rc = er_params_check_text(params, n_params, args, &out, &fault);
        if (rc) {
            fail_msg("%s: %s", all[i].args, fault.err.text);
        }
        expect_text(out, all[i].stored);
        json_decref(args);
    }
}

static void
texts__are_refused_by_name(void **state)
{
    (void)state;
    static const char *const all[][3] = {
        {"[]", "", "an object of texts, not an array"},
        {"{\"path\":1}", "path", "path must be a text, not an integer"},
        {"{\"dept\":\"1\",\"path\":\"x\"}", "dept", "did you mean depth"},
        {"{\"path\":\"x\",\"depth\":\"three\"}", "depth",
         "must be an integer, not 'three'"},
        {"{\"path\":\"x\",\"depth\":\"0x10\"}", "depth",
         "must be an integer, not '0x10'"},
        {"{\"path\":\"x\",\"depth\":\"\"}", "depth", "must be an integer, not ''"},
        {"{\"path\":\"x\",\"depth\":\"11\"}", "depth", "depth is 11 (0 to 10)"},
        {"{\"path\":\"x\",\"f\":\"nan\"}", "f", "must be a number, not 'nan'"},
        {"{\"path\":\"x\",\"force\":\"maybe\"}", "force", "true or false, not 'maybe'"},
        {"{\"path\":\"x\",\"for\":\"5 parsecs\"}", "for", "invalid duration '5 parsecs'"},
        {"{\"path\":\"x\",\"all\":\"[1\"}", "all", "an array of strings, not '[1'"},
        {"{\"path\":\"x\",\"all\":\"[1]\"}", "all", "all[0] must be a string"},
        {"{\"path\":\"x\",\"more\":\"k=1\"}", "more", "must be an object, not 'k=1'"},
        {"{\"path\":\"x\",\"more\":\"[]\"}", "more", "must be an object, not an array"},
        {"{\"path\":\"x\",\"token\":\"SECRET\"}", "token", "does not match"},
        {"{}", "path", "path is missing"},
    };
    refuse_all(all, sizeof all / sizeof *all, true);
}

/* ---- what is shown ---- */

static void
masks__hide_what_is_secret(void **state)
{
    (void)state;
    assert_int_equal(read_params(several), 0);
    json_t *args = json("{\"path\":\"x\",\"token\":\"abc\"}");
    expect_text(er_params_mask(params, n_params, args),
                "{\"path\":\"x\",\"token\":\"***\"}");
    expect_text(args, "{\"path\":\"x\",\"token\":\"abc\"}"); /* as it was */
    args = json("{\"path\":\"x\"}");
    expect_text(er_params_mask(params, n_params, args), "{\"path\":\"x\"}");
    json_decref(args);
}

/* ---- commands ---- */

static void
words__are_filled_in(void **state)
{
    (void)state;
    static const char *const words[] = {
        "run",     "{s}", "a{n}b{s}", "{absent}", "{list}",   "{{s}}",    "{b}",
        "{empty}", "{o}", "{f}/{g}",  "",         "x{{{n}}}", "{nothing}"};
    static const char *const wanted[] = {
        "run",  "s p $(x)", "a-7bs p $(x)", "1",       "two words", "{s}",
        "true", "",         "{\"k\":[1]}",  "0.25/90", "",          "x{-7}",
    };
    json_t *args = json("{\"s\":\"s p $(x)\",\"n\":-7,\"list\":[\"1\",\"two words\"],"
                        "\"b\":true,\"empty\":\"\",\"o\":{\"k\":[1]},\"f\":0.25,"
                        "\"g\":90.0,\"nothing\":[]}");
    char **out = NULL;
    size_t n = 0;
    struct er_err err;
    assert_int_equal(er_params_expand(words, sizeof words / sizeof *words, args, &arena,
                                      &out, &n, &err),
                     0);
    assert_int_equal(n, sizeof wanted / sizeof *wanted);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(out[i], wanted[i]);
    }
    assert_null(out[n]);
    static const char *const none[] = {"{absent}"};
    assert_int_equal(er_params_expand(none, 1, args, &arena, &out, &n, &err), 0);
    assert_int_equal(n, 0);
    assert_null(out[0]);
    json_decref(args);
}

static void
words__that_cannot_be_filled_in_are_refused(void **state)
{
    (void)state;
    static const char *const all[][2] = {
        {"x{absent}", "no argument for {absent}"},
        {"x{list}", "{list} is an array"},
        {"x{o}", "{o} is an object"},
        {"{", "belongs to no {NAME}"},
        {"}", "belongs to no {NAME}"},
        {"a{s", "belongs to no {NAME}"},
        {"a}b", "belongs to no {NAME}"},
        {"{}", "belongs to no {NAME}"},
    };
    json_t *args = json("{\"s\":\"x\",\"list\":[],\"o\":{}}");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char **out = NULL;
        size_t n = 0;
        struct er_err err;
        assert_int_equal(er_params_expand(&all[i][0], 1, args, &arena, &out, &n, &err),
                         ER_EINVALID);
        if (!strstr(err.text, all[i][1])) {
            fail_msg("%s: '%s' lacks '%s'", all[i][0], err.text, all[i][1]);
        }
    }
    json_decref(args);
}

static void
words__are_checked_when_they_are_defined(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        bool must_be;
        const char *wrong; /* NULL = fine */
    } all[] = {
        {"plain", true, NULL},
        {"", false, NULL},
        {"{path}", true, NULL},
        {"{path}:{depth}", false, NULL},
        {"{mode}", false, NULL},
        {"{all}", false, NULL},
        {"{more}", false, NULL},
        {"{{mode}}", true, NULL},
        {"{mode}", true, "may be absent"},
        {"--mode={mode}", false, "may be absent"},
        {"{all}", true, "of kind strings"},
        {"x{all}", false, "of kind strings"},
        {"x{more}", false, "of kind object"},
        {"{paht}", false, "{paht} in '{paht}' is no parameter"},
        {"x{path", false, "belongs to no {NAME}"},
    };
    assert_int_equal(read_params(several), 0);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct er_err err = {""};
        int rc =
            er_params_check_word(params, n_params, all[i].word, all[i].must_be, &err);
        if (rc != (all[i].wrong ? ER_EINVALID : 0) ||
            (all[i].wrong && !strstr(err.text, all[i].wrong))) {
            fail_msg("%s: %d, '%s'", all[i].word, rc, err.text);
        }
    }
    struct er_err err;
    assert_int_equal(er_params_check_stdin(params, n_params, "{mode}", &err), 0);
    assert_int_equal(er_params_check_stdin(params, n_params, "{path}\n", &err), 0);
    assert_int_equal(er_params_check_stdin(params, n_params, "{all}", &err), ER_EINVALID);
    assert_int_equal(er_params_check_stdin(params, n_params, "{mode}\n", &err),
                     ER_EINVALID);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(definitions__read_the_same_again, teardown),
        cmocka_unit_test_teardown(definitions__are_refused_by_member, teardown),
        cmocka_unit_test_teardown(definitions__have_bounds, teardown),
        cmocka_unit_test_teardown(verdicts__are_those_of_the_schema, teardown),
        cmocka_unit_test_teardown(arguments__are_stored_as_they_mean, teardown),
        cmocka_unit_test_teardown(arguments__are_refused_by_name, teardown),
        cmocka_unit_test_teardown(patterns__never_take_long, teardown),
        cmocka_unit_test_teardown(texts__become_what_the_kind_wants, teardown),
        cmocka_unit_test_teardown(texts__are_refused_by_name, teardown),
        cmocka_unit_test_teardown(masks__hide_what_is_secret, teardown),
        cmocka_unit_test_teardown(words__are_filled_in, teardown),
        cmocka_unit_test_teardown(words__that_cannot_be_filled_in_are_refused, teardown),
        cmocka_unit_test_teardown(words__are_checked_when_they_are_defined, teardown),
    };
    return cmocka_run_group_tests_name("params", tests, NULL, NULL);
}
