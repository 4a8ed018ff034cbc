/* SPDX-License-Identifier: MIT */
/* Waiting: the ask is sent on the loop, the caller sleeps until its answer or its bound,
 * and reads what came. On the thread that turns it turns meanwhile. With a callback: the
 * request and its end travel as letters to the loop, also where it fails, so `done`
 * comes exactly once and never from inside the call. After a bound that is over
 * (ERRAND_ETIMEOUT) the answer is thrown away. */
#include "lib/sync.h"

#include <stdlib.h>
#include <string.h>

#include "base/heap.h"
#include "base/mem.h"
#include "lib/handle.h"

/* ---- both ways ---- */

static struct er_ask *
make_ask(struct errand *e, struct er_sync_spec *spec)
{
    struct er_ask *ask = er_ask_new(e, spec->method, "%s", spec->target);
    ask->caller = true;
    ask->body = spec->body;
    spec->body = (struct er_buf){0};
    ask->type = spec->type;
    ask->has_key = spec->has_key;
    ask->alone = spec->alone;
    ask->bound = spec->bound ? spec->bound : ER_SYNC_BOUND;
    if (spec->key) {
        er_ask_header(ask, "Idempotency-Key", spec->key);
    }
    if (spec->prefer) {
        er_ask_header(ask, "Prefer", spec->prefer);
    }
    return ask;
}

/* The answer, or the code; the error is filled in then. */
static int
read_answer(struct er_ask *ask, int status, const struct er_buf *body,
            struct er_sync_answer *out, errand_error *error)
{
    char text[128];
    if (status < 0) {
        return er_handle_problem(error, status, body);
    }
    *out = (struct er_sync_answer){.status = status, .expected_s = -1};
    if (er_ask_got(ask, "X-Errand-Task", text, sizeof text)) {
        out->task = strtoll(text, NULL, 10);
    } else if (er_ask_got(ask, "Location", text, sizeof text) &&
               strncmp(text, "/v1/tasks/", 10) == 0) {
        out->task = strtoll(text + 10, NULL, 10);
    }
    if (er_ask_got(ask, "X-Errand-Expected", text, sizeof text)) {
        out->expected_s = strtod(text, NULL);
    }
    er_ask_take(ask, &out->body);
    if (out->body.failed) {
        er_buf_fini(&out->body);
        return er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
    }
    return er_handle_fine(error);
}

/* ---- waiting ---- */

struct waiting {
    struct er_wait wait;
    struct er_sync_spec *spec;
    struct er_sync_answer *out;
    errand_error *error;
};

static void
on_answer(struct er_ask *ask, int status, const struct er_buf *body)
{
    struct waiting *w = ask->ctx;
    er_handle_done(&w->wait, read_answer(ask, status, body, w->out, w->error));
}

static void
ask_here(struct er_wait *wait)
{
    struct waiting *w = ER_CONTAINER(wait, struct waiting, wait);
    struct er_ask *ask = make_ask(wait->e, w->spec);
    ask->ctx = w;
    ask->done = on_answer;
    er_ask_send(ask);
}

int
er_sync_ask(struct errand *e, struct er_sync_spec *spec, struct er_sync_answer *out,
            errand_error *error)
{
    struct waiting w = {.wait = {.fn = ask_here}, spec, out, error};
    int rc = spec->body.failed;
    if (rc) {
        (void)er_handle_fail(error, rc, NULL, "%s", er_error_meaning(rc));
    } else {
        (void)er_handle_fine(error);
        rc = er_handle_wait(e, &w.wait);
    }
    er_buf_fini(&spec->body);
    if (rc == ER_ECLOSED) {
        return er_handle_fail(error, rc, NULL, "the handle is being closed");
    }
    if (rc == ER_EBUSY && error && error->code == 0) {
        return er_handle_fail(
            error, rc, NULL,
            "this function blocks, and was called from inside a callback "
            "on the library's thread: use its _async form there");
    }
    return rc;
}

int
er_sync_run(struct errand *e, struct er_sync_spec *spec, struct er_buf *out,
            errand_error *error)
{
    struct er_sync_answer a;
    int rc = er_sync_ask(e, spec, &a, error);
    if (rc) {
        return rc;
    }
    if (a.status >= 300) {
        rc = er_handle_problem(error, a.status, &a.body);
        er_buf_fini(&a.body);
        return rc;
    }
    *out = a.body;
    return 0;
}

/* ---- with a callback ---- */

struct start {
    struct er_letter letter;
    struct errand *e;
    struct er_sync_spec spec;
    char *target, *key, *prefer; /* copies */
    er_sync_fn *done;
    void *ctx;
};

static void
free_start(struct start *s)
{
    er_buf_fini(&s->spec.body);
    er_free(s->target);
    er_free(s->key);
    er_free(s->prefer);
    er_free(s);
}

static void
on_started_answer(struct er_ask *ask, int status, const struct er_buf *body)
{
    struct start *s = ask->ctx;
    struct er_sync_answer a = {0};
    errand_error error;
    int rc = read_answer(ask, status, body, &a, &error);
    bool was = er_handle_enter(s->e);
    s->done(s->ctx, rc, rc ? NULL : &a, rc ? &error : NULL);
    er_handle_leave(s->e, was);
    er_buf_fini(&a.body);
    free_start(s);
}

static void
deliver_start(struct er_letter *letter)
{
    struct start *s = (struct start *)(void *)letter;
    struct er_ask *ask = make_ask(s->e, &s->spec);
    ask->ctx = s;
    ask->done = on_started_answer;
    er_ask_send(ask);
}

int
er_sync_start(struct errand *e, struct er_sync_spec *spec, er_sync_fn *done, void *ctx,
              errand_error *error)
{
    struct start *s = er_zalloc(sizeof *s);
    int rc = spec->body.failed;
    if (!s) {
        er_buf_fini(&spec->body);
        return er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
    }
    s->letter.deliver = deliver_start;
    s->e = e;
    s->spec = *spec;
    spec->body = (struct er_buf){0};
    s->target = er_strdup(spec->target);
    s->key = er_strdup(spec->key);
    s->prefer = er_strdup(spec->prefer);
    s->spec.target = s->target;
    s->spec.key = s->key;
    s->spec.prefer = s->prefer;
    s->done = done;
    s->ctx = ctx;
    if (!s->target || (spec->key && !s->key) || (spec->prefer && !s->prefer)) {
        rc = ER_ENOMEM;
    }
    rc = rc ? rc : er_handle_post(e, &s->letter) ? 0 : ER_ECLOSED;
    if (rc) {
        free_start(s);
        return er_handle_fail(error, rc, NULL, "%s", er_error_meaning(rc));
    }
    return er_handle_fine(error);
}
