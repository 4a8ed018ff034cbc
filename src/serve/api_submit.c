/* SPDX-License-Identifier: MIT */
/* POST /v1/tasks: one task, or one a line. A document becomes a row of the store's submit;
 * which member goes where stands in one table. Many lines without names for each other go
 * in groups of GROUP, so that a long request does not hold up other people's commits; once a
 * `ref` is seen the rest stays together, since names may point forward.
 *
 * Nothing is answered before all of it is on disk (or refused). */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <uthash.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"
#include "base/rand.h"
#include "model/shell_words.h"
#include "model/suggest.h"
#include "serve/server.h"
#include "wire/json.h"
#include "wire/problem.h"

#define LINES_MAX 100000
#define GROUP     ((size_t)1000)
#define BYTES_MAX ((size_t)256 << 20) /* of all lines of a request */
#define SPAN_MAX  1e9                 /* seconds: 31 years */

/* What a document says, before it is a row. */
struct draft {
    struct er_new_task *row;
    struct er_arena *arena;
    struct er_server *server;
    const char *ref;
    const char **after_refs;     /* names, parallel to row->after; NULL = an id */
    er_usec delay_for;           /* -1 = not given */
    const json_t *env, *env_set; /* the document's; NULL = not given */
    struct er_err err;
    char field[80];
};

/* One line's outcome, for the answer. */
struct result {
    int status;
    struct er_err err; /* only kept when status is set */
    char *field;
    er_task_id id;
    enum er_task_state state;
    bool existing;
};
struct ref {
    const char *name; /* in the group's arena */
    size_t index;     /* in the group */
    UT_hash_handle hh;
};
/* Rows that go to the store as one operation. */
struct group {
    struct er_submit *submit;
    size_t size;              /* allocated rows */
    size_t first_line;        /* number of its first row among all lines' results */
    size_t *lines;            /* result of each row */
    const char ***after_refs; /* of each row */
    struct ref *refs;
    bool named; /* a ref was seen */
};
struct submission {
    struct er_call *call;
    bool many, atomic, brief;
    struct result *results;
    size_t n, size;
    size_t bytes;        /* of the lines so far */
    struct group *group; /* being filled; NULL = none */
    int under_way;       /* groups at the store */
    bool complete;       /* the whole request is here */
    int failed;          /* code of the store as a whole */
    er_usec now;
};

/* ---- members ---- */

static int bad(struct draft *d, const char *field, const char *fmt, ...) ER_PRINTF(3, 4);
static int
bad(struct draft *d, const char *field, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(d->err.text, sizeof d->err.text, fmt, ap);
    va_end(ap);
    (void)snprintf(d->field, sizeof d->field, "%s", field);
    return ER_EINVALID;
}

static int
get_text(struct draft *d, const char *name, const json_t *v, const char **out)
{
    if (!json_is_string(v)) {
        return bad(d, name, "%s is not a string", name);
    }
    size_t len = json_string_length(v);
    if (len > ER_MAX_NAME) {
        return bad(d, name, "%s is %zu bytes long (at most %d)", name, len, ER_MAX_NAME);
    }
    if (strlen(json_string_value(v)) != len) {
        return bad(d, name, "%s contains a NUL", name);
    }
    *out = er_arena_strdup(d->arena, json_string_value(v));
    return *out ? 0 : ER_ENOMEM;
}

/* A name that stands in tables and addresses: not empty, no control bytes. */
static int
get_word(struct draft *d, const char *name, const json_t *v, const char **out)
{
    int rc = get_text(d, name, v, out);
    if (rc == 0 && **out == '\0') {
        return bad(d, name, "%s is empty", name);
    }
    for (const char *p = rc ? "" : *out; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            return bad(d, name, "%s contains a control character", name);
        }
    }
    return rc;
}

static int
get_int(struct draft *d, const char *name, const json_t *v, int lo, int hi, int *out)
{
    json_int_t n = json_integer_value(v);
    if (!json_is_integer(v) || n < lo || n > hi) {
        return bad(d, name, "%s is not a number from %d to %d", name, lo, hi);
    }
    *out = (int)n;
    return 0;
}

static int
get_span(struct draft *d, const char *name, const json_t *v, er_usec *out)
{
    double s = json_number_value(v);
    if (!json_is_number(v) || !isfinite(s) || s < 0 || s > SPAN_MAX) {
        return bad(d, name, "%s is not a number of seconds from 0 to %.0f", name,
                   SPAN_MAX);
    }
    *out = (er_usec)(s * 1e6 + 0.5);
    return 0;
}

static int
get_bool(struct draft *d, const char *name, const json_t *v, bool *out)
{
    if (!json_is_boolean(v)) {
        return bad(d, name, "%s is not true or false", name);
    }
    *out = json_is_true(v);
    return 0;
}

static int
dump(struct draft *d, const char *name, const json_t *v, size_t max, const char **out)
{
    char *text = json_dumps(v, JSON_COMPACT);
    if (!text) {
        return ER_ENOMEM;
    }
    size_t len = strlen(text);
    if (len > max) {
        free(text);
        return bad(d, name, "%s is %zu bytes long as JSON (at most %zu)", name, len, max);
    }
    *out = er_arena_memdup(d->arena, text, len);
    free(text);
    return *out ? 0 : ER_ENOMEM;
}

typedef int member_fn(struct draft *d, const char *name, const json_t *v);

#define WORD_MEMBER(member, field)                                                       \
    static int member_##member(struct draft *d, const char *name, const json_t *v)       \
    {                                                                                    \
        return get_word(d, name, v, &d->row->field);                                     \
    }
WORD_MEMBER(type, type)
WORD_MEMBER(queue, queue)
WORD_MEMBER(limit_key, limit_key)
WORD_MEMBER(key, key)
WORD_MEMBER(correlation_id, correlation)

static int
member_name(struct draft *d, const char *name, const json_t *v)
{
    return get_text(d, name, v, &d->row->name);
}

static int
member_cwd(struct draft *d, const char *name, const json_t *v)
{
    if (!json_is_string(v) || json_string_value(v)[0] != '/' ||
        json_string_length(v) > 4095) {
        return bad(d, name, "cwd is not an absolute path of at most 4095 bytes");
    }
    d->row->cwd = er_arena_strdup(d->arena, json_string_value(v));
    return d->row->cwd ? 0 : ER_ENOMEM;
}

static int
member_ref(struct draft *d, const char *name, const json_t *v)
{
    return get_word(d, name, v, &d->ref);
}

static int
member_args(struct draft *d, const char *name, const json_t *v)
{
    if (!json_is_object(v)) {
        return bad(d, name, "args is not an object");
    }
    return dump(d, name, v, ER_MAX_ARGS, &d->row->args_json);
}

/* An object of strings that a process could have as its environment. */
static int
check_env(struct draft *d, const char *name, const json_t *v)
{
    const char *key;
    json_t *value;
    if (!json_is_object(v)) {
        return bad(d, name, "%s is not an object of strings", name);
    }
    json_object_foreach((json_t *)(uintptr_t)v, key, value)
    {
        if (!json_is_string(value) || !*key || strchr(key, '=')) {
            return bad(d, name, "%s: '%.60s' is not the name of a variable with a string",
                       name, key);
        }
    }
    return 0;
}

static int
member_env(struct draft *d, const char *name, const json_t *v)
{
    d->env = v;
    return check_env(d, name, v);
}

static int
member_env_set(struct draft *d, const char *name, const json_t *v)
{
    d->env_set = v;
    return check_env(d, name, v);
}

static void
add_variable(struct er_buf *b, const char *key, const json_t *value)
{
    er_buf_add_char(b, b->len ? ',' : '{');
    er_buf_add_json_str(b, key);
    er_buf_add_char(b, ':');
    er_buf_add_json(b, json_string_value(value), json_string_length(value));
}

/* The environment that is stored: what was inherited, by the rules; what was named on
 * purpose (env_set), whatever it looks like; never ERRAND_*. */
static int
build_env(struct draft *d)
{
    const char *key;
    json_t *value;
    struct er_buf b;
    if (!d->env && !d->env_set) {
        d->row->env_json = d->server->default_env;
        return 0;
    }
    er_buf_init(&b, ER_MAX_ENV);
    json_object_foreach((json_t *)(uintptr_t)d->env, key, value)
    {
        if (!json_object_get(d->env_set, key) &&
            er_env_rules_allows(&d->server->env_rules, key)) {
            add_variable(&b, key, value);
        }
    }
    json_object_foreach((json_t *)(uintptr_t)d->env_set, key, value)
    {
        if (strncasecmp(key, "ERRAND_", 7) != 0) {
            add_variable(&b, key, value);
        }
    }
    er_buf_add_str(&b, b.len ? "}" : "{}");
    int rc = b.failed ? bad(d, "env", "env is longer than %d bytes", ER_MAX_ENV) : 0;
    if (rc == 0) {
        d->row->env_json = er_arena_memdup(d->arena, b.data, b.len);
        rc = d->row->env_json ? 0 : ER_ENOMEM;
    }
    er_buf_fini(&b);
    return rc;
}

static int
member_priority(struct draft *d, const char *name, const json_t *v)
{
    return get_int(d, name, v, -1000, 1000, &d->row->priority);
}

static int
member_retries(struct draft *d, const char *name, const json_t *v)
{
    return get_int(d, name, v, 0, 1000, &d->row->retries);
}

#define SPAN_MEMBER(member, field)                                                       \
    static int member_##member(struct draft *d, const char *name, const json_t *v)       \
    {                                                                                    \
        return get_span(d, name, v, &d->field);                                          \
    }
SPAN_MEMBER(delay_s, delay_for)
SPAN_MEMBER(backoff_s, row->backoff_for)
SPAN_MEMBER(timeout_s, row->timeout_for)
SPAN_MEMBER(grace_s, row->grace_for)

static int
member_expires_s(struct draft *d, const char *name, const json_t *v)
{
    er_usec span = 0;
    int rc = get_span(d, name, v, &span);
    if (rc == 0) {
        d->row->expires_at = er_clock_wall(er_clock_system()) + span;
    }
    return rc;
}

static int
member_run_at(struct draft *d, const char *name, const json_t *v)
{
    if (!json_is_string(v) || er_time_parse(json_string_value(v), &d->row->run_at)) {
        return bad(d, name, "run_at is not a time such as 2026-01-31T09:30:00Z");
    }
    return 0;
}

static int
member_on_lost(struct draft *d, const char *name, const json_t *v)
{
    int found = json_is_string(v) ? er_on_lost_find(json_string_value(v)) : -1;
    if (found < 0) {
        return bad(d, name, "on_lost is not one of run, fail, hold");
    }
    d->row->on_lost = (enum er_on_lost)found;
    return 0;
}

static int
member_parent(struct draft *d, const char *name, const json_t *v)
{
    if (!json_is_integer(v) || json_integer_value(v) <= 0) {
        return bad(d, name, "parent is not the id of a task");
    }
    d->row->parent = json_integer_value(v);
    return 0;
}

static int
member_held(struct draft *d, const char *name, const json_t *v)
{
    return get_bool(d, name, v, &d->row->held);
}

static int
member_tags(struct draft *d, const char *name, const json_t *v)
{
    if (!json_is_array(v) || json_array_size(v) > ER_MAX_TAGS) {
        return bad(d, name, "tags is not an array of at most %d strings", ER_MAX_TAGS);
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
member_meta(struct draft *d, const char *name, const json_t *v)
{
    const char *key;
    json_t *value;
    if (!json_is_object(v)) {
        return bad(d, name, "meta is not an object of strings");
    }
    json_object_foreach((json_t *)(uintptr_t)v, key, value)
    {
        if (!json_is_string(value)) {
            return bad(d, name, "meta: '%.60s' is not a string", key);
        }
    }
    return json_object_size(v) ? dump(d, name, v, ER_MAX_META, &d->row->meta_json) : 0;
}

static int
one_after(struct draft *d, const json_t *v, struct er_new_after *out,
          const char **out_ref)
{
    const json_t *id = json_object_get(v, "id"), *ref = json_object_get(v, "ref"),
                 *when = json_object_get(v, "when");
    size_t known = (id ? 1u : 0u) + (ref ? 1u : 0u) + (when ? 1u : 0u);
    if (!json_is_object(v) || json_object_size(v) != known ||
        (id == NULL) == (ref == NULL) ||
        (id && (!json_is_integer(id) || json_integer_value(id) <= 0)) ||
        (ref && !json_is_string(ref))) {
        return bad(d, "after",
                   "after is not an array of {\"id\": 41, \"when\": \"ok\"} or "
                   "{\"ref\": \"name\"}");
    }
    int w =
        when ? (json_is_string(when) ? er_after_when_find(json_string_value(when)) : -1)
             : ER_AFTER_OK;
    if (w < 0) {
        return bad(d, "after", "when is not one of ok, any, fail");
    }
    *out =
        (struct er_new_after){id ? json_integer_value(id) : 0, -1, (enum er_after_when)w};
    *out_ref = ref ? er_arena_strdup(d->arena, json_string_value(ref)) : NULL;
    return ref && !*out_ref ? ER_ENOMEM : 0;
}

static int
member_after(struct draft *d, const char *name, const json_t *v)
{
    size_t n = json_array_size(v);
    if (!json_is_array(v) || n > ER_MAX_AFTER) {
        return bad(d, name, "after is not an array of at most %d", ER_MAX_AFTER);
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
    {"type", member_type},         {"args", member_args},
    {"cwd", member_cwd},           {"env", member_env},
    {"env_set", member_env_set},   {"name", member_name},
    {"queue", member_queue},       {"limit_key", member_limit_key},
    {"priority", member_priority}, {"after", member_after},
    {"delay_s", member_delay_s},   {"run_at", member_run_at},
    {"retries", member_retries},   {"backoff_s", member_backoff_s},
    {"on_lost", member_on_lost},   {"timeout_s", member_timeout_s},
    {"grace_s", member_grace_s},   {"expires_s", member_expires_s},
    {"key", member_key},           {"correlation_id", member_correlation_id},
    {"parent", member_parent},     {"tags", member_tags},
    {"meta", member_meta},         {"held", member_held},
    {"ref", member_ref},
};
#define N_MEMBERS (sizeof members / sizeof members[0])

static int
unknown_member(struct draft *d, const char *key)
{
    const char *names[N_MEMBERS];
    for (size_t i = 0; i < N_MEMBERS; i++) {
        names[i] = members[i].name;
    }
    (void)snprintf(d->field, sizeof d->field, "%s", key);
    return er_suggest_fail(&d->err, ER_EINVALID, "member", key, names, N_MEMBERS);
}

static int
read_members(struct draft *d, const json_t *o)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)o, key, value)
    {
        size_t i = 0;
        while (i < N_MEMBERS && strcmp(members[i].name, key) != 0) {
            i++;
        }
        if (i == N_MEMBERS) {
            return unknown_member(d, key);
        }
        int rc = json_is_null(value) ? 0 : members[i].read(d, key, value);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

/* ---- the type shell ---- */

static int
check_shell(struct draft *d, const json_t *args)
{
    static const char *const names[] = {"argv",         "command",    "stdin",
                                        "stdin_base64", "stdin_file", "input"};
    const json_t *argv = json_object_get(args, "argv"),
                 *command = json_object_get(args, "command");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)args, key, value)
    {
        size_t i = 0;
        while (i < 6 && strcmp(names[i], key) != 0) {
            i++;
        }
        if (i == 6) {
            (void)snprintf(d->field, sizeof d->field, "args.%s", key);
            return er_suggest_fail(&d->err, ER_EINVALID, "member", key, names, 6);
        }
        if (i > 0 && i < 5 && !json_is_string(value)) {
            return bad(d, "args", "args: %s is not a string", key);
        }
        if (i == 5 && !json_is_boolean(value)) {
            return bad(d, "args", "args: input is not true or false");
        }
    }
    if ((argv == NULL) == (command == NULL)) {
        return bad(d, "args",
                   "args of type shell has either argv (an array of strings) or "
                   "command (a shell line)");
    }
    if (command && json_string_value(command)[0] == '\0') {
        return bad(d, "args", "args: command is empty");
    }
    if (command && strlen(json_string_value(command)) != json_string_length(command)) {
        return bad(d, "args", "args: command contains a NUL");
    }
    if (argv && (!json_is_array(argv) || json_array_size(argv) == 0)) {
        return bad(d, "args", "args: argv is not an array of at least one string");
    }
    for (size_t i = 0; i < json_array_size(argv); i++) {
        const json_t *word = json_array_get(argv, i);
        if (!json_is_string(word) ||
            strlen(json_string_value(word)) != json_string_length(word)) {
            return bad(d, "args", "args: argv[%zu] is not a string without NUL", i);
        }
    }
    if (argv && json_string_length(json_array_get(argv, 0)) == 0) {
        return bad(d, "args", "args: argv[0] is empty");
    }
    return 0;
}

static int
name_shell(struct draft *d, const json_t *args)
{
    const json_t *argv = json_object_get(args, "argv");
    size_t n = argv ? json_array_size(argv) : 1;
    struct er_buf b;
    const char **words = er_realloc_array(NULL, n, sizeof *words);
    if (!words) {
        return ER_ENOMEM;
    }
    words[0] = json_string_value(json_object_get(args, "command"));
    for (size_t i = 0; i < n && argv; i++) {
        words[i] = json_string_value(json_array_get(argv, i));
    }
    er_buf_init(&b, 0);
    er_shell_words_name(&b, words, n);
    er_free(words);
    d->row->name = er_arena_memdup(d->arena, b.data ? b.data : "", b.len);
    er_buf_fini(&b);
    return d->row->name ? 0 : ER_ENOMEM;
}

/* ---- a document becomes a row ---- */

static int
finish_draft(struct draft *d, const json_t *o, er_usec now)
{
    struct er_new_task *row = d->row;
    const json_t *args = json_object_get(o, "args");
    if (strcmp(row->type, "shell") != 0) {
        static const char *const types[] = {"shell"};
        (void)snprintf(d->field, sizeof d->field, "type");
        return er_suggest_fail(&d->err, ER_EINVALID, "type", row->type, types, 1);
    }
    if (!row->args_json) {
        return bad(d, "args",
                   "args is missing: {\"argv\": [\"make\"]} or {\"command\": \"make\"}");
    }
    int rc = check_shell(d, args);
    if (rc == 0 && (!row->name || !*row->name)) {
        rc = name_shell(d, args);
    }
    if (rc) {
        return rc;
    }
    if (d->delay_for >= 0 && row->run_at != ER_NEVER) {
        return bad(d, "delay_s", "delay_s and run_at are both given: choose one");
    }
    if (d->delay_for > 0) {
        row->run_at = now + d->delay_for;
    }
    rc = build_env(d);
    if (rc) {
        return rc;
    }
    if (!row->correlation) {
        char uuid[ER_UUID_SIZE];
        er_uuid7(now, uuid);
        row->correlation = er_arena_strdup(d->arena, uuid);
    }
    uint64_t h = XXH3_64bits(row->args_json, strlen(row->args_json));
    h = XXH3_64bits_withSeed(row->type, strlen(row->type), h);
    row->signature = XXH3_64bits_withSeed(row->cwd ? row->cwd : "",
                                          row->cwd ? strlen(row->cwd) : 0, h);
    row->signature = row->signature ? row->signature : 1;
    row->body_hash = XXH3_64bits_withSeed(row->queue, strlen(row->queue), row->signature);
    return row->correlation ? 0 : ER_ENOMEM;
}

static int
read_draft(struct draft *d, const char *text, size_t len, er_usec now)
{
    const struct er_server_config *c = &d->server->config;
    *d->row = (struct er_new_task){.type = "shell",
                                   .queue = "default",
                                   .retries = c->retries,
                                   .backoff_for = c->backoff_for,
                                   .grace_for = c->grace_for,
                                   .run_at = ER_NEVER,
                                   .expires_at = ER_NEVER};
    d->delay_for = -1;
    json_t *o = NULL;
    int rc = er_json_parse(text, len, &o, &d->err);
    if (rc == 0 && !json_is_object(o)) {
        rc = bad(d, "", "a task is a JSON object");
    }
    if (rc == 0) {
        rc = read_members(d, o);
    }
    if (rc == 0) {
        rc = finish_draft(d, o, now);
    }
    json_decref(o);
    return rc;
}

/* ---- groups ---- */

static struct result *
add_result(struct submission *s)
{
    if (s->n == s->size) {
        s->size = s->size ? s->size * 2 : 1;
        s->results = er_xrealloc_array(s->results, s->size, sizeof *s->results);
    }
    struct result *r = &s->results[s->n++];
    *r = (struct result){0};
    return r;
}

static void
set_failed(struct result *r, int status, const char *field, const char *words)
{
    r->status = status;
    r->field = field && *field ? er_xstrdup(field) : NULL;
    (void)snprintf(r->err.text, sizeof r->err.text, "%s", words);
}

static struct group *
get_group(struct submission *s)
{
    if (!s->group) {
        s->group = er_xzalloc(sizeof *s->group);
        s->group->submit = er_xzalloc(sizeof *s->group->submit);
        s->group->submit->atomic = s->atomic;
    }
    struct group *g = s->group;
    if (g->submit->n == g->size) {
        g->size = g->size ? g->size * 2 : 1;
        g->submit->rows =
            er_xrealloc_array(g->submit->rows, g->size, sizeof *g->submit->rows);
        g->lines = er_xrealloc_array(g->lines, g->size, sizeof *g->lines);
        g->after_refs = er_xrealloc_array(g->after_refs, g->size, sizeof *g->after_refs);
    }
    return g;
}

static void
group_free(struct group *g)
{
    struct ref *ref, *next;
    HASH_ITER (hh, g->refs, ref, next) {
        HASH_DEL(g->refs, ref);
        er_free(ref);
    }
    er_arena_free(&g->submit->arena);
    er_free(g->submit->rows);
    er_free(g->submit);
    er_free(g->lines);
    er_free(g->after_refs);
    er_free(g);
}

static int
add_ref(struct group *g, struct draft *d)
{
    struct ref *ref;
    HASH_FIND_STR(g->refs, d->ref, ref);
    if (ref) {
        return bad(d, "ref", "ref '%.100s' names two tasks of this request", d->ref);
    }
    ref = er_xzalloc(sizeof *ref);
    ref->name = d->ref;
    ref->index = g->submit->n;
    HASH_ADD_KEYPTR(hh, g->refs, ref->name, strlen(ref->name), ref);
    g->named = true;
    return 0;
}

/* Turns the names in `after` into places; 0 or the row's failure. */
static int
resolve(struct group *g, size_t row, char *words, size_t size)
{
    const char **names = g->after_refs[row];
    struct er_new_after *after =
        (struct er_new_after *)(uintptr_t)g->submit->rows[row].after;
    for (size_t i = 0; names && i < g->submit->rows[row].n_after; i++) {
        struct ref *ref;
        if (!names[i]) {
            continue;
        }
        HASH_FIND_STR(g->refs, names[i], ref);
        if (!ref) {
            (void)snprintf(words, size, "no task of this request has ref '%.100s'",
                           names[i]);
            return ER_EINVALID;
        }
        after[i].ref = (int)ref->index;
    }
    return 0;
}

static void answer(struct submission *s);

static void
store_row_result(struct result *r, const struct er_new_task *row)
{
    r->id = row->id;
    r->state = row->state;
    r->existing = row->existing;
    char words[256] = "";
    const char *field = NULL;
    switch (row->status) {
    case 0:
        return;
    case ER_EEXISTS:
        field = "key";
        (void)snprintf(words, sizeof words,
                       "key '%.100s' was used for task %lld with another "
                       "body",
                       row->key, (long long)row->id);
        break;
    case ER_ENOTFOUND:
        field = row->bad_after < 0 ? "parent" : "after";
        (void)snprintf(words, sizeof words, "there is no task %lld",
                       (long long)(row->bad_after < 0 ? row->parent
                                                      : row->after[row->bad_after].id));
        break;
    case ER_EINVALID:
        field = "after";
        (void)snprintf(words, sizeof words,
                       "these tasks wait for each other in a circle");
        break;
    case ER_EFULL:
        field = "queue";
        (void)snprintf(words, sizeof words,
                       "queue '%.100s' is full: %lld queued tasks (max: "
                       "%lld)",
                       row->queue, (long long)row->waiting, (long long)row->queue_size);
        break;
    case ER_ECANCELLED:
        (void)snprintf(words, sizeof words,
                       "not stored: another task of the request failed");
        break;
    default:
        (void)snprintf(words, sizeof words, "%s", er_error_meaning(row->status));
    }
    set_failed(r, row->status, field, words);
}

struct group_done {
    struct submission *s;
    struct group *g;
};

static void
on_stored(struct er_submit *submit, int rc)
{
    struct group_done *gd = submit->ctx;
    struct submission *s = gd->s;
    struct group *g = gd->g;
    struct er_call *call = s->call;
    for (size_t i = 0; i < submit->n; i++) {
        struct result *r = &s->results[g->lines[i]];
        if (rc) {
            set_failed(r, rc, NULL, er_error_meaning(rc));
        } else {
            store_row_result(r, &submit->rows[i]);
        }
    }
    s->failed = rc ? rc : s->failed;
    group_free(g);
    er_free(gd);
    s->under_way--;
    answer(s);
    er_call_release(call);
}

/* Leaves out the rows that have failed. */
static void
compact(struct submission *s, struct group *g)
{
    size_t kept = 0;
    int *moved = er_xrealloc_array(NULL, g->submit->n + 1, sizeof *moved);
    for (size_t i = 0; i < g->submit->n; i++) {
        moved[i] = (int)kept;
        if (s->results[g->lines[i]].status == 0) {
            g->submit->rows[kept] = g->submit->rows[i];
            g->lines[kept] = g->lines[i];
            g->after_refs[kept++] = g->after_refs[i];
        }
    }
    g->submit->n = kept;
    for (size_t i = 0; i < kept; i++) {
        struct er_new_task *row = &g->submit->rows[i];
        struct er_new_after *after = (struct er_new_after *)(uintptr_t)row->after;
        for (size_t k = 0; k < row->n_after; k++) {
            after[k].ref = after[k].ref < 0 ? -1 : moved[after[k].ref];
        }
    }
    er_free(moved);
}

/* The name of a task that a row waits for and that was refused, or NULL. */
static const char *
refused_name(const struct submission *s, const struct group *g, size_t row)
{
    const struct er_new_task *t = &g->submit->rows[row];
    for (size_t i = 0; i < t->n_after; i++) {
        int ref = t->after[i].ref;
        if (ref >= 0 && s->results[g->lines[ref]].status) {
            return g->after_refs[row][i];
        }
    }
    return NULL;
}

/* Rows that name a task which is not there stay out, and those that name them; the others
 * are stored. */
static void
refuse_unresolved(struct submission *s, struct group *g)
{
    char words[256];
    size_t refused = 0;
    for (size_t i = 0; i < g->submit->n; i++) {
        int rc = resolve(g, i, words, sizeof words);
        if (rc) {
            set_failed(&s->results[g->lines[i]], rc, "after", words);
            s->failed = s->atomic ? rc : s->failed;
            refused++;
        }
    }
    for (size_t before = 0; refused > before;) {
        before = refused;
        for (size_t i = 0; i < g->submit->n; i++) {
            struct result *r = &s->results[g->lines[i]];
            const char *name = r->status ? NULL : refused_name(s, g, i);
            if (name || (s->atomic && r->status == 0)) {
                (void)snprintf(words, sizeof words, "not stored: %s%.100s%s was refused",
                               name ? "the task with ref '"
                                    : "another task of the request",
                               name ? name : "", name ? "'" : "");
                set_failed(r, ER_ECANCELLED, name ? "after" : NULL, words);
                refused++;
            }
        }
    }
    if (refused > 0) {
        compact(s, g);
    }
}

static void
send_group(struct submission *s)
{
    struct group *g = s->group;
    s->group = NULL;
    if (!g) {
        return;
    }
    refuse_unresolved(s, g);
    if (g->submit->n == 0) {
        group_free(g);
        return;
    }
    struct group_done *gd = er_xzalloc(sizeof *gd);
    *gd = (struct group_done){s, g};
    g->submit->done = on_stored;
    g->submit->ctx = gd;
    s->under_way++;
    er_call_hold(s->call);
    er_engine_submit(s->call->server->engine, g->submit);
}

/* ---- requests ---- */

static void
free_submission(struct er_call *call)
{
    struct submission *s = call->state;
    for (size_t i = 0; i < s->n; i++) {
        er_free(s->results[i].field);
    }
    if (s->group) {
        group_free(s->group);
    }
    er_free(s->results);
    er_free(s);
}

static struct submission *
get_submission(struct er_call *call)
{
    struct submission *s = call->state;
    if (!s) {
        s = er_xzalloc(sizeof *s);
        s->call = call;
        s->many = call->is_lines;
        const char *atomic = er_http_query(call->req, "atomic");
        const char *brief = er_http_query(call->req, "brief");
        s->atomic = atomic && strcmp(atomic, "0") != 0;
        s->brief = brief && strcmp(brief, "0") != 0;
        s->now = er_clock_wall(er_clock_system());
        call->state = s;
        call->free_state = free_submission;
    }
    return s;
}

/* Reads one document into the group; a bad one leaves a result only. */
static void
add_document(struct submission *s, const char *text, size_t len, const char *header_key)
{
    struct group *g = get_group(s);
    struct draft d = {.row = &g->submit->rows[g->submit->n],
                      .arena = &g->submit->arena,
                      .server = s->call->server};
    struct result *r = add_result(s);
    int rc = read_draft(&d, text, len, s->now);
    if (rc == 0 && header_key && d.row->key && strcmp(d.row->key, header_key) != 0) {
        rc = bad(&d, "key", "key and the header Idempotency-Key differ");
    }
    if (rc == 0 && header_key && !d.row->key) {
        d.row->key = er_arena_strdup(d.arena, header_key);
    }
    if (rc == 0 && (d.ref || d.after_refs)) {
        rc = d.ref ? add_ref(g, &d) : 0;
        for (size_t i = 0; d.after_refs && i < d.row->n_after; i++) {
            g->named = g->named || d.after_refs[i];
        }
    }
    if (rc) {
        set_failed(r, rc, d.field, d.err.text[0] ? d.err.text : er_error_meaning(rc));
        s->failed = s->atomic ? rc : s->failed;
        return;
    }
    g->lines[g->submit->n] = s->n - 1;
    g->after_refs[g->submit->n] = d.after_refs;
    g->submit->n++;
    if (!s->atomic && !g->named && g->submit->n >= GROUP) {
        send_group(s);
    }
}

void
er_api_submit_line(struct er_call *call, const char *line, size_t len)
{
    struct submission *s = get_submission(call);
    if (s->n >= LINES_MAX) {
        er_call_problem(call, ER_ETOOBIG, NULL, "more than %d lines in one request",
                        LINES_MAX);
        return;
    }
    s->bytes += len;
    if (s->bytes > BYTES_MAX) {
        er_call_problem(call, ER_ETOOBIG, NULL, "more than %zu bytes in one request",
                        BYTES_MAX);
        return;
    }
    if (s->n == 0 && er_http_header(call->req, "Idempotency-Key")) {
        er_call_problem(
            call, ER_EINVALID, "Idempotency-Key",
            "a request of many lines has no key of its own: give each line its key");
        return;
    }
    add_document(s, line, len, NULL);
}

static void
add_line(struct er_buf *b, const struct result *r, size_t line)
{
    if (r->status == 0) {
        er_buf_add_str(b, "{\"id\":");
        er_buf_add_i64(b, r->id);
        er_buf_add_str(b, ",\"state\":\"");
        er_buf_add_str(b, er_task_state_word(r->state));
        er_buf_add_str(b, r->existing ? "\",\"existing\":true}\n" : "\"}\n");
    } else {
        char extra[40];
        (void)snprintf(extra, sizeof extra, "\"line\":%zu", line);
        er_problem_json(b, r->status, r->err.text, r->field, extra);
        er_buf_add_char(b, '\n');
    }
}

static void
answer_many(struct submission *s)
{
    struct er_buf b;
    if (s->atomic && s->failed) {
        for (size_t i = 0; i < s->n; i++) {
            const struct result *r = &s->results[i];
            if (r->status && r->status != ER_ECANCELLED) {
                char extra[40];
                (void)snprintf(extra, sizeof extra, "\"line\":%zu", i + 1);
                er_call_problem_extra(s->call, r->status, r->field, extra, "line %zu: %s",
                                      i + 1, r->err.text);
                return;
            }
        }
    }
    er_buf_init(&b, (size_t)256 << 20);
    for (size_t i = 0; i < s->n; i++) {
        add_line(&b, &s->results[i], i + 1);
    }
    er_call_ndjson(s->call, 200, &b);
}

static void
answer_one(struct submission *s)
{
    const struct result *r = &s->results[0];
    if (r->status) {
        er_call_problem(s->call, r->status, r->field, "%s", r->err.text);
        return;
    }
    int status = r->existing ? 200 : 201;
    if (!s->brief) {
        er_call_task(s->call, r->id, status, true);
        return;
    }
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_addf(&b, "{\"id\":%lld,\"state\":\"%s\"}", (long long)r->id,
                er_task_state_word(r->state));
    er_call_json(s->call, status, &b);
}

static void
answer(struct submission *s)
{
    if (!s->complete || s->under_way > 0 || !s->call->req) {
        return;
    }
    for (size_t i = 0; s->atomic && !s->failed && i < s->n; i++) {
        s->failed = s->results[i].status;
    }
    if (s->many) {
        answer_many(s);
    } else {
        answer_one(s);
    }
}

void
er_api_submit(struct er_call *call)
{
    struct submission *s = get_submission(call);
    if (call->server->stopping) {
        er_call_problem(call, ER_ECLOSED, NULL, "the daemon is shutting down");
        return;
    }
    if (!s->many) {
        const struct er_buf *body = er_http_body(call->req);
        const char *key = er_http_header(call->req, "Idempotency-Key");
        if (key && (*key == '\0' || strlen(key) > ER_MAX_NAME)) {
            er_call_problem(call, ER_EINVALID, "Idempotency-Key", "the key is %s",
                            *key ? "longer than 1000 bytes" : "empty");
            return;
        }
        add_document(s, body->data ? body->data : "", body->len, key);
    }
    s->complete = true;
    if (s->atomic && s->failed) {
        answer(s);
        return;
    }
    send_group(s);
    answer(s);
}
