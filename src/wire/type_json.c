/* SPDX-License-Identifier: MIT */
/* A definition is read by a table of its members (wire/json.h); the map of exit codes and
 * the rates by hand. What is equal to the default is left out when it is written. */
#include "wire/type_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json.h"

#define SPAN_MAX INT64_C(1000000000) /* seconds, as for tasks */
#define HELP_MAX 1000

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

/* ---- definitions ---- */

struct definition {
    const char *help;
    int64_t concurrency, retries, success;
    er_usec backoff_for, timeout_for, heartbeat_for, rate_limit_for;
    const json_t *exits;
};
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
};
static const struct er_json_form form = {fields, sizeof fields / sizeof *fields, false};

int
er_type_json_read(const char *name, const json_t *o, struct er_arena *arena,
                  struct er_type *out, struct er_err *err)
{
    struct er_json_fault fault = {{""}, ""};
    struct er_type t;
    er_type_init(&t, name);
    struct definition d = {.concurrency = t.concurrency,
                           .retries = t.retries,
                           .success = t.success_percent,
                           .backoff_for = t.backoff_for,
                           .timeout_for = t.timeout_for,
                           .heartbeat_for = t.heartbeat_for,
                           .rate_limit_for = t.rate_limit_for};
    int rc = er_json_read(o, &form, &d, NULL, &fault);
    if (rc) {
        return er_fail(err, rc, "%s", fault.err.text);
    }
    t.concurrency = (int)d.concurrency;
    t.retries = (int)d.retries;
    t.success_percent = (int)d.success;
    t.backoff_for = d.backoff_for;
    t.timeout_for = d.timeout_for;
    t.heartbeat_for = d.heartbeat_for;
    t.rate_limit_for = d.rate_limit_for;
    rc = d.exits ? read_exits(d.exits, &t, err) : 0;
    if (rc == 0 && d.help) {
        t.help = er_arena_strdup(arena, d.help);
        rc = t.help ? 0 : er_fail(err, ER_ENOMEM, "out of memory");
    }
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

void
er_type_json_add(const struct er_type *t, struct er_buf *b)
{
    struct er_type plain;
    struct er_buf members; /* each begins with a comma */
    er_type_init(&plain, t->name);
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
