/* SPDX-License-Identifier: MIT */
/* A handle's inside, for the files of this room:
 *   handle.c    opening and closing, the thread or the turns, errors
 *   ask.c       requests, whichever way; wire.c over a socket, inside.c to the engine inside
 *   house.c     the engine inside: store, engine, API, the worker for commands
 *   tasks.c     submit, get, wait, act
 *   call.c      calls
 *   types.c     registry
 *   hands.c     handlers: the session, its threads, the attempts
 *   attempt.c   what a handler sees of its attempt
 *   events.c    the bus of a handle: fed by the API's stream of events
 *   main.c      errand_worker_main
 *   testing.c   for tests of applications
 * All of it lives on the loop's thread, but for what says otherwise. */
#ifndef ER_LIB_HANDLE_H
#define ER_LIB_HANDLE_H

#include <errand.h>
#include <pthread.h>

#include "base/count.h"
#include "engine/loop.h"
#include "lib/ask.h"

struct er_house; /* the engine inside; house.h */
struct er_wire;  /* a daemon; wire.c */
struct er_hands; /* hands.h */
struct er_events;

struct errand {
    struct errand_options options; /* whole, defaults filled in; texts copied */
    struct er_loop *loop;
    pthread_t thread;           /* the loop's: ours, or the first that turned */
    struct er_count has_thread; /* it is known */
    bool in_callback; /* loop thread: an application's function is on the stack */
    struct er_count closing;
    char *socket;             /* of the daemon; NULL = the engine is inside */
    struct er_house *house;   /* NULL = a daemon */
    struct er_wire *wire;     /* NULL = inside */
    struct er_hands *hands;   /* made by the first type with a handler */
    struct er_events *events; /* made by the first subscription or publication */
};

/* Fills in an error (which may be NULL) and returns code. field NULL = none. */
int er_handle_fail(errand_error *error, int code, const char *field, const char *fmt, ...)
    ER_PRINTF(4, 5);
/* From an answer that is a problem: its code, words and field. Returns the code (negative);
 * 0 for 2xx. */
int er_handle_problem(errand_error *error, int status, const struct er_buf *body);

/* Any thread: `fn` on the loop's thread, while the caller waits (blocking functions are made
 * of this). With ERRAND_TURN on the thread that turns, the loop is turned meanwhile. fn must
 * lead to er_handle_done(wait, code), now or later. Returns that code, or ER_ECLOSED,
 * ER_EBUSY (from inside a callback on the loop's thread). */
struct er_wait {
    struct er_letter letter; /* private */
    struct errand *e;
    void (*fn)(struct er_wait *wait);
    void *ctx;
    int code; /* private, like the rest */
    bool is_done;
    struct er_mailbox *box;
    struct er_wait *next,
        **prev; /* in e->waits: told ER_ECLOSED when the handle closes */
};
int er_handle_wait(struct errand *e, struct er_wait *wait);
void er_handle_done(struct er_wait *wait, int code);

#endif
