/* SPDX-License-Identifier: MIT */
/* A thread that tells the worker of an attempt's progress, at most ten times a second,
 * while the handler computes. It is started by the first news; where it cannot be
 * started, the news go out with the attempt's end. Lock: handlers report on threads of
 * their own, and the news stay in the attempt until they are fetched. */
#include "lib/main.h"

#include <poll.h>
#include <sys/eventfd.h>

#include "base/io.h"

#define TELL_EVERY_MS 100

static void
tell_news(struct er_main_sender *v)
{
    struct er_attempt_news n;
    if (er_attempt_take_news(v->attempt, &n)) {
        v->tell(v, &n);
    }
}

static bool
wait_for_news(struct er_main_sender *v)
{
    er_lock_take(&v->lock);
    while (!v->has_news && !v->quit) {
        er_lock_wait(&v->lock);
    }
    v->has_news = false;
    bool go_on = !v->quit;
    er_lock_give(&v->lock);
    return go_on;
}

static void *
speak(void *ctx)
{
    struct er_main_sender *v = ctx;
    while (wait_for_news(v)) {
        struct pollfd quit = {v->quit_fd, POLLIN, 0};
        tell_news(v);
        (void)poll(&quit, 1, TELL_EVERY_MS);
    }
    return NULL;
}

void
er_main_sender_open(struct er_main_sender *v)
{
    v->quit_fd = eventfd(0, EFD_CLOEXEC);
    er_lock_init(&v->lock);
}

void
er_main_sender_wake(struct er_main_sender *v)
{
    er_lock_take(&v->lock);
    v->has_news = true;
    if (!v->has_thread && v->quit_fd >= 0) {
        v->has_thread = pthread_create(&v->thread, NULL, speak, v) == 0;
    }
    er_lock_wake(&v->lock);
    er_lock_give(&v->lock);
}

void
er_main_sender_close(struct er_main_sender *v)
{
    er_lock_take(&v->lock);
    v->quit = true;
    er_lock_wake(&v->lock);
    er_lock_give(&v->lock);
    if (v->has_thread) {
        (void)eventfd_write(v->quit_fd, 1);
        (void)pthread_join(v->thread, NULL);
    }
    tell_news(v);
    er_close(&v->quit_fd);
    er_lock_fini(&v->lock);
}
