/* SPDX-License-Identifier: MIT */
/* Types: what there is to submit, and the definition of each (wire/type_json.h). What is
 * shown is what the engine goes by; the store is asked how long each takes. A PUT is
 * merged into what there is (`?merge=0`: stands alone) and written in its normal form. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "api/builtin.h"
#include "api/registry.h"
#include "api/settings.h"
#include "base/heap.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/suggest.h"
#include "wire/params.h"
#include "wire/type_json.h"

#define NAMES_MAX ((size_t)200) /* of which a name may be a typing error */
#define ETAG_SIZE 20

static const char shell_schema[] =
    "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"type\":\"object\","
    "\"properties\":{"
    "\"argv\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"minItems\":1},"
    "\"command\":{\"type\":\"string\",\"minLength\":1},\"stdin\":{\"type\":\"string\"},"
    "\"stdin_base64\":{\"type\":\"string\"},\"stdin_file\":{\"type\":\"string\"},"
    "\"input\":{\"type\":\"boolean\"}},\"oneOf\":[{\"required\":[\"argv\"]},"
    "{\"required\":[\"command\"]}],\"additionalProperties\":false}";
static const char any_schema[] =
    "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"type\":\"object\"}";

static bool
is_shell(const char *name)
{
    return strcmp(name, "shell") == 0;
}

/* ---- which there are ---- */

struct names {
    struct er_arena *arena;
    const char **all; /* in the arena */
    size_t n, size;
    bool failed; /* for want of memory: not all are there */
};

static bool
make_room(struct names *l)
{
    if (l->n < l->size) {
        return true;
    }
    size_t size = l->size ? 2 * l->size : 32;
    const char **more = er_arena_alloc(l->arena, size * sizeof *more);
    if (more && l->n > 0) {
        memcpy(more, l->all, l->n * sizeof *more);
    }
    l->all = more ? more : l->all;
    l->size = more ? size : l->size;
    return more != NULL;
}

static void
add_name(struct names *l, const char *name)
{
    const char *copy = make_room(l) ? er_arena_strdup(l->arena, name) : NULL;
    l->failed = l->failed || !copy;
    if (copy) {
        l->all[l->n++] = copy;
    }
}

static void
add_other(void *ctx, const struct er_type *t)
{
    if (!er_builtin_definition(t->name)) {
        add_name(ctx, t->name);
    }
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The built-in ones first, the others by name. */
static void
list_names(const struct er_engine *e, struct names *l)
{
    for (size_t i = 0; er_builtin_name(i); i++) {
        add_name(l, er_builtin_name(i));
    }
    size_t first = l->n;
    er_engine_each_type(e, add_other, l);
    if (l->n > first) {
        qsort(l->all + first, l->n - first, sizeof *l->all, compare_names);
    }
}

int
er_registry_fail_unknown(const struct er_api *api, const char *name, struct er_err *err)
{
    struct er_arena arena = {0};
    struct names l = {.arena = &arena};
    list_names(api->engine, &l);
    int rc = er_suggest_fail(err, ER_ENOTFOUND, "type", name, l.all,
                             l.n < NAMES_MAX ? l.n : NAMES_MAX);
    er_arena_free(&arena);
    return rc;
}

/* ---- showing ---- */

/* A value that fits the parameter, as far as one can be made up. */
static json_t *
example_of(const struct er_param *p)
{
    json_error_t why;
    double least = p->has_min && p->min > 1   ? p->min
                   : p->has_max && p->max < 1 ? p->max
                                              : 1;
    if (p->default_json) {
        return json_loads(p->default_json, JSON_DECODE_ANY, &why);
    }
    if (p->choices && p->kind != ER_PARAM_STRINGS) {
        return json_string(p->choices[0]);
    }
    switch (p->kind) {
    case ER_PARAM_STRING:
        return json_string("text");
    case ER_PARAM_INTEGER:
        return json_integer((json_int_t)least);
    case ER_PARAM_NUMBER:
        return json_real(least);
    case ER_PARAM_BOOLEAN:
        return json_true();
    case ER_PARAM_PATH:
        return json_string("/path/to/it");
    case ER_PARAM_URL:
        return json_string("https://example.org/");
    case ER_PARAM_DURATION:
        return p->has_min || p->has_max ? json_integer((json_int_t)least)
                                        : json_string("1m30s");
    case ER_PARAM_STRINGS:
        return json_pack("[s]", p->choices ? p->choices[0] : "text");
    case ER_PARAM_OBJECT:
        break;
    }
    return json_object();
}

/* What is required; or when nothing is, the first one. */
static void
add_example(struct er_buf *b, const struct er_type *t)
{
    json_t *o = json_object();
    for (size_t i = 0; i < t->n_params; i++) {
        if (t->params[i].required) {
            (void)json_object_set_new(o, t->params[i].name, example_of(&t->params[i]));
        }
    }
    if (t->n_params > 0 && json_object_size(o) == 0) {
        (void)json_object_set_new(o, t->params[0].name, example_of(&t->params[0]));
    }
    char *text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(15));
    er_buf_add_str(b, ",\"example\":");
    er_buf_add_str(b, is_shell(t->name) ? "{\"argv\":[\"make\",\"-j8\"]}"
                      : text            ? text
                                        : "{}");
    free(text);
    json_decref(o);
}

static void
add_schema(struct er_buf *b, const struct er_type *t)
{
    er_buf_add_str(b, ",\"schema\":");
    if (is_shell(t->name)) {
        er_buf_add_str(b, shell_schema);
    } else if (t->has_params) {
        er_params_schema_add(t->params, t->n_params, b);
    } else {
        er_buf_add_str(b, any_schema);
    }
}

/* As it was defined, in its normal form and without where it comes from. */
static void
add_definition(struct er_buf *b, const struct er_type *t)
{
    struct er_type shown = *t;
    shown.from_file = false;
    er_type_json_add(&shown, b);
}

static bool
is_as_built_in(const struct er_type *t)
{
    const char *definition = er_builtin_definition(t->name);
    struct er_arena arena = {0};
    struct er_type plain;
    bool same = false;
    if (definition && !er_type_json_parse(t->name, definition, &arena, &plain, NULL)) {
        struct er_buf a, b;
        er_buf_init(&a, 0);
        er_buf_init(&b, 0);
        er_type_json_add(&plain, &a);
        er_type_json_add(t, &b);
        same = !a.failed && !b.failed && strcmp(a.data, b.data) == 0;
        er_buf_fini(&a);
        er_buf_fini(&b);
    }
    er_arena_free(&arena);
    return same;
}

static const char *
origin_of(const struct er_type *t)
{
    return t->from_file ? "file" : is_as_built_in(t) ? "built-in" : "program";
}

/* Name, the members of its definition, and what is so now. */
static void
add_type(struct er_buf *b, struct er_engine *e, const struct er_type *t, er_usec takes)
{
    struct er_gate_view view = {0};
    struct er_buf d;
    er_buf_init(&d, 0);
    add_definition(&d, t);
    er_buf_add_str(b, "{\"name\":");
    er_buf_add_json_str(b, t->name);
    if (d.len > 2) { /* without its braces */
        er_buf_add_char(b, ',');
        er_buf_add(b, d.data + 1, d.len - 2);
    }
    er_buf_fini(&d);
    (void)er_engine_gate(e, ER_GATE_TYPE, t->name, &view);
    er_buf_addf(b, ",\"running\":%d,\"served\":%s,\"takes_s\":", view.running,
                er_engine_is_served(e, t->name) ? "true" : "false");
    if (takes > 0) {
        er_buf_addf(b, "%.6g", (double)takes / (double)ER_USEC_PER_SEC);
    } else {
        er_buf_add_str(b, "null");
    }
    er_buf_addf(b, ",\"origin\":\"%s\"", origin_of(t));
    add_schema(b, t);
    add_example(b, t);
    er_buf_add_char(b, '}');
}

static void
etag_of(const struct er_type *t, char out[ETAG_SIZE])
{
    struct er_buf d;
    er_buf_init(&d, 0);
    er_type_json_add(t, &d);
    (void)snprintf(out, ETAG_SIZE, "\"%016llx\"",
                   (unsigned long long)XXH3_64bits(d.data, d.len));
    er_buf_fini(&d);
}

struct list {
    struct er_query q;
    struct er_call *call;
    struct names names;
    er_usec *takes;            /* of each */
    struct er_waiters waiters; /* of the one that is asked for */
};

static void
run_list(struct er_query *q, struct er_store_reader *r)
{
    struct list *l = ER_CONTAINER(q, struct list, q);
    for (size_t i = 0; q->rc == 0 && i < l->names.n; i++) {
        q->rc = er_store_type_takes(r, l->names.all[i], &l->takes[i]);
    }
    if (q->rc == 0 && l->call->name) {
        struct er_waiters_of of = {.type = l->call->name};
        q->rc = er_store_waiters(r, &of, ER_WAITERS_SHOWN, &q->arena, &l->waiters);
    }
}

static void
answer_all(const struct list *l)
{
    struct er_engine *e = l->call->api->engine;
    const char *sep = "";
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, "{\"types\":[");
    for (size_t i = 0; i < l->names.n; i++) {
        if (er_engine_has_type(e, l->names.all[i])) { /* not removed meanwhile */
            er_buf_add_str(&b, sep);
            add_type(&b, e, er_engine_type(e, l->names.all[i]), l->takes[i]);
            sep = ",";
        }
    }
    er_buf_add_str(&b, "]}");
    er_call_json(l->call, 200, &b);
}

static void
answer_unknown(struct er_call *call)
{
    struct er_err err;
    int rc = er_registry_fail_unknown(call->api, call->name, &err);
    er_call_problem(call, rc, NULL, "%s", err.text);
}

static void
answer_one(const struct list *l)
{
    struct er_call *call = l->call;
    const struct er_type *t = er_engine_type(call->api->engine, call->name);
    char etag[ETAG_SIZE];
    struct er_buf b;
    if (!er_engine_has_type(call->api->engine, call->name)) {
        answer_unknown(call);
        return;
    }
    if (call->req && !call->answered) {
        etag_of(t, etag);
        er_request_add_header(call->req, "ETag", etag);
    }
    er_buf_init(&b, 0);
    add_type(&b, call->api->engine, t, l->takes[0]);
    if (b.len > 0 && !b.failed) {
        b.data[--b.len] = '\0'; /* the closing brace */
        er_setting_add_waiters(&b, call, &l->waiters);
        er_buf_add_char(&b, '}');
    }
    er_call_json(call, 200, &b);
}

static void
done_list(struct er_query *q)
{
    struct list *l = ER_CONTAINER(q, struct list, q);
    struct er_call *call = l->call;
    if (q->rc) {
        er_call_problem(call, q->rc, NULL, "cannot read the types: %s",
                        er_error_meaning(q->rc));
    } else if (call->name) {
        answer_one(l);
    } else {
        answer_all(l);
    }
    er_call_release(call);
    er_arena_free(&q->arena);
    er_free(l);
}

void
er_api_types(struct er_call *call)
{
    struct list *l = er_xzalloc(sizeof *l);
    l->q.run = run_list;
    l->q.done = done_list;
    l->call = call;
    l->names.arena = &l->q.arena;
    if (call->name) {
        add_name(&l->names, call->name);
    } else {
        list_names(call->api->engine, &l->names);
    }
    l->takes = er_arena_alloc(&l->q.arena, (l->names.n + 1) * sizeof *l->takes);
    if (l->names.failed || !l->takes) {
        er_call_problem(call, ER_ENOMEM, NULL, "no memory for the list of types");
        er_arena_free(&l->q.arena);
        er_free(l);
        return;
    }
    er_call_hold(call);
    er_engine_query(call->api->engine, &l->q);
}

/* ---- changing ---- */

/* The normal form of a definition, in the arena; NULL = no memory. */
static const char *
text_of(const struct er_type *t, struct er_arena *arena)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_type_json_add(t, &b);
    const char *text = b.failed ? NULL : er_arena_memdup(arena, b.data, b.len);
    er_buf_fini(&b);
    return text;
}

static int
read_type(struct er_setting *s, struct er_store_reader *r)
{
    (void)r; /* the engine knows */
    s->row = (struct er_type_row){s->call->name, "{}"};
    return 0;
}

/* The member with which the words of a refusal begin ("retries is -1", "params.a.min:
 * ..."), or false. */
static bool
member_of(const char *words, char *out, size_t size)
{
    enum er_json_kind kind;
    const char *member;
    size_t n = strcspn(words, " :");
    (void)snprintf(out, size, "%.*s", (int)n, words);
    if (strncmp(out, "params", 6) == 0 && (out[6] == '.' || out[6] == '[')) {
        return true;
    }
    for (size_t i = 0; (member = er_type_json_member(i, &kind)) != NULL; i++) {
        if (strcmp(member, out) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether the body stands alone, by the query. */
static bool
is_whole(const struct er_call *call)
{
    const char *merge = call->req ? er_request_query(call->req, "merge") : NULL;
    return merge && strcmp(merge, "0") == 0;
}

static bool
if_match(struct er_setting *s)
{
    struct er_call *call = s->call;
    char etag[ETAG_SIZE] = "";
    if (!call->req) {
        return true;
    }
    if (er_engine_has_type(call->api->engine, call->name)) {
        etag_of(er_engine_type(call->api->engine, call->name), etag);
    }
    if (er_call_matches(call, etag)) {
        return true;
    }
    er_call_problem_status(call, 412, ER_ESTATE, "If-Match",
                           "type '%.100s' has changed since: read it again", call->name);
    return false;
}

/* Whether a member differs; which, borrowed from the table. */
static const char *
differing_member(const struct er_type *a, const struct er_type *b, struct er_arena *arena)
{
    struct er_type x = *a, y = *b;
    enum er_json_kind kind;
    json_error_t why;
    const char *member;
    x.from_file = y.from_file = false;
    const char *s = text_of(&x, arena), *t = text_of(&y, arena);
    json_t *o = s ? json_loads(s, 0, &why) : NULL, *p = t ? json_loads(t, 0, &why) : NULL;
    for (size_t i = 0; (member = er_type_json_member(i, &kind)) != NULL; i++) {
        const json_t *v = json_object_get(o, member), *w = json_object_get(p, member);
        if (v && w ? !json_equal((json_t *)(uintptr_t)v, (json_t *)(uintptr_t)w)
                   : v != w) {
            break;
        }
    }
    json_decref(o);
    json_decref(p);
    return member;
}

/* By the query `besides` (a session, 0 = none): a definition by which others go stays as
 * it is. Others are sessions of handlers that serve it, and workers that execute its
 * command or program, when that would be taken from them. */
static bool
is_free(struct er_setting *s)
{
    struct er_call *call = s->call;
    struct er_engine *e = call->api->engine;
    const char *text = call->req ? er_request_query(call->req, "besides") : NULL;
    char *end;
    if (!text || !er_engine_has_type(e, call->name)) {
        return true;
    }
    long long session = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || session < 0) {
        er_call_problem(call, ER_EINVALID, "besides",
                        "besides is the number of a session");
        return false;
    }
    const struct er_type *old = er_engine_type(e, call->name);
    bool was_process = old->command || old->program;
    bool is_process = s->type.command || s->type.program;
    bool taken = er_engine_is_named_besides(e, call->name, session) ||
                 (was_process && !is_process && er_engine_is_served(e, call->name));
    const char *member = taken ? differing_member(old, &s->type, &s->q.arena) : NULL;
    if (member) {
        er_call_problem(
            call, ER_EEXISTS, member,
            "type '%.100s' is served by another program now, with a different "
            "`%s`",
            call->name, member);
    }
    return !member;
}

/* What the body leaves out stays, null takes it away. */
static bool
merge_type(struct er_setting *s, const json_t *body)
{
    struct er_engine *e = s->call->api->engine;
    json_error_t why;
    struct er_err err;
    char member[128];
    json_t *o = NULL;
    if (!if_match(s)) {
        return false;
    }
    if (!is_whole(s->call) && er_engine_has_type(e, s->row.name)) {
        const char *text = text_of(er_engine_type(e, s->row.name), &s->q.arena);
        o = text ? json_loads(text, 0, &why) : NULL;
        (void)json_object_del(o, "origin");
    }
    o = o ? o : json_object();
    int rc = json_object_update(o, (json_t *)(uintptr_t)body) ? ER_ENOMEM : 0;
    if (rc == 0) {
        rc = er_type_json_read(s->row.name, o, &s->q.arena, &s->type, &err);
    }
    json_decref(o);
    if (rc == 0 && is_shell(s->row.name) &&
        (s->type.handler || er_type_is_executed(&s->type))) {
        er_call_problem(s->call, ER_EINVALID, "name",
                        "type 'shell' runs commands, and nothing else can execute it: "
                        "use another name");
        return false;
    }
    if (rc == 0) {
        s->row.definition_json = text_of(&s->type, &s->q.arena);
        rc = s->row.definition_json ? 0 : ER_ENOMEM;
    }
    if (rc == ER_ENOMEM) {
        er_call_problem(s->call, rc, NULL, "%s", er_error_meaning(rc));
    } else if (rc) {
        bool named = member_of(err.text, member, sizeof member);
        er_call_problem(s->call, rc, named ? member : NULL, "%s", err.text);
    }
    return rc == 0 && is_free(s);
}

static int
put_type(struct er_setting *s, struct er_store *store, er_usec now)
{
    return er_store_type_put(store, now, &s->row);
}

static int
remove_type(struct er_setting *s, struct er_store *store, er_usec now)
{
    return er_store_type_remove(store, now, s->row.name);
}

static void
type_changed(struct er_setting *s, bool removed)
{
    struct er_engine *e = s->call->api->engine;
    if (removed) {
        er_builtin_restore(e, s->row.name);
    } else {
        er_engine_type_changed(e, &s->type);
    }
}

static const struct er_setting_ops type_ops = {
    "type", read_type, merge_type, put_type, remove_type, type_changed, er_api_types,
};

void
er_api_type_put(struct er_call *call)
{
    const char *members[64];
    enum er_json_kind kind;
    size_t n = 0;
    while (n < 64 && (members[n] = er_type_json_member(n, &kind)) != NULL) {
        n++;
    }
    if (!er_type_is_name(call->name)) {
        er_call_problem(call, ER_EINVALID, "name",
                        "'%.60s' cannot be the name of a type: " ER_TYPE_NAME_RULE,
                        call->name);
        return;
    }
    er_setting_put(call, &type_ops, members, n);
}

void
er_api_type_delete(struct er_call *call)
{
    er_setting_remove(call, &type_ops);
}

/* ---- from files ---- */

struct filed {
    struct er_serial_job job;
    struct er_op op;
    struct er_api *api;
    struct er_arena arena;
    struct er_type type;
    struct er_type_row row;
    bool removed;
};

static int
run_filed(struct er_op *op, struct er_store *store, er_usec now)
{
    struct filed *f = ER_CONTAINER(op, struct filed, op);
    return f->removed ? er_store_type_remove(store, now, f->row.name)
                      : er_store_type_put(store, now, &f->row);
}

/* The engine's copy follows the store's, whatever else was written meanwhile. */
static void
apply_filed(struct filed *f)
{
    if (f->removed) {
        er_builtin_restore(f->api->engine, f->row.name);
    } else {
        er_engine_type_changed(f->api->engine, &f->type);
    }
}

static void
done_filed(struct er_op *op, int rc)
{
    struct filed *f = ER_CONTAINER(op, struct filed, op);
    if (rc && !(f->removed && rc == ER_ENOTFOUND)) {
        er_log(ER_LOG_ERROR, "errandd", "cannot keep the definition of type '%s': %s",
               f->row.name, er_error_meaning(rc));
    } else {
        apply_filed(f);
    }
    er_serial_next(&f->api->settings);
    er_arena_free(&f->arena);
    er_free(f);
}

static void
start_filed(struct er_serial_job *job)
{
    struct filed *f = ER_CONTAINER(job, struct filed, job);
    er_engine_post(f->api->engine, &f->op);
}

static struct filed *
filed_new(struct er_api *api, const char *name)
{
    struct filed *f = er_xzalloc(sizeof *f);
    f->job.start = start_filed;
    f->op.run = run_filed;
    f->op.done = done_filed;
    f->api = api;
    f->row.name = er_arena_strdup(&f->arena, name);
    return f;
}

/* The definition stays what it was. */
static void
drop_filed(struct filed *f, const char *name)
{
    er_log(ER_LOG_ERROR, "errandd", "cannot take the definition of type '%s': %s", name,
           er_error_meaning(ER_ENOMEM));
    er_arena_free(&f->arena);
    er_free(f);
}

void
er_registry_define(struct er_api *api, const struct er_type *type)
{
    struct filed *f = filed_new(api, type->name);
    int rc = er_type_copy(type, &f->arena, &f->type);
    f->type.from_file = true;
    f->row.definition_json = rc ? NULL : text_of(&f->type, &f->arena);
    if (!f->row.name || !f->row.definition_json) {
        drop_filed(f, type->name);
        return;
    }
    if (er_engine_has_type(api->engine, type->name)) {
        const char *now = text_of(er_engine_type(api->engine, type->name), &f->arena);
        if (now && strcmp(now, f->row.definition_json) == 0) {
            er_arena_free(&f->arena);
            er_free(f);
            return;
        }
    }
    apply_filed(f);
    er_serial_post(&api->settings, &f->job);
}

void
er_registry_forget(struct er_api *api, const char *name)
{
    struct filed *f = filed_new(api, name);
    f->removed = true;
    if (!f->row.name) {
        drop_filed(f, name);
        return;
    }
    apply_filed(f);
    er_serial_post(&api->settings, &f->job);
}
