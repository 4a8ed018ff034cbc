/* SPDX-License-Identifier: MIT */
/* The rules by which one line of output is read as progress; between progress_scan.c,
 * which makes lines of bytes, and progress_tools.c, which knows single programs. For
 * these three files only. Pure; any thread. */
#ifndef ER_MODEL_PROGRESS_RULES_H
#define ER_MODEL_PROGRESS_RULES_H

#include <string.h>

#include "model/progress_scan.h"

/* From the least to the most believed. */
enum er_progress_kind {
    ER_KIND_NONE,
    ER_KIND_REPEATED,
    ER_KIND_LINE,
    ER_KIND_METER,
    ER_KIND_STEP,
    ER_KIND_CARGO,
    ER_KIND_CURL,
    ER_KIND_RSYNC,
    ER_KIND_GIT,
    ER_KIND_TERMINAL,
};

/* A piece of a line. */
struct er_span {
    const char *p, *end;
};

/* What one line says. */
struct er_progress_finding {
    enum er_progress_kind kind;
    bool has_percent, has_counts, restart, ended;
    double percent;
    int64_t current, total;
    const char *unit;
    struct er_span message;
};

/* Reads one line, without its end and without escape sequences. `rewritten` tells a meter
 * from a plain line, `partial` that more of it may follow. */
void er_progress_rules_line(struct er_progress_rules *r, struct er_span line,
                            bool rewritten, bool partial);
/* Takes a percent from the terminal's own progress sequence. */
void er_progress_rules_terminal(struct er_progress_rules *r, int percent);
/* Whether a line could be of interest; a false one changes nothing in the rules. */
bool er_progress_rules_wants(const struct er_progress_rules *r, struct er_span line);

/* The programs. Each returns whether the line is its; *f stays of kind NONE when the line
 * tells nothing yet. */
bool er_progress_tools_git(struct er_progress_rules *r, struct er_span line,
                           struct er_progress_finding *f);
bool er_progress_tools_rsync(struct er_progress_rules *r, struct er_span line,
                             struct er_progress_finding *f);
bool er_progress_tools_curl(struct er_progress_rules *r, struct er_span line,
                            struct er_progress_finding *f);

static inline bool
er_span_is_digit(const struct er_span *s)
{
    return s->p < s->end && *s->p >= '0' && *s->p <= '9';
}

static inline bool
er_span_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static inline void
er_span_trim(struct er_span *s)
{
    while (s->p < s->end && er_span_is_blank(*s->p)) {
        s->p++;
    }
    while (s->p < s->end && er_span_is_blank(s->end[-1])) {
        s->end--;
    }
}

/* Takes `word` off the front, if it stands there. */
static inline bool
er_span_take(struct er_span *s, const char *word)
{
    size_t n = strlen(word);
    bool is = (size_t)(s->end - s->p) >= n && memcmp(s->p, word, n) == 0;
    s->p += is ? n : 0;
    return is;
}

/* Takes a number of at most 15 digits off the front. */
bool er_span_take_number(struct er_span *s, int64_t *out);

#endif
