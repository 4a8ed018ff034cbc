/* SPDX-License-Identifier: MIT */
/* Descriptors the worker waits for: an epoll set of our own, which the loop watches as
 * one descriptor. A watch can be removed at any time, also from a callback and with an
 * event of it still pending, and its memory is free at once (a uv_poll_t is not until its
 * close callback, and takes seven system calls a descriptor; this takes two). Loop
 * thread. */
#ifndef ER_WORK_WATCH_H
#define ER_WORK_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <uv.h>

#include "base/error.h"

struct er_fd_watch;
/* `events`: EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR as they came (level-triggered). */
typedef void er_fd_watch_fn(struct er_fd_watch *w, uint32_t events);

/* Embedded by its owner; a zeroed one is not watched. */
struct er_fd_watch {
    int fd; /* valid while `fn` is set */
    er_fd_watch_fn *fn;
};

#define ER_WATCH_BATCH 64

struct er_watches {
    int epoll_fd;
    uv_poll_t poll;
    struct epoll_event batch[ER_WATCH_BATCH]; /* what is being handed out */
    int n, at;
};

/* 0 or an error with words. */
int er_watches_init(struct er_watches *ws, uv_loop_t *loop,
                    struct er_err *err) ER_MUSTCHECK;
/* Closes the set; the loop must run once more for its handle. */
void er_watches_fini(struct er_watches *ws);

/* Watches fd for `events`: 0 or an error. The descriptor stays the caller's. */
int er_watch_start(struct er_watches *ws, struct er_fd_watch *w, int fd, uint32_t events,
                   er_fd_watch_fn *fn) ER_MUSTCHECK;
/* Other events from now on. */
void er_watch_change(struct er_watches *ws, struct er_fd_watch *w, uint32_t events);
/* No more callbacks; fine when it is not watched. Before the descriptor is closed. */
void er_watch_stop(struct er_watches *ws, struct er_fd_watch *w);
static inline bool
er_watch_is_on(const struct er_fd_watch *w)
{
    return w->fn != NULL;
}

#endif
