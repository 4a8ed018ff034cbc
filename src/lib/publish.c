/* SPDX-License-Identifier: MIT */
/* Publishing. A fact waits for the store and comes back by the stream of events, with its
 * number. A sample goes to this process's subscribers at once. Others get it through the
 * engine: a daemon, or the one inside when it has a door for clients (options.socket):
 * lines are collected while a request is under way, and go together.
 *
 * What goes there comes back by the stream, too: it is remembered until then, by a hash,
 * and left out. The engine may leave samples out, never change their order; so one that
 * comes back ends the waiting for those before it. */
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/base64.h"
#include "base/heap.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "lib/attempt.h"
#include "lib/events.h"
#include "lib/handle.h"
#include "lib/sync.h"
#include "model/task.h"
#include "model/topic.h"
#include "wire/json.h"

#define SAMPLES_MAX ((size_t)4 << 20) /* bytes that wait to be sent; beyond it they go */
#define ECHOES_MAX  1024

/* A ring of what is awaited; under the lock. */
struct er_echo {
    size_t first, n;
    uint64_t hashes[ECHOES_MAX];
};

static uint64_t
hash_of(const char *name, const void *data, size_t len, int64_t task)
{
    uint64_t h = XXH3_64bits_withSeed(name, strlen(name), (uint64_t)task);
    return XXH3_64bits_withSeed(len ? data : "", len, h);
}

bool
er_events_is_echo(struct er_events *ev, const struct er_bus_event *event)
{
    bool found = false;
    if (event->kind != ER_BUS_SAMPLE || !strchr(event->name, '.')) {
        return false;
    }
    uint64_t h = hash_of(event->name, event->data, event->len, event->task);
    er_lock_take(&ev->lock);
    struct er_echo *k = ev->echoes;
    for (size_t i = 0; k && !found && i < k->n; i++) {
        if (k->hashes[(k->first + i) % ECHOES_MAX] == h) {
            found = true;
            k->first += i + 1;
            k->n -= i + 1;
        }
    }
    er_lock_give(&ev->lock);
    return found;
}

void
er_events_free_echoes(struct er_events *ev)
{
    er_free(ev->echoes);
}

/* Under the lock. */
static void
remember(struct er_events *ev, uint64_t h)
{
    if (!ev->echoes) {
        ev->echoes = er_zalloc(sizeof *ev->echoes);
    }
    struct er_echo *k = ev->echoes;
    if (k && k->n == ECHOES_MAX) {
        k->first++;
        k->n--;
    }
    if (k) {
        k->hashes[(k->first + k->n++) % ECHOES_MAX] = h;
    }
}

/* ---- the JSON ---- */

/* Whether the bytes are an object or array as our own writer would put it, so that they
 * come back as they are. */
static bool
is_own_json(const char *p, size_t n)
{
    if (n < 2 || (*p != '{' && *p != '[')) {
        return false;
    }
    json_t *v = json_loadb(p, n, JSON_REJECT_DUPLICATES, NULL);
    char *text = v ? json_dumps(v, JSON_COMPACT) : NULL;
    bool same = text && strlen(text) == n && memcmp(text, p, n) == 0;
    bool is_echo_of_bytes = v && json_is_object(v) && json_object_get(v, "base64");
    json_decref(v);
    free(text);
    return same && !is_echo_of_bytes;
}

static void
add_event(struct er_buf *b, const errand_event *event)
{
    const char *data = event->len ? event->data : "";
    er_buf_add_str(b, "{\"event\":");
    er_buf_add_json_str(b, event->name);
    if (event->kind == ERRAND_FACT) {
        er_buf_add_str(b, ",\"durable\":true");
    }
    if (event->task) {
        er_buf_add_str(b, ",\"task\":");
        er_buf_add_i64(b, event->task);
    }
    if (event->correlation) {
        er_buf_add_str(b, ",\"correlation_id\":");
        er_buf_add_json_str(b, event->correlation);
    }
    er_buf_add_str(b, ",\"data\":");
    if (is_own_json(data, event->len)) {
        er_buf_add(b, data, event->len);
    } else if (er_utf8_is_valid(data, event->len) &&
               (event->len == 0 || !memchr(data, 0, event->len))) {
        er_buf_add_json(b, data, event->len);
    } else {
        er_buf_add_str(b, "{\"base64\":\"");
        er_base64_encode(b, data, event->len);
        er_buf_add_str(b, "\"}");
    }
    er_buf_add_char(b, '}');
}

/* ---- samples for others ---- */

struct sending {
    struct er_letter letter;
    struct er_events *ev;
};

static void send_samples(struct er_events *ev);

static void
on_sent(struct er_ask *ask, int status, const struct er_buf *body)
{
    struct er_events *ev = ask->ctx;
    (void)body;
    if (status >= 300 || status < 0) {
        er_handle_log(ev->e, ERRAND_LOG_WARN,
                      "samples did not reach the daemon (status %d)", status);
    }
    send_samples(ev);
}

/* Loop thread: what has been collected goes. */
static void
send_samples(struct er_events *ev)
{
    struct er_ask *ask = er_ask_new(ev->e, "POST", "/v1/events");
    er_lock_take(&ev->lock);
    ask->body = ev->samples;
    ev->samples = (struct er_buf){0};
    ev->is_sending = ask->body.len > 0;
    er_lock_give(&ev->lock);
    if (ask->body.len == 0) {
        er_ask_cancel(ask);
        return;
    }
    ask->type = "application/x-ndjson";
    ask->ctx = ev;
    ask->done = on_sent;
    ask->bound = ER_SYNC_BOUND;
    er_ask_send(ask);
}

static void
deliver_sending(struct er_letter *letter)
{
    struct sending *s = (struct sending *)(void *)letter;
    struct er_events *ev = s->ev;
    er_free(s);
    send_samples(ev);
}

/* Any thread. Keeps the line, and sees that it is sent. */
static int
collect(struct er_events *ev, const struct er_buf *line, uint64_t h)
{
    bool begin = false;
    er_lock_take(&ev->lock);
    struct er_buf *b = &ev->samples;
    b->max = 2 * SAMPLES_MAX;
    if (b->len < SAMPLES_MAX) {
        er_buf_add(b, line->data, line->len);
        er_buf_add_char(b, '\n');
        begin = !ev->is_sending;
        ev->is_sending = true;
        if (er_events_are_ready(ev)) {
            remember(ev, h);
        }
    }
    er_lock_give(&ev->lock);
    struct sending *s = begin ? er_alloc(sizeof *s) : NULL;
    if (s) {
        *s = (struct sending){.letter = {.deliver = deliver_sending}, .ev = ev};
    }
    if (begin && (!s || !er_handle_post(ev->e, &s->letter))) {
        er_free(s);
        er_lock_take(&ev->lock);
        ev->is_sending = false;
        er_lock_give(&ev->lock);
        return s ? ER_ECLOSED : ER_ENOMEM;
    }
    return 0;
}

static int
publish_sample(struct er_events *ev, const errand_event *event)
{
    int rc = 0;
    const struct er_bus_event b = {.name = event->name,
                                   .kind = ER_BUS_SAMPLE,
                                   .task = event->task,
                                   .correlation = event->correlation,
                                   .data = event->len ? event->data : "",
                                   .len = event->len};
    if (!ev->e->embedded || ev->e->options.socket) {
        struct er_buf line;
        er_buf_init(&line, 0);
        add_event(&line, event);
        rc = line.failed
                 ? line.failed
                 : collect(ev, &line, hash_of(b.name, b.data, b.len, event->task));
        er_buf_fini(&line);
    }
    if (rc == 0 && er_events_are_ready(ev)) {
        rc = er_bus_publish(ev->bus, &b);
    }
    return rc;
}

/* ---- both ---- */

static int
check(const errand *e, const errand_event *event, errand_error *error)
{
    if (!e || !event || !event->name) {
        const char *what = !e ? "e" : !event ? "event" : "name";
        return er_handle_fail(error, ER_EINVALID, what, "%s is NULL", what);
    }
    const char *why = er_topic_refusal(event->name);
    if (why) {
        return er_handle_fail(error, ER_EINVALID, "name", "'%.100s' %s", event->name,
                              why);
    }
    if (event->kind != ERRAND_FACT && event->kind != ERRAND_SAMPLE) {
        return er_handle_fail(error, ER_EINVALID, "kind",
                              "kind is ERRAND_FACT or ERRAND_SAMPLE, not %d",
                              event->kind);
    }
    if (event->correlation &&
        !er_utf8_is_valid(event->correlation, strlen(event->correlation))) {
        return er_handle_fail(error, ER_EINVALID, "correlation",
                              "the correlation of an event is UTF-8");
    }
    if (event->task < 0 || (event->len > 0 && !event->data)) {
        const char *what = event->task < 0 ? "task" : "data";
        return er_handle_fail(error, ER_EINVALID, what, "%s is none", what);
    }
    if (event->correlation && strlen(event->correlation) > ER_MAX_NAME) {
        return er_handle_fail(error, ER_EINVALID, "correlation",
                              "correlation has %zu bytes (at most %d)",
                              strlen(event->correlation), ER_MAX_NAME);
    }
    if (event->len > ER_MAX_TOPIC_DATA) {
        return er_handle_fail(error, ER_ETOOBIG, "data",
                              "data has %zu bytes (at most %d)", event->len,
                              ER_MAX_TOPIC_DATA);
    }
    if (event->kind == ERRAND_FACT &&
        !er_utf8_is_valid(event->len ? event->data : "", event->len)) {
        return er_handle_fail(error, ER_EINVALID, "data", "data of a fact is UTF-8");
    }
    return 0;
}

int
errand_publish(errand *e, const errand_event *given, errand_error *error)
{
    struct er_buf answer;
    struct er_sync_spec spec = {.method = "POST", .target = "/v1/events"};
    errand_event own, *event = &own;
    int rc = check(e, given, error);
    if (rc) {
        return rc;
    }
    own = *given;
    if (!own.correlation) {
        own.correlation = er_attempt_correlation_here(own.task);
    }
    if (event->kind == ERRAND_SAMPLE) {
        rc = publish_sample(e->events, event);
        return rc ? er_handle_fail(error, rc, NULL, "%s", er_error_meaning(rc))
                  : er_handle_fine(error);
    }
    er_buf_init(&spec.body, 0);
    add_event(&spec.body, event);
    rc = er_sync_run(e, &spec, &answer, error);
    if (rc == 0) {
        er_buf_fini(&answer);
    }
    return rc;
}
