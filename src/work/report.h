/* SPDX-License-Identifier: MIT */
/* What the worker tells the daemon. Facts (started, paused, resumed, items, checkpoints,
 * finished) wait here in order until the daemon has answered that they are on disk,
 * whatever happens to daemon and connection; samples (progress, output) are written into
 * the report that is just being made, and are not repeated when that is lost.
 *
 * At most one report is under way; what comes meanwhile goes with the next. A `started`
 * may wait some milliseconds for company, so that the report of a short command is one,
 * not two; so may an end while there is enough other work at hand.
 *
 * Items and the latest checkpoint of an attempt that wait share facts, its *notes*, of
 * some 64 KiB. When ER_REPORT_NOTES_MAX bytes of notes wait (the daemon has been gone for
 * hundreds of thousands of items), nothing more is read from progress pipes until it has
 * taken some: the commands wait in their writes, nothing is lost. Loop thread. */
#ifndef ER_WORK_REPORT_H
#define ER_WORK_REPORT_H

#include <stdbool.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "model/task.h"
#include "work/conn.h"
#include "work/sample.h"
#include "work/timer.h"

struct er_worker;
struct er_work_attempt;

#define ER_REPORT_NOTES_MAX (32 << 20)

/* One fact: a line or more, each with its newline. */
struct er_report_fact {
    STAILQ_ENTRY(er_report_fact) link;
    er_task_id task;
    int attempt;
    bool finished;
    struct er_buf lines;
    struct er_buf checkpoint; /* one more line, which a newer one replaces */
    bool is_notes;
    struct er_work_attempt *writer; /* whose `notes` this is; NULL = complete */
};
STAILQ_HEAD(er_report_facts, er_report_fact);

struct er_report {
    struct er_worker *worker;
    struct er_conn conn;
    struct er_report_facts waiting, sent; /* sent: in the report that is under way */
    struct er_samples samples;            /* attempts with news */
    bool under_way;
    bool pong, pong_sent;  /* a ping is to be answered; was, by what is under way */
    bool urgent;           /* something waits that should not wait longer */
    bool one_by_one;       /* a report was refused: find the line that is at fault */
    size_t notes_bytes;    /* of all notes */
    bool full;             /* progress pipes are not read */
    er_usec retry_for;     /* pause after the last failure; 0 = it went well */
    struct er_timer retry; /* on while the daemon can't take reports */
    struct er_timer hold;  /* a `started` waits */
    struct er_buf answer;
};

void er_report_init(struct er_report *r, struct er_worker *w);
void er_report_fini(struct er_report *r);

/* The process of an attempt exists. */
void er_report_add_started(struct er_report *r, const struct er_work_attempt *a);
/* A fact without more to say: "paused", "resumed". */
void er_report_add_word(struct er_report *r, const struct er_work_attempt *a,
                        const char *word);
/* One item has ended (1 to ER_MAX_NAME bytes of name). */
void er_report_add_item(struct er_report *r, struct er_work_attempt *a, const char *name,
                        bool failed);
/* The attempt has a new checkpoint. */
void er_report_add_checkpoint(struct er_report *r, struct er_work_attempt *a);
/* The attempt writes no more notes. */
void er_report_forget_notes(struct er_work_attempt *a);
/* Whether so many notes wait that no more progress should be read. */
bool er_report_is_full(struct er_report *r);
/* An attempt is over; `lines` is taken over. */
void er_report_add_finished(struct er_report *r, er_task_id task, int attempt,
                            struct er_buf *lines);
/* An attempt has news: its sample goes with the next report. */
void er_report_add_sample(struct er_report *r, struct er_usage_sampler *s);
void er_report_forget_sample(struct er_report *r, struct er_usage_sampler *s);

/* A ping is to be answered. */
void er_report_add_pong(struct er_report *r);

/* Sends what is due, if nothing is under way and there is a session. */
void er_report_flush(struct er_report *r);
/* The claim stream is gone: what is under way counts as not sent. */
void er_report_disconnect(struct er_report *r);
/* Forgets everything: the session is lost. */
void er_report_clear(struct er_report *r);
/* Whether no fact is owed. */
bool er_report_is_empty(const struct er_report *r);
/* Adds the attempts that ended and whose report was not answered, as hello's `owed`. */
void er_report_encode_owed(const struct er_report *r, struct er_buf *b);
/* Whether a finished one is owed. */
bool er_report_owes(const struct er_report *r, er_task_id task, int attempt);

#endif
