/* SPDX-License-Identifier: MIT */
/* A document becomes a row: its members (draft.c), then the arguments (draft_type.c,
 * draft_shell.c), the moment, the environment, the correlation id, what the type and the
 * configuration say where the document says nothing, and the hashes that tell a repeated
 * key from a clash. Nothing is stored here. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "api/draft.h"
#include "api/registry.h"
#include "base/rand.h"
#include "wire/json.h"

#define UNSAID (-1) /* of numbers that are never negative: the defaults come later */

void
er_draft_init(struct er_draft *d)
{
    *d->row = (struct er_new_task){.type = "shell",
                                   .queue = "default",
                                   .retries = UNSAID,
                                   .backoff_for = UNSAID,
                                   .timeout_for = UNSAID,
                                   .heartbeat_for = UNSAID,
                                   .grace_for = UNSAID,
                                   .cost = 1,
                                   .run_at = ER_NEVER,
                                   .expires_at = ER_NEVER};
    d->delay_for = UNSAID;
}

/* ---- the environment ---- */

static void
add_variable(struct er_buf *b, const char *key, const json_t *value)
{
    er_buf_add_char(b, b->len ? ',' : '{');
    er_buf_add_json_str(b, key);
    er_buf_add_char(b, ':');
    er_buf_add_json(b, json_string_value(value), json_string_length(value));
}

/* by_env: it was too large before there was anything of env_set in it. */
static int
refuse_env(struct er_draft *d, int code, bool by_env)
{
    if (code != ER_ETOOBIG) {
        return code;
    }
    return by_env
               ? er_draft_bad(d, "env",
                              "env is longer than %d bytes (the setting env_deny keeps "
                              "large variables out)",
                              ER_MAX_ENV)
               : er_draft_bad(d, "env_set", "env_set makes env longer than %d bytes",
                              ER_MAX_ENV);
}

/* The environment that is stored: what was inherited, by the rules; what was named on
 * purpose (env_set), whatever it looks like; never ERRAND_*. */
static int
build_env(struct er_draft *d)
{
    const char *key;
    json_t *value;
    struct er_buf b;
    if (!d->env && !d->env_set) {
        d->row->env_json = d->api->default_env;
        return 0;
    }
    er_buf_init(&b, ER_MAX_ENV);
    json_object_foreach((json_t *)(uintptr_t)d->env, key, value)
    {
        if (!json_object_get(d->env_set, key) &&
            er_env_rules_allows(&d->api->env_rules, key)) {
            add_variable(&b, key, value);
        }
    }
    bool by_env = b.failed;
    json_object_foreach((json_t *)(uintptr_t)d->env_set, key, value)
    {
        if (strncasecmp(key, "ERRAND_", 7) != 0) {
            add_variable(&b, key, value);
        }
    }
    er_buf_add_str(&b, b.len ? "}" : "{}");
    int rc = b.failed ? refuse_env(d, b.failed, by_env) : 0;
    if (rc == 0) {
        d->row->env_json = er_arena_memdup(d->arena, b.data, b.len);
        rc = d->row->env_json ? 0 : ER_ENOMEM;
    }
    er_buf_fini(&b);
    return rc;
}

/* ---- the rest ---- */

/* What the document does not say its type does, and what that does not the
 * configuration. */
static void
fill_defaults(struct er_draft *d)
{
    const struct er_api_config *c = &d->api->config;
    const struct er_type *t = er_engine_type(d->api->engine, d->row->type);
    struct er_new_task *row = d->row;
    if (row->retries < 0) {
        row->retries = t->retries >= 0 ? t->retries : c->retries;
    }
    if (row->backoff_for < 0) {
        row->backoff_for = t->backoff_for >= 0 ? t->backoff_for : c->backoff_for;
    }
    row->timeout_for = row->timeout_for < 0 ? t->timeout_for : row->timeout_for;
    row->heartbeat_for = row->heartbeat_for < 0 ? t->heartbeat_for : row->heartbeat_for;
    row->grace_for = row->grace_for < 0 ? c->grace_for : row->grace_for;
    row->on_lost = !d->has_on_lost && t->has_on_lost ? t->on_lost : row->on_lost;
}

int
er_draft_moment(struct er_draft *d)
{
    if (d->delay_for >= 0 && d->row->run_at != ER_NEVER) {
        return er_draft_bad(d, "delay_s",
                            "delay_s and run_at are both given: choose one");
    }
    if (d->delay_for > 0) {
        d->row->run_at = d->now + d->delay_for;
    }
    return 0;
}

/* What tells a repeated key from a clash, and the same work from other work. */
static void
add_hashes(struct er_new_task *row)
{
    uint64_t h = XXH3_64bits(row->args_json, strlen(row->args_json));
    h = XXH3_64bits_withSeed(row->type, strlen(row->type), h);
    row->signature = XXH3_64bits_withSeed(row->cwd ? row->cwd : "",
                                          row->cwd ? strlen(row->cwd) : 0, h);
    row->signature = row->signature ? row->signature : 1;
    row->body_hash = XXH3_64bits_withSeed(row->queue, strlen(row->queue), row->signature);
}

/* A correlation id is the one given, else its parent's, else a new one. */
static int
add_correlation(struct er_draft *d)
{
    char uuid[ER_UUID_SIZE];
    if (d->row->correlation) {
        return 0;
    }
    er_uuid7(d->now, uuid);
    d->row->correlation = er_arena_strdup(d->arena, uuid);
    d->row->inherit_correlation = d->row->parent > 0;
    return d->row->correlation ? 0 : ER_ENOMEM;
}

static int
finish(struct er_draft *d)
{
    struct er_new_task *row = d->row;
    if (!er_engine_has_type(d->api->engine, row->type)) {
        (void)snprintf(d->field, sizeof d->field, "type");
        return er_registry_fail_unknown(d->api, row->type, &d->err);
    }
    int rc = er_draft_read_args(d, er_engine_type(d->api->engine, row->type));
    if (rc == 0) {
        rc = er_draft_moment(d);
    }
    if (rc == 0) {
        rc = build_env(d);
    }
    if (rc == 0) {
        rc = add_correlation(d);
    }
    if (rc == 0) {
        fill_defaults(d);
        add_hashes(row);
    }
    return rc;
}

int
er_draft_read(struct er_draft *d, const char *text, size_t len)
{
    json_t *o = NULL;
    er_draft_init(d);
    int rc = er_json_parse(text, len, &o, &d->err);
    if (rc == 0 && !json_is_object(o)) {
        rc = er_draft_bad(d, "", "a task is a JSON object");
    }
    if (rc == 0) {
        rc = er_draft_read_members(d, o);
    }
    if (rc == 0) {
        rc = finish(d);
    }
    json_decref(o);
    return rc;
}
