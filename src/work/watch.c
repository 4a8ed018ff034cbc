/* SPDX-License-Identifier: MIT */
/* A descriptor is taken out of the set explicitly, never by closing alone: a child
 * between fork and exec has copies of all our descriptors, and would keep the entry
 * alive. */
#include "work/watch.h"

#include <errno.h>
#include <string.h>

#include "base/io.h"

static void
on_ready(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct er_watches *ws = poll->data;
    int n = epoll_wait(ws->epoll_fd, ws->batch, ER_WATCH_BATCH, 0);
    ws->n = n > 0 ? n : 0;
    for (ws->at = 0; ws->at < ws->n; ws->at++) {
        struct er_fd_watch *w = ws->batch[ws->at].data.ptr;
        if (w) {
            w->fn(w, ws->batch[ws->at].events);
        }
    }
    ws->n = 0;
}

int
er_watches_init(struct er_watches *ws, uv_loop_t *loop, struct er_err *err)
{
    *ws = (struct er_watches){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    if (ws->epoll_fd < 0) {
        int code = errno;
        return er_fail(err, er_error_from_errno(code), "cannot make an epoll set: %s",
                       strerror(code));
    }
    int rc = uv_poll_init(loop, &ws->poll, ws->epoll_fd);
    if (rc == 0) {
        ws->poll.data = ws;
        rc = uv_poll_start(&ws->poll, UV_READABLE, on_ready);
    }
    if (rc != 0) {
        er_close(&ws->epoll_fd);
        return er_fail(err, ER_EIO, "cannot watch the epoll set: %s", uv_strerror(rc));
    }
    return 0;
}

void
er_watches_fini(struct er_watches *ws)
{
    if (ws->epoll_fd >= 0) {
        uv_close((uv_handle_t *)&ws->poll, NULL);
        er_close(&ws->epoll_fd);
    }
}

int
er_watch_start(struct er_watches *ws, struct er_fd_watch *w, int fd, uint32_t events,
               er_fd_watch_fn *fn)
{
    struct epoll_event ev = {.events = events, .data.ptr = w};
    if (epoll_ctl(ws->epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0) {
        return er_error_from_errno(errno);
    }
    w->fd = fd;
    w->fn = fn;
    return 0;
}

void
er_watch_change(struct er_watches *ws, struct er_fd_watch *w, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = w};
    ER_ASSERT(w->fn && epoll_ctl(ws->epoll_fd, EPOLL_CTL_MOD, w->fd, &ev) == 0);
}

void
er_watch_stop(struct er_watches *ws, struct er_fd_watch *w)
{
    if (!w->fn) {
        return;
    }
    (void)epoll_ctl(ws->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
    w->fn = NULL;
    for (int i = ws->at + 1; i < ws->n; i++) {
        if (ws->batch[i].data.ptr == w) {
            ws->batch[i].data.ptr = NULL;
        }
    }
}
