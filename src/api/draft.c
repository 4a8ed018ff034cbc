/* SPDX-License-Identifier: MIT */
/* A document is read member by member: each name has its line in the table `members`,
 * whose function checks the value and puts it into the row. What is wrong with one member
 * ends the reading: the error names the field and what would be right, and the row is not
 * to be used. Texts are cut by no bound without an error. */
#include "api/draft.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/name.h"
#include "model/suggest.h"
#include "wire/json_dump.h"

#define SPAN_MAX 1e9 /* seconds: 31 years */

int
er_draft_bad(struct er_draft *d, const char *field, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(d->err.text, sizeof d->err.text, fmt, ap);
    va_end(ap);
    (void)snprintf(d->field, sizeof d->field, "%s", field);
    return ER_EINVALID;
}

const char *
er_draft_args_member(const struct er_draft *d)
{
    return d->args_text ? "args_text" : "args";
}

/* ---- members ---- */

static int
get_text(struct er_draft *d, const char *name, const json_t *v, const char **out)
{
    if (!json_is_string(v)) {
        return er_draft_bad(d, name, "%s is not a string", name);
    }
    size_t len = json_string_length(v);
    if (len > ER_MAX_NAME) {
        return er_draft_bad(d, name, "%s is %zu bytes long (at most %d)", name, len,
                            ER_MAX_NAME);
    }
    if (strlen(json_string_value(v)) != len) {
        return er_draft_bad(d, name, "%s contains a NUL", name);
    }
    *out = er_arena_strdup(d->arena, json_string_value(v));
    return *out ? 0 : ER_ENOMEM;
}

/* A name that stands in tables and addresses: not empty, no control bytes. */
static int
get_word(struct er_draft *d, const char *name, const json_t *v, const char **out)
{
    int rc = get_text(d, name, v, out);
    if (rc == 0 && **out == '\0') {
        return er_draft_bad(d, name, "%s is empty", name);
    }
    for (const char *p = rc ? "" : *out; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            return er_draft_bad(d, name, "%s contains a control character", name);
        }
    }
    return rc;
}

static int
get_int(struct er_draft *d, const char *name, const json_t *v, int lo, int hi, int *out)
{
    json_int_t n = json_integer_value(v);
    if (!json_is_integer(v) || n < lo || n > hi) {
        return er_draft_bad(d, name, "%s is not a number from %d to %d", name, lo, hi);
    }
    *out = (int)n;
    return 0;
}

static int
get_span(struct er_draft *d, const char *name, const json_t *v, er_usec *out)
{
    double s = json_number_value(v);
    if (!json_is_number(v) || !isfinite(s) || s < 0 || s > SPAN_MAX) {
        return er_draft_bad(d, name, "%s is not a number of seconds from 0 to %.0f", name,
                            SPAN_MAX);
    }
    *out = (er_usec)(s * 1e6 + 0.5);
    return 0;
}

static int
get_bool(struct er_draft *d, const char *name, const json_t *v, bool *out)
{
    if (!json_is_boolean(v)) {
        return er_draft_bad(d, name, "%s is not true or false", name);
    }
    *out = json_is_true(v);
    return 0;
}

static int
dump(struct er_draft *d, const char *name, const json_t *v, size_t max, const char **out)
{
    char *text = er_json_dumps(v, JSON_COMPACT);
    if (!text) {
        return ER_ENOMEM;
    }
    size_t len = strlen(text);
    if (len > max) {
        free(text);
        return er_draft_bad(d, name, "%s is %zu bytes long as JSON (at most %zu)", name,
                            len, max);
    }
    *out = er_arena_memdup(d->arena, text, len);
    free(text);
    return *out ? 0 : ER_ENOMEM;
}

typedef int member_fn(struct er_draft *d, const char *name, const json_t *v);

#define WORD_MEMBER(member, field)                                                       \
    static int member_##member(struct er_draft *d, const char *name, const json_t *v)    \
    {                                                                                    \
        return get_word(d, name, v, &d->row->field);                                     \
    }
WORD_MEMBER(type, type)
WORD_MEMBER(key, key)
WORD_MEMBER(correlation_id, correlation)

/* What has settings at an address of its own. */
static int
get_place(struct er_draft *d, const char *name, const json_t *v, const char **out)
{
    int rc = get_word(d, name, v, out);
    const char *why = rc ? NULL : er_name_refusal(*out);
    return why ? er_draft_bad(d, name, "%s %s", name, why) : rc;
}

static int
member_queue(struct er_draft *d, const char *name, const json_t *v)
{
    return get_place(d, name, v, &d->row->queue);
}

static int
member_limit_key(struct er_draft *d, const char *name, const json_t *v)
{
    return get_place(d, name, v, &d->row->limit_key);
}

static int
member_name(struct er_draft *d, const char *name, const json_t *v)
{
    return get_text(d, name, v, &d->row->name);
}

static int
member_cwd(struct er_draft *d, const char *name, const json_t *v)
{
    if (!json_is_string(v) || json_string_value(v)[0] != '/' ||
        json_string_length(v) > 4095) {
        return er_draft_bad(d, name, "cwd is not an absolute path of at most 4095 bytes");
    }
    d->row->cwd = er_arena_strdup(d->arena, json_string_value(v));
    return d->row->cwd ? 0 : ER_ENOMEM;
}

static int
member_ref(struct er_draft *d, const char *name, const json_t *v)
{
    return get_word(d, name, v, &d->ref);
}

static int
member_args(struct er_draft *d, const char *name, const json_t *v)
{
    d->args = v;
    return json_is_object(v) ? 0 : er_draft_bad(d, name, "args is not an object");
}

static int
member_args_text(struct er_draft *d, const char *name, const json_t *v)
{
    const char *key;
    json_t *text;
    d->args_text = v;
    if (!json_is_object(v)) {
        return er_draft_bad(d, name, "args_text is not an object of texts");
    }
    json_object_foreach((json_t *)(uintptr_t)v, key, text)
    {
        if (!json_is_string(text)) {
            return er_draft_bad(d, name, "args_text: '%.60s' is not a text", key);
        }
    }
    return 0;
}

/* An object of strings that a process could have as its environment. */
static int
check_env(struct er_draft *d, const char *name, const json_t *v)
{
    const char *key;
    json_t *value;
    if (!json_is_object(v)) {
        return er_draft_bad(d, name, "%s is not an object of strings", name);
    }
    json_object_foreach((json_t *)(uintptr_t)v, key, value)
    {
        if (!json_is_string(value) || !*key || strchr(key, '=')) {
            return er_draft_bad(d, name,
                                "%s: '%.60s' is not the name of a variable with a string",
                                name, key);
        }
    }
    return 0;
}

static int
member_env(struct er_draft *d, const char *name, const json_t *v)
{
    d->env = v;
    return check_env(d, name, v);
}

static int
member_env_set(struct er_draft *d, const char *name, const json_t *v)
{
    d->env_set = v;
    return check_env(d, name, v);
}

static int
member_priority(struct er_draft *d, const char *name, const json_t *v)
{
    return get_int(d, name, v, -1000, 1000, &d->row->priority);
}

static int
member_retries(struct er_draft *d, const char *name, const json_t *v)
{
    return get_int(d, name, v, 0, 1000, &d->row->retries);
}

#define SPAN_MEMBER(member, field)                                                       \
    static int member_##member(struct er_draft *d, const char *name, const json_t *v)    \
    {                                                                                    \
        return get_span(d, name, v, &d->field);                                          \
    }
SPAN_MEMBER(delay_s, delay_for)
SPAN_MEMBER(backoff_s, row->backoff_for)
SPAN_MEMBER(timeout_s, row->timeout_for)
SPAN_MEMBER(grace_s, row->grace_for)
SPAN_MEMBER(heartbeat_s, row->heartbeat_for)

static int
member_cost(struct er_draft *d, const char *name, const json_t *v)
{
    int cost = 0;
    int rc = get_int(d, name, v, 1, ER_MAX_COST, &cost);
    d->row->cost = cost;
    return rc;
}

static int
member_expires_s(struct er_draft *d, const char *name, const json_t *v)
{
    er_usec span = 0;
    int rc = get_span(d, name, v, &span);
    if (rc == 0) {
        d->row->expires_at = d->now + span;
    }
    return rc;
}

static int
member_run_at(struct er_draft *d, const char *name, const json_t *v)
{
    if (!json_is_string(v) || er_time_parse(json_string_value(v), &d->row->run_at)) {
        return er_draft_bad(d, name, "run_at is not a time such as 2026-01-31T09:30:00Z");
    }
    d->row->run_at_fixed = true;
    return 0;
}

static int
member_on_lost(struct er_draft *d, const char *name, const json_t *v)
{
    int found = json_is_string(v) ? er_on_lost_find(json_string_value(v)) : -1;
    if (found < 0) {
        return er_draft_bad(d, name, "on_lost is not one of run, fail, hold");
    }
    d->row->on_lost = (enum er_on_lost)found;
    d->has_on_lost = true;
    return 0;
}

static int
member_parent(struct er_draft *d, const char *name, const json_t *v)
{
    if (!json_is_integer(v) || json_integer_value(v) <= 0) {
        return er_draft_bad(d, name, "parent is not the id of a task");
    }
    d->row->parent = json_integer_value(v);
    return 0;
}

static int
member_held(struct er_draft *d, const char *name, const json_t *v)
{
    return get_bool(d, name, v, &d->row->held);
}

static int
member_tags(struct er_draft *d, const char *name, const json_t *v)
{
    if (!json_is_array(v) || json_array_size(v) > ER_MAX_TAGS) {
        return er_draft_bad(d, name, "tags is not an array of at most %d strings",
                            ER_MAX_TAGS);
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *tag;
        int rc = get_word(d, name, json_array_get(v, i), &tag);
        if (rc) {
            return rc;
        }
    }
    return json_array_size(v) ? dump(d, name, v, ER_MAX_META, &d->row->tags_json) : 0;
}

static int
member_meta(struct er_draft *d, const char *name, const json_t *v)
{
    const char *key;
    json_t *value;
    if (!json_is_object(v)) {
        return er_draft_bad(d, name, "meta is not an object of strings");
    }
    json_object_foreach((json_t *)(uintptr_t)v, key, value)
    {
        if (!json_is_string(value)) {
            return er_draft_bad(d, name, "meta: '%.60s' is not a string", key);
        }
    }
    return json_object_size(v) ? dump(d, name, v, ER_MAX_META, &d->row->meta_json) : 0;
}

static int
one_after(struct er_draft *d, const json_t *v, struct er_new_after *out,
          const char **out_ref)
{
    if (json_is_integer(v) && json_integer_value(v) > 0) {
        *out = (struct er_new_after){json_integer_value(v), -1, ER_AFTER_OK};
        *out_ref = NULL;
        return 0;
    }
    const json_t *id = json_object_get(v, "id"), *ref = json_object_get(v, "ref"),
                 *when = json_object_get(v, "when");
    size_t known = (id ? 1u : 0u) + (ref ? 1u : 0u) + (when ? 1u : 0u);
    if (!json_is_object(v) || json_object_size(v) != known ||
        (id == NULL) == (ref == NULL) ||
        (id && (!json_is_integer(id) || json_integer_value(id) <= 0)) ||
        (ref && !json_is_string(ref))) {
        return er_draft_bad(d, "after",
                            "after is not an array of {\"id\": 41, \"when\": \"ok\"}, "
                            "{\"ref\": \"name\"} or ids");
    }
    int w =
        when ? (json_is_string(when) ? er_after_when_find(json_string_value(when)) : -1)
             : ER_AFTER_OK;
    if (w < 0) {
        return er_draft_bad(d, "after", "when is not one of ok, any, fail");
    }
    *out =
        (struct er_new_after){id ? json_integer_value(id) : 0, -1, (enum er_after_when)w};
    *out_ref = ref ? er_arena_strdup(d->arena, json_string_value(ref)) : NULL;
    return ref && !*out_ref ? ER_ENOMEM : 0;
}

static int
member_after(struct er_draft *d, const char *name, const json_t *v)
{
    size_t n = json_array_size(v);
    if (!json_is_array(v) || n > ER_MAX_AFTER) {
        return er_draft_bad(d, name, "after is not an array of at most %d", ER_MAX_AFTER);
    }
    struct er_new_after *after = er_arena_alloc(d->arena, (n + 1) * sizeof *after);
    d->after_refs = er_arena_alloc(d->arena, (n + 1) * sizeof *d->after_refs);
    if (!after || !d->after_refs) {
        return ER_ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        int rc = one_after(d, json_array_get(v, i), &after[i], &d->after_refs[i]);
        if (rc) {
            return rc;
        }
    }
    d->row->after = after;
    d->row->n_after = n;
    return 0;
}

static const struct member {
    const char *name;
    member_fn *read;
} members[] = {
    {"type", member_type},
    {"args", member_args},
    {"args_text", member_args_text},
    {"cwd", member_cwd},
    {"env", member_env},
    {"env_set", member_env_set},
    {"name", member_name},
    {"queue", member_queue},
    {"limit_key", member_limit_key},
    {"priority", member_priority},
    {"cost", member_cost},
    {"after", member_after},
    {"delay_s", member_delay_s},
    {"run_at", member_run_at},
    {"retries", member_retries},
    {"backoff_s", member_backoff_s},
    {"on_lost", member_on_lost},
    {"timeout_s", member_timeout_s},
    {"grace_s", member_grace_s},
    {"heartbeat_s", member_heartbeat_s},
    {"expires_s", member_expires_s},
    {"key", member_key},
    {"correlation_id", member_correlation_id},
    {"parent", member_parent},
    {"tags", member_tags},
    {"meta", member_meta},
    {"held", member_held},
    {"ref", member_ref},
};
#define N_MEMBERS (sizeof members / sizeof members[0])

static int
unknown_member(struct er_draft *d, const char *key)
{
    const char *names[N_MEMBERS];
    for (size_t i = 0; i < N_MEMBERS; i++) {
        names[i] = members[i].name;
    }
    (void)snprintf(d->field, sizeof d->field, "%s", key);
    return er_suggest_fail(&d->err, ER_EINVALID, "member", key, names, N_MEMBERS);
}

int
er_draft_member(struct er_draft *d, const char *name, const json_t *v)
{
    for (size_t i = 0; i < N_MEMBERS; i++) {
        if (strcmp(members[i].name, name) == 0) {
            return members[i].read(d, name, v);
        }
    }
    return unknown_member(d, name);
}

static int
is_member(struct er_draft *d, const char *name)
{
    for (size_t i = 0; i < N_MEMBERS; i++) {
        if (strcmp(members[i].name, name) == 0) {
            return 0;
        }
    }
    return unknown_member(d, name);
}

int
er_draft_read_members(struct er_draft *d, const json_t *o)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)o, key, value)
    {
        int rc = json_is_null(value) ? is_member(d, key) : er_draft_member(d, key, value);
        if (rc) {
            return rc;
        }
    }
    return 0;
}
