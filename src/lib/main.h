/* SPDX-License-Identifier: MIT */
/* The parts of errand_worker_main. One process, one attempt. */
#ifndef ER_LIB_MAIN_H
#define ER_LIB_MAIN_H

#include <errand.h>
#include <pthread.h>

#include "base/buf.h"
#include "lib/attempt.h"

/* Exit codes, as errand-worker reads them. */
#define ER_MAIN_FAILED  1
#define ER_MAIN_USAGE   2
#define ER_MAIN_LIMITED 75
#define ER_MAIN_STOPPED 143 /* as of a process that SIGTERM ended */

/* Executes one order of errand-worker; see main_run.c. */
int er_main_run(const char *program, const struct errand_type *type);
/* Runs a handler for a person; see main_try.c. words: KEY=VALUE, or one JSON object. */
int er_main_try(const char *program, const struct errand_type *type, int n_words,
                char **words);

/* Listens, on a thread of its own, for what asks an attempt to stop: lines on a
 * descriptor ({"stop": {"why": ...}}; its end means that the worker is gone), and
 * signals. */
struct er_main_listener {
    struct errand_attempt *attempt;
    int fd;             /* of the lines; -1 = none */
    struct er_buf line; /* what of it was read already */
    enum errand_stop on_signal;
    int quit_fd;
    pthread_t thread;
};
/* SIGTERM and SIGINT become stops from now on, before and after the listener is opened;
 * SIGPIPE an error of the write. False: no descriptor. */
bool er_main_catch_signals(void);
int er_main_listener_open(struct er_main_listener *listener) ER_MUSTCHECK;
void er_main_listener_close(struct er_main_listener *listener);

/* Tells the news of progress, on a thread of its own that begins with the first of them:
 * at once, then every 100 ms while there are more, and the last when it is closed.
 * Without a thread (no memory) only the last. */
struct er_main_sender {
    struct errand_attempt *attempt;
    void (*tell)(struct er_main_sender *v, const struct er_attempt_news *news);
    struct er_lock lock; /* the rest is main_send.c's */
    bool has_thread, has_news, quit;
    pthread_t thread;
    int quit_fd;
};
void er_main_sender_open(struct er_main_sender *v);
void er_main_sender_wake(struct er_main_sender *v); /* any thread */
void er_main_sender_close(struct er_main_sender *v);

#endif
