/* SPDX-License-Identifier: MIT */
/* What a handler sees of its attempt: the functions of errand.h, "inside a handler".
 *
 * The attempt keeps what the handler says about the end (result, error) until it returns.
 * What cannot wait goes through operations (struct er_attempt_ops): to the session of
 * this process (handlers.c), or to the progress descriptor of a process of its own
 * (main.c). What is said of progress is merged here until they take it
 * (er_attempt_take_news): a handler may say it a million times a second.
 *
 * Functions of errand.h may be called from any of the handler's threads; the er_attempt_*
 * ones say who calls them. Failure modes: no memory (ERRAND_ENOMEM; what was said is as
 * if not said), and no descriptor for errand_stop_fd (-1; errand_sleep then looks every
 * 20 ms). */
#ifndef ER_LIB_ATTEMPT_H
#define ER_LIB_ATTEMPT_H

#include <errand.h>
#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/count.h"
#include "base/lock.h"
#include "model/progress.h"
#include "model/task.h"

/* All but `sleep` are called on threads of the handler's, without the attempt's lock. */
struct er_attempt_ops {
    /* An item has ended, a checkpoint was given (compact JSON), output was written. */
    int (*item)(struct errand_attempt *a, const char *name, bool failed);
    int (*checkpoint)(struct errand_attempt *a, const char *json);
    int (*output)(struct errand_attempt *a, const void *p, size_t n);
    /* There is news of its progress, and there was none. */
    void (*news)(struct errand_attempt *a);
    errand *(*handle)(struct errand_attempt *a);
    /* What it waited for (errand_after_results), borrowed for the attempt; NULL = not to
     * be had. No function: it waited for nothing. */
    const char *(*after)(struct errand_attempt *a);
    /* Sleeps by the owner's own clock, or until it is to stop; NULL = by the system's. */
    void (*sleep)(struct errand_attempt *a, int64_t ms);
};

/* What was said of progress since it was last taken. Texts are cut, not cleaned. */
struct er_attempt_news {
    bool any;
    bool has_percent, has_current, has_total;
    bool has_unit, has_item, has_message;
    double percent;
    int64_t current, total;
    char unit[4 * ER_PROGRESS_UNIT];
    char item[2 * ER_PROGRESS_TEXT];
    char message[2 * ER_PROGRESS_TEXT];
};

/* How it failed, as errand_fail or errand_rate_limited said. */
struct er_attempt_fault {
    int returned; /* what the handler must return for it to count; 0 = nothing was said */
    int cls;      /* enum errand_class; 0 = rate limited */
    int64_t retry_after_ms;
    char *code, *message, *action; /* NULL = not said, or no memory for it */
};

struct errand_attempt {
    const struct er_attempt_ops *ops;
    const struct er_clock *clock;
    /* from its order; texts are borrowed from it */
    json_t *order;
    er_task_id task;
    int number;
    const char *type, *correlation; /* "" = none */
    const json_t *args;             /* an object */
    const json_t *left;             /* a checkpoint; NULL = none */

    struct er_count stop;     /* enum errand_stop */
    struct er_count alive_at; /* when it last said something; the clock's mono */

    struct er_lock lock; /* of all below */
    int stop_fd;         /* -1 until somebody wants it */
    char *args_json, *left_json;
    char *done;         /* names of completed items, a line each; NULL = none */
    const char **names; /* the same, in order; made at the first question */
    size_t n_names;
    bool names_made;
    struct er_attempt_news news;
    void *result; /* NULL = none */
    size_t result_len;
    bool result_lost; /* the last one was too large */
    struct er_attempt_fault fault;
};

/* Makes an attempt of its order (the `run` object, docs/PROTOCOL.md "Workers"; a
 * reference is kept). done: names of the items that earlier attempts have completed, a
 * line each, taken over, or NULL. ER_EINVALID: the order has no task, attempt or type. */
int er_attempt_open(struct errand_attempt *a, json_t *order, char *done,
                    const struct er_attempt_ops *ops,
                    const struct er_clock *clock) ER_MUSTCHECK;
/* Frees what is in it. The handler has returned, and so have its threads. */
void er_attempt_close(struct errand_attempt *a);

/* Asks it to stop (any thread). The first reason stays, but that it is lost. */
void er_attempt_ask_stop(struct errand_attempt *a, enum errand_stop why);
/* Moves the news out (any thread): false when there is none. */
bool er_attempt_take_news(struct errand_attempt *a, struct er_attempt_news *out);
/* The update that the news are; it borrows their texts. */
struct er_progress_update er_attempt_update(const struct er_attempt_news *news);

/* What a handler's return value comes to. Called when it has returned. */
enum er_attempt_end {
    ER_ATTEMPT_COMPLETED,
    ER_ATTEMPT_STOPPED, /* as it was asked to */
    ER_ATTEMPT_FAILED,
    ER_ATTEMPT_LIMITED, /* fault.retry_after_ms */
};
/* When it is FAILED, its error as JSON is added to `error` (may be NULL). */
enum er_attempt_end er_attempt_judge(const struct errand_attempt *a, int returned,
                                     struct er_buf *error);
/* The most that errand_after_results says: 16 MiB of results, and what JSON makes of
 * them. */
#define ER_ATTEMPT_AFTER_MAX ((size_t)136 << 20)
/* The same text without the newline that files end with; NULL is fine. */
char *er_attempt_after_trim(char *text);

/* The longest error that is added, and what it is made of. */
#define ER_ATTEMPT_CODE    100
#define ER_ATTEMPT_MESSAGE 2000

/* Runs a handler: `fn`, or (when that is NULL) one that is registered as blocking. */
struct er_handler {
    errand_handler_fn *fn;
    void *ctx;
    errand_blocking_fn *blocking;
};
int er_attempt_run(struct errand_attempt *a, const struct er_handler *h);
/* Any thread: the correlation of the attempt whose handler runs on it, for an event of
 * that task (0 = of none that is named). Borrowed while it runs; NULL: there is none, or
 * the task is another one. */
const char *er_attempt_correlation_here(int64_t task);

#endif
