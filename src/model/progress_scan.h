/* SPDX-License-Identifier: MIT */
/* Finds progress in the output of any command, as it comes, in pieces of any size. Pure;
 * one thread a scanner. What is found does not depend on how the bytes were cut: after
 * every call it is what a scanner fed with all of them at once would have found.
 *
 * A line ends at a newline, at a carriage return, at a backspace or where an escape
 * sequence moves the cursor; other escape sequences are taken out first. A line that is
 * written over (ended by anything but a newline) is a *meter*. Lines longer than
 * ER_PROGRESS_SCAN_LINE are not looked at, and after 4 MiB without a finding only 4 KiB
 * in each 64 KiB are. A line without its end counts already, until it is seen whole.
 *
 * What is believed, from the most to the least:
 *
 *   terminal     ESC ] 9 ; 4 ; STATE ; PERCENT, ended by BEL or ESC \
 *   git          `Receiving objects: 42% (420/1000)` and its other phases, weighted into
 *                one percent of the whole
 *   rsync        the percent with --info=progress2, else the files by `to-chk=`
 *   curl         the table it draws by default
 *   cargo        a bar in brackets and n/m: `Building [===>   ] 12/345: name`
 *   step         [n/m] and [ 42%] apart from other words, and (n of m): ninja, make with
 *                cmake, pytest, npm
 *   meter        n% or n/m anywhere in a line that is written over: wget, apt, tqdm, pv,
 *                curl --progress-bar
 *   line         a line that is only a percent or n/m; or one that has a word of progress
 *                before it, as in `Downloading: 42%`, `Step 3/10`, or behind, `42% done`
 *   repeated     n/m or n of m anywhere, when a line of the same shape has had a lower n
 * of the same m before; a percent likewise, when it has risen twice
 *
 * A percent is a number up to 100, n is at most m, and neither may touch a letter,
 * another slash or the rest of a date or path. No percent is taken from a line with a
 * word such as cpu, memory, disk, load, coverage or confidence, except as `step` or from
 * a tool.
 *
 * The most believed kind that was seen holds until it has reached its end or has fallen
 * silent for eight findings of other kinds. Going over to another kind, and beginning
 * anew after the end, is a restart. */
#ifndef ER_MODEL_PROGRESS_SCAN_H
#define ER_MODEL_PROGRESS_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/progress.h"

#define ER_PROGRESS_SCAN_LINE 512

/* What the output says now. */
struct er_progress_found {
    bool any, has_percent, has_counts;
    double percent;
    int64_t current, total;
    const char *unit;  /* what the counts count; NULL = unknown; static */
    unsigned restarts; /* how often it began anew */
    char message[ER_PROGRESS_TEXT + 1];
};

/* A line that may turn out to be progress when it comes again. */
struct er_progress_repeat {
    uint32_t shape; /* hash of what stands before the number */
    int64_t total;
    double value;
    unsigned
        seen; /* how often the value has risen, the first time included; 0 = unused */
};

/* What lines so far have shown; a line changes nothing else. */
struct er_progress_rules {
    struct er_progress_found found;
    int kind; /* of `found` */
    bool ended;
    unsigned findings; /* believed so far */
    unsigned others;   /* findings of lesser kinds since the last of this one */
    struct er_progress_repeat percent, count;
    int git_phase;
    int rsync_mode, rsync_held;
    int curl_lines; /* lines for which curl's table is still expected */
};

struct er_progress_scan {
    struct er_progress_rules rules;
    struct er_progress_found
        shown; /* rules.found, or what the unfinished line makes of it */
    unsigned restarts_taken;
    bool fresh; /* shown has changed since it was taken */
    /* the line so far, and where the reading of an escape sequence stands */
    bool overlong, rewritten, return_seen;
    int escape;
    unsigned escape_len;
    char osc[24];
    size_t in_window; /* bytes of the current 64 KiB that were fed */
    unsigned quiet;   /* windows since the last finding */
    bool sparse;      /* only the beginning of this window is looked at */
    size_t len;
    char line[ER_PROGRESS_SCAN_LINE];
};

void er_progress_scan_init(struct er_progress_scan *s);
/* Reads n bytes of output. Costs little where there is nothing like progress. */
void er_progress_scan_feed(struct er_progress_scan *s, const char *p, size_t n);
/* Gives what is found now as an update of source `output`, if it is not what it was at
 * the last call. The update borrows its texts from s until the next feed. */
bool er_progress_scan_take(struct er_progress_scan *s,
                           struct er_progress_update *out_update);

#endif
