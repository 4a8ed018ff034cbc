/* SPDX-License-Identifier: MIT */
/* liberrand: background tasks that are never lost, from a program of yours.
 *
 *     #include <errand.h>
 *
 *     static int
 *     resize(errand_attempt *a, void *ctx)             // does the work of one task
 *     {
 *         const char *path = errand_arg_text(a, "path");
 *         for (int i = 0; i < 100; i++) {
 *             if (errand_should_stop(a)) {
 *                 return ERRAND_STOPPED;               // cancelled, paused, too late
 *             }
 *             ...
 *             errand_progress_to(a, i + 1, 100, path);
 *         }
 *         return 0;
 *     }
 *
 *     int
 *     main(void)
 *     {
 *         errand *e;
 *         errand_error error;
 *         int64_t id;
 *         static const struct errand_param params[] = {
 *             {.name = "path", .kind = ERRAND_PARAM_PATH, .required = 1,
 *              .help = "the picture"},
 *         };
 *         struct errand_type type = ERRAND_INIT(errand_type);
 *         type.name = "image.resize";
 *         type.description = "makes a picture smaller";
 *         type.params = params;
 *         type.n_params = 1;
 *         type.handler = resize;
 *         const char *args = "{\"path\":\"/a.png\"}";
 *         if (errand_open("sqlite:/var/lib/app/tasks.db", NULL, &e, &error) != 0 ||
 *             errand_register(e, &type, &error) != 0 ||
 *             errand_submit(e, "image.resize", args, NULL, &id, &error) != 0) {
 *             fprintf(stderr, "%s\n", error.message);
 *             return 1;
 *         }
 *         printf("%d\n", errand_wait(e, id, -1, &error) == ERRAND_COMPLETED);
 *         errand_close(e);
 *     }
 *
 *     cc app.c $(pkg-config --cflags --libs errand) \
 *         -Wl,-rpath,$(pkg-config --variable=libdir errand)
 *
 * WHERE TASKS LIVE is said by the URL; all else is the same:
 *   unix:/path/errand.sock   a daemon (errandd), which is started when none answers (in a
 *                            folder that is there)
 *   NULL                     the user's own daemon
 *   sqlite:/path/tasks.db    store, engine and handlers inside this process, alone: a
 *                            second one is refused with the name of the owner
 *   memory:                  the same without a file: for tests, and for what need not
 *                            last
 *
 * THREADS. By default a handle has a thread of its own, and every function may be called
 * from any thread. With ERRAND_TURN there is none: poll errand_fd in your own event loop
 * and call errand_turn when it is readable; callbacks then come from inside errand_turn.
 * (Waiting for the disk, and handlers, are on threads of the library in both cases.) All
 * signals are blocked on threads of the library; it installs no handler, has no child
 * that your waitpid would see (unless yours is a subreaper or pid 1: docs/LIBRARY.md), no
 * global state, and never prints or exits.
 *   A function that blocks says so, and for how long. With ERRAND_TURN it turns the loop
 * itself meanwhile when called on the thread that turns, so that callbacks may come; from
 * inside a callback on that thread it is refused with ERRAND_EBUSY: use the function's
 * _async form there. Other handles of the same process are independent.
 *
 * RETURN VALUES. 0 (ERRAND_OK), or a negative code. Where a function takes `error` (or
 * NULL), it is filled in on failure: what was wrong, where, and what would be right. What
 * a function refuses has changed nothing, and what it would have given (*out ...) is
 * NULL.
 *   Any function that asks the store may return ERRAND_ENOMEM; ERRAND_EIO,
 * ERRAND_EDISKFULL or ERRAND_ECORRUPT (what the disk says); ERRAND_ECLOSED; ERRAND_EBUSY
 * (from inside a callback on the loop's thread). unix: also ERRAND_ENODAEMON (nobody
 * answers), ERRAND_EAUTH, and ERRAND_ETIMEOUT: somebody is there and has not answered in
 * time. Then it is not known whether what was asked for was done; with a key it may be
 * asked for again. The same holds for ERRAND_ECLOSED of what another thread was waiting
 * for when the handle was closed.
 *
 * TEXTS are UTF-8 and end with a NUL; JSON texts are whole documents. What you pass in is
 * copied; what comes out is yours to free with errand_free, unless it says "borrowed".
 * Times are milliseconds: spans, or since 1970 (UTC).
 *
 * STRUCTS THAT YOU FILL begin with their size, so that programs and libraries of
 * different versions understand each other: set up with ERRAND_INIT, zero means "the
 * default".
 *
 * The words (task, type, queue, attempt, run, fact, sample ...) are those of
 * docs/SEMANTICS.md, which also has the guarantees. A tutorial: docs/LIBRARY.md. (Where
 * the library was installed these are in share/doc/errand.) */
#ifndef ERRAND_H
#define ERRAND_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ERRAND_API __attribute__((visibility("default")))
#else
#define ERRAND_API
#endif

/* Version of this header: major * 10000 + minor * 100 + patch. */
#define ERRAND_VERSION 100

/* struct errand_options o = ERRAND_INIT(errand_options); */
/* clang-format off */
#ifdef __cplusplus
extern "C++" {
template <typename T>
inline T
errand_init_()
{
    T t = T();
    t.size = sizeof t;
    return t;
}
}
#define ERRAND_INIT(type) (errand_init_<struct type>())
#else
#define ERRAND_INIT(type) {.size = sizeof(struct type)}
#endif
/* clang-format on */

/* ---- codes and errors -------------------------------------------------------------- */

#define ERRAND_OK          0
#define ERRAND_ENOMEM      (-1)
#define ERRAND_EINVALID    (-2) /* wrong use of a function, or what was given does not fit */
#define ERRAND_ENOTFOUND   (-3) /* no such task, type, queue ... */
#define ERRAND_EEXISTS     (-4) /* the key, or the name, was used for something else */
#define ERRAND_ESTATE      (-5) /* the state of the task (or of the handle) forbids it */
#define ERRAND_ELOST       (-6) /* the attempt belongs to somebody else now */
#define ERRAND_EBUSY       (-7) /* somebody else has it, or not from inside a callback */
#define ERRAND_ETIMEOUT    (-8) /* the bound given was over */
#define ERRAND_ECANCELLED  (-9)
#define ERRAND_EIO         (-10) /* the daemon or the disk failed; nothing was done */
#define ERRAND_ECORRUPT    (-11) /* the store is damaged, or is none */
#define ERRAND_EFULL       (-12) /* a queue or another limit is full */
#define ERRAND_ETOOBIG     (-13)
#define ERRAND_ESCHEMA     (-14) /* the store was made by a newer version */
#define ERRAND_ECLOSED     (-15) /* the handle is being closed, the daemon shuts down */
#define ERRAND_EAUTH       (-16)
#define ERRAND_ENODAEMON   (-17) /* nobody answers at that socket */
#define ERRAND_EDISKFULL   (-18)
#define ERRAND_ETASKFAILED (-19) /* only as `code` in answers of errand_request */

/* The meaning of a code, never NULL; not to be freed. */
ERRAND_API const char *errand_strerror(int code);
/* The version of the library that is linked, as ERRAND_VERSION. */
ERRAND_API int errand_version(void);
/* Frees what a function of this library has returned; NULL is fine. */
ERRAND_API void errand_free(void *p);

/* What was wrong. Always filled in as a whole, also on success (code 0, empty texts). */
typedef struct errand_error {
    int code;          /* as the function returns it */
    char field[128];   /* the member, parameter or option that was wrong; "" = none */
    char message[512]; /* for people, without a full stop */
} errand_error;

/* ---- a handle ---------------------------------------------------------------------- */

typedef struct errand errand;

enum errand_threading {
    ERRAND_THREAD = 0, /* a thread of the library's own */
    ERRAND_TURN = 1,   /* none: errand_fd and errand_turn */
};

/* How loud: levels of the log function. */
enum errand_log_level {
    ERRAND_LOG_ERROR = 1,
    ERRAND_LOG_WARN,
    ERRAND_LOG_INFO,
    ERRAND_LOG_DEBUG
};
/* Gets what an operator should know (the disk is full, the daemon is gone). Any thread,
 * not two calls at a time; calls nothing of this library. text: borrowed. */
typedef void errand_log_fn(void *ctx, int level, const char *text);

struct errand_options {
    size_t size;
    int threading;       /* enum errand_threading */
    int handler_threads; /* handlers that run at once in this process, 1 to 1000; 0 = the
                          * number of cores. They are started when needed */
    int concurrency; /* sqlite:, memory: commands that run at once; 0 = number of cores */
    int no_autostart; /* unix: do not start a daemon when none answers */
    int no_commands;  /* sqlite:, memory: run handlers only, never start a process:
                       * errand_submit_command refuses */
    const char
        *worker; /* sqlite:, memory: the program errand-worker, which runs commands;
                          * NULL = the one installed with the library */
    const char
        *socket; /* sqlite:, memory: also answer at this socket, so that the command
                          * `errand tasks --socket PATH` sees this process's tasks; NULL =
                          * no */
    int64_t
        connect_ms; /* unix: how long a daemon may take to answer at first, one that has to be
                         * started too; 0 = 10 s */
    errand_log_fn *log; /* NULL = nobody is told */
    void *log_ctx;
    int test; /* memory: only; see "For tests of applications" */
    /* sqlite:, memory: a folder of types that are commands, NAME.yml each, as a daemon's
     * types.d (docs/SEMANTICS.md); NULL = none. It is read once. A file that is wrong is
     * told to `log` with its line, and changes nothing; one that is gone takes its type
     * along. */
    const char *types_dir;
    /* sqlite:, memory: what is kept of what has finished, by the names of a daemon's
     * configuration and within its bounds; 0 = the default (docs/LIBRARY.md), -1 = none
     * (not for facts; logs_max: no bound). It is looked at when a store is opened, and
     * after every 200 attempts that ended. */
    int64_t keep_finished;        /* so many of the newest finished tasks ... */
    int64_t keep_finished_for_ms; /* ... and all that finished less than this ago */
    int64_t tombstones_for_ms;    /* what became of a task that is gone */
    int64_t facts_max;            /* events, the newest ... */
    int64_t facts_for_ms;         /* ... and none older than this */
    int64_t logs_max;             /* bytes of output of finished tasks */
};

/* Opens by URL (see above). options: NULL = all defaults. *out is to be closed with
 * errand_close. Blocks: unix: at most connect_ms; sqlite: as long as it takes to read
 * what was going on. A store that is refused is left as it was found; one that is made is
 * readable by its user only (so are PATH.lock, PATH.logs/ and PATH.workers/ beside it).
 * error.field is "url", or the option that was wrong.
 * ERRAND_EINVALID (not such a URL, no file, a bad option), ERRAND_ENODAEMON, ERRAND_EBUSY
 * (the store has an owner, who is named, whatever name or link it was opened by),
 * ERRAND_ENOTFOUND (its folder does not exist), ERRAND_ECORRUPT (no store, or a damaged
 * one), ERRAND_ESCHEMA (a newer version's), ERRAND_EIO, ERRAND_EAUTH, ERRAND_ETIMEOUT. */
ERRAND_API int errand_open(const char *url, const struct errand_options *options,
                           errand **out, errand_error *error);

/* Closes; NULL is fine. No callback is running or comes when it returns. Subscriptions
 * end: those with a function are gone with the handle and are not to be used any more;
 * those that pull end as said at errand_pull, and each is still to be given to
 * errand_unsubscribe. Handlers that run are asked to stop (errand_should_stop:
 * ERRAND_STOP_SHUTDOWN) and waited for; their tasks, and commands of an embedded store,
 * go back to the queue at their checkpoints. Tasks of a daemon go on. Calls that wait on
 * other threads return ERRAND_ECLOSED; no other function may be called with the handle
 * from then on. From inside a handler or callback of the handle's it does nothing but say
 * so to the log function: the handle stays open, and is still to be closed. It waits for
 * handlers, however long they take to listen, for commands at most 7 s (then they are
 * killed), and not for a daemon that is being started: that one goes on. */
ERRAND_API void errand_close(errand *e);

/* With ERRAND_TURN: a descriptor to be polled for reading; it stays the library's. -1
 * with ERRAND_THREAD. */
ERRAND_API int errand_fd(const errand *e);
/* Does what there is to do, without waiting, and calls callbacks. From one thread
 * at a time. While nobody turns nothing happens: blocking functions on other threads
 * wait. ERRAND_EINVALID with ERRAND_THREAD; ERRAND_EBUSY, at once and with nothing done:
 * from inside a callback or handler of the handle's, or while another thread turns it (or
 * blocks in a function that does). */
ERRAND_API int errand_turn(errand *e);

/* ---- submitting -------------------------------------------------------------------- */

/* What holds for one task; zero (or NULL) = as the type says, or docs/SEMANTICS.md
 * ("Bounds") have it. A member in `more` wins over the same one here. */
struct errand_submit_options {
    size_t size;
    const char *name;  /* for people */
    const char *queue; /* NULL = "default" */
    const char *key;   /* idempotency: a second submit with it returns the first task */
    const char *limit_key;
    const char *correlation; /* NULL = the parent's, or a new one */
    int64_t parent;          /* the task that submits this one; 0 = none */
    int priority;            /* -1000 to 1000, higher = sooner */
    int has_retries, retries;
    int64_t delay_ms;   /* not before that long from now */
    int64_t timeout_ms; /* longest run */
    int64_t expires_ms; /* longest wait for the first start */
    int64_t cost;       /* what it takes of rates that count costs; 0 = 1 */
    int held;           /* starts paused */
    /* Waits until these have completed. When one of them fails or is cancelled, or has
     * been so before the submit, this one is cancelled, and so is what waits for it. To
     * start whatever they come to: more = {"after":[{"id":41,"when":"any"}]}; "fail":
     * when it has failed. */
    const int64_t *after;
    size_t n_after;
    const char *const *tags; /* ends with NULL */
    const char *more;        /* a JSON object with any other members of POST /v1/tasks
                       * (docs/PROTOCOL.md), or the same ones said otherwise */
    int64_t backoff_ms;      /* before the first retry */
    int64_t heartbeat_ms;    /* longest silence (no output, no progress) */
    int64_t grace_ms;        /* from being asked to stop to being killed */
    const char *on_lost;     /* "run", "fail" or "hold" */
};

/* Submits a task of that type and returns when it is on disk (memory: when it is taken
 * in); *out_id is its id. args: a JSON object, NULL = {}. Arguments are checked against
 * the type's parameters. Blocks for at most 30 s; a submit whose answer was lost is asked
 * for again under a key of its own, so that it is stored once.
 * ERRAND_ENOTFOUND (no such type; a similar one is named), ERRAND_EINVALID (field names
 * the argument), ERRAND_EEXISTS (key), ERRAND_EFULL, ERRAND_EIO, ERRAND_ENODAEMON. */
ERRAND_API int errand_submit(errand *e, const char *type, const char *args,
                             const struct errand_submit_options *options, int64_t *out_id,
                             errand_error *error);
/* The same for a command: argv ends with NULL. cwd NULL = the current folder. It gets
 * this process's environment (without what looks like a secret) when it has a daemon to
 * go to; embedded commands as well. ERRAND_EINVALID also where options.no_commands was
 * given to errand_open. */
ERRAND_API int errand_submit_command(errand *e, const char *const *argv, const char *cwd,
                                     const struct errand_submit_options *options,
                                     int64_t *out_id, errand_error *error);
/* n tasks in one commit; documents: JSON objects as of POST /v1/tasks. With `atomic` all
 * or none. ids and codes: arrays of n, codes may be NULL only when atomic. Returns 0 when
 * all were stored, or the code of the first that was not (error says which: "entry 3:
 * ...", counted from 0). */
ERRAND_API int errand_submit_many(errand *e, const char *const *documents, size_t n,
                                  int atomic, int64_t *ids, int *codes,
                                  errand_error *error);

/* Arguments as JSON from pairs of name and text, ended by NULL:
 *     char *args = errand_args("path", path, "depth", "3", NULL);
 * Texts become what the type's parameter is when it is submitted with them ("3" a number,
 * "yes" a truth, "1h30m" a duration, "a,b" two strings, an object as JSON). What comes
 * back is
 *     {"$text": {"path": "...", "depth": "3"}}
 * to be given as `args` to errand_submit, errand_call and their like, as `args` of a
 * document to errand_submit_many, and to errand_outbox_add; a program may write the same
 * itself: the one member "$text", an object of texts. A text that is NULL or not UTF-8
 * gives {"$text": "why"}, which all of these refuse with ERRAND_EINVALID, field "args"
 * (errand_submit_many: "args_text"). NULL: no memory; to be looked for, since NULL is {}
 * to a submit. Yours to free. */
ERRAND_API char *errand_args(const char *name, ...);

/* The forms that end with _async return at once, 0 or a code as the form without would
 * (arguments that are wrong, no memory). After 0 `done` is called exactly once: on the
 * library's thread or in errand_turn, never from inside the call that was given it; when
 * the handle is closed meanwhile with ERRAND_ECLOSED, before errand_close returns. After
 * a code it is never called. It must not block (ERRAND_EBUSY), but may use the _async
 * forms. */

/* How a submit ended: code 0 and the id, or what errand_submit would return. error:
 * borrowed, NULL when code is 0. */
typedef void errand_submitted_fn(void *ctx, int code, int64_t id,
                                 const errand_error *error);
/* errand_submit without waiting; see above for `done`. */
ERRAND_API int errand_submit_async(errand *e, const char *type, const char *args,
                                   const struct errand_submit_options *options,
                                   errand_submitted_fn *done, void *ctx,
                                   errand_error *error);

/* ---- looking and acting ------------------------------------------------------------ */

/* Where a task is. The numbers are part of the interface. */
enum errand_state {
    ERRAND_QUEUED = 0,
    ERRAND_SCHEDULED = 1,
    ERRAND_BLOCKED = 2,
    ERRAND_RUNNING = 3,
    ERRAND_PAUSED = 4,
    ERRAND_COMPLETED = 5,
    ERRAND_FAILED = 6,
    ERRAND_CANCELLED = 7,
};
/* "queued" ... "cancelled"; NULL for another number. */
ERRAND_API const char *errand_state_word(int state);

/* All of these block for at most 30 s (errand_wait: as it is told), may be called from
 * any thread, and return 0 or a code; `error` says more. ERRAND_ENOTFOUND: no such task.
 * Texts that they give are yours to free. */

/* The task as JSON (docs/PROTOCOL.md, "GET /v1/tasks/{id}"). */
ERRAND_API int errand_get(errand *e, int64_t id, char **out_json, errand_error *error);
/* Its state (0 or more: enum errand_state), or a negative code. */
ERRAND_API int errand_state(errand *e, int64_t id, errand_error *error);
/* The result's own bytes; *out ends with a NUL that *out_len (or NULL) does not count.
 * ERRAND_ENOTFOUND: no such task, or it has no result. */
ERRAND_API int errand_result(errand *e, int64_t id, char **out, size_t *out_len,
                             errand_error *error);
/* Why it does not run (or how it has ended), in one sentence. */
ERRAND_API int errand_why(errand *e, int64_t id, char **out, errand_error *error);

/* The id of the task that was submitted with this idempotency key, in *out_id; 0 with a
 * code. ERRAND_ENOTFOUND: none was, or it is removed (its key may be held for some time
 * more: docs/SEMANTICS.md). ERRAND_EINVALID: key is NULL, empty, or longer than 1,000
 * bytes. */
ERRAND_API int errand_find_key(errand *e, const char *key, int64_t *out_id,
                               errand_error *error);

/* Waits until the task is final, at most timeout_ms (negative: for ever). Returns
 * ERRAND_COMPLETED, ERRAND_FAILED or ERRAND_CANCELLED; ERRAND_ETIMEOUT, ERRAND_ENOTFOUND,
 * ERRAND_ECLOSED. Blocks. A daemon that goes and comes back is waited for. */
ERRAND_API int errand_wait(errand *e, int64_t id, int64_t timeout_ms,
                           errand_error *error);

/* Cancels: what waits is cancelled when this returns, what runs is being ended.
 * ERRAND_ESTATE: it is final. */
ERRAND_API int errand_cancel(errand *e, int64_t id, errand_error *error);
/* Pauses what waits (it is held when this returns) or runs: a handler is asked to stop
 * and goes back to its checkpoint, a command is stopped where it is; for both this
 * returns when the request was taken, and errand_state tells when it has happened. What
 * is paused already stays so (0). ERRAND_ESTATE: it is final, or is being cancelled or
 * ended. */
ERRAND_API int errand_pause(errand *e, int64_t id, errand_error *error);
/* Undoes a pause, and ends the pause of a rate limit before its time; 0 also when there
 * was none. ERRAND_ESTATE: it is final, or ends just now. */
ERRAND_API int errand_resume(errand *e, int64_t id, errand_error *error);
/* Runs a finished task again: a new run with a fresh budget of retries, under the same
 * id. ERRAND_ESTATE: it is not final. */
ERRAND_API int errand_retry(errand *e, int64_t id, errand_error *error);
/* Forgets a finished task with its output. ERRAND_ESTATE: it is not final. */
ERRAND_API int errand_remove(errand *e, int64_t id, errand_error *error);

/* Any request of docs/PROTOCOL.md: lists, queues, limits, statistics ... The answer's
 * status (200 ...) is returned, or a negative code when there was none; the body is in
 * *out (also that of a refusal, which is JSON with `code`, `field` and `detail`). body
 * NULL = none. ERRAND_EINVALID: one that is answered by a stream (/v1/events without
 * format=ndjson, a log with `follow`, /v1/work/claim), or a target that is none. Blocks
 * for at most 30 s beyond what the request itself waits for. Also ERRAND_ETIMEOUT then,
 * and what stands under RETURN VALUES. out, out_len: NULL where they do not matter; what
 * comes is yours to free, and ends with a NUL that *out_len does not count. body is
 * copied, at most 300 MiB; an answer has at most 64 MiB (ERRAND_ETOOBIG). */
ERRAND_API int errand_request(errand *e, const char *method, const char *target,
                              const char *body, size_t len, char **out, size_t *out_len,
                              errand_error *error);
/* status: as errand_request returns it; body ends with a NUL, and is borrowed as error
 * is. */
typedef void errand_answer_fn(void *ctx, int status, const char *body, size_t len,
                              const errand_error *error);
/* errand_request without waiting: `done` exactly once, as said at errand_submit_async. */
ERRAND_API int errand_request_async(errand *e, const char *method, const char *target,
                                    const char *body, size_t len, errand_answer_fn *done,
                                    void *ctx, errand_error *error);

/* ---- calls ------------------------------------------------------------------------- */

/* A call is a task with a deadline for the answer. Within the budget (2 s, the wait in
 * the queue included) it is answered like any function call; past it the same running
 * attempt goes on in the background, once, and the caller has its id. When it is known
 * that the type takes longer than the budget, the caller does not wait for nothing. */

/* Of replies only: it goes on, see task. (No state: there 1 is ERRAND_SCHEDULED.) */
#define ERRAND_BACKGROUND 1

struct errand_call_options {
    size_t size;
    int64_t budget_ms; /* 0 = 2 s; at most 1 h */
    int immediate;     /* to the background at once */
    int always_wait;   /* use the whole budget even if it is known not to suffice */
    /* NULL = defaults. All of a submit's but what puts the start off on purpose:
     * delay_ms, held, and run_at or ref in `more` are refused by name. What it waits for
     * (after) is part of the budget. */
    const struct errand_submit_options *submit;
};
struct errand_reply {
    int state; /* ERRAND_COMPLETED, _FAILED, _CANCELLED, or ERRAND_BACKGROUND */
    int64_t task;
    char *result; /* completed: the handler's own bytes, NUL behind them; NULL = none */
    size_t len;
    char *error;       /* failed or cancelled: the task's error as JSON, or NULL */
    double expected_s; /* how long the type is known to take; negative = unknown */
};
/* Returns reply->state, or a negative code when nothing was submitted (as errand_submit).
 * But with ERRAND_ECLOSED the task may be there: the handle was closed while it waited.
 * The reply is to be given to errand_reply_free. Blocks for the budget; a caller that
 * goes away loses nothing. unix: for at most 5 s more when the daemon does not answer
 * (ERRAND_ETIMEOUT: it is not known whether the task was submitted). */
ERRAND_API int errand_call(errand *e, const char *type, const char *args,
                           const struct errand_call_options *options,
                           struct errand_reply *reply, errand_error *error);
/* Frees what a reply holds and empties it; not the struct, which is yours. NULL, an empty
 * one, or one that errand_call has refused with a code are fine. */
ERRAND_API void errand_reply_free(struct errand_reply *reply);
/* code: as errand_call returns it. reply is borrowed, NULL when code is negative. */
typedef void errand_reply_fn(void *ctx, int code, const struct errand_reply *reply,
                             const errand_error *error);
/* errand_call without blocking: `done` exactly once, as said at errand_submit_async, when
 * the answer is there or the budget is over. */
ERRAND_API int errand_call_async(errand *e, const char *type, const char *args,
                                 const struct errand_call_options *options,
                                 errand_reply_fn *done, void *ctx, errand_error *error);

/* ---- the registry ------------------------------------------------------------------ */

enum errand_param_kind {
    ERRAND_PARAM_STRING = 1,
    ERRAND_PARAM_INTEGER,
    ERRAND_PARAM_NUMBER,
    ERRAND_PARAM_BOOLEAN,
    ERRAND_PARAM_PATH, /* a string that names a file; relative ones are the task's cwd's */
    ERRAND_PARAM_URL,  /* scheme://... */
    ERRAND_PARAM_DURATION, /* "1h30m", or a number of seconds; the handler gets seconds */
    ERRAND_PARAM_STRINGS,  /* an array of strings */
    ERRAND_PARAM_OBJECT,   /* any JSON object */
};

/* One parameter of a type. */
struct errand_param {
    const char *name; /* letters, digits, _ and -; begins with a letter */
    enum errand_param_kind kind;
    int required;
    const char *
        def; /* default as JSON ("3", "\"a\"", "true"), which must be a value that could be
               * given; NULL = none ("null" is refused). Not with required or secret */
    int has_min, has_max;
    /* Of numbers and durations (seconds); of the length of strings (characters) and
     * arrays. */
    double min, max;
    const char
        *pattern; /* a regular expression (PCRE2) that must match somewhere: ^...$ for
                          * the whole of it */
    const char *const
        *choices;     /* the only strings that are allowed, ended by NULL; or NULL */
    int secret;       /* shown as "***" wherever arguments are shown; has no default */
    const char *help; /* one line */
    const void *reserved[4]; /* zero */
};

/* One attempt at a task, as its handler sees it; lives as long as the handler's call. Its
 * functions may be called from any thread of the handler's. */
typedef struct errand_attempt errand_attempt;

/* Does the work of one attempt. Returns 0 (it is completed), ERRAND_STOPPED (it has
 * stopped as errand_should_stop asked), or what errand_fail or errand_rate_limited
 * returned. Any other value is a failure that may be retried. On a thread of the
 * library's, several at a time. Nobody can kill a thread: a handler in this process that
 * goes on after it was asked to stop keeps its thread, and its task stays running; after
 * the grace options.log is told so, and the task's warnings say it once it has returned.
 * It ends by returning: with pthread_exit or longjmp its task would stay running and
 * errand_close wait for ever, and a C++ exception is to be caught inside.
 * What might not listen belongs into a process of its own (errand_worker_main). */
typedef int errand_handler_fn(errand_attempt *a, void *ctx);

#define ERRAND_STOPPED 1000

struct errand_type {
    size_t size;
    const char *name;                  /* letters, digits and . _ -, the first no . or -;
                                        * at most 100 bytes */
    const char *description;           /* one line, required */
    const struct errand_param *params; /* NULL = any object will do as arguments */
    size_t n_params;                   /* 0 with params = it takes no arguments */
    errand_handler_fn *handler; /* NULL: definition only, its tasks wait for a worker */
    void *ctx;                  /* for the handler */
    int64_t timeout_ms;         /* longest run; 0 = 30 min, negative = none */
    int64_t heartbeat_ms;       /* longest silence; 0 = none */
    int has_retries, retries;   /* not said = 2 */
    int64_t backoff_ms;         /* before the first retry; 0 = 1 s */
    int concurrency;            /* tasks of it at once, of all workers; 0 = no limit */
    int64_t expected_ms; /* how long it takes, until it is known better; 0 = unknown */
    int idempotent;      /* running it twice does no harm: a lost attempt is run again.
                          * Otherwise too, unless on_lost says so */
    const char *on_lost; /* "run" (default), "fail" or "hold" */
    const char *more;    /* a JSON object with other members (docs/PROTOCOL.md,
                          * "Types") */
};

/* Registers a type: its definition is kept in the store (so that submits after a restart
 * need no worker), and when it has a handler, tasks of it run in this process from now
 * on. The same again is fine, from several processes too. A different definition under a
 * name replaces the one before when this handle's handler is the only one there is, or
 * nobody has one, and is refused with ERRAND_EEXISTS, error.field the member that
 * differs, while others serve it (another handle of this process, too).
 * ERRAND_EINVALID: error.field names what is missing or contradictory
 * ("params.depth.def"). ERRAND_EEXISTS, too: a handler for a name that is built in
 * (shell, sleep ...). Blocks for at most 30 s. */
ERRAND_API int errand_register(errand *e, const struct errand_type *type,
                               errand_error *error);
/* Registers a function that exists already: it gets the arguments as JSON and gives back
 * a reply from malloc, which becomes the result; a return value other than 0 fails the
 * task for good, with the reply as its message. It cannot be asked to stop. type->handler
 * and type->ctx are not used. */
typedef int errand_blocking_fn(const char *request, char **reply);
ERRAND_API int errand_register_blocking(errand *e, const struct errand_type *type,
                                        errand_blocking_fn *fn, errand_error *error);
/* This process takes no more tasks of that type; those that run go on. The definition
 * stays. Blocks for at most 30 s. ERRAND_ENOTFOUND: this handle has no handler of that
 * name. */
ERRAND_API int errand_unregister(errand *e, const char *name, errand_error *error);
/* A type's definition as JSON, its parameters as JSON Schema inside (docs/PROTOCOL.md,
 * "Types"); name NULL: all. Yours to free. Blocks for at most 30 s. ERRAND_ENOTFOUND. */
ERRAND_API int errand_types(errand *e, const char *name, char **out_json,
                            errand_error *error);

/* ---- inside a handler -------------------------------------------------------------- */

/* Of any thread of the handler's, until it returns. None of them fails; texts are
 * borrowed for the attempt. */
ERRAND_API int64_t errand_attempt_task(const errand_attempt *a);
ERRAND_API int errand_attempt_number(const errand_attempt *a); /* 1 = the first */
ERRAND_API const char *errand_attempt_type(const errand_attempt *a);
ERRAND_API const char *errand_attempt_correlation(const errand_attempt *a);
/* The handle to submit further tasks with (options.parent = errand_attempt_task(a)). In a
 * worker process it is a client of the daemon, opened at the first call; NULL: it cannot
 * be. A handler that waits with it (errand_wait, errand_call) keeps its thread: where
 * this process also runs what it waits for, a thread must be left for that
 * (options.handler_threads), or it waits until the handle is closed (ERRAND_ECLOSED).
 * While it waits it does not see that it is to stop: wait in steps. */
ERRAND_API errand *errand_attempt_handle(errand_attempt *a);

/* Arguments, checked and with defaults filled in. Borrowed for the attempt. A name that
 * is absent, or has a value of another kind, gives `absent` (texts: NULL). */
ERRAND_API const char *errand_attempt_args(const errand_attempt *a); /* all, as JSON */
ERRAND_API const char *errand_arg_text(const errand_attempt *a,
                                       const char *name); /* NULL = absent */
ERRAND_API int64_t errand_arg_integer(const errand_attempt *a, const char *name,
                                      int64_t absent);
ERRAND_API double errand_arg_number(const errand_attempt *a, const char *name,
                                    double absent);
ERRAND_API int errand_arg_boolean(const errand_attempt *a, const char *name, int absent);
/* The n-th of an array of strings; NULL = no more. */
ERRAND_API const char *errand_arg_item(const errand_attempt *a, const char *name,
                                       size_t n);

/* Why the attempt is to stop, or 0. Cheap: to be asked in every turn of a loop. */
enum errand_stop {
    ERRAND_STOP_CANCEL = 1,
    ERRAND_STOP_PAUSE = 2,
    ERRAND_STOP_TIMEOUT = 3,
    ERRAND_STOP_SHUTDOWN = 4, /* it goes back to the queue, to its checkpoint */
    ERRAND_STOP_LOST = 5, /* it is not ours any more: what it reports is thrown away */
};
ERRAND_API int errand_should_stop(const errand_attempt *a);
/* A descriptor that becomes readable when it is to stop, and stays so; the library's. -1
 * when there is none to be had. */
ERRAND_API int errand_stop_fd(errand_attempt *a);
/* Sleeps for ms milliseconds (0 or less: not at all); returns what errand_should_stop
 * says, at once when it is to stop. */
ERRAND_API int errand_sleep(errand_attempt *a, int64_t ms);

/* Where it is: `current` of `total` (0 = unknown), and at which item (NULL = none). Rate,
 * percent and time left are worked out by the library; calls as often as you like cost
 * little: at most 10 a second go out, the last one always. */
ERRAND_API void errand_progress_to(errand_attempt *a, int64_t current, int64_t total,
                                   const char *item);
struct errand_progress {
    size_t size;
    int has_percent;
    double percent; /* 0 to 100; when not said: of current and total */
    int64_t current, total;
    const char *unit, *item, *message;
};
ERRAND_API void errand_progress_report(errand_attempt *a,
                                       const struct errand_progress *p);

/* An item has ended; kept one by one, so that a later attempt need not repeat it. name: 1
 * to 1,000 bytes of UTF-8. Blocks while more than 32 MiB of them are on their way.
 * ERRAND_EINVALID (the name), ERRAND_ENOMEM, ERRAND_EIO (a process of its own: its worker
 * is gone). */
ERRAND_API int errand_item(errand_attempt *a, const char *name, int failed);
/* 1 when an earlier attempt has completed that item, else 0 (also without memory: it is
 * then done again). */
ERRAND_API int errand_item_is_done(errand_attempt *a, const char *name);
/* Where to go on: a JSON text that the next attempt gets; the latest counts.
 * ERRAND_EINVALID: no JSON; ERRAND_ETOOBIG: more than 64 KiB without blanks and with all
 * digits (0.1 is written as 0.10000000000000001): then the one before stays.
 * ERRAND_ENOMEM, ERRAND_EIO (a process of its own). */
ERRAND_API int errand_checkpoint(errand_attempt *a, const char *json);
/* What an earlier attempt has left; NULL = begin at the beginning. Borrowed. */
ERRAND_API const char *errand_checkpoint_get(const errand_attempt *a);
/* What the tasks that it waited for (options.after) came to: a JSON object by their ids,
 *     {"41": {"state": "completed", "exit_code": 0, "result": ..., "result_bytes": 12}}
 * {} when there were none. A result is JSON when its bytes are, else a string, else
 * {"base64": "..."}. Those beyond 16 MiB in all are null, but their result_bytes is not:
 * errand_result(errand_attempt_handle(a), 41, ...) reads them. Borrowed for the attempt.
 * NULL: no memory, or (in a process of its own) it could not be read. */
ERRAND_API const char *errand_after_results(errand_attempt *a);
/* Adds to the task's output (errand log), whatever bytes; outputf formats as printf does,
 * of any length. The first 8 MiB and the last 8 MiB of an attempt's are kept
 * (docs/SEMANTICS.md, "Bounds"). May block for the disk. ERRAND_EINVALID (NULL, a format
 * that is none), ERRAND_ENOMEM, ERRAND_EIO or ERRAND_EDISKFULL: it cannot be written, and
 * is lost; the attempt may go on. */
ERRAND_API int errand_output(errand_attempt *a, const void *bytes, size_t len);
ERRAND_API int errand_outputf(errand_attempt *a, const char *fmt, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;
/* The result, whatever bytes, at most 16 MiB; the last call counts. ERRAND_EINVALID
 * (NULL), ERRAND_ENOMEM: the one before stays; ERRAND_ETOOBIG: likewise, but a handler
 * that then returns 0 (or that code) without having set another fails: fatal, code
 * too-big. */
ERRAND_API int errand_result_set(errand_attempt *a, const void *bytes, size_t len);

/* Classes of errors. */
enum errand_class {
    ERRAND_RETRYABLE = 1,       /* may go well another time */
    ERRAND_FATAL = 2,           /* will never */
    ERRAND_USER_ACTIONABLE = 3, /* a person must do something first: action says what */
};
/* Says why it failed; to be returned by the handler: return errand_fail(...). code: a
 * word for programs ("no-route"), message and action for people; action NULL = none.
 * Cut at 100 bytes (code) and 2,000 (the others). Another class than these is a mistake:
 * it fails for good, with the code "bad-class". */
ERRAND_API int errand_fail(errand_attempt *a, enum errand_class cls, const char *code,
                           const char *message, const char *action);
/* The other side has asked to come back later: the task is paused and goes on by itself
 * after that long (negative: 60 s). Spends no failure. To be returned by the handler. */
ERRAND_API int errand_rate_limited(errand_attempt *a, int64_t retry_after_ms);

/* ---- workers: handlers in processes of their own ----------------------------------- */

/* The whole main of a program that serves types to a daemon; its own threads and signals
 * are the library's. The daemon's worker starts it for each attempt, so that a crash, a
 * leak or kill -9 is that attempt's alone.
 *     PROGRAM register [--socket PATH]   tells the daemon of the types, and of itself
 *     PROGRAM types                      prints their definitions, one JSON object a line
 *     PROGRAM run TYPE                   started by errand-worker
 *     PROGRAM try TYPE [KEY=VALUE...]    runs a handler here and now, without a daemon
 * Returns what main should return. */
ERRAND_API int errand_worker_main(int argc, char **argv, const struct errand_type *types,
                                  size_t n_types);

/* ---- the event bus ----------------------------------------------------------------- */

/* Facts are numbered and durable; samples (progress, output grew, a program's passing
 * topics) are not. Names of tasks' events and what their data are: docs/PROTOCOL.md,
 * "Events and their data"; a program's own topics are any other name with a dot in it
 * ("import.page"). */
enum errand_event_kind {
    ERRAND_FACT = 1,
    ERRAND_SAMPLE = 2,
    ERRAND_GAP = 4,    /* the facts `from` to `to` are gone */
    ERRAND_MISSED = 8, /* `to` samples were dropped */
};
typedef struct errand_event {
    const char *name;
    int kind;                /* enum errand_event_kind */
    int64_t seq;             /* a fact's number; else 0 */
    int64_t task;            /* 0 = of no task */
    const char *correlation; /* NULL = none */
    const void *data;        /* tasks' events: the event's whole JSON object;
                              * topics: the bytes that were published */
    size_t len;
    int64_t from, to;
} errand_event;

/* Publishes an event of a topic. A sample is delivered to subscribers of this process at
 * once (unix: and through the daemon to all); a fact (ERRAND_FACT) is first made durable,
 * and gets its number then: blocks for at most 30 s. What names no
 * correlation gets the task's: a fact that of its task; what is published on a handler's
 * thread, of its task or of none, that of the handler's task. task,
 * correlation, name, data and len count: name and correlation of at most 1,000 bytes,
 * data of 1 MiB, that of facts UTF-8 (as JSON, so quotes count when it is a text). Any
 * thread, callbacks included (samples).
 * ERRAND_EINVALID (no topic's name), ERRAND_ETOOBIG, ERRAND_EIO. */
ERRAND_API int errand_publish(errand *e, const errand_event *event, errand_error *error);

enum errand_delivery {
    ERRAND_ON_THREAD = 0, /* fn, on a thread of its own: may block */
    ERRAND_ON_LOOP, /* fn, on the library's thread, or in errand_turn: must not block */
    ERRAND_INLINE,  /* fn, on the publisher's thread: must not block */
    ERRAND_PULL,    /* no fn: errand_pull, errand_subscription_fd */
};
typedef struct errand_subscription errand_subscription;
/* event: borrowed for the call. It may subscribe, unsubscribe (itself too) and publish
 * samples. */
typedef void errand_event_fn(void *ctx, errand_subscription *sub,
                             const errand_event *event);

struct errand_subscribe_options {
    size_t size;
    unsigned kinds;           /* ERRAND_FACT | ERRAND_SAMPLE; 0 = both */
    const char *const *names; /* only these, ended by NULL ... */
    const char *prefix; /* ... and those that begin so ("import."); both NULL = all */
    int64_t task;       /* 0 = any */
    const char *correlation;
    int delivery;  /* enum errand_delivery */
    size_t buffer; /* bytes; 0 = 64 KiB. When it is full samples are coalesced and facts
                        * read again later. 1,024 to 1 GiB */
    int resume;    /* facts from the past first: those behind number `since` ... */
    int64_t since;
    const char
        *cursor; /* ... or behind where this named cursor was left; kept in the store,
                         * one subscriber at a time. 1 to 1,000 bytes, no slash */
    void (*ended)(void *ctx); /* fn will never be called again; NULL = not told */
};
/* Facts are delivered from the moment it returns; with a cursor that is new, to the next
 * one who subscribes with it if not to this one: it is stored before this returns, at the
 * latest fact (resume: at `since`). ERRAND_EINVALID, ERRAND_EBUSY (the cursor is in use
 * by another subscription of the handle); of a cursor also what a request may return. */
ERRAND_API int errand_subscribe(errand *e, const struct errand_subscribe_options *options,
                                errand_event_fn *fn, void *ctx, errand_subscription **out,
                                errand_error *error);
/* When it returns, fn is not running (unless called from inside it) and never called
 * again, and sub is gone. NULL is fine. Before errand_close; ERRAND_PULL: also after it,
 * and not while another thread is inside errand_pull with it. */
ERRAND_API void errand_unsubscribe(errand_subscription *sub);
/* ERRAND_PULL: a descriptor that is readable while there is something to pull, and the
 * next event: 1 and *out, borrowed until the next pull or errand_unsubscribe; 0 = none
 * now; or a code. Once the handle is being closed (by whichever thread, who need not wait
 * for the one that pulls) the descriptor is readable for good and errand_pull returns
 * ERRAND_ECLOSED; what was pulled last stays, and so does the subscription until
 * errand_unsubscribe frees it, before errand_close or after. */
ERRAND_API int errand_subscription_fd(const errand_subscription *sub);
ERRAND_API int errand_pull(errand_subscription *sub, const errand_event **out);

struct errand_bus_stats {
    size_t size;
    int64_t published, delivered, coalesced, reread, gaps, missed;
    int64_t lag; /* waiting to be delivered now */
};
/* Fills in *out, of one subscription, or (NULL) of all of the handle. Any thread; cannot
 * fail. */
ERRAND_API void errand_bus_metrics(errand *e, const errand_subscription *sub,
                                   struct errand_bus_stats *out);

/* ---- for tests of applications ----------------------------------------------------- */

/* memory: with options.test. */
enum errand_test_mode {
    /* Time stands still, and moves by errand_test_advance only: delays, backoffs, rates,
     * timeouts, errand_sleep. Backoffs are not spread at random. */
    ERRAND_TEST_CLOCK = 1,
    /* A submit runs its handler at once, on the caller's thread, and returns when the
     * task is final or waits for something. errand_sleep then moves the clock (with
     * ERRAND_TEST_CLOCK) by itself, handlers being one after the other. */
    ERRAND_TEST_INLINE = 2,
    /* Nothing is run: for tests of what was submitted. Not with ERRAND_TEST_INLINE. */
    ERRAND_TEST_HOLD = 4,
};
/* Moves the clock; what becomes due has run when it returns, in the order of time. 0;
 * ERRAND_EINVALID (no such handle, ms below 0); ERRAND_EBUSY (from inside a callback). */
ERRAND_API int errand_test_advance(errand *e, int64_t ms, errand_error *error);
/* Waits until nothing runs and nothing could run now. Returns how many tasks are not
 * final. */
ERRAND_API int64_t errand_test_settle(errand *e, errand_error *error);
/* How many tasks of that type (NULL = any) were submitted whose arguments contain the
 * members of `args` (a JSON object, whose objects are looked into likewise; NULL =
 * whatever); the id of the latest in *out_id. */
ERRAND_API int64_t errand_test_submitted(errand *e, const char *type, const char *args,
                                         int64_t *out_id, errand_error *error);

#ifdef __cplusplus
}
#endif

#endif
