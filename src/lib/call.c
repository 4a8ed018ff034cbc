/* SPDX-License-Identifier: MIT */
/* Calls: POST /v1/call, whose answer says which of the ends it was (docs/PROTOCOL.md). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/heap.h"
#include "base/mem.h"
#include "lib/handle.h"
#include "lib/submit.h"
#include "lib/sync.h"
#include "lib/testing.h"
#include "model/task.h"
#include "wire/json.h"

#define BUDGET_MS  2000
#define BUDGET_MAX 3600000
#define BEYOND     (5 * ER_USEC_PER_SEC) /* the budget: for a daemon to answer */

/* ---- the request ---- */

struct calling {
    struct er_sync_spec spec;
    char prefer[64];
    char key[ER_SUBMIT_KEY];
};

/* What does not go with a call. (The API refuses the same in `more`.) */
static int
check_submit(const struct errand_submit_options *given, errand_error *error)
{
    struct errand_submit_options o;
    int rc = er_submit_read_options(&o, given, error);
    const char *later = rc ? NULL : o.delay_ms ? "delay_ms" : o.held ? "held" : NULL;
    return !later ? rc
                  : er_handle_fail(error, ER_EINVALID, later,
                                   "%s does not go with a call, whose answer is waited "
                                   "for: submit the task",
                                   later);
}

static int
prepare(errand *e, const char *type, const char *args,
        const struct errand_call_options *given, struct calling *c, errand_error *error)
{
    struct errand_call_options o;
    int rc = er_handle_read(&o, sizeof o, given, error);
    if (rc == 0 && (o.budget_ms < 0 || o.budget_ms > BUDGET_MAX)) {
        rc = er_handle_fail(error, ER_EINVALID, "budget_ms",
                            "budget_ms %lld (1 to %d; 0 = 2 s)", (long long)o.budget_ms,
                            BUDGET_MAX);
    }
    if (rc == 0 && o.immediate && o.always_wait) {
        rc = er_handle_fail(error, ER_EINVALID, "always_wait",
                            "immediate and always_wait: one or the other");
    }
    rc = rc ? rc : check_submit(o.submit, error);
    rc = rc ? rc : er_submit_make_body(&c->spec.body, type, args, o.submit, error);
    if (rc) {
        return rc;
    }
    int64_t budget = o.immediate ? 0 : o.budget_ms ? o.budget_ms : BUDGET_MS;
    (void)snprintf(c->prefer, sizeof c->prefer, "wait=%lld.%03d%s",
                   (long long)(budget / 1000), (int)(budget % 1000),
                   o.immediate     ? ", respond-async"
                   : o.always_wait ? ", errand-always"
                                   : "");
    c->spec.method = "POST";
    c->spec.target = "/v1/call";
    c->spec.prefer = c->prefer;
    c->spec.alone = true;
    c->spec.bound = budget * ER_USEC_PER_MS + (e->embedded ? ER_SYNC_BOUND : BEYOND);
    er_submit_bear_key(e, o.submit, &c->spec, c->key);
    return 0;
}

/* ---- the answer ---- */

static void
read_task_error(const struct er_sync_answer *a, struct errand_reply *reply)
{
    json_t *o = json_loadb(a->body.data, a->body.len, 0, NULL);
    const json_t *cause = json_object_get(o, "error");
    char *text = cause && !json_is_null(cause)
                     ? json_dumps(cause, JSON_COMPACT | JSON_ENCODE_ANY)
                     : NULL;
    reply->task = json_integer_value(json_object_get(o, "id"));
    reply->error = er_strdup(text);
    free(text);
    json_decref(o);
}

static bool
is_code(const struct er_sync_answer *a, const char *word)
{
    json_t *o = json_loadb(a->body.data, a->body.len, 0, NULL);
    const char *code = json_string_value(json_object_get(o, "code"));
    bool is_it = code && strcmp(code, word) == 0 && json_object_get(o, "id");
    json_decref(o);
    return is_it;
}

/* The reply's state, or the code of a refusal. */
static int
judge(struct er_sync_answer *a, struct errand_reply *reply, errand_error *error)
{
    *reply = (struct errand_reply){.task = a->task, .expected_s = a->expected_s};
    if (a->status == 202) {
        reply->state = ERRAND_BACKGROUND;
    } else if (a->status == 200 || a->status == 204) {
        reply->state = ERRAND_COMPLETED;
        if (a->status == 200) {
            reply->len = a->body.len;
            reply->result = er_buf_take(&a->body);
        }
    } else if (a->status == 500 && is_code(a, "task-failed")) {
        reply->state = ERRAND_FAILED;
        read_task_error(a, reply);
    } else if (a->status == 409 && is_code(a, "cancelled")) {
        reply->state = ERRAND_CANCELLED;
        read_task_error(a, reply);
    } else {
        return er_submit_name_option(er_handle_problem(error, a->status, &a->body),
                                     error);
    }
    (void)er_handle_fine(error);
    return reply->state;
}

void
errand_reply_free(struct errand_reply *reply)
{
    if (reply) {
        er_free(reply->result);
        er_free(reply->error);
        *reply = (struct errand_reply){0};
    }
}

/* The handler runs on this thread, so the answer is waited for only then. */
struct inline_call {
    struct er_wait wait;
    struct er_sync_answer *out;
    errand_error *error;
    int code;
    bool is_answered, is_awaited;
};

static void
on_inline(void *ctx, int code, struct er_sync_answer *a, const errand_error *error)
{
    struct inline_call *k = ctx;
    k->code = code;
    if (a) {
        *k->out = *a;
        a->body = (struct er_buf){0};
    } else if (k->error) {
        *k->error = *error;
    }
    k->is_answered = true;
    if (k->is_awaited) {
        er_handle_done(&k->wait, 0);
    }
}

static void
await_inline(struct er_wait *wait)
{
    struct inline_call *k = ER_CONTAINER(wait, struct inline_call, wait);
    k->is_awaited = !k->is_answered;
    if (k->is_answered) {
        er_handle_done(wait, 0);
    }
}

static int
ask_inline(errand *e, struct er_sync_spec *spec, struct er_sync_answer *out,
           errand_error *error)
{
    struct inline_call k = {.wait = {.fn = await_inline}, .out = out, .error = error};
    if (er_handle_is_loop(e) && er_handle_cannot_wait(e)) {
        return er_handle_fail(error, ER_EBUSY, NULL,
                              "not from inside a callback on the library's thread");
    }
    int rc = er_sync_start(e, spec, on_inline, &k, error);
    if (rc == 0) {
        er_testing_run(e->testing);
        rc = er_handle_wait(e, &k.wait);
    }
    return rc ? rc : k.code;
}

int
errand_call(errand *e, const char *type, const char *args,
            const struct errand_call_options *options, struct errand_reply *reply,
            errand_error *error)
{
    struct calling c = {0};
    struct er_sync_answer a;
    if (!e || !type || !reply) {
        const char *what = !e ? "e" : !type ? "type" : "reply";
        return er_handle_fail(error, ER_EINVALID, what, "%s is NULL", what);
    }
    *reply = (struct errand_reply){0};
    int rc = prepare(e, type, args, options, &c, error);
    if (rc == 0) {
        rc = e->options.test & ERRAND_TEST_INLINE ? ask_inline(e, &c.spec, &a, error)
                                                  : er_sync_ask(e, &c.spec, &a, error);
        if (rc == 0) {
            rc = judge(&a, reply, error);
            er_buf_fini(&a.body);
        }
    }
    er_buf_fini(&c.spec.body);
    return rc;
}

struct called {
    errand_reply_fn *done;
    void *ctx;
};

static void
on_called(void *ctx, int code, struct er_sync_answer *a, const errand_error *error)
{
    struct called *k = ctx;
    struct errand_reply reply = {0};
    errand_error refused = {0};
    if (a) {
        code = judge(a, &reply, &refused);
        error = code < 0 ? &refused : NULL;
    }
    k->done(k->ctx, code, code < 0 ? NULL : &reply, error);
    errand_reply_free(&reply);
    er_free(k);
}

int
errand_call_async(errand *e, const char *type, const char *args,
                  const struct errand_call_options *options, errand_reply_fn *done,
                  void *ctx, errand_error *error)
{
    struct calling c = {0};
    if (!e || !type || !done) {
        const char *what = !e ? "e" : !type ? "type" : "done";
        return er_handle_fail(error, ER_EINVALID, what, "%s is NULL", what);
    }
    struct called *k = er_alloc(sizeof *k);
    int rc = k ? prepare(e, type, args, options, &c, error)
               : er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
    if (rc == 0) {
        *k = (struct called){done, ctx};
        rc = er_sync_start(e, &c.spec, on_called, k, error);
    }
    if (rc) {
        er_free(k);
    }
    er_buf_fini(&c.spec.body);
    return rc;
}
