/* SPDX-License-Identifier: MIT */
/* Happy path: facts are lines in chunks, in order; flush sends the chunks there are, with
 * the samples, as one report; the answer frees them (and the attempts whose ends they
 * told), and what came meanwhile is sent at once. So the length of one commit is what
 * makes a batch.
 *
 * Failure modes: no answer, or 5xx: the chunks wait again, in their place, for 0.1 s,
 * doubling to 5 s. 409: the session is lost. Another 4xx: a line that the engine will not
 * have: then they go one line a report until that line is found, which is given up, with
 * a message. */
#include "lib/handlers_priv.h"

#include <string.h>

#include "base/mem.h"

#define BATCH_MAX  ((size_t)4 << 20) /* bytes; one chunk may be larger */
#define CHUNK_MAX  ((size_t)256 << 10)
#define ENDS_MAX   4000 /* in one report; the engine takes 4096 */
#define CHUNK_ENDS 1000
#define RETRY_MIN  (100 * ER_USEC_PER_MS)
#define RETRY_MAX  (5 * ER_USEC_PER_SEC)

/* ---- room for items ---- */

void
er_handlers_report_make_room(struct er_handler_attempt *attempt, size_t n)
{
    struct er_handlers *h = attempt->handlers;
    er_lock_take(&h->room);
    while (h->notes_bytes > ER_HANDLERS_NOTES_MAX &&
           !errand_should_stop(&attempt->base)) {
        er_lock_wait(&h->room);
    }
    h->notes_bytes += n;
    er_lock_give(&h->room);
}

void
er_handlers_report_take_room(struct er_handlers *h, size_t n)
{
    er_lock_take(&h->room);
    h->notes_bytes += n;
    er_lock_give(&h->room);
}

void
er_handlers_report_give_room(struct er_handlers *h, size_t n)
{
    if (n > 0) {
        er_lock_take(&h->room);
        h->notes_bytes -= n < h->notes_bytes ? n : h->notes_bytes;
        er_lock_wake(&h->room);
        er_lock_give(&h->room);
    }
}

/* ---- chunks ---- */

static struct er_handlers_chunk *
new_chunk(void)
{
    struct er_handlers_chunk *c = er_xzalloc(sizeof *c);
    er_buf_init(&c->lines, (size_t)1 << 30);
    TAILQ_INIT(&c->ended);
    return c;
}

static void
free_chunk(struct er_handlers *h, struct er_handlers_chunk *c)
{
    struct er_handler_attempt *attempt;
    while ((attempt = TAILQ_FIRST(&c->ended))) {
        TAILQ_REMOVE(&c->ended, attempt, in_incoming);
        er_handlers_run_free(attempt);
    }
    er_handlers_report_give_room(h, c->notes_bytes);
    er_buf_fini(&c->lines);
    er_free(c);
}

static void
free_chunks(struct er_handlers *h, struct er_handlers_chunks *list)
{
    struct er_handlers_chunk *c;
    while ((c = TAILQ_FIRST(list))) {
        TAILQ_REMOVE(list, c, link);
        free_chunk(h, c);
    }
}

struct er_handlers_chunk *
er_handlers_report_chunk(struct er_handlers *h)
{
    struct er_handlers_chunk *c = TAILQ_LAST(&h->waiting, er_handlers_chunks);
    if (!c || c->lines.len >= CHUNK_MAX || c->n_ends >= CHUNK_ENDS) {
        c = new_chunk();
        TAILQ_INSERT_TAIL(&h->waiting, c, link);
    }
    return c;
}

bool
er_handlers_report_is_empty(const struct er_handlers *h)
{
    return TAILQ_EMPTY(&h->waiting) && TAILQ_EMPTY(&h->sent);
}

/* What was sent waits again, before what came since. */
static void
take_back(struct er_handlers *h)
{
    TAILQ_CONCAT(&h->sent, &h->waiting, link);
    TAILQ_CONCAT(&h->waiting, &h->sent, link);
}

static void
set_report(struct er_handlers *h, struct er_ask *ask)
{
    h->report = ask;
    er_handlers_pool_hush(h, ask != NULL);
}

/* ---- failing ---- */

static void
fail(struct er_handlers *h, int status, const struct er_buf *body)
{
    if (h->retry_for == 0 && !h->is_stopping) {
        er_handle_log(h->e, ERRAND_LOG_WARN,
                      "a report of handlers was not taken (%d: %.300s); trying again",
                      status, body->data ? body->data : "");
    }
    take_back(h);
    h->retry_for = h->retry_for == 0              ? RETRY_MIN
                   : h->retry_for * 2 < RETRY_MAX ? h->retry_for * 2
                                                  : RETRY_MAX;
    h->retry_at = er_handlers_now(h) + h->retry_for;
}

/* The first line of the first chunk becomes a chunk of its own. The attempts that ended
 * stay with the last line. */
static void
split_first(struct er_handlers *h)
{
    struct er_handlers_chunk *c = TAILQ_FIRST(&h->waiting), *one;
    const char *nl = c ? memchr(c->lines.data, '\n', c->lines.len) : NULL;
    if (!nl || (size_t)(nl + 1 - c->lines.data) == c->lines.len) {
        return;
    }
    size_t n = (size_t)(nl + 1 - c->lines.data);
    one = new_chunk();
    er_buf_add(&one->lines, c->lines.data, n);
    er_buf_drop(&c->lines, n);
    TAILQ_INSERT_HEAD(&h->waiting, one, link);
}

/* Gives up a line that is refused for itself. */
static void
refuse(struct er_handlers *h, int status, const struct er_buf *body)
{
    struct er_handlers_chunk *c = TAILQ_FIRST(&h->sent);
    er_handle_log(h->e, ERRAND_LOG_ERROR,
                  "a report of handlers was refused (status %d): %.300s", status,
                  body->data ? body->data : "");
    bool alone = c && !TAILQ_NEXT(c, link) && h->one_by_one;
    if (alone) {
        TAILQ_REMOVE(&h->sent, c, link);
        free_chunk(h, c);
    }
    h->one_by_one = true;
    take_back(h);
}

/* ---- answers ---- */

static void
take_lost(struct er_handlers *h, const struct er_buf *body)
{
    static const char none[] = "{\"lost\":[]}";
    if (body->len == sizeof none - 1 && memcmp(body->data, none, sizeof none - 1) == 0) {
        return;
    }
    json_t *answer = json_loadb(body->data ? body->data : "", body->len, 0, NULL);
    const json_t *lost = json_object_get(answer, "lost");
    for (size_t i = 0; i < json_array_size(lost); i++) {
        const json_t *o = json_array_get(lost, i);
        struct er_handler_attempt *attempt =
            er_handlers_run_find(h, json_integer_value(json_object_get(o, "task")));
        if (attempt && attempt->base.number ==
                           (int)json_integer_value(json_object_get(o, "attempt"))) {
            er_handlers_run_drop(attempt);
        }
    }
    json_decref(answer);
}

static void
on_answer(struct er_ask *ask, int status, const struct er_buf *body)
{
    struct er_handlers *h = ask->ctx;
    set_report(h, NULL);
    if (status == 200) {
        take_lost(h, body);
        free_chunks(h, &h->sent);
        h->one_by_one = h->one_by_one && !TAILQ_EMPTY(&h->waiting);
        h->retry_for = h->retry_at = 0;
    } else if (status == 409) {
        take_back(h);
        er_handlers_lost(h);
    } else if (status >= 400 && status < 500 && status != 429) {
        refuse(h, status, body);
    } else {
        fail(h, status, body);
    }
    er_handlers_look(h);
}

/* ---- sending ---- */

static void
fill(struct er_handlers *h, struct er_buf *b)
{
    struct er_handlers_chunk *c;
    int ends = 0;
    if (h->one_by_one) {
        split_first(h);
    }
    while ((c = TAILQ_FIRST(&h->waiting))) {
        bool fits = b->len + c->lines.len <= BATCH_MAX && ends + c->n_ends <= ENDS_MAX &&
                    !h->one_by_one;
        if (!TAILQ_EMPTY(&h->sent) && !fits) {
            return;
        }
        er_buf_add(b, c->lines.data ? c->lines.data : "", c->lines.len);
        ends += c->n_ends;
        TAILQ_REMOVE(&h->waiting, c, link);
        TAILQ_INSERT_TAIL(&h->sent, c, link);
    }
}

/* Samples go with the facts, but are not repeated. */
static void
add_samples(struct er_handlers *h, struct er_buf *b)
{
    struct er_handler_attempt *attempt;
    while (!h->one_by_one && (attempt = TAILQ_FIRST(&h->said))) {
        TAILQ_REMOVE(&h->said, attempt, in_said);
        attempt->is_said = false;
        er_handlers_run_say(attempt, b);
        er_handlers_run_arm(attempt);
    }
}

void
er_handlers_report_flush(struct er_handlers *h)
{
    char session[24];
    bool any = !TAILQ_EMPTY(&h->waiting) || !TAILQ_EMPTY(&h->said);
    if (!any || h->report || h->link != ER_HANDLERS_UP ||
        (h->retry_at && er_handlers_now(h) < h->retry_at)) {
        return;
    }
    struct er_ask *ask = er_ask_new(h->e, "POST", "/v1/work/report");
    er_buf_init(&ask->body, (size_t)1 << 30);
    fill(h, &ask->body);
    add_samples(h, &ask->body);
    (void)snprintf(session, sizeof session, "%lld", (long long)h->session);
    er_ask_header(ask, "X-Errand-Session", session);
    er_ask_header(ask, "X-Errand-Token", h->token);
    ask->type = "application/x-ndjson";
    ask->done = on_answer;
    ask->ctx = h;
    h->retry_at = 0;
    set_report(h, ask);
    er_ask_send(ask);
}

void
er_handlers_report_disconnect(struct er_handlers *h)
{
    if (h->report) {
        struct er_ask *ask = h->report;
        set_report(h, NULL);
        er_ask_cancel(ask);
    }
    h->retry_at = h->retry_for = 0;
    take_back(h);
}

void
er_handlers_report_clear(struct er_handlers *h)
{
    er_handlers_report_disconnect(h);
    free_chunks(h, &h->waiting);
    h->one_by_one = false;
}
