/* SPDX-License-Identifier: MIT */
/* A definition is read by a table of its members (wire/json.h); the map of exit codes,
 * the parameters, commands and the rates by hand. What is equal to the default is left
 * out when it is written. The words of a refusal begin with the member that is wrong:
 * "retries is -1", "command: ...", "params.depth.min: ...". */
#include "wire/type_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json.h"
#include "wire/params.h"

#define WORDS_MAX 1000 /* of a command */
#define WORD_MAX  ((size_t)100000)
#define SPAN_MAX  INT64_C(1000000000) /* seconds, as for tasks */
#define HELP_MAX  1000

/* ---- exit codes ---- */

/* The number that a name of the map stands for, or -1. */
static int
read_code(const char *text)
{
    size_t n = strlen(text);
    if (n == 0 || n > 3 || strspn(text, "0123456789") != n || (n > 1 && *text == '0')) {
        return -1;
    }
    int code = atoi(text);
    return code <= 255 ? code : -1;
}

static int
read_exits(const json_t *map, struct er_type *t, struct er_err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, key, value)
    {
        int code = read_code(key);
        if (code < 0) {
            return er_fail(err, ER_EINVALID,
                           "exit_codes: '%.40s' is not an exit code from 0 to 255", key);
        }
        int means = er_exit_means_find(json_string_value(value));
        if (means < 0) {
            return er_fail(err, ER_EINVALID,
                           "exit_codes: %d means one of completed, retryable, fatal, "
                           "user-actionable, rate-limit, default",
                           code);
        }
        t->exits[code] = (unsigned char)means;
    }
    return 0;
}

static void
add_exits(const struct er_type *t, const struct er_type *plain, struct er_buf *b)
{
    const char *sep = ",\"exit_codes\":{";
    for (int code = 0; code < 256; code++) {
        if (t->exits[code] != plain->exits[code]) {
            er_buf_addf(b, "%s\"%d\":\"%s\"", sep, code,
                        er_exit_means_word((enum er_exit_means)t->exits[code]));
            sep = ",";
        }
    }
    if (sep[1] == '\0') {
        er_buf_add_char(b, '}');
    }
}

/* ---- how it is executed ---- */

/* An array of texts, the first one not empty. */
static int
read_words(const char *member, const json_t *array, struct er_arena *arena,
           const char ***out, size_t *out_n, struct er_err *err)
{
    size_t n = json_array_size(array);
    const char **words = er_arena_alloc(arena, (n + 1) * sizeof *words);
    if (!words) {
        return er_fail(err, ER_ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(array, i);
        if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v) ||
            json_string_length(v) > WORD_MAX) {
            return er_fail(err, ER_EINVALID,
                           "%s: word %zu must be a string of at most %zu bytes", member,
                           i + 1, WORD_MAX);
        }
        words[i] = er_arena_strdup(arena, json_string_value(v));
        if (!words[i]) {
            return er_fail(err, ER_ENOMEM, "out of memory");
        }
    }
    if (words[0][0] == '\0') {
        return er_fail(err, ER_EINVALID, "%s: the name of the program is empty", member);
    }
    *out = words;
    *out_n = n;
    return 0;
}

/* The templates against the parameters. */
static int
check_templates(const struct er_type *t, struct er_err *err)
{
    for (size_t i = 0; i < t->n_command; i++) {
        int rc = er_params_check_word(t->params, t->n_params, t->command[i], i == 0, err);
        if (rc) {
            return er_fail_prefix(err, rc, "command: word %zu", i + 1);
        }
    }
    int rc = t->command_stdin
                 ? er_params_check_stdin(t->params, t->n_params, t->command_stdin, err)
                 : 0;
    return rc ? er_fail_prefix(err, rc, "stdin") : 0;
}

/* ---- definitions ---- */

struct definition {
    const char *help, *stdin_text;
    int64_t concurrency, retries, success;
    er_usec backoff_for, timeout_for, heartbeat_for, rate_limit_for, expected_for;
    int on_lost, origin;
    bool idempotent, handler;
    const json_t *exits, *params, *command, *program;
};
static int
find_origin(const char *word)
{
    return strcmp(word, "file") == 0 ? 1 : -1;
}

#define AT(member) offsetof(struct definition, member)
static const struct er_json_field fields[] = {
    {"help", ER_JSON_STRING, false, 0, HELP_MAX, AT(help), NULL, NULL},
    {"concurrency", ER_JSON_INT, false, 0, INT32_MAX, AT(concurrency), NULL, NULL},
    {"retries", ER_JSON_INT, false, 0, 1000, AT(retries), NULL, NULL},
    {"backoff_s", ER_JSON_SPAN, false, 0, SPAN_MAX, AT(backoff_for), NULL, NULL},
    {"timeout_s", ER_JSON_SPAN, false, 0, SPAN_MAX, AT(timeout_for), NULL, NULL},
    {"heartbeat_s", ER_JSON_SPAN, false, 0, SPAN_MAX, AT(heartbeat_for), NULL, NULL},
    {"success_percent", ER_JSON_INT, false, 0, 100, AT(success), NULL, NULL},
    {"rate_limit_s", ER_JSON_SPAN, false, 0, SPAN_MAX, AT(rate_limit_for), NULL, NULL},
    {"exit_codes", ER_JSON_OBJECT, false, 0, 0, AT(exits), NULL, NULL},
    {"on_lost", ER_JSON_WORD, false, 0, 0, AT(on_lost), er_on_lost_find,
     "run, fail or hold"},
    {"idempotent", ER_JSON_BOOL, false, 0, 0, AT(idempotent), NULL, NULL},
    {"expected_s", ER_JSON_SPAN, false, 0, SPAN_MAX, AT(expected_for), NULL, NULL},
    {"parameters", ER_JSON_ARRAY, false, 0, ER_PARAMS_MAX, AT(params), NULL, NULL},
    {"command", ER_JSON_ARRAY, false, 1, WORDS_MAX, AT(command), NULL, NULL},
    {"stdin", ER_JSON_STRING, false, 0, 0, AT(stdin_text), NULL, NULL},
    {"program", ER_JSON_ARRAY, false, 1, WORDS_MAX, AT(program), NULL, NULL},
    {"handler", ER_JSON_BOOL, false, 0, 0, AT(handler), NULL, NULL},
    /* the last: only we write it */
    {"origin", ER_JSON_WORD, false, 0, 0, AT(origin), find_origin, "file"},
};
#define N_FIELDS (sizeof fields / sizeof *fields)
static const struct er_json_form form = {fields, N_FIELDS, false};

const char *
er_type_json_member(size_t i, enum er_json_kind *out_kind)
{
    if (i + 1 >= N_FIELDS) {
        return NULL;
    }
    *out_kind = fields[i].kind;
    return fields[i].name;
}

/* The words that begin a refusal name at most one of the ways. */
static int
check_ways(const struct definition *d, struct er_err *err)
{
    const char *first = d->command ? "command" : d->program ? "program" : NULL;
    const char *second = d->handler                 ? "handler"
                         : d->command && d->program ? "program"
                                                    : NULL;
    if (first && second) {
        return er_fail(err, ER_EINVALID,
                       "%s: a type is executed by one of command, program and handler, "
                       "and there is %s already",
                       second, first);
    }
    if (d->stdin_text && !d->command) {
        return er_fail(err, ER_EINVALID, "stdin goes with command only");
    }
    return 0;
}

static int
read_params(const json_t *array, struct er_arena *arena, struct er_type *t,
            struct er_err *err)
{
    struct er_params_fault fault;
    int rc = er_params_read(array, arena, &t->params, &t->n_params, &fault);
    t->has_params = true;
    return rc ? er_fail(err, rc, "%s%s%s", fault.field, *fault.field ? ": " : "",
                        fault.err.text)
              : 0;
}

/* What has texts and arrays of its own. */
static int
read_parts(const struct definition *d, struct er_arena *arena, struct er_type *t,
           struct er_err *err)
{
    int rc = d->exits ? read_exits(d->exits, t, err) : 0;
    if (rc == 0 && d->params) {
        rc = read_params(d->params, arena, t, err);
    }
    if (rc == 0 && d->command) {
        rc = read_words("command", d->command, arena, &t->command, &t->n_command, err);
    }
    if (rc == 0 && d->program) {
        rc = read_words("program", d->program, arena, &t->program, &t->n_program, err);
    }
    t->help = er_arena_strdup(arena, d->help);
    t->command_stdin = er_arena_strdup(arena, d->stdin_text);
    if ((d->help && !t->help) || (d->stdin_text && !t->command_stdin)) {
        return er_fail(err, ER_ENOMEM, "out of memory");
    }
    return rc ? rc : check_templates(t, err);
}

#define UNSAID (-1)

int
er_type_json_read(const char *name, const json_t *o, struct er_arena *arena,
                  struct er_type *out, struct er_err *err)
{
    struct er_json_fault fault = {{""}, ""};
    struct er_type t;
    er_type_init(&t, name);
    struct definition d = {.concurrency = t.concurrency,
                           .retries = UNSAID,
                           .success = t.success_percent,
                           .backoff_for = t.backoff_for,
                           .timeout_for = UNSAID,
                           .heartbeat_for = t.heartbeat_for,
                           .rate_limit_for = t.rate_limit_for,
                           .on_lost = UNSAID};
    int rc = er_json_read(o, &form, &d, NULL, &fault);
    if (rc) {
        bool begins = strncmp(fault.err.text, "invalid ", 8) != 0 || !*fault.field;
        return er_fail(err, rc, "%s%s%s", begins ? "" : fault.field, begins ? "" : ": ",
                       fault.err.text);
    }
    rc = check_ways(&d, err);
    if (rc) {
        return rc;
    }
    bool executed = d.command || d.program || d.handler;
    t.concurrency = (int)d.concurrency;
    t.retries = d.retries >= 0 ? (int)d.retries : executed ? ER_TYPE_RETRIES : t.retries;
    t.success_percent = (int)d.success;
    t.backoff_for = d.backoff_for;
    t.timeout_for = d.timeout_for >= 0 ? d.timeout_for
                    : executed         ? ER_TYPE_TIMEOUT_FOR
                                       : t.timeout_for;
    t.heartbeat_for = d.heartbeat_for;
    t.rate_limit_for = d.rate_limit_for;
    t.has_on_lost = d.on_lost >= 0;
    t.on_lost = t.has_on_lost ? (enum er_on_lost)d.on_lost : t.on_lost;
    t.idempotent = d.idempotent;
    t.expected_for = d.expected_for;
    t.handler = d.handler;
    t.from_file = d.origin == 1;
    rc = read_parts(&d, arena, &t, err);
    if (rc == 0) {
        *out = t;
    }
    return rc;
}

int
er_type_json_parse(const char *name, const char *json, struct er_arena *arena,
                   struct er_type *out, struct er_err *err)
{
    json_t *o = NULL;
    int rc = er_json_parse(json, strlen(json), &o, err);
    if (rc == 0) {
        rc = er_type_json_read(name, o, arena, out, err);
    }
    json_decref(o);
    return rc;
}

/* Seconds, without zeros at the end. */
static void
add_seconds(struct er_buf *b, er_usec span)
{
    char text[48];
    int n =
        snprintf(text, sizeof text, "%lld.%06lld", (long long)(span / ER_USEC_PER_SEC),
                 (long long)(span % ER_USEC_PER_SEC));
    while (n > 0 && text[n - 1] == '0') {
        n--;
    }
    n -= n > 0 && text[n - 1] == '.';
    er_buf_add(b, text, (size_t)n);
}

static void
add_span(struct er_buf *b, const char *name, er_usec span, er_usec plain)
{
    if (span != plain) {
        er_buf_addf(b, ",\"%s\":", name);
        add_seconds(b, span);
    }
}

static void
add_int(struct er_buf *b, const char *name, int v, int plain)
{
    if (v != plain) {
        er_buf_addf(b, ",\"%s\":%d", name, v);
    }
}

static void
add_words(struct er_buf *b, const char *name, const char *const *words, size_t n)
{
    if (words) {
        er_buf_addf(b, ",\"%s\":[", name);
        for (size_t i = 0; i < n; i++) {
            er_buf_add_str(b, i ? "," : "");
            er_buf_add_json_str(b, words[i]);
        }
        er_buf_add_char(b, ']');
    }
}

/* What it takes and how it is executed. */
static void
add_parts(const struct er_type *t, struct er_buf *b)
{
    if (t->has_on_lost) {
        er_buf_addf(b, ",\"on_lost\":\"%s\"", er_on_lost_word(t->on_lost));
    }
    er_buf_add_str(b, t->idempotent ? ",\"idempotent\":true" : "");
    add_span(b, "expected_s", t->expected_for, 0);
    if (t->has_params) {
        er_buf_add_str(b, ",\"parameters\":");
        er_params_add(t->params, t->n_params, b);
    }
    add_words(b, "command", t->command, t->n_command);
    if (t->command_stdin) {
        er_buf_add_str(b, ",\"stdin\":");
        er_buf_add_json_str(b, t->command_stdin);
    }
    add_words(b, "program", t->program, t->n_program);
    er_buf_add_str(b, t->handler ? ",\"handler\":true" : "");
    er_buf_add_str(b, t->from_file ? ",\"origin\":\"file\"" : "");
}

void
er_type_json_add(const struct er_type *t, struct er_buf *b)
{
    struct er_type plain;
    struct er_buf members; /* each begins with a comma */
    er_type_init(&plain, t->name);
    if (er_type_is_executed(t)) {
        plain.retries = ER_TYPE_RETRIES;
        plain.timeout_for = ER_TYPE_TIMEOUT_FOR;
    }
    er_buf_init(&members, 0);
    if (t->help) {
        er_buf_add_str(&members, ",\"help\":");
        er_buf_add_json_str(&members, t->help);
    }
    add_int(&members, "concurrency", t->concurrency, plain.concurrency);
    add_int(&members, "retries", t->retries, plain.retries);
    add_span(&members, "backoff_s", t->backoff_for, plain.backoff_for);
    add_span(&members, "timeout_s", t->timeout_for, plain.timeout_for);
    add_span(&members, "heartbeat_s", t->heartbeat_for, plain.heartbeat_for);
    add_int(&members, "success_percent", t->success_percent, plain.success_percent);
    add_span(&members, "rate_limit_s", t->rate_limit_for, plain.rate_limit_for);
    add_exits(t, &plain, &members);
    add_parts(t, &members);
    er_buf_add_char(b, '{');
    if (members.len > 0) {
        er_buf_add(b, members.data + 1, members.len - 1);
    }
    er_buf_add_char(b, '}');
    er_buf_fini(&members);
}

/* ---- rates ---- */

struct rate {
    int64_t n, burst;
    er_usec per_for;
    const char *counts;
};
#define RATE_AT(member) offsetof(struct rate, member)
static const struct er_json_field rate_fields[] = {
    {"n", ER_JSON_INT, true, 1, 1000000000, RATE_AT(n), NULL, NULL},
    {"per_s", ER_JSON_SPAN, true, 0, 365 * 86400, RATE_AT(per_for), NULL, NULL},
    {"burst", ER_JSON_INT, false, 1, 1000000000, RATE_AT(burst), NULL, NULL},
    {"counts", ER_JSON_STRING, false, 0, 0, RATE_AT(counts), NULL, NULL},
};
static const struct er_json_form rate_form = {
    rate_fields, sizeof rate_fields / sizeof *rate_fields, false};

static int
read_rate_object(const json_t *v, struct er_rate *out, struct er_err *err)
{
    struct er_json_fault fault = {{""}, ""};
    struct rate r = {.burst = 1, .counts = "cost"};
    int rc = er_json_read(v, &rate_form, &r, NULL, &fault);
    if (rc) {
        return er_fail(err, rc, "%s", fault.err.text);
    }
    if (r.per_for < ER_USEC_PER_MS) {
        return er_fail(err, ER_EINVALID, "per_s is from 0.001 to 31536000");
    }
    if (r.burst > r.n) {
        return er_fail(err, ER_EINVALID, "burst is from 1 to n, which is %lld",
                       (long long)r.n);
    }
    bool starts = strcmp(r.counts, "starts") == 0;
    if (!starts && strcmp(r.counts, "cost") != 0) {
        return er_fail(err, ER_EINVALID, "counts is cost or starts, not '%.60s'",
                       r.counts);
    }
    *out = (struct er_rate){r.n, r.per_for, r.burst, starts};
    return 0;
}

static int
read_rate(const json_t *v, struct er_rate *out, struct er_err *err)
{
    if (json_is_string(v)) {
        return er_rate_parse(json_string_value(v), out, err);
    }
    if (!json_is_object(v)) {
        return er_fail(err, ER_EINVALID,
                       "a rate is a text such as \"60/1m\" or an object such as "
                       "{\"n\": 60, \"per_s\": 60}");
    }
    return read_rate_object(v, out, err);
}

int
er_rates_json_read(const json_t *array, struct er_rate out[ER_MAX_RATES], size_t *out_n,
                   struct er_err *err)
{
    size_t n = json_array_size(array);
    if (!json_is_array(array) || n > ER_MAX_RATES) {
        return er_fail(err, ER_EINVALID, "rates is not an array of at most %d rates",
                       ER_MAX_RATES);
    }
    for (size_t i = 0; i < n; i++) {
        struct er_err one = {""};
        int rc = read_rate(json_array_get(array, i), &out[i], &one);
        if (rc) {
            return er_fail(err, rc, "rates[%zu]: %s", i, one.text);
        }
    }
    *out_n = n;
    return 0;
}

void
er_rates_json_add(const struct er_rate *rates, size_t n, struct er_buf *b)
{
    er_buf_add_char(b, '[');
    for (size_t i = 0; i < n; i++) {
        const struct er_rate *r = &rates[i];
        er_buf_addf(b, "%s{\"n\":%lld,\"per_s\":", i ? "," : "", (long long)r->n);
        add_seconds(b, r->per_for);
        er_buf_addf(b, ",\"burst\":%lld,\"counts\":\"%s\"}", (long long)r->burst,
                    r->starts ? "starts" : "cost");
    }
    er_buf_add_char(b, ']');
}
