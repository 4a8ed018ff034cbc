/* SPDX-License-Identifier: MIT */
/* Happy path: the struct's members become those of the JSON definition, `more` is laid
 * over what is left, and the whole is read as the daemon would read it.
 *
 * Failure modes: a member that is missing or cannot be (found here, by its name in C),
 * one that does not go with the others (found by wire/type_json.h and wire/params.h,
 * whose names are turned into those of C), no memory. */
#include "lib/types.h"

#include <math.h>
#include <string.h>

#include "base/utf8.h"
#include "lib/handle.h"
#include "wire/json.h"
#include "wire/params.h"
#include "wire/type_json.h"

#define MS 1000.0

int
er_types_copy(const struct errand_type *given, struct errand_type *out,
              errand_error *error)
{
    if (!given) {
        *out = (struct errand_type){0};
        return er_handle_fail(error, ER_EINVALID, "type", "type is NULL");
    }
    return er_handle_read(out, sizeof *out, given, error);
}

/* ---- making it ---- */

/* A document that is being made; one that failed stays so. */
struct document {
    json_t *o;
    bool failed;
};

static void
put(struct document *d, const char *name, json_t *value)
{
    d->failed = json_object_set_new(d->o, name, value) != 0 || d->failed;
}

static void
put_text(struct document *d, const char *name, const char *text)
{
    if (text) {
        put(d, name, json_string(text));
    }
}

static void
put_seconds(struct document *d, const char *name, int64_t ms)
{
    if (ms != 0) {
        put(d, name, json_real(ms > 0 ? (double)ms / MS : 0.0));
    }
}

static json_t *
strings(const char *const *texts)
{
    json_t *array = json_array();
    for (; array && *texts; texts++) {
        if (json_array_append_new(array, json_string(*texts)) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static int
param_fail(errand_error *error, size_t i, const char *name, const char *member,
           const char *words)
{
    char field[sizeof error->field];
    if (name && *name) {
        (void)snprintf(field, sizeof field, "params.%.80s.%s", name, member);
    } else {
        (void)snprintf(field, sizeof field, "params[%zu].%s", i, member);
    }
    return er_handle_fail(error, ER_EINVALID, field, "%s: %s", field, words);
}

/* NULL, or the member of a parameter that no definition could hold, and why. */
static const char *
bad_member(const struct errand_param *p, const char **out_words)
{
    const struct {
        const char *name, *text;
    } texts[] = {{"def", p->def}, {"pattern", p->pattern}, {"help", p->help}};
    *out_words = "is not UTF-8";
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (texts[i].text && !er_utf8_is_valid(texts[i].text, strlen(texts[i].text))) {
            return texts[i].name;
        }
    }
    for (size_t i = 0; p->choices && p->choices[i]; i++) {
        if (!er_utf8_is_valid(p->choices[i], strlen(p->choices[i]))) {
            return "choices";
        }
    }
    *out_words = "must be one line";
    if (p->help && strchr(p->help, '\n')) {
        return "help";
    }
    *out_words = "must be a finite number";
    if ((p->has_min && !isfinite(p->min)) || (p->has_max && !isfinite(p->max))) {
        return p->has_min && !isfinite(p->min) ? "min" : "max";
    }
    *out_words = "is said without has_min, or has_max";
    if ((p->min != 0 && !p->has_min) || (p->max != 0 && !p->has_max)) {
        return p->min != 0 && !p->has_min ? "min" : "max";
    }
    *out_words = "must be zero: this version knows nothing of it";
    for (size_t i = 0; i < sizeof p->reserved / sizeof p->reserved[0]; i++) {
        if (p->reserved[i]) {
            return "reserved";
        }
    }
    return NULL;
}

/* A parameter's members; what they mean is checked when the whole is read. */
static int
add_param(struct document *all, const struct errand_param *p, size_t i,
          errand_error *error)
{
    struct document d = {.o = json_object()};
    const char *kind = p->kind >= ERRAND_PARAM_STRING && p->kind <= ERRAND_PARAM_OBJECT
                           ? er_param_kind_word((enum er_param_kind)p->kind)
                           : NULL;
    json_t *def = p->def ? json_loads(p->def, JSON_DECODE_ANY, NULL) : NULL;
    const char *words, *bad = bad_member(p, &words);
    int rc = 0;
    if (!p->name || !er_param_is_name(p->name)) {
        rc = param_fail(error, i, NULL, "name",
                        "a name of letters, digits, _ and - that begins with a letter");
    } else if (!kind) {
        rc = param_fail(error, i, p->name, "kind", "one of enum errand_param_kind");
    } else if (bad) {
        rc = param_fail(error, i, p->name, bad, words);
    } else if (p->def && !def) {
        rc = param_fail(error, i, p->name, "def",
                        "the default must be JSON (3, \"a\", true)");
    } else if (json_is_null(def)) {
        rc = param_fail(error, i, p->name, "def",
                        "null is of no kind: without a default, def is NULL");
    }
    put_text(&d, "name", p->name);
    put_text(&d, "kind", kind);
    if (p->required) {
        put(&d, "required", json_true());
    }
    if (def) {
        put(&d, "default", def);
    }
    if (p->has_min) {
        put(&d, "min", json_real(p->min));
    }
    if (p->has_max) {
        put(&d, "max", json_real(p->max));
    }
    put_text(&d, "pattern", p->pattern);
    if (p->choices) {
        put(&d, "choices", strings(p->choices));
    }
    if (p->secret) {
        put(&d, "secret", json_true());
    }
    put_text(&d, "help", p->help);
    all->failed =
        json_array_append_new(all->o, d.o) != 0 || all->failed || (rc == 0 && d.failed);
    return rc;
}

/* Without an array of parameters the arguments are not checked: any object will do. */
static int
put_params(struct document *d, const struct errand_type *t, errand_error *error)
{
    int rc = 0;
    if (!t->params) {
        return t->n_params == 0
                   ? 0
                   : er_handle_fail(error, ER_EINVALID, "params",
                                    "n_params is %zu without params", t->n_params);
    }
    struct document all = {.o = json_array()};
    for (size_t i = 0; rc == 0 && i < t->n_params; i++) {
        rc = add_param(&all, &t->params[i], i, error);
    }
    d->failed = d->failed || all.failed;
    put(d, "parameters", all.o);
    return rc;
}

static int
put_more(struct document *d, const char *more, errand_error *error)
{
    struct er_err err = {""};
    json_t *o = NULL, *v;
    const char *name;
    int rc = er_json_parse(more, strlen(more), &o, &err);
    if (rc == 0 && !json_is_object(o)) {
        rc = er_fail(&err, ER_EINVALID, "must be a JSON object");
    }
    if (rc) {
        json_decref(o);
        return er_handle_fail(error, rc, "more", "more: %s", err.text);
    }
    json_object_foreach(o, name, v)
    {
        if (json_object_get(d->o, name)) {
            rc = er_handle_fail(error, ER_EINVALID, "more",
                                "more: `%.80s` is said by the type itself already", name);
            break;
        }
        put(d, name, json_incref(v));
    }
    json_decref(o);
    return rc;
}

static void
put_policy(struct document *d, const struct errand_type *t)
{
    put_seconds(d, "timeout_s", t->timeout_ms);
    put_seconds(d, "heartbeat_s", t->heartbeat_ms);
    if (t->has_retries) {
        put(d, "retries", json_integer(t->retries));
    }
    put_seconds(d, "backoff_s", t->backoff_ms);
    if (t->concurrency != 0) {
        put(d, "concurrency", json_integer(t->concurrency));
    }
    put_seconds(d, "expected_s", t->expected_ms);
    if (t->idempotent) {
        put(d, "idempotent", json_true());
    }
    put_text(d, "on_lost", t->on_lost);
}

static void
put_executor(struct document *d, enum er_types_by by, const char *program)
{
    const char *const words[] = {program, NULL};
    if (by == ER_TYPES_HANDLER) {
        put(d, "handler", json_true());
    } else if (by == ER_TYPES_PROGRAM) {
        put(d, "program", strings(words));
    }
}

/* ---- checking it ---- */

static int
check_texts(const struct errand_type *t, errand_error *error)
{
    if (!t->name || !er_type_is_name(t->name)) {
        return er_handle_fail(error, ER_EINVALID, "name",
                              "name: a type is called by " ER_TYPE_NAME_RULE);
    }
    if (!t->description || t->description[0] == '\0') {
        return er_handle_fail(error, ER_EINVALID, "description",
                              "type '%s' needs a description: what it does, in one line",
                              t->name);
    }
    const bool is_text = er_utf8_is_valid(t->description, strlen(t->description));
    if (!is_text || (t->on_lost && !er_utf8_is_valid(t->on_lost, strlen(t->on_lost)))) {
        const char *field = is_text ? "on_lost" : "description";
        return er_handle_fail(error, ER_EINVALID, field, "%s of type '%s' is not UTF-8",
                              field, t->name);
    }
    if (strchr(t->description, '\n')) {
        return er_handle_fail(error, ER_EINVALID, "description",
                              "the description of type '%s' must be one line", t->name);
    }
    if (t->retries != 0 && !t->has_retries) {
        return er_handle_fail(error, ER_EINVALID, "retries",
                              "retries %d of type '%s' without has_retries", t->retries,
                              t->name);
    }
    if (t->backoff_ms < 0 || t->heartbeat_ms < 0 || t->expected_ms < 0) {
        const char *field = t->backoff_ms < 0     ? "backoff_ms"
                            : t->heartbeat_ms < 0 ? "heartbeat_ms"
                                                  : "expected_ms";
        return er_handle_fail(error, ER_EINVALID, field, "%s: must not be negative",
                              field);
    }
    return 0;
}

void
er_types_to_c_names(char *field, size_t size)
{
    static const char *const names[][2] = {
        {"help", "description"},         {"timeout_s", "timeout_ms"},
        {"heartbeat_s", "heartbeat_ms"}, {"backoff_s", "backoff_ms"},
        {"expected_s", "expected_ms"},   {"parameters", "params"}};
    size_t n = strlen(field);
    if (n > 8 && strcmp(field + n - 8, ".default") == 0) {
        field[n - 4] = '\0';
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(field, names[i][0]) == 0) {
            (void)snprintf(field, size, "%s", names[i][1]);
            return;
        }
    }
}

/* The member that words begin with: "`retries` must be ...", "retries: ...". */
static void
guess_field(const struct document *d, const char *words, char *out, size_t size)
{
    const char *name;
    json_t *v;
    out[0] = '\0';
    json_object_foreach(d->o, name, v)
    {
        const char *at = strstr(words, name);
        if (at && (at == words || !strchr("abcdefghijklmnopqrstuvwxyz_", at[-1]))) {
            (void)snprintf(out, size, "%s", name);
        }
    }
}

static int
check(const struct errand_type *t, const struct document *d, errand_error *error)
{
    struct er_arena arena = {0};
    struct er_params_fault fault = {.field = ""};
    struct er_param *params;
    struct er_type type;
    size_t n;
    const json_t *all = json_object_get(d->o, "parameters");
    int rc = all ? er_params_read(all, &arena, &params, &n, &fault) : 0;
    if (rc == 0) {
        rc = er_type_json_read(t->name, d->o, &arena, &type, &fault.err);
        if (rc) {
            guess_field(d, fault.err.text, fault.field, sizeof fault.field);
        }
    }
    er_arena_free(&arena);
    er_types_to_c_names(fault.field, sizeof fault.field);
    return rc ? er_handle_fail(error, rc, fault.field, "type '%s': %s", t->name,
                               fault.err.text)
              : 0;
}

int
er_types_define(const struct errand_type *t, enum er_types_by by, const char *program,
                json_t **out, errand_error *error)
{
    struct document d = {.o = json_object()};
    int rc = check_texts(t, error);
    put_text(&d, "help", t->description);
    if (rc == 0) {
        rc = put_params(&d, t, error);
    }
    put_policy(&d, t);
    put_executor(&d, by, program);
    if (rc == 0 && t->more) {
        rc = put_more(&d, t->more, error);
    }
    if (rc == 0 && d.failed) {
        rc = er_handle_fail(error, ER_EINVALID, NULL,
                            "type '%s': a text is not UTF-8, or memory is out", t->name);
    }
    if (rc == 0) {
        rc = check(t, &d, error);
    }
    if (rc) {
        json_decref(d.o);
        d.o = NULL;
    }
    *out = d.o;
    return rc;
}

/* ---- comparing ---- */

/* All that a definition can say. */
static const char *const members[] = {
    "help",        "parameters",  "command",         "stdin",        "program",
    "handler",     "concurrency", "retries",         "backoff_s",    "timeout_s",
    "heartbeat_s", "on_lost",     "success_percent", "rate_limit_s", "exit_codes",
    "idempotent",  "expected_s"};
#define MEMBERS (sizeof members / sizeof *members)

/* The same definition as er_type_json_add writes it. */
static int
normalise(const char *name, const json_t *given, json_t **out)
{
    struct er_arena arena = {0};
    struct er_type type;
    struct er_err err;
    struct er_buf b;
    json_t *own = json_object();
    int rc = own ? 0 : ER_ENOMEM;
    for (size_t i = 0; i < MEMBERS; i++) {
        json_t *v = json_object_get(given, members[i]);
        if (v && !json_is_null(v) && json_object_set(own, members[i], v) != 0) {
            rc = ER_ENOMEM;
        }
    }
    er_buf_init(&b, 0);
    if (rc == 0) {
        rc = er_type_json_read(name, own, &arena, &type, &err);
    }
    if (rc == 0) {
        er_type_json_add(&type, &b);
        rc = b.failed;
    }
    if (rc == 0) {
        *out = json_loadb(b.data, b.len, 0, NULL);
        rc = *out ? 0 : ER_ENOMEM;
    }
    er_buf_fini(&b);
    er_arena_free(&arena);
    json_decref(own);
    return rc;
}

static bool
is_same(const json_t *x, const json_t *y)
{
    return x && y ? json_equal(x, y) : x == y;
}

int
er_types_compare(const char *name, const json_t *a, const json_t *b,
                 const char **out_member)
{
    json_t *x = NULL, *y = NULL;
    int rc = normalise(name, a, &x);
    if (rc == 0) {
        rc = normalise(name, b, &y);
    }
    *out_member = NULL;
    for (size_t i = 0; rc == 0 && !*out_member && i < MEMBERS; i++) {
        if (!is_same(json_object_get(x, members[i]), json_object_get(y, members[i]))) {
            *out_member = members[i];
        }
    }
    json_decref(x);
    json_decref(y);
    return rc;
}
