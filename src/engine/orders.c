/* SPDX-License-Identifier: MIT */
/* What goes out to a worker for a run: the environment when its link has not seen it, the
 * texts that the attempt finds in files (what it has done already, what its dependencies
 * came to), then the run line, which says how the task's type is executed.
 *
 * Happy path: all is known, or came with the claim -> the line goes out at once. Else a
 * query reads it (on the reader's thread) and all goes out together, in order, when it is
 * back. A few are read at a time, and none while much waits on the link.
 * Failure modes: the run has ended or its session lost its link meanwhile: nothing is
 * sent, the next hello sorts it out. It cannot be read: the attempt fails, since without
 * it it would do something else. */
#include "engine/engine_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "wire/params.h"
#include "wire/task_json.h"

#define GIVEN_PART ((size_t)32 << 10) /* of a text in a line; escaped at most 192 KiB */
#define ITEMS_PAGE ((size_t)1000)
#define ITEMS_MAX                                                                        \
    ((size_t)32 << 20) /* names of items that are told; see docs/PROTOCOL.md */
#define RESULTS_MAX ((size_t)16 << 20)
/* Of one result as JSON in that file, and of all of them. */
#define RESULT_JSON_MAX ((size_t)32 << 20)
/* The lines of one attempt: the names of items, each byte escaped, and the results' file,
 * which is JSON already, each byte of it escaped once more. */
#define LINES_MAX   (6 * ITEMS_MAX + 2 * RESULT_JSON_MAX + ((size_t)64 << 20))
#define HOW_MAX     ((size_t)8 << 20) /* a run line is at most 16 MiB; see work/link.c */
#define READING_MAX 2                 /* orders of a session that are read at a time */

/* ---- the run line ---- */

/* Adds `,"name":`. */
static void
add_name(struct er_buf *b, const char *name)
{
    er_buf_add_str(b, ",\"");
    er_buf_add_str(b, name);
    er_buf_add_str(b, "\":");
}

static void
add_number(struct er_buf *b, const char *name, int64_t n)
{
    add_name(b, name);
    er_buf_add_i64(b, n);
}

static void
add_seconds(struct er_buf *b, const char *name, er_usec span)
{
    add_name(b, name);
    er_buf_add_seconds(b, span);
}

/* `lean`: what is not known is left out. */
static void
add_span(struct er_buf *b, const char *name, er_usec span, bool lean)
{
    if (span > 0) {
        add_seconds(b, name, span);
    } else if (!lean) {
        add_name(b, name);
        er_buf_add_str(b, "null");
    }
}

static void
add_texts(struct er_buf *b, const char *const *texts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        er_buf_add_char(b, i == 0 ? '[' : ',');
        er_buf_add_json_str(b, texts[i]);
    }
    er_buf_add_str(b, n == 0 ? "[]" : "]");
}

/* The standard input of a command: null when there is none, and when it was an argument
 * that is not there; an array's texts are lines. */
static void
add_stdin(struct er_buf *b, char *const *texts, size_t n)
{
    struct er_buf all;
    if (n == 0) {
        er_buf_add_str(b, "null");
        return;
    }
    er_buf_init(&all, 0);
    for (size_t i = 0; i < n; i++) {
        er_buf_add_str(&all, i == 0 ? "" : "\n");
        er_buf_add_str(&all, texts[i]);
    }
    er_buf_add_json(b, all.data ? all.data : "", all.len);
    er_buf_fini(&all);
}

/* A command's words with the task's arguments in them. Those were checked when it was
 * submitted; but the definition may be another since. */
static void
add_command(struct er_buf *b, const struct er_type *type, const char *args_json)
{
    struct er_arena arena = {0};
    struct er_err err = {0};
    char **argv = NULL, **in = NULL;
    size_t n = 0, n_in = 0;
    json_t *args = json_loads(args_json, 0, NULL);
    int rc = args ? er_params_expand(type->command, type->n_command, args, &arena, &argv,
                                     &n, &err)
                  : er_fail(&err, ER_ECORRUPT, "its arguments cannot be read");
    if (rc == 0 && type->command_stdin) {
        rc = er_params_expand(&type->command_stdin, 1, args, &arena, &in, &n_in, &err);
    }
    struct er_buf how;
    er_buf_init(&how, HOW_MAX);
    if (rc == 0) {
        add_texts(&how, (const char *const *)argv, n);
        er_buf_add_str(&how, ",\"stdin\":");
        add_stdin(&how, in, n_in);
        rc = how.failed ? er_fail(&err, how.failed,
                                  "its command with the arguments in it is larger than "
                                  "%zu MiB as JSON",
                                  HOW_MAX >> 20)
                        : 0;
    }
    if (rc == 0) {
        er_buf_add_str(b, ",\"how\":{\"argv\":");
        er_buf_add(b, how.data, how.len);
    } else {
        er_buf_add_str(b, ",\"how\":{\"error\":");
        er_buf_add_json_str(b, err.text[0] ? err.text : er_error_meaning(rc));
    }
    er_buf_add_char(b, '}');
    er_buf_fini(&how);
    json_decref(args);
    er_arena_free(&arena);
}

static void
add_how(struct er_buf *b, const struct er_type *type, const char *args_json)
{
    if (type->n_command > 0) {
        add_command(b, type, args_json);
    } else if (type->n_program > 0) {
        er_buf_add_str(b, ",\"how\":{\"program\":");
        add_texts(b, type->program, type->n_program);
        er_buf_add_char(b, '}');
    }
}

/* To handlers it is lean: they are many and short, and each member has its cost. */
static void
add_run_line(struct er_buf *b, const struct er_engine *e, const struct er_session_live *s,
             const struct er_task *t, er_usec expected_for)
{
    bool lean = s->handlers;
    er_buf_add_str(b, "{\"run\":{\"task\":");
    er_buf_add_i64(b, t->id);
    add_number(b, "attempt", t->attempt);
    add_number(b, "run", t->run);
    add_name(b, "type");
    er_buf_add_json_str(b, t->type);
    add_name(b, "name");
    er_buf_add_json_str(b, t->name);
    add_name(b, "args");
    er_buf_add_str(b, t->args_json);
    if (t->cwd || !lean) {
        add_name(b, "cwd");
        er_buf_add_json_str(b, t->cwd);
    }
    add_number(b, "env", t->env);
    add_span(b, "timeout_s", t->timeout_for, lean);
    add_span(b, "heartbeat_s", t->heartbeat_for, lean);
    add_seconds(b, "grace_s", t->grace_for);
    add_name(b, "correlation_id");
    er_buf_add_json_str(b, t->correlation);
    add_span(b, "expected_s", expected_for, lean);
    if (t->checkpoint_json || !lean) {
        add_name(b, "checkpoint");
        er_buf_add_str(b, t->checkpoint_json ? t->checkpoint_json : "null");
    }
    add_how(b, er_engine_type(e, t->type), t->args_json);
    er_buf_add_str(b, "}}\n");
}

/* ---- what goes before it ---- */

struct er_order {
    struct er_query q;
    struct er_engine *engine;
    er_task_id task;
    int attempt;
    int64_t session, env;
    bool needs_env, needs_items, needs_results;
    const char *vars;
    struct er_buf given; /* lines */
    struct er_buf line;
    TAILQ_ENTRY(er_order) in_session;
};

/* How much of a text goes into one line: not cut within a character. */
static size_t
part_of(const char *text, size_t n)
{
    if (n <= GIVEN_PART) {
        return n;
    }
    size_t k = GIVEN_PART;
    while (k > GIVEN_PART - 4 && ((unsigned char)text[k] & 0xC0) == 0x80) {
        k--;
    }
    return k;
}

static void
add_given(struct er_buf *out, er_task_id task, int attempt, const char *env,
          const struct er_buf *text)
{
    for (size_t at = 0; at < text->len;) {
        size_t n = part_of(text->data + at, text->len - at);
        er_buf_addf(out,
                    "{\"given\":{\"task\":%lld,\"attempt\":%d,\"env\":\"%s\",\"text\":",
                    (long long)task, attempt, env);
        er_buf_add_json(out, text->data + at, n);
        er_buf_add_str(out, "}}\n");
        at += n;
    }
}

/* Adds the names of a page; false when there is no room for more. */
static bool
add_names(struct er_buf *b, const struct er_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (b->len + strlen(items[i].name) + 1 > ITEMS_MAX) {
            return false;
        }
        if (!strchr(items[i].name, '\n')) { /* it cannot stand on one line */
            er_buf_add_str(b, items[i].name);
            er_buf_add_char(b, '\n');
        }
    }
    return true;
}

static int
read_items(struct er_order *o, struct er_store_reader *r)
{
    struct er_buf names;
    struct er_arena page = {0};
    const char *after = NULL;
    size_t n = ITEMS_PAGE;
    int rc = 0;
    er_buf_init(&names, 0);
    while (rc == 0 && n == ITEMS_PAGE) {
        struct er_arena next = {0};
        struct er_item *items;
        rc = er_store_items(r, o->task, 0, after, ITEMS_PAGE, &next, &items, &n);
        if (rc == 0 && n > 0) {
            after = items[n - 1].name;
            n = add_names(&names, items, n) ? n : 0;
        }
        er_arena_free(&page); /* held the name that was asked behind */
        page = next;
    }
    er_arena_free(&page);
    rc = rc ? rc : names.failed;
    if (rc == 0) {
        add_given(&o->given, o->task, o->attempt, "ERRAND_ITEMS_DONE", &names);
    }
    er_buf_fini(&names);
    return rc;
}

static int
by_id(const void *a, const void *b)
{
    er_task_id x = ((const struct er_after_result *)a)->id;
    er_task_id y = ((const struct er_after_result *)b)->id;
    return (x > y) - (x < y);
}

static void
add_after_result(struct er_buf *b, const struct er_after_result *a, size_t *left)
{
    er_buf_addf(b, "\"%lld\":{\"state\":", (long long)a->id);
    er_buf_add_json_str(
        b, a->state < 0 ? NULL : er_task_state_word((enum er_task_state)a->state));
    if (a->has_exit_code) {
        er_buf_addf(b, ",\"exit_code\":%d", a->exit_code);
    } else {
        er_buf_add_str(b, ",\"exit_code\":null");
    }
    er_buf_add_str(b, ",\"result\":");
    size_t before = b->len;
    (void)er_result_json_max(b, a->result, a->result_len, *left);
    *left -= b->len - before < *left ? b->len - before : *left;
    if (a->result || a->result_len > 0) {
        er_buf_addf(b, ",\"result_bytes\":%zu}", a->result_len);
    } else {
        er_buf_add_str(b, ",\"result_bytes\":null}");
    }
}

/* Adds what the dependencies came to, for the attempt: 0 or ER_ENOMEM. */
static int
add_results(struct er_buf *out, er_task_id task, int attempt,
            struct er_after_result *list, size_t n)
{
    struct er_buf b;
    size_t left = RESULT_JSON_MAX;
    er_buf_init(&b, ER_LINK_MAX);
    qsort(list, n, sizeof *list, by_id);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || list[i].id != list[i - 1].id) { /* it may be named twice */
            er_buf_add_char(&b, i == 0 ? '{' : ',');
            add_after_result(&b, &list[i], &left);
        }
    }
    er_buf_add_str(&b, "}\n");
    int rc = b.failed;
    if (rc == 0) {
        add_given(out, task, attempt, "ERRAND_AFTER_RESULTS", &b);
    }
    er_buf_fini(&b);
    return rc;
}

static int
read_results(struct er_order *o, struct er_store_reader *r)
{
    struct er_after_result *list;
    size_t n;
    int rc = er_store_after_results(r, o->task, RESULTS_MAX, &o->q.arena, &list, &n);
    return rc || n == 0 ? rc : add_results(&o->given, o->task, o->attempt, list, n);
}

static void
run_order(struct er_query *q, struct er_store_reader *r)
{
    struct er_order *o = (struct er_order *)(void *)q;
    if (o->needs_env) {
        q->rc = er_store_env(r, o->env, &q->arena, &o->vars);
    }
    if (q->rc == 0 && o->needs_items) {
        q->rc = read_items(o, r);
    }
    if (q->rc == 0 && o->needs_results) {
        q->rc = read_results(o, r);
    }
    if (q->rc == 0) {
        q->rc = o->given.failed;
    }
}

/* ---- sending ---- */

/* Whether the worker has it; then it is the one that was named last. */
static bool
env_is_sent(struct er_session_live *s, int64_t env)
{
    struct er_env_sent *sent;
    HASH_FIND(hh, s->envs, &env, sizeof env, sent);
    if (sent && sent->hh.next) {
        HASH_DEL(s->envs, sent);
        HASH_ADD(hh, s->envs, id, sizeof sent->id, sent);
    }
    return env == 0 || sent;
}

static void
drop_env(struct er_session_live *s, struct er_env_sent *env)
{
    s->env_bytes -= env->bytes;
    HASH_DEL(s->envs, env);
    er_free(env);
}

/* Has the worker forget those that were named longest ago. It keeps what its attempts
 * still need; what is named again is sent again. */
static void
bound_envs(struct er_session_live *s)
{
    struct er_env_sent *env;
    while (s->env_bytes > ER_ENVS_MAX && (env = s->envs) != NULL && env->hh.next) {
        er_buf_addf(&s->link->out, "{\"forget_env\":{\"id\":%lld}}\n",
                    (long long)env->id);
        drop_env(s, env);
    }
}

void
er_orders_forget_envs(struct er_session_live *s)
{
    struct er_env_sent *env, *next;
    HASH_ITER (hh, s->envs, env, next) {
        drop_env(s, env);
    }
}

static void
send_env(struct er_session_live *s, const struct er_order *o)
{
    struct er_buf *out = &s->link->out;
    struct er_env_sent *sent = er_xzalloc(sizeof *sent);
    sent->id = o->env;
    sent->bytes = strlen(o->vars);
    s->env_bytes += sent->bytes;
    HASH_ADD(hh, s->envs, id, sizeof sent->id, sent);
    er_buf_addf(out, "{\"env\":{\"id\":%lld,\"vars\":", (long long)o->env);
    er_buf_add_str(out, o->vars);
    er_buf_add_str(out, "}}\n");
    bound_envs(s);
}

/* The line is out. What was asked for before the worker knew the run is said now. */
static void
told(struct er_live_attempt *run)
{
    run->told = true;
    run->session->link->wake(run->session->link);
    er_silence_asked(run->session);
    if (run->cancel || run->requeue) {
        er_dispatch_send_stop(run);
    } else {
        er_pause_tell(run);
    }
}

void
er_orders_break(struct er_session_live *s)
{
    er_log(ER_LOG_ERROR, "orders", "memory is out: the stream of session %lld is broken",
           (long long)s->id);
    if (s->link) {
        s->link->out.failed = ER_ENOMEM;
        s->link->wake(s->link);
    }
}

/* The end of one run that never reached its worker. */
static void
fail_unread(struct er_engine *e, struct er_live_attempt *run, int code)
{
    char json[300];
    int n = snprintf(json, sizeof json,
                     "{\"spawned\":false,\"error\":{\"class\":\"retryable\","
                     "\"code\":\"%s\",\"message\":\"its environment, or what it has done "
                     "before, cannot be read from the store: %s\"}}",
                     er_error_word(code), er_error_meaning(code));
    er_log(ER_LOG_ERROR, "orders", "what task %lld needs cannot be read: %s",
           (long long)run->id, er_error_meaning(code));
    struct er_ends *ends = er_ends_new(e, 1);
    struct er_outcome *o = er_ends_next(ends);
    if (er_outcome_parse(e, run, er_ends_arena(ends), json, (size_t)n, o, NULL) == 0) {
        er_live_attempt_end_begin(e, run);
    } else {
        er_ends_undo(ends);
        er_orders_break(run->session);
    }
    er_ends_post(ends);
}

static void
free_order(struct er_order *o)
{
    er_buf_fini(&o->given);
    er_buf_fini(&o->line);
    er_arena_free(&o->q.arena);
    er_free(o);
}

/* The worker was told to forget its environment while the rest was read. */
static void
read_env(struct er_engine *e, struct er_session_live *s, struct er_order *o)
{
    o->needs_env = true;
    o->needs_items = o->needs_results = false;
    s->n_reading--;
    TAILQ_INSERT_HEAD(&s->orders, o, in_session);
    er_orders_next(e, s);
}

static void
done_order(struct er_query *q)
{
    struct er_order *o = (struct er_order *)(void *)q;
    struct er_engine *e = o->engine;
    struct er_live_attempt *run = er_live_attempt_find(e, o->task);
    bool there = run && run->attempt == o->attempt && run->phase == ER_LIVE_HELD &&
                 run->session->id == o->session && run->session->link;
    if (there && q->rc) {
        fail_unread(e, run, q->rc);
    } else if (there && !o->vars && !env_is_sent(run->session, o->env)) {
        read_env(e, run->session, o);
        return;
    } else if (there) {
        struct er_session_live *s = run->session;
        if (!env_is_sent(s, o->env)) {
            send_env(s, o);
        }
        er_buf_add(&s->link->out, o->given.data, o->given.len);
        er_buf_add(&s->link->out, o->line.data, o->line.len);
        told(run);
    }
    struct er_session_live *s;
    HASH_FIND(hh, e->sessions, &o->session, sizeof o->session, s);
    free_order(o);
    if (s) {
        s->n_reading--;
        er_orders_next(e, s);
    }
}

bool
er_orders_is_full(const struct er_session_live *s)
{
    return s->link && s->link->out.len - s->link->sent >= ER_LINK_FULL;
}

void
er_orders_next(struct er_engine *e, struct er_session_live *s)
{
    struct er_order *o;
    while (s->n_reading < READING_MAX && !er_orders_is_full(s) && !e->stopping &&
           (o = TAILQ_FIRST(&s->orders)) != NULL) {
        TAILQ_REMOVE(&s->orders, o, in_session);
        s->n_reading++;
        er_engine_query(e, &o->q);
    }
}

void
er_orders_drop(struct er_session_live *s)
{
    struct er_order *o;
    while ((o = TAILQ_FIRST(&s->orders)) != NULL) {
        TAILQ_REMOVE(&s->orders, o, in_session);
        free_order(o);
    }
}

/* Whether the claim has brought what the dependencies came to, which is then said. */
static bool
give_results(struct er_session_live *s, const struct er_live_attempt *run,
             const struct er_claim *row)
{
    return row->after && add_results(&s->link->out, run->id, run->attempt, row->after,
                                     row->n_after) == 0;
}

void
er_orders_send(struct er_engine *e, struct er_live_attempt *run,
               const struct er_claim *row)
{
    struct er_session_live *s = run->session;
    const struct er_task *task = row->task;
    if (!s->link) {
        return; /* the worker will not have it at its next hello: refunded then */
    }
    bool needs_env = !env_is_sent(s, task->env);
    bool later = er_orders_is_full(s) || !TAILQ_EMPTY(&s->orders);
    if (!later && !needs_env && task->items_completed == 0 &&
        (!task->has_after || give_results(s, run, row))) {
        add_run_line(&s->link->out, e, s, task, row->expected_for);
        told(run);
        return;
    }
    struct er_order *o = er_xzalloc(sizeof *o);
    o->engine = e;
    o->task = run->id;
    o->attempt = run->attempt;
    o->session = s->id;
    o->env = task->env;
    o->needs_env = needs_env;
    o->needs_items = task->items_completed > 0;
    o->needs_results = task->has_after;
    er_buf_init(&o->given, LINES_MAX);
    er_buf_init(&o->line, 0);
    add_run_line(&o->line, e, s, task, row->expected_for);
    o->q.run = run_order;
    o->q.done = done_order;
    TAILQ_INSERT_TAIL(&s->orders, o, in_session);
    er_orders_next(e, s);
}
