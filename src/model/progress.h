/* SPDX-License-Identifier: MIT */
/* How far one attempt is: what was said about it, the rate and the time left. Pure: the
 * time is handed in, on a monotonic clock. One thread at a time.
 *
 * Four sources may speak: the task itself (reported), its output, the offset in a file it
 * reads, and how long the same work took before (estimate). The highest that has spoken
 * is believed; what a lower one says from then on is ignored. Position (percent, current
 * and total) and words (item, message) are judged apart, so that a task which only
 * reports a message still has the percent of its output.
 *
 * The percent never goes back within an attempt, even when the source changes, except on
 * a restart: an update that says so (a new phase), or one that gives another total with
 * no percent of its own. It is clamped to 0..100 and is 100 when the attempt has
 * completed.
 *
 * The rate is smoothed over about ten seconds, without the time spent paused. It decays
 * when nothing comes any more, and the time left becomes unknown rather than endless.
 * What is unknown is null in JSON, never 0. */
#ifndef ER_MODEL_PROGRESS_H
#define ER_MODEL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"

#define ER_PROGRESS_TEXT 200 /* bytes of an item or a message; longer ones are cut */
#define ER_PROGRESS_UNIT 32  /* bytes of a unit */

/* From the least to the most believed. */
enum er_progress_source {
    ER_PROGRESS_NONE,
    ER_PROGRESS_ESTIMATE,
    ER_PROGRESS_FILE,
    ER_PROGRESS_OUTPUT,
    ER_PROGRESS_REPORTED,
};
/* "reported", "output", "file", "estimate"; "none". */
const char *er_progress_source_word(enum er_progress_source s);

/* What a source says; whatever is not set stays as it was. Texts are borrowed. */
struct er_progress_update {
    enum er_progress_source source;
    bool has_percent, has_current, has_total;
    bool restart; /* a new phase begins: it may go back */
    double percent;
    int64_t current, total; /* a total of 0 or less is no total */
    const char *unit;       /* what current and total count; "" = nothing in particular */
    const char *item;       /* what is worked on now; "" = nothing */
    const char *message;    /* "" = none */
};

/* How fast one value moves. */
struct er_progress_pace {
    bool known;
    bool begun;        /* there is an anchor: a value has come */
    bool settled;      /* the rate is between values; else guessed, from the start on */
    bool no_guess;     /* what the values are worth since the start is not known */
    er_usec anchor_at; /* active time of the last value */
    double anchor;     /* the last value */
    double rate;       /* a second, smoothed; valid when known */
};

struct er_progress {
    enum er_progress_source source, text_source; /* who is believed */
    bool has_percent, has_current, has_total, has_items, finished;
    double percent; /* 0..100, the one to show */
    int64_t current, total;
    int64_t items_completed, items_failed;
    char unit[ER_PROGRESS_UNIT + 1];
    char item[ER_PROGRESS_TEXT + 1];
    char message[ER_PROGRESS_TEXT + 1];
    /* private */
    bool has_raw;
    double raw_percent; /* what the believed source said last */
    struct er_progress_pace percent_pace, current_pace;
    er_usec start_at;      /* when the attempt began */
    er_usec paused_at;     /* since when it is paused; ER_NEVER = it is not */
    er_usec paused_for;    /* pauses that are over */
    er_usec moved_at;      /* active time when the position last moved */
    int n_moves;           /* of the position; two at most are counted */
    er_usec mean_step_for; /* smoothed active time between two moves */
};

/* An attempt begins at `now`: nothing is known. */
void er_progress_init(struct er_progress *p, er_usec now);
/* Takes what a source says. 1 when something that is shown has changed, 0 when not;
 * ER_EINVALID, and nothing is taken, when the percent is not a finite number. */
int er_progress_update(struct er_progress *p, const struct er_progress_update *u,
                       er_usec now) ER_MUSTCHECK;
/* One more item is done or has failed; its name becomes the item shown unless NULL. */
void er_progress_add_item(struct er_progress *p, const char *name, bool failed);
/* Time between these two does not count. Twice is as once. */
void er_progress_pause(struct er_progress *p, er_usec now);
void er_progress_resume(struct er_progress *p, er_usec now);
/* The attempt has ended: 100 percent when it completed, else the percent stays. */
void er_progress_finish(struct er_progress *p, bool completed, er_usec now);

/* The rate a second: of current when that is known, else of the percent; false when it is
 * unknown. */
bool er_progress_rate(const struct er_progress *p, er_usec now, double *out_rate);
/* Seconds left; false when unknown. */
bool er_progress_eta(const struct er_progress *p, er_usec now, double *out_seconds);
/* Adds the "progress" object of a task, as docs/PROTOCOL.md has it. */
void er_progress_encode(const struct er_progress *p, er_usec now, struct er_buf *b);

/* The percent by comparison with how long the same work took before (expected_for > 0):
 * even up to 90, then ever slower and never 99 or more. */
double er_progress_estimate(er_usec active_for, er_usec expected_for);

#endif
