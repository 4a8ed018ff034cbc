/* SPDX-License-Identifier: MIT */
/* A signalfd that the loop polls. Signals of one kind that come before they are read are
 * one, as they are to a handler; whoever is told looks for all that may have happened.
 *
 * Failure modes: without a descriptor (or when the loop cannot poll it) the process would
 * be deaf to `kill`: it does not start then. */
#include "serve/signals.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/io.h"

static void
on_news(uv_poll_t *poll, int status, int events)
{
    struct er_signals *s = poll->data;
    struct signalfd_siginfo info;
    (void)status;
    (void)events;
    while (read(s->fd, &info, sizeof info) == (ssize_t)sizeof info) {
        s->fn(s->ctx, (int)info.ssi_signo);
    }
}

int
er_signals_watch(struct er_signals *s, uv_loop_t *loop, const int *signums, size_t n,
                 er_signals_fn *fn, void *ctx, struct er_err *err)
{
    sigset_t set;
    (void)sigemptyset(&set);
    for (size_t i = 0; i < n; i++) {
        (void)sigaddset(&set, signums[i]);
    }
    s->fn = fn;
    s->ctx = ctx;
    s->poll.data = s;
    s->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->fd < 0) {
        return er_fail(err, ER_EIO, "cannot watch signals: %s", strerror(errno));
    }
    int rc = -pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (rc == 0) {
        rc = uv_poll_init(loop, &s->poll, s->fd);
    }
    if (rc == 0) {
        rc = uv_poll_start(&s->poll, UV_READABLE, on_news);
    }
    return rc ? er_fail(err, ER_EIO, "cannot watch signals: %s", uv_strerror(rc)) : 0;
}

void
er_signals_end(struct er_signals *s)
{
    (void)uv_poll_stop(&s->poll);
    er_close(&s->fd);
}
