/* SPDX-License-Identifier: MIT */
/* Facts from the API: one of them taken apart, pages of them for subscribers whose buffer
 * was too small, and the cursors.
 *
 * A page is asked for while the subscriber's own thread waits. On the loop's thread
 * nobody may wait: there the first try asks and says "busy", and when the page has come
 * the subscribers of the loop are turned again and find it.
 *
 * The JSON is scanned, not parsed: its writer (wire/task_json.c) puts the numbers and the
 * correlation before anything that a person has written, a quote within a text is
 * escaped, and so the first `,"task":` is the member. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/mem.h"
#include "lib/events.h"
#include "lib/handle.h"
#include "lib/sync.h"
#include "model/task.h"
#include "wire/json.h"

#define PAGE_FACTS 1000
#define SAVE_FOR   (5 * ER_USEC_PER_SEC)

/* ---- one event ---- */

/* What stands behind the first place where `name` is in the text, or NULL. */
static const char *
find(const char *text, size_t len, const char *name)
{
    const char *at = memmem(text, len, name, strlen(name));
    return at ? at + strlen(name) : NULL;
}

/* A JSON string's bytes, as a text in `scratch`, which has room for it. NULL: no
 * string. */
static const char *
add_text(const char *at, const char *end, struct er_buf *scratch, size_t *out_len)
{
    const char *close = at + 1;
    if (at >= end || *at != '"') {
        return NULL;
    }
    while (close < end && *close != '"') {
        close += *close == '\\' ? 2 : 1;
    }
    if (close >= end) {
        return NULL;
    }
    size_t start = scratch->len, n = (size_t)(close - at) - 1;
    if (memchr(at + 1, '\\', n)) {
        json_t *v = json_loadb(at, n + 2, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        er_buf_add(scratch, v ? json_string_value(v) : "", v ? json_string_length(v) : 0);
        json_decref(v);
    } else {
        er_buf_add(scratch, at + 1, n);
    }
    if (out_len) {
        *out_len = scratch->len - start;
    }
    er_buf_add_char(scratch, '\0');
    return scratch->failed ? NULL : scratch->data + start;
}

/* {"base64": "..."}: bytes that are no text. */
static const char *
add_base64(const char *at, const char *end, struct er_buf *scratch, size_t *out_len)
{
    size_t start = scratch->len;
    if ((size_t)(end - at) < 12 || strncmp(at, "{\"base64\":", 10) != 0) {
        return NULL;
    }
    json_t *o = json_loadb(at, (size_t)(end - at), 0, NULL);
    const char *text = json_string_value(json_object_get(o, "base64"));
    bool good = text && json_object_size(o) == 1 &&
                er_base64_decode(scratch, text, strlen(text)) == 0;
    *out_len = scratch->len - start;
    json_decref(o);
    return good ? scratch->data + start : NULL;
}

static int64_t
number_at(const char *at)
{
    return at ? strtoll(at, NULL, 10) : 0;
}

/* A topic's payload: what was published. */
static void
read_payload(const char *text, const char *end, struct er_buf *scratch,
             struct er_bus_event *out)
{
    const char *at = find(text, (size_t)(end - text), ",\"data\":");
    if (!at || end[-1] != '}') {
        return;
    }
    end--; /* the brace of the whole */
    out->data = add_text(at, end, scratch, &out->len);
    if (!out->data) {
        out->data = add_base64(at, end, scratch, &out->len);
    }
    if (!out->data) {
        out->data = at;
        out->len = (size_t)(end - at);
    }
}

bool
er_events_parse(const char *text, size_t len, struct er_buf *scratch,
                struct er_bus_event *out)
{
    const char *end = text + len;
    *out = (struct er_bus_event){.kind = ER_BUS_SAMPLE};
    er_buf_clear(scratch);
    const char *name = find(text, len, ",\"event\":");
    if (er_buf_reserve(scratch, len + 64) || len < 2 || *text != '{' || !name) {
        return false;
    }
    out->name = add_text(name, end, scratch, NULL);
    out->seq = number_at(find(text, len, "{\"seq\":")); /* null gives 0 */
    out->kind = out->seq > 0 ? ER_BUS_FACT : ER_BUS_SAMPLE;
    out->task = number_at(find(text, len, ",\"task\":"));
    const char *correlation = find(text, len, ",\"correlation_id\":");
    if (correlation) {
        out->correlation = add_text(correlation, end, scratch, NULL);
    }
    out->data = text;
    out->len = len;
    if (out->name && strchr(out->name, '.')) {
        read_payload(text, end, scratch, out);
    }
    return out->name && *out->name;
}

/* ---- pages ---- */

/* One that was asked for on the loop's thread. */
struct er_page {
    struct er_events *ev;
    int64_t since, until;
    struct er_ask *ask; /* NULL = it is there */
    int status;
    struct er_buf body;
    struct er_page *next;
};

static int
target_of(const struct er_bus_read *req, char *out, size_t size)
{
    size_t limit = req->limit && req->limit < PAGE_FACTS ? req->limit : PAGE_FACTS;
    return snprintf(out, size,
                    "/v1/events?format=ndjson&since=%" PRId64 "&until=%" PRId64
                    "&limit=%zu",
                    req->since, req->until, limit);
}

/* The last line of a page: where the store begins now, and how far the page has looked.
 * It is read before the facts, since the sink may end before all of them. */
static void
read_bounds(const struct er_buf *body, struct er_bus_read *req)
{
    const char *at = body->data ? body->data : "", *end = at + body->len;
    const char *nl = body->len > 1 ? memrchr(at, '\n', body->len - 1) : NULL;
    at = nl ? nl + 1 : at;
    if (strncmp(at, "{\"first\":", 9) == 0) {
        req->first = number_at(find(at, (size_t)(end - at), "{\"first\":"));
        req->reached = number_at(find(at, (size_t)(end - at), "\"reached\":"));
    }
}

/* Gives what a page holds to the sink. */
static int
hand_out(const struct er_buf *body, struct er_bus_read *req, er_bus_sink_fn *fn,
         void *sink)
{
    const char *at = body->data ? body->data : "", *end = at + body->len;
    struct er_buf scratch;
    int rc = 0;
    read_bounds(body, req);
    er_buf_init(&scratch, 0);
    while (rc == 0 && at < end) {
        const char *nl = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((nl ? nl : end) - at);
        struct er_bus_event fact;
        if (er_events_parse(at, len, &scratch, &fact) && fact.kind == ER_BUS_FACT) {
            rc = fn(sink, &fact);
        }
        at += len + 1;
    }
    er_buf_fini(&scratch);
    return rc == ER_EFULL ? 0 : rc;
}

static void
on_page(struct er_ask *ask, int status, const struct er_buf *body)
{
    struct er_page *p = ask->ctx;
    (void)body;
    p->ask = NULL;
    p->status = status;
    er_ask_take(ask, &p->body);
    er_events_turn_all(p->ev);
}

static struct er_page **
find_page(struct er_events *ev, const struct er_bus_read *req)
{
    struct er_page **at = &ev->pages;
    while (*at && ((*at)->since != req->since || (*at)->until != req->until)) {
        at = &(*at)->next;
    }
    return at;
}

static void
free_page(struct er_page **at)
{
    struct er_page *p = *at;
    *at = p->next;
    er_buf_fini(&p->body);
    er_free(p);
}

static int
read_on_loop(struct er_events *ev, struct er_bus_read *req, er_bus_sink_fn *fn,
             void *sink)
{
    char target[160];
    struct er_page **at = find_page(ev, req);
    if (*at && (*at)->ask) {
        return ER_EBUSY;
    }
    if (*at) {
        int rc = (*at)->status == 200 ? hand_out(&(*at)->body, req, fn, sink) : ER_EIO;
        free_page(at);
        return rc;
    }
    struct er_page *p = er_xzalloc(sizeof *p);
    (void)target_of(req, target, sizeof target);
    p->ev = ev;
    p->since = req->since;
    p->until = req->until;
    p->next = ev->pages;
    ev->pages = p;
    p->ask = er_ask_new(ev->e, "GET", "%s", target);
    p->ask->ctx = p;
    p->ask->done = on_page;
    er_ask_send(p->ask);
    return ER_EBUSY;
}

int
er_events_read(void *ctx, struct er_bus_read *req, er_bus_sink_fn *fn, void *sink)
{
    struct er_events *ev = ctx;
    char target[160];
    struct er_buf body;
    struct er_sync_spec spec = {.method = "GET", .target = target};
    if (er_handle_is_loop(ev->e) && er_handle_cannot_wait(ev->e)) {
        return ev->is_closing ? ER_ECLOSED : read_on_loop(ev, req, fn, sink);
    }
    (void)target_of(req, target, sizeof target);
    int rc = er_sync_run(ev->e, &spec, &body, NULL);
    if (rc == 0) {
        rc = hand_out(&body, req, fn, sink);
        er_buf_fini(&body);
    }
    return rc;
}

void
er_events_free_pages(struct er_events *ev)
{
    while (ev->pages) {
        free_page(&ev->pages);
    }
}

/* ---- cursors ---- */

struct er_cursor_save {
    char *target;
    int64_t seq;
};

/* /v1/cursors/NAME, with what is not plain as %XX. NULL: no memory. */
static char *
cursor_target(const char *name)
{
    static const char hex[] = "0123456789ABCDEF";
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, "/v1/cursors/");
    for (const unsigned char *p = (const unsigned char *)name; *p; p++) {
        if ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') ||
            (*p >= 'A' && *p <= 'Z') || strchr("-._~", *p)) {
            er_buf_add_char(&b, (char)*p);
        } else {
            const char code[3] = {'%', hex[*p >> 4], hex[*p & 15]};
            er_buf_add(&b, code, sizeof code);
        }
    }
    return er_buf_take(&b);
}

int
er_events_cursor_load(void *ctx, const char *name, int64_t *out_seq)
{
    struct er_events *ev = ctx;
    struct er_buf body;
    if (er_handle_is_loop(ev->e) && ev->preloaded && strcmp(ev->preloaded, name) == 0) {
        *out_seq = ev->preloaded_at;
        return ev->preloaded_at < 0 ? ER_ENOTFOUND : 0;
    }
    char *target = cursor_target(name);
    struct er_sync_spec spec = {.method = "GET", .target = target};
    int rc = target ? er_sync_run(ev->e, &spec, &body, NULL) : ER_ENOMEM;
    if (rc == 0) {
        *out_seq = number_at(find(body.data, body.len, "\"seq\":"));
        er_buf_fini(&body);
    }
    er_free(target);
    return rc;
}

static void
on_saved(struct er_ask *ask, int status, const struct er_buf *body)
{
    struct er_events *ev = ask->ctx;
    (void)body;
    if (status >= 300 || status < 0) {
        er_handle_log(ev->e, ERRAND_LOG_WARN, "%s was not saved", ask->target);
    }
    if (--ev->n_saving == 0 && ev->is_over) {
        ev->closed(ev->e);
    }
}

static void
send_save(struct er_events *ev, const char *target, int64_t seq)
{
    struct er_ask *ask = er_ask_new(ev->e, "PUT", "%s", target);
    er_buf_addf(&ask->body, "{\"seq\":%" PRId64 "}", seq);
    ev->n_saving++;
    ask->ctx = ev;
    ask->done = on_saved;
    ask->bound = SAVE_FOR;
    er_ask_send(ask);
}

/* The handle closes, and so does its inbox: kept until the bus has ended. */
static int
save_later(struct er_events *ev, char *target, int64_t seq)
{
    er_lock_take(&ev->lock);
    struct er_cursor_save *more =
        er_realloc_array(ev->saves, ev->n_saves + 1, sizeof *more);
    if (more) {
        ev->saves = more;
        ev->saves[ev->n_saves++] = (struct er_cursor_save){target, seq};
    }
    er_lock_give(&ev->lock);
    if (!more) {
        er_free(target);
    }
    return more ? 0 : ER_ENOMEM;
}

int
er_events_cursor_save(void *ctx, const char *name, int64_t seq)
{
    struct er_events *ev = ctx;
    struct er_buf body;
    char *target = cursor_target(name);
    if (!target) {
        return ER_ENOMEM;
    }
    if (er_count_get(&ev->e->closing)) {
        return save_later(ev, target, seq);
    }
    int rc = 0;
    if (er_handle_is_loop(ev->e) && er_handle_cannot_wait(ev->e)) {
        send_save(ev, target, seq);
    } else {
        struct er_sync_spec spec = {.method = "PUT", .target = target};
        er_buf_init(&spec.body, 0);
        er_buf_addf(&spec.body, "{\"seq\":%" PRId64 "}", seq);
        rc = er_sync_run(ev->e, &spec, &body, NULL);
        if (rc == 0) {
            er_buf_fini(&body);
        }
    }
    if (rc == ER_ECLOSED) {
        return save_later(ev, target, seq);
    }
    er_free(target);
    return rc;
}

void
er_events_save_rest(struct er_events *ev)
{
    ev->n_saving++; /* ours, until all are sent */
    for (size_t i = 0; i < ev->n_saves; i++) {
        send_save(ev, ev->saves[i].target, ev->saves[i].seq);
        er_free(ev->saves[i].target);
    }
    er_free(ev->saves);
    ev->saves = NULL;
    ev->is_over = true;
    if (--ev->n_saving == 0) {
        ev->closed(ev->e);
    }
}
