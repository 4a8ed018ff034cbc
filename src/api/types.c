/* SPDX-License-Identifier: MIT */
/* Types: what there is to submit, and the definition of each (wire/type_json.h). */
#include <string.h>

#include "api/settings.h"
#include "base/heap.h"
#include "base/mem.h"
#include "model/suggest.h"
#include "wire/type_json.h"

#define TYPES_SHOWN ((size_t)200) /* of which a name may be a typing error */

static const char shell_about[] =
    ",\"description\":\"runs a command\",\"parameters\":{\"$schema\":"
    "\"https://json-schema.org/draft/2020-12/"
    "schema\",\"type\":\"object\",\"properties\":{"
    "\"argv\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"minItems\":1},"
    "\"command\":{\"type\":\"string\",\"minLength\":1},\"stdin\":{\"type\":\"string\"},"
    "\"stdin_base64\":{\"type\":\"string\"},\"stdin_file\":{\"type\":\"string\"},"
    "\"input\":{\"type\":\"boolean\"}},\"oneOf\":[{\"required\":[\"argv\"]},"
    "{\"required\":[\"command\"]}],\"additionalProperties\":false},"
    "\"example\":{\"argv\":[\"make\",\"-j8\"]}";

struct list {
    struct er_query q;
    struct er_call *call;
    struct er_type_row *rows;
    size_t n;
};

static bool
is_shell(const char *name)
{
    return strcmp(name, "shell") == 0;
}

/* Name, what it takes, the members of its definition, and how many run. */
static void
add_type(struct er_buf *b, struct er_engine *e, const char *name, const char *definition)
{
    struct er_gate_view view = {0};
    size_t len = definition ? strlen(definition) : 0;
    er_buf_add_str(b, "{\"name\":");
    er_buf_add_json_str(b, name);
    er_buf_add_str(b, is_shell(name) ? shell_about : "");
    if (len > 2) { /* without its braces */
        er_buf_add_char(b, ',');
        er_buf_add(b, definition + 1, len - 2);
    }
    (void)er_engine_gate(e, ER_GATE_TYPE, name, &view);
    er_buf_addf(b, ",\"running\":%d}", view.running);
}

static const char *const members[] = {
    "help",        "concurrency",     "retries",      "backoff_s",  "timeout_s",
    "heartbeat_s", "success_percent", "rate_limit_s", "exit_codes",
};
#define N_MEMBERS (sizeof members / sizeof members[0])

/* The member with which the words of a refusal begin, or NULL. */
static const char *
member_of(const char *words)
{
    size_t n = strcspn(words, " :");
    for (size_t i = 0; i < N_MEMBERS; i++) {
        if (strlen(members[i]) == n && strncmp(members[i], words, n) == 0) {
            return members[i];
        }
    }
    return NULL;
}

static void
run_list(struct er_query *q, struct er_store_reader *r)
{
    struct list *l = ER_CONTAINER(q, struct list, q);
    q->rc = er_store_types(r, &q->arena, &l->rows, &l->n);
}

static const struct er_type_row *
find(const struct list *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++) {
        if (strcmp(l->rows[i].name, name) == 0) {
            return &l->rows[i];
        }
    }
    return NULL;
}

static void
answer_unknown(struct list *l)
{
    const char *names[TYPES_SHOWN + 1] = {"shell"};
    size_t n = 1;
    struct er_err err;
    for (size_t i = 0; i < l->n && n < TYPES_SHOWN; i++) {
        names[n++] = l->rows[i].name;
    }
    int rc = er_suggest_fail(&err, ER_ENOTFOUND, "type", l->call->name, names, n);
    er_call_problem(l->call, rc, NULL, "%s", err.text);
}

static void
add_all(const struct list *l, struct er_buf *b)
{
    struct er_engine *e = l->call->api->engine;
    const struct er_type_row *shell = find(l, "shell");
    er_buf_add_str(b, "{\"types\":[");
    add_type(b, e, "shell", shell ? shell->definition_json : NULL);
    for (size_t i = 0; i < l->n; i++) {
        if (!is_shell(l->rows[i].name)) {
            er_buf_add_char(b, ',');
            add_type(b, e, l->rows[i].name, l->rows[i].definition_json);
        }
    }
    er_buf_add_str(b, "]}");
}

static void
done_list(struct er_query *q)
{
    struct list *l = ER_CONTAINER(q, struct list, q);
    struct er_call *call = l->call;
    struct er_buf b;
    er_buf_init(&b, 0);
    const struct er_type_row *row = call->name && !q->rc ? find(l, call->name) : NULL;
    if (q->rc) {
        er_call_problem(call, q->rc, NULL, "cannot read the types: %s",
                        er_error_meaning(q->rc));
    } else if (call->name && !row && !is_shell(call->name)) {
        answer_unknown(l);
    } else {
        if (call->name) {
            add_type(&b, call->api->engine, call->name,
                     row ? row->definition_json : NULL);
        } else {
            add_all(l, &b);
        }
        er_call_json(call, 200, &b);
    }
    er_buf_fini(&b);
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
    er_call_hold(call);
    er_engine_query(call->api->engine, &l->q);
}

/* ---- changing ---- */

static int
read_type(struct er_setting *s, struct er_store_reader *r)
{
    struct er_type_row *all;
    size_t n;
    int rc = er_store_types(r, &s->q.arena, &all, &n);
    s->row = (struct er_type_row){s->call->name, "{}"};
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (strcmp(all[i].name, s->call->name) == 0) {
            s->row.definition_json = all[i].definition_json;
        }
    }
    return rc;
}

/* What the body leaves out stays, null takes it away. */
static bool
merge_type(struct er_setting *s, const json_t *body)
{
    json_error_t why;
    struct er_err err;
    struct er_buf b;
    json_t *o = json_loads(s->row.definition_json, 0, &why);
    o = o ? o : json_object();
    int rc = json_object_update(o, (json_t *)(uintptr_t)body) ? ER_ENOMEM : 0;
    if (rc == 0) {
        rc = er_type_json_read(s->row.name, o, &s->q.arena, &s->type, &err);
    }
    json_decref(o);
    if (rc) {
        er_call_problem(s->call, rc, rc == ER_ENOMEM ? NULL : member_of(err.text), "%s",
                        rc == ER_ENOMEM ? er_error_meaning(rc) : err.text);
        return false;
    }
    er_buf_init(&b, 0);
    er_type_json_add(&s->type, &b);
    s->row.definition_json = er_arena_memdup(&s->q.arena, b.data, b.len);
    er_buf_fini(&b);
    return s->row.definition_json != NULL;
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
        er_engine_type_removed(e, s->row.name);
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
    er_setting_put(call, &type_ops, members, N_MEMBERS);
}

void
er_api_type_delete(struct er_call *call)
{
    er_setting_remove(call, &type_ops);
}
