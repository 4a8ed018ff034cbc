/* SPDX-License-Identifier: MIT */
/* A handle's inside, for the files of this room:
 *   handle.c           opening and closing, the thread or the turns, errors
 *   ask.c, wire.c, inside.c  requests: what both ways share, over a socket, to the engine
 *                            inside
 *   embedded.c         the engine inside: store, engine, API, the worker for commands
 *   sync.c             who waits for a request, or has a callback
 *   submit.c, tasks.c, call.c  submitting; looking at tasks and acting on them; calls
 *   types.c, types_define.c  the registry; definitions from structs
 *   handlers*.c        handlers: the session, its threads, the attempts
 *   attempt.c          what a handler sees of its attempt
 *   events*.c, bus*.c, publish.c  the bus of a handle, fed by the API's stream of events
 *   main*.c            errand_worker_main
 *   testing.c          for tests of applications
 *   fault.c            errors as users see them
 *   standard.c         descriptors 0 to 2 of programs that have closed them
 * All of it lives on the loop's thread, but for what says otherwise. */
#ifndef ER_LIB_HANDLE_H
#define ER_LIB_HANDLE_H

#include <errand.h>
#include <pthread.h>

#include "base/count.h"
#include "base/lock.h"
#include "engine/loop.h"
#include "lib/ask.h"

/* Bytes kept for when memory is out (base/mem.h). */
#define ER_HANDLE_RESERVE ((size_t)1 << 20)

struct er_embedded; /* the engine inside; embedded.h */
struct er_wire;     /* a daemon; wire.h */
struct er_handlers; /* handlers.h */
struct er_events;
struct er_testing;
struct er_wheels; /* handle.c: what keeps the loop going */
struct er_wait;

struct errand {
    struct errand_options options; /* whole, defaults filled in; texts copied */
    struct er_loop *loop;
    pthread_t thread; /* with ERRAND_THREAD: the library's own */
    struct er_count
        owner; /* the mark of the thread that the loop lives on (er_handle_is_loop) */
    bool in_callback; /* loop thread: an application's function is on the stack */
    struct er_count closing;
    char *socket;                 /* of the daemon; NULL = the engine is inside */
    struct er_embedded *embedded; /* NULL = a daemon */
    struct er_wire *wire;         /* NULL = inside */
    struct er_handlers *handlers; /* made by the first type with a handler */
    struct er_events *events;     /* made by the first subscription or publication */
    struct er_testing *testing;   /* testing.c; NULL = options.test is 0 */
    /* Set by handlers.c together with `handlers`. stop: no new attempts, those that run
     * are asked to stop; `done` is called (never from inside) when no handler runs and
     * the session is over. Asks still work until then. free: after the loop has ended;
     * nothing runs. */
    void (*hands_stop)(struct errand *e, void (*done)(struct errand *e));
    void (*hands_free)(struct errand *e);
    /* the rest is handle.c's and ask.c's */
    struct er_mailbox
        *inbox; /* letters from other threads; closed when the handle closes */
    struct er_wheels *wheels;
    struct er_wait *waits;
    struct er_asks asks; /* all that were sent and have not ended */
};

/* Fills in an error (which may be NULL) and returns code. field NULL = none. */
int er_handle_fail(errand_error *error, int code, const char *field, const char *fmt, ...)
    ER_PRINTF(4, 5);
/* Fills it in as success, and returns 0. */
int er_handle_fine(errand_error *error);
/* From an answer that is a problem: its code, words and field. Returns the code
 * (negative); 0 for 2xx. For a negative status the body is the words. */
int er_handle_problem(errand_error *error, int status, const struct er_buf *body);

/* Copies a struct that begins with its size, as the caller's version of the header has
 * it, into `out` of out_size bytes, of which what the caller does not know is zero. NULL
 * = all zero. ER_EINVALID: the size is none, or the caller's is larger and says something
 * there. */
int er_handle_read(void *out, size_t out_size, const void *in,
                   errand_error *error) ER_MUSTCHECK;

/* Any thread: whether this is the loop's. */
bool er_handle_is_loop(const struct errand *e);
/* Any thread: takes the loop for what is done on its thread outside of its turns: true
 * when this is the loop's thread and (ERRAND_TURN) no other is inside. To be given back;
 * may be nested. */
bool er_handle_take_loop(struct errand *e) ER_MUSTCHECK;
void er_handle_give_loop(struct errand *e);
/* Loop thread: whether blocking functions are refused now (ER_EBUSY). */
bool er_handle_cannot_wait(const struct errand *e);
/* Around a call of an application's function on the loop's thread. */
static inline bool
er_handle_enter(struct errand *e)
{
    bool was = e->in_callback;
    e->in_callback = true;
    return was;
}
static inline void
er_handle_leave(struct errand *e, bool was)
{
    e->in_callback = was;
}

/* Any thread: around a call of an application's function (a handler, a callback) on
 * whatever thread, in which the handle cannot be closed: who closes waits for it. */
struct er_turn_frame {
    const struct errand *e;
    struct er_turn_frame *outer;
};
void er_handle_push(struct er_turn_frame *f, const struct errand *e);
void er_handle_pop(const struct er_turn_frame *f);

/* The clock that the handle goes by: the system's, or a test's. Any thread. */
const struct er_clock *er_handle_clock(const struct errand *e);

/* Any thread: `fn` on the loop's thread, while the caller waits (blocking functions are
 * made of this). With ERRAND_TURN on the thread that turns, the loop is turned meanwhile.
 * fn must lead to er_handle_done(wait, code), now or later. Returns that code, or
 * ER_ECLOSED, ER_EBUSY (from inside a callback on the loop's thread). */
struct er_wait {
    struct er_letter letter; /* private */
    struct errand *e;
    void (*fn)(struct er_wait *wait);
    void *ctx;
    int code; /* private, like the rest */
    bool is_done, is_turning;
    struct er_bell done;
    struct er_wait *next,
        **prev; /* in e->waits: told ER_ECLOSED when the handle closes */
};
int er_handle_wait(struct errand *e, struct er_wait *wait);
void er_handle_done(struct er_wait *wait, int code);
/* Any thread: a letter to the loop's thread; false, and the letter stays the caller's,
 * when the handle is being closed. */
bool er_handle_post(struct errand *e, struct er_letter *letter) ER_MUSTCHECK;
/* Loop thread: there is something in what inside.c looks after at the end of the turn;
 * the loop does not sleep before. */
void er_handle_stir(struct errand *e);
/* Loop thread: an ask with a bound was sent. */
void er_handle_watch_bounds(struct errand *e);
/* The folder that this library (or, linked statically, the program) lies in; NULL =
 * unknown. */
const char *er_handle_folder(char *out, size_t size);
/* The words of an operator's concern, to options.log (any thread of the handle's). */
void er_handle_log(struct errand *e, int level, const char *fmt, ...) ER_PRINTF(3, 4);

#endif
