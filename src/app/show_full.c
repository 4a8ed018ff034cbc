/* SPDX-License-Identifier: MIT */
/* A task in full: a line for each thing there is to say, then its attempts and the end of
 * its output. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "app/daemon.h"
#include "app/show.h"
#include "app/show_priv.h"
#include "model/shell_words.h"
#include "model/text.h"
#include "wire/json_dump.h"

#define OUTPUT_LINE_MAX  ((size_t)600) /* bytes of a line of output */
#define AFTER_SHOWN      10            /* dependencies that are named */
#define CHECKPOINT_SHOWN ((size_t)300) /* bytes */

/* Adds "Label:      text", when there is a text. */
static void
add_line(const struct er_term *t, struct er_buf *b, const char *label, const char *text)
{
    if (text && text[0]) {
        er_buf_addf(b, "%-13s", label);
        (void)er_term_text(t, b, text, strlen(text), 0);
        er_buf_add_char(b, '\n');
    }
}

static void
add_number(struct er_buf *b, const char *label, const json_t *task, const char *name)
{
    int64_t v = er_json_int(task, name, 0);
    if (v != 0) {
        er_buf_addf(b, "%-13s%" PRId64 "\n", label, v);
    }
}

/* Adds a number of seconds as a duration, when there is one. */
static void
add_seconds(struct er_buf *b, const char *label, const json_t *task, const char *name)
{
    double v = er_json_number(task, name, 0.0);
    if (v > 0.0) {
        er_buf_addf(b, "%-13s", label);
        er_show_add_seconds(b, "", v, "\n");
    }
}

static void
add_moment(struct er_buf *b, const char *label, const json_t *task, const char *name,
           er_usec now)
{
    const char *text = er_json_text(task, name);
    er_usec at = er_json_time(task, name);
    if (!text || at == ER_NEVER) {
        return;
    }
    er_buf_addf(b, "%-13s%s", label, text);
    if (!er_show_add_in(b, " (in ", at, now)) {
        er_show_add_age(b, " (", at, now);
    }
    er_buf_add_str(b, ")\n");
}

/* A text of several lines, one below the other: on one line they would be another
 * command. */
static void
add_lines(const struct er_term *t, struct er_buf *b, const char *label, const char *text)
{
    size_t left = text ? strlen(text) : 0;
    while (left > 0) {
        size_t n = strcspn(text, "\n"), whole = n < left ? n + 1 : n;
        er_buf_addf(b, "%-13s", label);
        (void)er_term_text(t, b, text, n, 0);
        er_buf_add_char(b, '\n');
        label = "";
        text += whole;
        left -= whole;
    }
}

/* The command: argv as words of a shell, or the shell line; else the arguments as JSON.
 */
static void
add_command(const struct er_term *t, const json_t *task, struct er_buf *b)
{
    struct er_buf line;
    const json_t *args = json_object_get(task, "args");
    const json_t *argv = json_object_get(args, "argv");
    const char *command = er_json_text(args, "command");
    size_t i;
    const json_t *arg;
    er_buf_init(&line, 0);
    if (json_is_array(argv)) {
        json_array_foreach(argv, i, arg)
        {
            er_buf_add_str(&line, i > 0 ? " " : "");
            er_shell_words_add(&line,
                               json_string_value(arg) ? json_string_value(arg) : "?");
        }
        add_lines(t, b, "Command:", line.data);
    } else if (command) {
        add_lines(t, b, "Command:", command);
    } else if (json_object_size(args) > 0) {
        char *text = er_json_dumps(args, JSON_COMPACT);
        add_line(t, b, "Arguments:", text);
        free(text);
    }
    er_buf_fini(&line);
}

bool
er_show_add_unmet(const json_t *task, const char *before, const char *between, bool open,
                  struct er_buf *b)
{
    size_t i;
    const json_t *dep;
    json_array_foreach(json_object_get(task, "after"), i, dep)
    {
        const char *word = er_json_text(dep, "when");
        int when = word ? er_after_when_find(word) : -1;
        enum er_task_state state = er_json_state(dep);
        bool final = er_task_state_is_final(state);
        if (when >= 0 && (final || (open && er_json_text(dep, "state"))) &&
            !er_after_is_met((enum er_after_when)when, state)) {
            er_buf_addf(b, "%s%" PRId64 "%s%s%s", before, er_json_int(dep, "id", 0),
                        between,
                        !final                       ? "is "
                        : state == ER_TASK_CANCELLED ? "was "
                                                     : "",
                        er_task_state_word(state));
            return true;
        }
    }
    return false;
}

static void
add_state(const struct er_term *t, const json_t *task, er_usec now, struct er_buf *b)
{
    struct er_buf text;
    enum er_task_state state = er_json_state(task);
    er_usec started = er_json_time(task, "started_at");
    er_usec finished = er_json_time(task, "finished_at");
    er_buf_init(&text, 0);
    er_buf_addf(&text, "%s", er_task_state_word(state));
    size_t before = text.len;
    er_buf_add_str(&text, ", ");
    if (state != ER_TASK_FAILED || !er_show_add_cause(task, &text)) {
        text.len = before;
    }
    if (state == ER_TASK_CANCELLED && er_json_int(task, "attempt", 0) == 0) {
        (void)er_show_add_unmet(task, ", since ", " ", false, &text);
    }
    if (er_json_bool(task, "cancel_requested")) {
        er_buf_add_str(&text, ", being cancelled");
    }
    if (er_json_bool(task, "pause_requested")) {
        er_buf_add_str(&text, ", being paused");
    }
    if (state == ER_TASK_PAUSED && er_json_time(task, "resumes_at") != ER_NEVER) {
        er_buf_add_str(&text, ": ");
        er_show_add_paused(task, now, &text);
    }
    (void)er_show_add_span(&text, " (", started, finished != ER_NEVER ? finished : now,
                           ")");
    er_buf_addf(b, "%-13s", "State:");
    er_term_style(t, b, er_show_style(state));
    er_buf_addf(b, "%s ", er_task_state_icon(state, t->utf8));
    er_buf_add(b, text.data, text.len);
    er_term_plain(t, b, er_show_style(state));
    er_buf_add_char(b, '\n');
    er_buf_fini(&text);
}

static void
add_progress(const struct er_term *t, const json_t *task, struct er_buf *b)
{
    const json_t *progress = json_object_get(task, "progress");
    double percent = er_json_number(progress, "percent", -1.0);
    double eta = er_json_number(progress, "eta_s", -1.0);
    struct er_buf doing;
    if (!json_is_object(progress)) {
        return;
    }
    er_buf_addf(b, "%-13s", "Progress:");
    if (percent >= 0.0) {
        er_term_bar(t, b, percent, ER_SHOW_BAR);
        er_buf_addf(b, " %.1f%% ", percent);
    }
    er_buf_init(&doing, 0);
    er_show_add_doing(task, progress, &doing);
    (void)er_term_text(t, b, doing.data ? doing.data : "", doing.len, 0);
    er_buf_fini(&doing);
    if (er_json_state(task) == ER_TASK_RUNNING && eta >= 0.0 && eta < 1e9) {
        er_show_add_seconds(b, ", ", eta, " left");
    }
    er_buf_add_char(b, '\n');
}

/* How many of its items are stored, and where it could go on. */
static void
add_items(const struct er_term *t, const json_t *task, struct er_buf *b)
{
    const json_t *progress = json_object_get(task, "progress");
    const json_t *checkpoint = json_object_get(task, "checkpoint");
    int64_t ok =
        er_json_int(task, "items_completed", er_json_int(progress, "items_completed", 0));
    int64_t bad =
        er_json_int(task, "items_failed", er_json_int(progress, "items_failed", 0));
    if (ok + bad > 0) {
        er_buf_addf(b, "%-13s%" PRId64 " completed, %" PRId64 " failed\n", "Items:", ok,
                    bad);
    }
    if (checkpoint && !json_is_null(checkpoint)) {
        char *text = er_json_dumps(checkpoint, JSON_COMPACT | JSON_ENCODE_ANY);
        size_t n = text ? er_text_fit(text, strlen(text), CHECKPOINT_SHOWN) : 0;
        er_buf_addf(b, "%-13s", "Checkpoint:");
        (void)er_term_text(t, b, text ? text : "", n, 0);
        er_buf_add_str(b, text && text[n]
                              ? (t->utf8 ? "\xe2\x80\xa6 (truncated)" : "... (truncated)")
                              : "");
        er_buf_add_char(b, '\n');
        free(text);
    }
}

static void
add_error(const struct er_term *t, const json_t *task, struct er_buf *b)
{
    const json_t *error = json_object_get(task, "error");
    size_t i;
    const json_t *warning;
    const char *code = er_json_text(error, "code");
    if (!code || (strcmp(code, "exit") != 0 && strcmp(code, "signal") != 0)) {
        add_line(t, b,
                 "Error:", er_json_text(error, "message")); /* else the state says it */
    }
    const char *reason = er_json_text(json_object_get(task, "cancelled"), "reason");
    if (reason && strcmp(reason, "dependency") != 0) { /* else the state says it */
        add_line(t, b, "Reason:", reason);
    }
    add_line(t, b, "What to do:", er_json_text(error, "suggested_action"));
    json_array_foreach(json_object_get(task, "warnings"), i, warning)
    {
        const char *text = json_string_value(warning);
        add_line(t, b, "Warning:", text ? text : er_json_text(warning, "message"));
    }
}

/* The tags, and each note of meta. */
static void
add_labels(const struct er_term *t, const json_t *task, struct er_buf *b)
{
    struct er_buf text;
    size_t i;
    const json_t *v;
    const char *key;
    er_buf_init(&text, 0);
    json_array_foreach(json_object_get(task, "tags"), i, v)
    {
        er_buf_addf(&text, "%s%s", i > 0 ? ", " : "", json_string_value(v));
    }
    add_line(t, b, "Tags:", text.data);
    er_buf_clear(&text);
    void *at;
    json_t *meta = json_object_get(task, "meta");
    for (at = json_object_iter(meta); at; at = json_object_iter_next(meta, at)) {
        key = json_object_iter_key(at);
        v = json_object_iter_value(at);
        er_buf_addf(&text, "%s%s=%s", text.len > 0 ? ", " : "", key,
                    json_is_string(v) ? json_string_value(v) : "...");
    }
    add_line(t, b, "Meta:", text.data);
    er_buf_fini(&text);
}

/* Adds a number with commas: "99,990". */
static void
add_grouped(struct er_buf *b, int64_t v)
{
    if (v >= 1000) {
        add_grouped(b, v / 1000);
        er_buf_addf(b, ",%03d", (int)(v % 1000));
    } else {
        er_buf_addf(b, "%d", (int)v);
    }
}

/* Adds a line with the first of some dependencies, and how many more there are. */
static void
add_dependencies(const struct er_term *t, const char *label, const json_t *after,
                 int64_t more, struct er_buf *b)
{
    struct er_buf text;
    size_t i;
    const json_t *dep;
    er_buf_init(&text, 0);
    json_array_foreach(after, i, dep)
    {
        const char *when = er_json_text(dep, "when");
        const char *state = er_json_text(dep, "state");
        if (i == AFTER_SHOWN) {
            more += (int64_t)(json_array_size(after) - i);
            break;
        }
        er_buf_addf(&text, "%s%" PRId64 ":%s (%s)", i > 0 ? ", " : "",
                    er_json_int(dep, "id", 0), when ? when : "ok",
                    state ? state : "unknown");
    }
    if (more > 0) {
        er_buf_add_str(&text, ", \xe2\x80\xa6 and ");
        add_grouped(&text, more);
        er_buf_add_str(&text, " more");
    }
    add_line(t, b, label, text.data);
    er_buf_fini(&text);
}

/* What it still waits for; and what it was to run after, where that is more. */
static void
add_after(const struct er_term *t, const json_t *task, const struct er_show_more *more,
          struct er_buf *b)
{
    add_dependencies(t, "Waits for:", more->open, more->open_more, b);
    const json_t *after = json_object_get(task, "after");
    size_t open = json_array_size(more->open);
    if (open == 0 || (!er_json_bool(task, "after_more") &&
                      json_array_size(after) > open + (size_t)more->open_more)) {
        add_dependencies(t, "After:", after, 0, b);
    }
    int64_t cancelled = er_json_int(task, "dependents_cancelled", 0);
    if (cancelled > 0) {
        er_buf_addf(b, "%-13s", "Cancelled:");
        add_grouped(b, cancelled);
        er_buf_addf(b, " %s\n",
                    cancelled == 1 ? "task that waited for it"
                                   : "tasks that waited for it");
    }
}

static void
add_usage(const json_t *task, struct er_buf *b)
{
    double cpu = er_json_number(task, "cpu_s", -1.0);
    double rss = er_json_number(task, "peak_rss_bytes", -1.0);
    if (cpu < 0.0 && rss <= 0.0) {
        return;
    }
    er_buf_addf(b, "%-13s", "Used:");
    if (cpu >= 0.0) {
        er_show_add_seconds(b, "", cpu, " of CPU");
    }
    if (rss > 0.0) {
        er_buf_add_str(b, cpu >= 0.0 ? ", " : "");
        er_show_add_amount(b, rss, "bytes");
        er_buf_add_str(b, " of memory at most");
    }
    er_buf_add_char(b, '\n');
}

/* One line an attempt; a single one says no more than the task itself. */
static void
add_attempts(const struct er_term *t, const json_t *attempts, struct er_buf *b)
{
    static const enum er_align align[] = {ER_ALIGN_RIGHT, ER_ALIGN_LEFT, ER_ALIGN_LEFT,
                                          ER_ALIGN_LEFT,  ER_ALIGN_LEFT, ER_ALIGN_FLEX};
    size_t i;
    const json_t *a;
    if (json_array_size(attempts) < 2) {
        return;
    }
    struct er_table *table = er_table_new(align, sizeof align / sizeof align[0]);
    struct er_buf text;
    er_buf_init(&text, 0);
    json_array_foreach(attempts, i, a)
    {
        const char *outcome = er_json_text(a, "outcome");
        er_buf_clear(&text);
        er_buf_addf(&text, "%" PRId64, er_json_int(a, "attempt", 0));
        er_table_add(table, ER_STYLE_PLAIN, text.data);
        er_table_add(table, ER_STYLE_PLAIN, outcome ? outcome : "running");
        er_buf_clear(&text);
        (void)er_show_add_cause(a, &text);
        er_table_add(table, ER_STYLE_PLAIN, text.data);
        er_buf_clear(&text);
        (void)er_show_add_span(&text, "", er_json_time(a, "started_at"),
                               er_json_time(a, "finished_at"), "");
        er_table_add(table, ER_STYLE_PLAIN, text.data);
        er_table_add(table, ER_STYLE_DIM, er_json_text(a, "started_at"));
        er_table_add(table, ER_STYLE_PLAIN,
                     er_json_text(json_object_get(a, "error"), "message"));
    }
    er_buf_add_str(b, "Attempts:\n");
    er_table_render(table, t, 0, b);
    er_buf_fini(&text);
    er_table_free(table);
}

void
er_show_task(const struct er_term *t, const json_t *task, const struct er_show_more *more,
             er_usec now, struct er_buf *b)
{
    const char *name = er_json_text(task, "name");
    const char *type = er_json_text(task, "type");
    er_term_style(t, b, ER_STYLE_BOLD);
    er_buf_addf(b, "%" PRId64 " ", er_json_int(task, "id", 0));
    (void)er_term_text(t, b, name ? name : "", name ? strlen(name) : 0, 0);
    er_term_plain(t, b, ER_STYLE_BOLD);
    er_buf_add_char(b, '\n');
    add_state(t, task, now, b);
    add_line(t, b, "Why:", more->why);
    add_progress(t, task, b);
    add_items(t, task, b);
    add_error(t, task, b);
    if (type && strcmp(type, "shell") != 0) {
        add_line(t, b, "Type:", type);
    }
    add_command(t, task, b);
    add_line(t, b, "Folder:", er_json_text(task, "cwd"));
    add_line(t, b, "Queue:", er_json_text(task, "queue"));
    add_after(t, task, more, b);
    add_number(b, "Priority:", task, "priority");
    add_number(b, "Run:", task, "run");
    add_number(b, "Attempt:", task, "attempt");
    add_number(b, "Retries:", task, "retries");
    add_number(b, "Failures:", task, "failures");
    add_number(b, "Losses:", task, "losses");
    add_seconds(b, "Timeout:", task, "timeout_s");
    add_seconds(b, "Heartbeat:", task, "heartbeat_s");
    add_moment(b, "Added:", task, "created_at", now);
    add_moment(b, "Runs at:", task, "run_at", now);
    if (er_json_int(task, "attempt", 0) == 0 &&
        er_json_time(task, "finished_at") == ER_NEVER) {
        add_moment(b, "Expires:", task, "expires_at", now);
    }
    add_moment(b, "Started:", task, "started_at", now);
    add_moment(b, "Finished:", task, "finished_at", now);
    add_line(t, b, "Worker:", er_json_text(task, "worker"));
    add_number(b, "Process:", task, "pid");
    add_usage(task, b);
    add_labels(t, task, b);
    add_line(t, b, "Key:", er_json_text(task, "key"));
    add_line(t, b, "Limit key:", er_json_text(task, "limit_key"));
    if (er_json_int(task, "cost", 1) > 1) {
        add_number(b, "Cost:", task, "cost");
    }
    add_line(t, b, "Correlation:", er_json_text(task, "correlation_id"));
    add_number(b, "Parent:", task, "parent");
    add_attempts(t, more->attempts, b);
}

/* Adds one line of output: blanks kept, tabs spread, the rest made clean, long ones cut.
 * What a carriage return wrote over is not shown. */
static void
add_output_line(const struct er_term *t, const char *s, size_t n, struct er_buf *b)
{
    size_t column = 0;
    while (n > 0 && s[n - 1] == '\r') {
        n--;
    }
    const char *back = memrchr(s, '\r', n);
    if (back) {
        n -= (size_t)(back + 1 - s);
        s = back + 1;
    }
    bool cut = n > OUTPUT_LINE_MAX;
    n = er_text_fit(s, n, OUTPUT_LINE_MAX);
    er_buf_add_str(b, "  ");
    for (size_t at = 0; at < n;) {
        size_t word = at;
        while (word < n && s[word] != ' ' && s[word] != '\t') {
            word++;
        }
        if (word > at) {
            column += er_term_text(t, b, s + at, word - at, 0);
            at = word;
            continue;
        }
        size_t blanks = s[at] == '\t' ? 8 - column % 8 : 1;
        column += blanks;
        while (blanks-- > 0) {
            er_buf_add_char(b, ' ');
        }
        at++;
    }
    if (cut) {
        er_buf_add_str(b, t->utf8 ? "… (truncated)" : "... (truncated)");
    }
    er_buf_add_char(b, '\n');
}

void
er_show_output(const struct er_term *t, const char *s, size_t n, struct er_buf *b)
{
    while (n > 0) {
        const char *end = memchr(s, '\n', n);
        size_t len = end ? (size_t)(end - s) : n;
        add_output_line(t, s, len, b);
        len += end ? 1 : 0;
        s += len;
        n -= len;
    }
}
