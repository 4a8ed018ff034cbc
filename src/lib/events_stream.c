/* SPDX-License-Identifier: MIT */
/* How facts and samples come into the bus. At the first subscription: the number of the
 * latest fact -> the bus -> the stream of the API's events behind that number; when its
 * head has come the subscriptions that wait for it are made. From then on: a frame of the
 * stream -> one event -> er_bus_publish.
 *
 * A stream that breaks is opened again behind the last fact that came, for ever; what
 * comes twice the bus refuses. A first one that is refused ends the waiting with the
 * reason; the next subscription tries again. A frame that cannot be read is left out, as
 * one of a kind that a later daemon may know; a buffer that memory has no room for begins
 * again behind what was taken. */
#include <stdlib.h>
#include <string.h>

#include "base/heap.h"
#include "lib/events_priv.h"

#define FRAME_MAX ((size_t)64 << 20)
#define ASK_FOR   (30 * ER_USEC_PER_SEC)

struct er_opener {
    struct er_wait wait;
    errand_error *error;
    struct er_opener *next;
};

/* ---- the stream ---- */

static void open_stream(struct er_events *ev);

/* "id: 7\nevent: x\ndata: {...}\n\n": only the data counts, which says it all. */
static void
take_frame(struct er_events *ev, const char *frame, size_t len)
{
    struct er_bus_event event;
    struct er_buf scratch;
    const char *end = frame + len;
    er_buf_init(&scratch, 0);
    while (frame < end && strncmp(frame, "data: ", 6) != 0) {
        const char *nl = memchr(frame, '\n', (size_t)(end - frame));
        frame = nl ? nl + 1 : end;
    }
    const char *nl = frame < end ? memchr(frame, '\n', (size_t)(end - frame)) : NULL;
    if (frame < end &&
        er_events_parse(frame + 6, (size_t)((nl ? nl : end) - frame) - 6, &scratch,
                        &event) &&
        !er_events_is_echo(ev, &event)) {
        /* ER_ESTATE: it came before; anything else the bus tells by its marks */
        int rc = er_bus_publish(ev->bus, &event);
        if (rc == 0 && event.seq > ev->last_seq) {
            ev->last_seq = event.seq;
        }
    }
    er_buf_fini(&scratch);
}

static void
on_frames(struct er_ask *ask, const char *data, size_t len)
{
    struct er_events *ev = ask->ctx;
    struct er_buf *b = &ev->frames;
    size_t used = 0;
    b->max = FRAME_MAX;
    er_buf_add(b, data, len);
    if (b->failed) { /* begin again behind what was taken */
        er_buf_fini(b);
        return;
    }
    for (;;) {
        const char *end = memmem(b->data + used, b->len - used, "\n\n", 2);
        if (!end) {
            break;
        }
        take_frame(ev, b->data + used, (size_t)(end + 1 - (b->data + used)));
        used = (size_t)(end + 2 - b->data);
    }
    er_buf_drop(b, used);
}

static void
end_opening(struct er_events *ev, int code, const struct er_buf *words)
{
    struct er_opener *o = ev->openers;
    ev->openers = NULL;
    while (o) {
        struct er_opener *next = o->next;
        if (code) {
            (void)er_handle_problem(o->error, code, words);
        }
        er_handle_done(&o->wait, code);
        o = next;
    }
}

static void
on_began(struct er_ask *ask)
{
    struct er_events *ev = ask->ctx;
    (void)er_count_swap(&ev->is_ready, 1);
    end_opening(ev, 0, NULL);
}

static void
on_again(uv_timer_t *t)
{
    struct er_events_timer *timer = t->data;
    open_stream(timer->ev);
}

static void
on_stream_end(struct er_ask *ask, int status, const struct er_buf *body)
{
    struct er_events *ev = ask->ctx;
    ev->stream = NULL;
    er_buf_fini(&ev->frames);
    if (status >= 300 || (status < 0 && !er_events_are_ready(ev))) {
        end_opening(ev, status < 0 ? status : ER_EIO, body);
    }
    if (!ev->is_closing && status != ER_ECLOSED) {
        (void)uv_timer_start(&ev->timer->again, on_again, ER_EVENTS_AGAIN_MS, 0);
    }
}

static void
open_stream(struct er_events *ev)
{
    if (ev->stream || ev->is_closing) {
        return;
    }
    ev->stream =
        er_ask_new(ev->e, "GET", "/v1/events?since=%lld", (long long)ev->last_seq);
    ev->stream->ctx = ev;
    ev->stream->alone = true;
    ev->stream->began = on_began;
    ev->stream->data = on_frames;
    ev->stream->done = on_stream_end;
    er_ask_send(ev->stream);
}

/* ---- opening ---- */

/* The latest fact's number, of the last line of a page. */
static int64_t
last_of(const struct er_buf *body)
{
    const char *at = body->data ? strstr(body->data, "\"last\":") : NULL;
    return at ? strtoll(at + 7, NULL, 10) : 0;
}

static void
on_where(struct er_ask *ask, int status, const struct er_buf *body)
{
    struct er_events *ev = ask->ctx;
    if (status != 200) {
        end_opening(ev, status < 0 ? status : ER_EIO, body);
        return;
    }
    ev->last_seq = last_of(body);
    const struct er_bus_options o = {.last_seq = ev->last_seq,
                                     .read = er_events_read,
                                     .cursor_load = er_events_cursor_load,
                                     .cursor_save = er_events_cursor_save,
                                     .ctx = ev};
    int rc = er_bus_new(&o, &ev->bus);
    if (rc) {
        end_opening(ev, rc, NULL);
        return;
    }
    open_stream(ev);
}

static void
open_here(struct er_wait *wait)
{
    struct er_opener *o = ER_CONTAINER(wait, struct er_opener, wait);
    struct er_events *ev = wait->e->events;
    if (er_events_are_ready(ev)) {
        er_handle_done(wait, 0);
        return;
    }
    bool is_first = !ev->openers;
    o->next = ev->openers;
    ev->openers = o;
    if (!is_first) {
        return;
    }
    if (ev->bus) {
        open_stream(ev); /* it was refused before */
        return;
    }
    /* a number that no fact has had: nothing but the bounds */
    struct er_ask *ask =
        er_ask_new(wait->e, "GET", "/v1/events?format=ndjson&limit=1&since=%lld",
                   (long long)ER_BUS_SEQ_MAX);
    ask->ctx = ev;
    ask->done = on_where;
    ask->bound = ASK_FOR;
    er_ask_send(ask);
}

int
er_events_open(struct errand *e, errand_error *error)
{
    struct er_opener o = {.wait = {.fn = open_here}, error, NULL};
    if (er_events_are_ready(e->events)) {
        return 0;
    }
    (void)er_handle_fine(error);
    int rc = er_handle_wait(e, &o.wait);
    if (rc && (!error || error->code == 0)) {
        return er_handle_fail(error, rc, NULL,
                              rc == ER_EBUSY ? "the first subscription blocks: not from "
                                               "inside a callback of the loop"
                                             : "%s",
                              er_error_meaning(rc));
    }
    return rc;
}

void
er_events_close_stream(struct er_events *ev)
{
    (void)uv_timer_stop(&ev->timer->again);
    er_ask_cancel(ev->stream);
    ev->stream = NULL;
    end_opening(ev, ER_ECLOSED, NULL);
}
