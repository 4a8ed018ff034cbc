/* SPDX-License-Identifier: MIT */
/* Submitting: documents as POST /v1/tasks takes them, put together in one buffer on the
 * caller's thread. Arguments that errand_args has made are an object with the one member
 * "$text" (which no parameter can be called): they go as `args_text`. What it was given wrongly
 * stands there as a text, with which every submit refuses them. */
#include "lib/submit.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rand.h"
#include "base/utf8.h"
#include "lib/handle.h"
#include "lib/testing.h"
#include "wire/json.h"
#include "wire/json_dump.h"

#define TEXT      "$text"
#define MANY_MAX  ((size_t)100000)
#define MANY_BODY ((size_t)256 << 20)

/* ---- arguments ---- */

char *
errand_args(const char *name, ...)
{
    struct er_buf b, fault;
    va_list ap;
    va_start(ap, name);
    er_buf_init(&b, 0);
    er_buf_init(&fault, 0);
    er_buf_add_str(&b, "{\"" TEXT "\":{");
    for (int i = 1; name && fault.len == 0; name = va_arg(ap, const char *), i++) {
        const char *text = va_arg(ap, const char *);
        if (!er_utf8_is_valid(name, strlen(name))) {
            er_buf_addf(&fault, "the name of argument %d is not UTF-8", i);
        } else if (!text || !er_utf8_is_valid(text, strlen(text))) {
            er_buf_addf(&fault, "'%s' %s", name, text ? "is not UTF-8" : "is NULL");
        } else {
            er_buf_add_str(&b, i == 1 ? "" : ",");
            er_buf_add_json_str(&b, name);
            er_buf_add_char(&b, ':');
            er_buf_add_json_str(&b, text);
        }
    }
    va_end(ap);
    er_buf_add_str(&b, "}}");
    if (fault.len > 0) { /* not NULL, which would submit a task without arguments */
        er_buf_clear(&b);
        er_buf_add_str(&b, "{\"" TEXT "\":");
        er_buf_add_json(&b, fault.data, fault.len);
        er_buf_add_char(&b, '}');
    }
    int failed = b.failed ? b.failed : fault.failed;
    er_buf_fini(&fault);
    if (failed) {
        er_buf_fini(&b);
        return NULL;
    }
    return er_buf_take(&b);
}

static int
refuse_args(const char *args, size_t n, bool texts, errand_error *error)
{
    struct er_err err = {""};
    json_t *o = NULL;
    int rc = texts ? 0 : er_json_parse(args, n, &o, &err);
    json_decref(o);
    if (!texts) {
        return er_handle_fail(error, ER_EINVALID, "args",
                              "args is not a JSON object: %.100s", rc ? err.text : args);
    }
    o = json_loadb(args, n, JSON_DECODE_ANY, NULL);
    const char *fault = json_string_value(o); /* as errand_args says it */
    rc = er_handle_fail(error, ER_EINVALID, "args", "args: %s",
                        fault ? fault : "\"" TEXT "\" is not an object of texts");
    json_decref(o);
    return rc;
}

/* What stands behind `{"$text":`, or NULL; *n: its length, without the closing brace. */
static const char *
find_texts(const char *args, size_t *n)
{
    static const char blank[] = " \t\r\n";
    const char *at = args + strspn(args, blank), *end = args + *n;
    if (*at++ != '{') {
        return NULL;
    }
    at += strspn(at, blank);
    if (strncmp(at, "\"" TEXT "\"", sizeof TEXT + 1) != 0) {
        return NULL;
    }
    at += sizeof TEXT + 1;
    at += strspn(at, blank);
    if (*at++ != ':') {
        return NULL;
    }
    while (end > at && strchr(blank, end[-1])) {
        end--;
    }
    if (end == at || end[-1] != '}') {
        return NULL;
    }
    *n = (size_t)(end - at) - 1;
    return at;
}

/* Adds arguments as a member: "args", or "args_text" for what errand_args has made. */
static int
add_args(struct er_buf *b, const char *args, errand_error *error)
{
    args = args ? args : "{}";
    size_t n = strlen(args);
    const char *texts = find_texts(args, &n);
    args = texts ? texts : args;
    er_buf_add_str(b, texts ? "\"args_text\":" : "\"args\":");
    size_t at = b->len;
    int rc = er_json_text_compact(b, args, n);
    if (rc == 0 && b->data[at] != '{') {
        rc = ER_EINVALID;
    }
    return rc == ER_EINVALID ? refuse_args(args, n, texts != NULL, error)
           : rc ? er_handle_fail(error, rc, rc == ER_ETOOBIG ? "args" : NULL, "%s",
                                 er_error_meaning(rc))
                : 0;
}

/* The same in a document: {"args": {"$text": ...}} becomes {"args_text": ...}. Returns
 * whether it was one. */
static bool
lift_texts(json_t *document)
{
    json_t *args = json_object_get(document, "args");
    json_t *texts = json_object_get(args, TEXT);
    return texts && json_object_size(args) == 1 &&
           json_object_set(document, "args_text", texts) == 0 &&
           json_object_del(document, "args") == 0;
}

/* ---- options ---- */

static int
check_text(const char *field, const char *text, errand_error *error)
{
    return !text || er_utf8_is_valid(text, strlen(text))
               ? 0
               : er_handle_fail(error, ER_EINVALID, field, "%s is not UTF-8", field);
}

static int
check_texts(const struct errand_submit_options *o, errand_error *error)
{
    const struct {
        const char *name, *text;
    } texts[] = {{"name", o->name},
                 {"queue", o->queue},
                 {"key", o->key},
                 {"limit_key", o->limit_key},
                 {"correlation", o->correlation},
                 {"on_lost", o->on_lost}};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof texts / sizeof texts[0]; i++) {
        rc = check_text(texts[i].name, texts[i].text, error);
    }
    for (size_t i = 0; rc == 0 && o->tags && o->tags[i]; i++) {
        rc = check_text("tags", o->tags[i], error);
    }
    return rc;
}

int
er_submit_read_options(struct errand_submit_options *out,
                       const struct errand_submit_options *given, errand_error *error)
{
    int rc = er_handle_read(out, sizeof *out, given, error);
    const struct {
        const char *name;
        int64_t value;
    } spans[] = {{"delay_ms", out->delay_ms},
                 {"timeout_ms", out->timeout_ms},
                 {"expires_ms", out->expires_ms},
                 {"backoff_ms", out->backoff_ms},
                 {"heartbeat_ms", out->heartbeat_ms},
                 {"grace_ms", out->grace_ms},
                 {"cost", out->cost},
                 {"parent", out->parent}};
    for (size_t i = 0; rc == 0 && i < sizeof spans / sizeof spans[0]; i++) {
        if (spans[i].value < 0) {
            rc = er_handle_fail(error, ER_EINVALID, spans[i].name, "%s is negative",
                                spans[i].name);
        }
    }
    if (rc == 0 && out->retries != 0 && !out->has_retries) {
        rc = er_handle_fail(error, ER_EINVALID, "retries",
                            "retries %d without has_retries", out->retries);
    }
    if (rc == 0 && out->n_after > 0 && !out->after) {
        rc = er_handle_fail(error, ER_EINVALID, "after", "after is NULL");
    }
    return rc ? rc : check_texts(out, error);
}

static void
add_name(struct er_buf *b, const char *name)
{
    er_buf_add_str(b, ",\"");
    er_buf_add_str(b, name);
    er_buf_add_str(b, "\":");
}

static void
add_text(struct er_buf *b, const char *name, const char *value)
{
    if (value) {
        add_name(b, name);
        er_buf_add_json_str(b, value);
    }
}

static void
add_number(struct er_buf *b, const char *name, int64_t value, bool is_given)
{
    if (is_given) {
        add_name(b, name);
        er_buf_add_i64(b, value);
    }
}

static void
add_span(struct er_buf *b, const char *name, int64_t ms)
{
    if (ms > 0) {
        add_name(b, name);
        er_buf_addf(b, "%lld.%03d", (long long)(ms / 1000), (int)(ms % 1000));
    }
}

/* Adds the members that options say, each with a comma before it. */
static void
add_options(struct er_buf *b, const struct errand_submit_options *o)
{
    add_text(b, "name", o->name);
    add_text(b, "queue", o->queue);
    add_text(b, "key", o->key);
    add_text(b, "limit_key", o->limit_key);
    add_text(b, "correlation_id", o->correlation);
    add_number(b, "parent", o->parent, o->parent != 0);
    add_number(b, "priority", o->priority, o->priority != 0);
    add_number(b, "retries", o->retries, o->has_retries);
    add_number(b, "cost", o->cost, o->cost != 0);
    add_span(b, "delay_s", o->delay_ms);
    add_span(b, "timeout_s", o->timeout_ms);
    add_span(b, "expires_s", o->expires_ms);
    add_span(b, "backoff_s", o->backoff_ms);
    add_span(b, "heartbeat_s", o->heartbeat_ms);
    add_span(b, "grace_s", o->grace_ms);
    add_text(b, "on_lost", o->on_lost);
    if (o->held) {
        er_buf_add_str(b, ",\"held\":true");
    }
    for (size_t i = 0; i < o->n_after; i++) {
        er_buf_add_str(b, i == 0 ? ",\"after\":[" : ",");
        er_buf_add_i64(b, o->after[i]);
    }
    er_buf_add_str(b, o->n_after > 0 ? "]" : "");
    for (size_t i = 0; o->tags && o->tags[i]; i++) {
        er_buf_add_str(b, i == 0 ? ",\"tags\":[" : ",");
        er_buf_add_json_str(b, o->tags[i]);
    }
    er_buf_add_str(b, o->tags && o->tags[0] ? "]" : "");
}

/* Puts the members of `more` over those that are there. */
static int
add_more(struct er_buf *b, const char *more, errand_error *error)
{
    struct er_err err = {""};
    json_t *o = NULL, *over = NULL;
    if (!more) {
        return 0;
    }
    int rc = er_json_parse(more, strlen(more), &over, &err);
    if (rc == 0 && !json_is_object(over)) {
        rc = er_fail(&err, ER_EINVALID, "it is not an object");
    }
    if (rc) {
        json_decref(over);
        return er_handle_fail(error, rc, "more", "more: %s", err.text);
    }
    o = json_loadb(b->data, b->len, 0, NULL);
    if (json_object_get(over, "args")) {
        (void)json_object_del(o, "args_text");
    }
    char *text = NULL;
    if (o && json_object_update(o, over) == 0) {
        (void)lift_texts(o);
        text = er_json_dumps(o, JSON_COMPACT);
    }
    json_decref(over);
    json_decref(o);
    er_buf_clear(b);
    if (!text) {
        return er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
    }
    er_buf_add_str(b, text);
    free(text);
    return 0;
}

/* For a submit that has none, so that it may be sent again; NULL: no daemon, no need. */
static const char *
make_key(const struct errand *e, char out[ER_SUBMIT_KEY])
{
    if (e->embedded) {
        return NULL; /* an answer cannot be lost inside */
    }
    er_uuid7(er_clock_wall(er_clock_system()), out);
    return out;
}

static bool
has_key(const struct errand_submit_options *given)
{
    struct errand_submit_options o;
    if (er_submit_read_options(&o, given, NULL) != 0) {
        return false;
    }
    json_t *more = o.more ? json_loads(o.more, 0, NULL) : NULL;
    bool is_there = o.key || json_is_string(json_object_get(more, "key"));
    json_decref(more);
    return is_there;
}

void
er_submit_bear_key(const struct errand *e, const struct errand_submit_options *given,
                   struct er_sync_spec *spec, char out[ER_SUBMIT_KEY])
{
    spec->has_key = has_key(given);
    spec->key = spec->has_key ? NULL : make_key(e, out);
}

/* ---- one task ---- */

int
er_submit_name_option(int rc, errand_error *error)
{
    static const char *const names[][2] = {
        {"delay_s", "delay_ms"},          {"timeout_s", "timeout_ms"},
        {"expires_s", "expires_ms"},      {"backoff_s", "backoff_ms"},
        {"heartbeat_s", "heartbeat_ms"},  {"grace_s", "grace_ms"},
        {"correlation_id", "correlation"}};
    static const char texts[] = "args_text"; /* what errand_args has made */
    size_t n = sizeof texts - 1;
    if (rc && error && strncmp(error->field, texts, n) == 0) {
        (void)memmove(error->field + 4, error->field + n, strlen(error->field + n) + 1);
    }
    for (size_t i = 0; rc && error && i < sizeof names / sizeof *names; i++) {
        if (strcmp(error->field, names[i][0]) == 0) {
            (void)snprintf(error->field, sizeof error->field, "%s", names[i][1]);
            break;
        }
    }
    return rc;
}

/* Where a task is too large as a whole the API has not read it, and knows no member: the
 * largest one is named here. */
static int
check_size(const struct er_buf *b, errand_error *error)
{
    const char *key, *largest = "args";
    json_t *v;
    size_t most = 0;
    if (b->failed || b->len <= ER_JSON_MAX) {
        return 0;
    }
    json_t *o = json_loadb(b->data, b->len, 0, NULL);
    json_object_foreach(o, key, v)
    {
        size_t n = json_dumpb(v, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
        largest = n > most ? key : largest;
        most = n > most ? n : most;
    }
    int rc = er_handle_fail(error, ER_ETOOBIG, largest,
                            "%s has %zu bytes as JSON (a task may have %zu in all)",
                            largest, most, ER_JSON_MAX);
    json_decref(o);
    return er_submit_name_option(rc, error);
}

int
er_submit_make_body(struct er_buf *b, const char *type, const char *args,
                    const struct errand_submit_options *given, errand_error *error)
{
    struct errand_submit_options o;
    int rc = er_submit_read_options(&o, given, error);
    if (rc) {
        return rc;
    }
    er_buf_add_char(b, '{');
    rc = add_args(b, args, error);
    if (rc) {
        return rc;
    }
    add_text(b, "type", type);
    add_options(b, &o);
    er_buf_add_char(b, '}');
    rc = add_more(b, o.more, error);
    rc = rc ? rc : check_size(b, error);
    return rc ? rc
           : b->failed
               ? er_handle_fail(error, b->failed, NULL, "%s", er_error_meaning(b->failed))
               : 0;
}

/* The id in a brief answer. */
static int64_t
id_of(const struct er_buf *b)
{
    return b->data && strncmp(b->data, "{\"id\":", 6) == 0
               ? strtoll(b->data + 6, NULL, 10)
               : 0;
}

static int
send_body(errand *e, struct er_buf *body, const struct errand_submit_options *options,
          int64_t *out_id, errand_error *error)
{
    char key[ER_SUBMIT_KEY];
    struct er_buf answer;
    struct er_sync_spec spec = {
        .method = "POST", .target = "/v1/tasks?brief=1", .body = *body};
    er_submit_bear_key(e, options, &spec, key);
    int rc = er_submit_name_option(er_sync_run(e, &spec, &answer, error), error);
    if (rc == 0) {
        int64_t id = id_of(&answer);
        er_buf_fini(&answer);
        if (out_id) {
            *out_id = id;
        }
        er_testing_run(e->testing);
    }
    return rc;
}

int
errand_submit(errand *e, const char *type, const char *args,
              const struct errand_submit_options *options, int64_t *out_id,
              errand_error *error)
{
    struct er_buf body;
    if (!e || !type) {
        return er_handle_fail(error, ER_EINVALID, e ? "type" : "e", "%s is NULL",
                              e ? "type" : "e");
    }
    er_buf_init(&body, 0);
    int rc = er_submit_make_body(&body, type, args, options, error);
    if (rc) {
        er_buf_fini(&body);
        return rc;
    }
    return send_body(e, &body, options, out_id, error);
}

struct submitted {
    errand_submitted_fn *done;
    void *ctx;
};

static void
on_submitted(void *ctx, int code, struct er_sync_answer *a, const errand_error *error)
{
    struct submitted *s = ctx;
    errand_error refused = {0};
    if (a && a->status >= 300) {
        code = er_submit_name_option(er_handle_problem(&refused, a->status, &a->body),
                                     &refused);
        error = &refused;
    }
    s->done(s->ctx, code, a && code == 0 ? id_of(&a->body) : 0, error);
    er_free(s);
}

int
errand_submit_async(errand *e, const char *type, const char *args,
                    const struct errand_submit_options *options,
                    errand_submitted_fn *done, void *ctx, errand_error *error)
{
    char key[ER_SUBMIT_KEY];
    struct er_sync_spec spec = {.method = "POST", .target = "/v1/tasks?brief=1"};
    if (!e || !type || !done) {
        const char *what = !e ? "e" : !type ? "type" : "done";
        return er_handle_fail(error, ER_EINVALID, what, "%s is NULL", what);
    }
    struct submitted *s = er_alloc(sizeof *s);
    int rc = s ? er_submit_make_body(&spec.body, type, args, options, error)
               : er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
    if (rc == 0) {
        *s = (struct submitted){done, ctx};
        er_submit_bear_key(e, options, &spec, key);
        rc = er_sync_start(e, &spec, on_submitted, s, error);
    } else {
        er_buf_fini(&spec.body);
    }
    if (rc) {
        er_free(s);
    }
    return rc;
}

/* ---- a command ---- */

static int
add_valid(struct er_buf *b, const char *text, const char *field, errand_error *error)
{
    if (!er_utf8_is_valid(text, strlen(text))) {
        return er_handle_fail(error, ER_EINVALID, field,
                              "%s is not UTF-8 and cannot be passed on", field);
    }
    er_buf_add_json_str(b, text);
    return 0;
}

static bool
is_repeated(size_t at, size_t name_len)
{
    for (size_t i = 0; i < at; i++) {
        if (strncmp(environ[i], environ[at], name_len + 1) == 0) {
            return true;
        }
    }
    return false;
}

/* This process's variables but ERRAND_*; the API leaves out what looks like a secret. */
static void
add_env(struct er_buf *b)
{
    bool first = true;
    er_buf_add_str(b, ",\"env\":{");
    for (size_t i = 0; environ && environ[i]; i++) {
        const char *entry = environ[i], *equals = strchr(entry, '=');
        if (!equals || equals == entry || strncmp(entry, "ERRAND_", 7) == 0 ||
            !er_utf8_is_valid(entry, strlen(entry)) ||
            is_repeated(i, (size_t)(equals - entry))) {
            continue;
        }
        er_buf_add_str(b, first ? "" : ",");
        first = false;
        er_buf_add_json(b, entry, (size_t)(equals - entry));
        er_buf_add_char(b, ':');
        er_buf_add_json_str(b, equals + 1);
    }
    er_buf_add_char(b, '}');
}

static int
make_command(struct er_buf *b, const char *const *argv, const char *cwd,
             const struct errand_submit_options *given, errand_error *error)
{
    struct errand_submit_options o;
    char here[PATH_MAX];
    int rc = er_submit_read_options(&o, given, error);
    if (rc == 0 && !cwd && !getcwd(here, sizeof here)) {
        rc = er_handle_fail(error, ER_EIO, "cwd", "the current folder cannot be read: %s",
                            strerror(errno));
    }
    er_buf_add_str(b, "{\"type\":\"shell\",\"args\":{\"argv\":[");
    for (size_t i = 0; rc == 0 && argv[i]; i++) {
        er_buf_add_str(b, i > 0 ? "," : "");
        rc = add_valid(b, argv[i], "argv", error);
    }
    er_buf_add_str(b, "]},\"cwd\":");
    rc = rc ? rc : add_valid(b, cwd ? cwd : here, "cwd", error);
    add_env(b);
    add_options(b, &o);
    er_buf_add_char(b, '}');
    rc = rc ? rc : add_more(b, o.more, error);
    return rc ? rc : check_size(b, error);
}

/* What the API calls args was given as argv here, unless `more` has args of its own. */
static int
name_argv(int rc, const struct errand_submit_options *given, errand_error *error)
{
    struct errand_submit_options o;
    static const char args[] = "args";
    bool is_args = rc && error && strncmp(error->field, args, sizeof args - 1) == 0;
    if (is_args && er_submit_read_options(&o, given, NULL) == 0) {
        json_t *more = o.more ? json_loads(o.more, 0, NULL) : NULL;
        if (!json_object_get(more, args)) {
            (void)snprintf(error->field, sizeof error->field, "argv");
        }
        json_decref(more);
    }
    return rc;
}

int
errand_submit_command(errand *e, const char *const *argv, const char *cwd,
                      const struct errand_submit_options *options, int64_t *out_id,
                      errand_error *error)
{
    struct er_buf body;
    if (!e || !argv || !argv[0]) {
        return er_handle_fail(error, ER_EINVALID, e ? "argv" : "e",
                              e ? "argv names no program" : "e is NULL");
    }
    if (e->embedded && e->options.no_commands && !(e->options.test & ERRAND_TEST_HOLD)) {
        return er_handle_fail(error, ER_EINVALID, "no_commands",
                              "no command can run here: this handle was opened with the "
                              "option no_commands");
    }
    er_buf_init(&body, 0);
    int rc = make_command(&body, argv, cwd, options, error);
    if (rc) {
        er_buf_fini(&body);
    } else {
        rc = send_body(e, &body, options, out_id, error);
    }
    return name_argv(rc, options, error);
}

/* ---- many ---- */

/* Writes the line from `at` on anew when its arguments are what errand_args has made. */
static void
lift_line(struct er_buf *b, size_t at)
{
    if (!memmem(b->data + at, b->len - at, "\"" TEXT "\"", sizeof TEXT + 1)) {
        return;
    }
    json_t *o = json_loadb(b->data + at, b->len - at, 0, NULL);
    char *text = o && lift_texts(o) ? er_json_dumps(o, JSON_COMPACT) : NULL;
    if (text) {
        b->len = at;
        er_buf_add_str(b, text);
    }
    free(text);
    json_decref(o);
}

/* Adds a document as one line; for a daemon with a key of its own, if it has none. */
static int
add_document(errand *e, struct er_buf *b, const char *document)
{
    char key[ER_SUBMIT_KEY];
    size_t at = b->len;
    int rc = document ? er_json_text_compact(b, document, strlen(document)) : ER_EINVALID;
    if (rc == 0 && b->data[at] != '{') {
        b->len = at;
        rc = ER_EINVALID;
    }
    if (rc) {
        return rc;
    }
    lift_line(b, at);
    if (make_key(e, key)) {
        json_t *o = json_loadb(b->data + at, b->len - at, 0, NULL);
        if (o && !json_object_get(o, "key")) {
            bool is_empty = json_object_size(o) == 0;
            b->len--;
            er_buf_addf(b, "%s\"key\":\"%s\"}", is_empty ? "" : ",", key);
        }
        json_decref(o);
    }
    er_buf_add_char(b, '\n');
    return b->failed;
}

/* Reads the answers, a line each. Returns the first code. */
static int
read_answers(const struct er_buf *b, size_t n, int64_t *ids, int *codes,
             errand_error *error)
{
    const char *at = b->data ? b->data : "";
    int first = 0;
    for (size_t i = 0; i < n; i++) {
        size_t len = strcspn(at, "\n");
        struct er_buf line = {.data = (char *)(uintptr_t)at, .len = len};
        int64_t id = id_of(&line);
        int code = 0;
        if (id == 0) {
            errand_error one = {0};
            char *copy = er_strndup(at, len);
            struct er_buf text = {.data = copy, .len = copy ? len : 0};
            code = er_handle_problem(&one, 500, copy ? &text : NULL);
            er_free(copy);
            if (first == 0) {
                first = er_handle_fail(error, code, one.field, "entry %zu: %s", i,
                                       one.message);
            }
        }
        ids[i] = id;
        if (codes) {
            codes[i] = code;
        }
        at += len + (at[len] == '\n');
    }
    return first;
}

/* "line 2: ..." of the refusal of all is "entry 1: ..." here. */
static void
name_entry(errand_error *error)
{
    char *words = NULL;
    if (error && strncmp(error->message, "line ", 5) == 0) {
        long line = strtol(error->message + 5, &words, 10);
        char *rest = line > 0 && *words == ':' ? er_strdup(words) : NULL;
        if (rest) {
            (void)snprintf(error->message, sizeof error->message, "entry %ld%s", line - 1,
                           rest);
        }
        er_free(rest);
    }
}

/* All documents as lines. One that is none spoils all only when they are atomic; else the API
 * refuses its line, and takes the others. */
static int
add_documents(errand *e, struct er_buf *b, const char *const *documents, size_t n,
              bool atomic, errand_error *error)
{
    for (size_t i = 0; i < n; i++) {
        int rc = add_document(e, b, documents[i]);
        if (rc == ER_EINVALID && !atomic) {
            er_buf_add_str(b, "null\n");
            rc = b->failed;
        }
        if (rc) {
            return er_handle_fail(error, rc, "documents", "entry %zu: %s", i,
                                  rc == ER_EINVALID ? "it is not a JSON object"
                                                    : er_error_meaning(rc));
        }
    }
    return 0;
}

/* Nothing of it was stored: each task is told so. */
static int
fail_all(size_t n, int64_t *ids, int *codes, int code)
{
    for (size_t i = 0; i < n; i++) {
        ids[i] = 0;
        if (codes) {
            codes[i] = code;
        }
    }
    return code;
}

int
errand_submit_many(errand *e, const char *const *documents, size_t n, int atomic,
                   int64_t *ids, int *codes, errand_error *error)
{
    struct er_buf answer;
    if (ids) {
        (void)fail_all(n, ids, codes, ER_EINVALID);
    }
    if (!e || (n > 0 && (!documents || !ids))) {
        return er_handle_fail(error, ER_EINVALID, e ? "documents" : "e",
                              "a pointer is NULL");
    }
    if (!atomic && !codes) {
        return er_handle_fail(error, ER_EINVALID, "codes",
                              "codes is NULL: without atomic nothing else says which "
                              "were stored");
    }
    if (n == 0) {
        return er_handle_fine(error);
    }
    if (n > MANY_MAX) {
        return fail_all(n, ids, codes,
                        er_handle_fail(error, ER_ETOOBIG, "n",
                                       "%zu tasks: at most %zu at a time", n, MANY_MAX));
    }
    struct er_sync_spec spec = {.method = "POST",
                                .target = atomic ? "/v1/tasks?brief=1&atomic=1"
                                                 : "/v1/tasks?brief=1",
                                .type = "application/x-ndjson",
                                .bound = 10 * ER_SYNC_BOUND};
    er_buf_init(&spec.body, MANY_BODY);
    int rc = add_documents(e, &spec.body, documents, n, atomic != 0, error);
    if (rc) {
        er_buf_fini(&spec.body);
        return fail_all(n, ids, codes, rc);
    }
    rc = er_sync_run(e, &spec, &answer, error);
    if (rc && atomic) {
        name_entry(error);
    }
    if (rc) {
        (void)fail_all(n, ids, codes, rc);
    } else {
        rc = read_answers(&answer, n, ids, codes, error);
        er_buf_fini(&answer);
        er_testing_run(e->testing);
    }
    return rc;
}
