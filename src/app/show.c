/* SPDX-License-Identifier: MIT */
/* Unknown is null in the JSON and nothing, or a word, on the screen: never 0. Texts of
 * tasks go through er_term_text, which masks and cleans them. */
#include "app/show.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/daemon.h"
#include "app/show_priv.h"
#include "model/duration.h"
#include "wire/json_dump.h"

int
er_show_json(const json_t *value)
{
    struct er_buf b;
    char *text = er_json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text) {
        return er_app_failf(ER_ENOMEM, "out of memory");
    }
    er_buf_init(&b, 0);
    er_buf_add_str(&b, text);
    er_buf_add_char(&b, '\n');
    free(text);
    int rc = er_app_out(&b);
    er_buf_fini(&b);
    return rc;
}

int
er_show_table_end(struct er_table *table)
{
    struct er_term t;
    struct er_buf b;
    er_buf_init(&b, 0);
    er_term_init(&t, STDOUT_FILENO);
    er_table_render(table, &t, 0, &b);
    int rc = er_app_out(&b);
    er_buf_fini(&b);
    er_table_free(table);
    return rc;
}

#define NARROW 60 /* columns; what has fewer shows less */

/* ---- pieces ---- */

/* Adds a span; nothing when one of its ends is unknown. */
bool
er_show_add_span(struct er_buf *b, const char *before, er_usec from, er_usec to,
                 const char *after)
{
    char text[ER_DURATION_SIZE];
    if (from == ER_NEVER || to == ER_NEVER) {
        return false;
    }
    er_duration_format(to - from, text);
    er_buf_addf(b, "%s%s%s", before, text, after);
    return true;
}

void
er_show_add_seconds(struct er_buf *b, const char *before, double seconds,
                    const char *after)
{
    if (seconds >= 0.0 && seconds < 1e11) {
        (void)er_show_add_span(b, before, 0, (er_usec)(seconds * (double)ER_USEC_PER_SEC),
                               after);
    }
}

void
er_show_add_age(struct er_buf *b, const char *before, er_usec at, er_usec now)
{
    char text[ER_DURATION_SIZE];
    if (at != ER_NEVER) {
        er_age_format(now - at, text);
        er_buf_addf(b, "%s%s", before, text);
    }
}

static const char *
signal_name(int64_t number)
{
    static const char *const names[] = {
        [1] = "HUP",   [2] = "INT",   [3] = "QUIT",  [4] = "ILL",   [6] = "ABRT",
        [7] = "BUS",   [8] = "FPE",   [9] = "KILL",  [10] = "USR1", [11] = "SEGV",
        [12] = "USR2", [13] = "PIPE", [14] = "ALRM", [15] = "TERM", [24] = "XCPU",
        [25] = "XFSZ", [31] = "SYS",
    };
    return number > 0 && number < (int64_t)(sizeof names / sizeof names[0])
               ? names[number]
               : NULL;
}

/* Adds "exit code 3", "signal 9 (KILL)" or the error's code; false when nothing is known.
 */
bool
er_show_add_cause(const json_t *task, struct er_buf *b)
{
    int64_t code = er_json_int(task, "exit_code", -1);
    int64_t signal = er_json_int(task, "signal", 0);
    const char *word = er_json_text(json_object_get(task, "error"), "code");
    bool ours = word && strcmp(word, "signal") != 0; /* the signal was from us */
    if (signal > 0 && !ours) {
        const char *name = signal_name(signal);
        er_buf_addf(b, "signal %" PRId64 "%s%s%s", signal, name ? " (" : "",
                    name ? name : "", name ? ")" : "");
    } else if (code > 0) {
        er_buf_addf(b, "exit code %" PRId64, code);
    } else if (word) {
        er_buf_add_str(b, word);
    } else {
        return false;
    }
    return true;
}

void
er_show_outcome(const json_t *task, struct er_buf *b)
{
    enum er_task_state state = er_json_state(task);
    switch (state) {
    case ER_TASK_COMPLETED:
        er_buf_add_str(b, "completed");
        return;
    case ER_TASK_FAILED: {
        size_t before = b->len;
        er_buf_add_str(b, "failed with ");
        if (!er_show_add_cause(task, b)) {
            b->len = before;
            er_buf_add_str(b, "failed");
        }
        return;
    }
    case ER_TASK_CANCELLED:
        er_buf_add_str(b, "was cancelled");
        return;
    case ER_TASK_QUEUED:
    case ER_TASK_SCHEDULED:
    case ER_TASK_BLOCKED:
    case ER_TASK_RUNNING:
    case ER_TASK_PAUSED:
        er_buf_addf(b, "is %s", er_task_state_word(state));
        return;
    }
}

/* Adds "41, 42 and 3 more" of the dependencies that are not over; false when there are
 * none. */
static bool
add_dependencies(const json_t *task, struct er_buf *b)
{
    size_t i, shown = 0, more = 0;
    const json_t *dep;
    json_array_foreach(json_object_get(task, "after"), i, dep)
    {
        const char *when = er_json_text(dep, "when");
        enum er_task_state state = er_json_state(dep);
        if (er_task_state_is_final(state)) {
            continue;
        }
        if (shown == 5) {
            more++;
            continue;
        }
        er_buf_addf(b, "%s%" PRId64 " (%s%s)", shown++ ? ", " : "",
                    er_json_int(dep, "id", 0), er_task_state_word(state),
                    !when || strcmp(when, "ok") == 0 ? ""
                    : strcmp(when, "any") == 0       ? "; however it ends"
                                                     : "; must fail");
    }
    if (more > 0) {
        er_buf_addf(b, " and %zu more", more);
    }
    return shown > 0;
}

/* Adds "in 45s" for a moment that lies ahead. */
bool
er_show_add_in(struct er_buf *b, const char *before, er_usec at, er_usec now)
{
    if (at == ER_NEVER || at <= now) {
        return false;
    }
    return er_show_add_span(b, before, now, at, "");
}

static bool
is_rate_limited(const json_t *task)
{
    const char *code = er_json_text(json_object_get(task, "error"), "code");
    return code && strcmp(code, "rate-limit") == 0;
}

/* "rate limited, resumes in 45s", "resumes in 45s" or "paused". */
void
er_show_add_paused(const json_t *task, er_usec now, struct er_buf *b)
{
    er_usec resumes_at = er_json_time(task, "resumes_at");
    if (resumes_at != ER_NEVER) {
        er_buf_add_str(b, is_rate_limited(task) ? "rate limited, " : "");
        if (!er_show_add_in(b, "resumes in ", resumes_at, now)) {
            er_buf_add_str(b, "resumes now");
        }
    } else {
        er_buf_add_str(b, "paused");
    }
}

/* ---- rows ---- */

struct er_table *
er_show_table(void)
{
    static const enum er_align align[] = {
        ER_ALIGN_LEFT,  ER_ALIGN_RIGHT, ER_ALIGN_FLEX,        ER_ALIGN_SPARE_LEFT,
        ER_ALIGN_RIGHT, ER_ALIGN_FLEX,  ER_ALIGN_SPARE_RIGHT, ER_ALIGN_LEFT,
    };
    return er_table_new(align, sizeof align / sizeof align[0]);
}

enum er_style
er_show_style(enum er_task_state state)
{
    switch (state) {
    case ER_TASK_RUNNING:
        return ER_STYLE_CYAN;
    case ER_TASK_COMPLETED:
        return ER_STYLE_GREEN;
    case ER_TASK_FAILED:
        return ER_STYLE_RED;
    case ER_TASK_PAUSED:
        return ER_STYLE_YELLOW;
    case ER_TASK_CANCELLED:
        return ER_STYLE_DIM;
    case ER_TASK_QUEUED:
    case ER_TASK_SCHEDULED:
    case ER_TASK_BLOCKED:
        break;
    }
    return ER_STYLE_PLAIN;
}

/* Adds an amount in short: "1234", "1.2M"; of bytes "1.2 MB". */
void
er_show_add_amount(struct er_buf *b, double v, const char *unit)
{
    static const char *const sizes[] = {"", "k", "M", "G", "T", "P"};
    bool bytes = unit && (strcmp(unit, "bytes") == 0 || strcmp(unit, "B") == 0);
    size_t i = 0;
    while (fabs(v) >= (bytes ? 1000.0 : 10000.0) &&
           i + 1 < sizeof sizes / sizeof sizes[0]) {
        v /= 1000.0;
        i++;
    }
    er_buf_addf(b, fabs(v) < 10.0 && (i > 0 || v != floor(v)) ? "%.1f" : "%.0f", v);
    er_buf_addf(b, "%s%s%s%s", bytes ? " " : "", sizes[i], bytes ? "B" : "",
                unit && !bytes && unit[0] ? " " : "");
    er_buf_add_str(b, unit && !bytes ? unit : "");
}

/* What a running task does: its item, "2/4 repos", its message. */
void
er_show_add_doing(const json_t *task, const json_t *progress, struct er_buf *b)
{
    const char *item = er_json_text(progress, "item");
    const char *message = er_json_text(progress, "message");
    const char *unit = er_json_text(progress, "unit");
    double current = er_json_number(progress, "current", -1.0);
    double total = er_json_number(progress, "total", -1.0);
    if (er_json_bool(task, "cancel_requested")) {
        er_buf_add_str(b, "being cancelled");
        return;
    }
    if (er_json_bool(task, "pause_requested")) {
        er_buf_add_str(b, "being paused");
        return;
    }
    if (current >= 0.0 && total > 0.0) {
        er_show_add_amount(b, current, unit && strcmp(unit, "bytes") == 0 ? unit : NULL);
        er_buf_add_char(b, '/');
        er_show_add_amount(b, total, unit);
    }
    er_buf_addf(b, "%s%s", b->len > 0 && item ? " " : "", item ? item : "");
    er_buf_addf(b, "%s%s", b->len > 0 && message ? " " : "", message ? message : "");
}

static void
add_rate(const json_t *progress, struct er_buf *b)
{
    double rate = er_json_number(progress, "rate", -1.0);
    const char *unit = er_json_text(progress, "unit");
    if (rate <= 0.0) {
        return;
    }
    if (json_is_null(json_object_get(progress, "current"))) {
        er_buf_addf(b, "%.1f%%/s", rate);
        return;
    }
    er_show_add_amount(b, rate, unit);
    er_buf_add_str(b, "/s");
}

/* The cells of a running task from the bar on. */
static void
add_running(struct er_table *table, const struct er_term *t, const json_t *task,
            er_usec now)
{
    const json_t *progress = json_object_get(task, "progress");
    double percent = er_json_number(progress, "percent", -1.0);
    double eta = er_json_number(progress, "eta_s", -1.0);
    struct er_buf b;
    er_buf_init(&b, 0);
    if (percent >= 0.0) {
        er_term_bar(t, &b, percent, ER_SHOW_BAR);
        er_table_add(table, ER_STYLE_CYAN, b.data);
        er_buf_clear(&b);
        er_buf_addf(&b, "%d%%", (int)(percent > 100.0 ? 100.0 : percent));
        er_table_add(table, ER_STYLE_PLAIN, b.data);
    } else {
        er_table_add(table, ER_STYLE_PLAIN, NULL);
        er_table_add(table, ER_STYLE_PLAIN, NULL);
    }
    er_buf_clear(&b);
    er_show_add_doing(task, progress, &b);
    er_table_add(table, ER_STYLE_PLAIN, b.data);
    er_buf_clear(&b);
    add_rate(progress, &b);
    er_table_add(table, ER_STYLE_DIM, b.data);
    er_buf_clear(&b);
    if (eta >= 0.0 && eta < 1e9) {
        er_show_add_seconds(&b, "", eta, " left");
    } else if (percent >= 100.0) {
        (void)er_show_add_span(&b, "", er_json_time(task, "started_at"), now, "");
    } else if (percent >= 0.0) {
        er_buf_add_str(&b, "calculating");
    } else {
        (void)er_show_add_span(&b, "", er_json_time(task, "started_at"), now, "");
    }
    er_table_add(table, ER_STYLE_PLAIN, b.data);
    er_buf_fini(&b);
}

/* The cells of one that waits or is final: no bar, what there is to say, the duration. */
static void
add_resting(struct er_table *table, const struct er_term *t, const json_t *task,
            enum er_task_state state, er_usec now)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    switch (state) {
    case ER_TASK_SCHEDULED:
        if (!er_show_add_in(&b,
                            er_json_int(task, "failures", 0) > 0 ? "retries in " : "in ",
                            er_json_time(task, "run_at"), now)) {
            er_buf_add_str(&b, "now");
        }
        break;
    case ER_TASK_BLOCKED:
        er_buf_add_str(&b, "after ");
        if (!add_dependencies(task, &b)) {
            const char *why = er_json_text(task, "waiting_for");
            er_buf_clear(&b);
            er_buf_add_str(&b, why ? why : "after other tasks");
        }
        break;
    case ER_TASK_PAUSED:
        er_show_add_paused(task, now, &b);
        break;
    case ER_TASK_FAILED:
        if (er_show_add_cause(task, &b)) {
            if (t->width > 0 && t->width < NARROW) { /* the cause is worth more */
                break;
            }
            er_buf_add_str(&b, ", ");
        }
        er_show_add_age(&b, "", er_json_time(task, "finished_at"), now);
        break;
    case ER_TASK_COMPLETED:
    case ER_TASK_CANCELLED:
        er_show_add_age(&b, "", er_json_time(task, "finished_at"), now);
        break;
    case ER_TASK_QUEUED:
    case ER_TASK_RUNNING:
        break;
    }
    er_table_add(table, ER_STYLE_PLAIN, NULL);
    er_table_add(table, ER_STYLE_PLAIN, NULL);
    er_table_add(table, ER_STYLE_DIM, b.data);
    er_table_add(table, ER_STYLE_PLAIN, NULL);
    er_buf_clear(&b);
    (void)er_show_add_span(&b, "", er_json_time(task, "started_at"),
                           er_json_time(task, "finished_at"), "");
    er_table_add(table, ER_STYLE_PLAIN, b.data);
    er_buf_fini(&b);
}

void
er_show_row(struct er_table *table, const struct er_term *t, const json_t *task,
            er_usec now)
{
    char id[24];
    enum er_task_state state = er_json_state(task);
    const char *name = er_json_text(task, "name");
    (void)snprintf(id, sizeof id, "%" PRId64, er_json_int(task, "id", 0));
    er_table_add(table, er_show_style(state), er_task_state_icon(state, t->utf8));
    er_table_add(table, ER_STYLE_PLAIN, id);
    er_table_add(table, ER_STYLE_PLAIN, name ? name : "");
    if (state == ER_TASK_RUNNING) {
        add_running(table, t, task, now);
    } else {
        add_resting(table, t, task, state, now);
    }
}

void
er_show_footer(const struct er_term *t, const json_t *counts, struct er_buf *b)
{
    static const struct {
        const char *word, *label;
        bool always;
    } parts[] = {
        {"running", "Running", true},      {"queued", "Queued", true},
        {"scheduled", "Scheduled", false}, {"blocked", "Blocked", false},
        {"paused", "Paused", false},       {"completed", "Completed", true},
        {"failed", "Failed", true},        {"cancelled", "Cancelled", false},
    };
    size_t column = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        int64_t n = er_json_int(counts, parts[i].word, 0);
        char text[64];
        if (parts[i].always || n > 0) {
            int len = snprintf(text, sizeof text, "%s %" PRId64, parts[i].label, n);
            bool wraps =
                column > 0 && t->width > 0 && column + 3 + (size_t)len > (size_t)t->width;
            er_buf_addf(b, "%s%s",
                        column == 0 ? ""
                        : wraps     ? "\n"
                        : t->utf8   ? " · "
                                    : " | ",
                        text);
            column = (size_t)len + (column == 0 || wraps ? 0 : column + 3);
        }
    }
    er_buf_add_char(b, '\n');
}
