/* SPDX-License-Identifier: MIT */
/* Types on the screen: a row each, or one in full: what it does, how it is executed, its
 * limits, its parameters, and a line that submits one. What is unknown is left out. */
#include "app/show_type.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/args.h"
#include "app/daemon.h"
#include "app/show.h"
#include "model/duration.h"
#include "model/param.h"
#include "model/shell_words.h"
#include "wire/json_dump.h"

#define LEAST 0.001 /* s: what is shorter is told as shorter than that */

static const char *
name_of(const json_t *type)
{
    const char *name = er_json_text(type, "name");
    return name ? name : "?";
}

static const char *
help_of(const json_t *type)
{
    const char *help = er_json_text(type, "help");
    return help ? help : er_json_text(type, "description");
}

#define NOBODY "nothing yet"

/* What executes its tasks, in a word or two. */
static const char *
executed_by(const json_t *type)
{
    bool served = er_json_bool(type, "served");
    if (json_array_size(json_object_get(type, "command")) > 0 ||
        strcmp(name_of(type), "shell") == 0) {
        return "command";
    }
    if (json_array_size(json_object_get(type, "program")) > 0) {
        return "program";
    }
    if (er_json_bool(type, "handler")) {
        return served ? "handler" : "handler, not connected";
    }
    return served ? "handler" : NOBODY;
}

bool
er_show_type_is_executed(const json_t *type)
{
    return strcmp(executed_by(type), NOBODY) != 0;
}

/* ---- a row ---- */

struct er_table *
er_show_type_table(void)
{
    static const enum er_align align[] = {ER_ALIGN_LEFT, ER_ALIGN_FLEX,
                                          ER_ALIGN_SPARE_LEFT, ER_ALIGN_SPARE_LEFT,
                                          ER_ALIGN_SPARE_LEFT};
    return er_table_new(align, sizeof align / sizeof align[0]);
}

void
er_show_type_row(struct er_table *table, const json_t *type)
{
    struct er_buf b;
    int64_t running = er_json_int(type, "running", 0);
    double takes = er_json_number(type, "takes_s", -1.0);
    er_buf_init(&b, 0);
    er_table_add(table, ER_STYLE_BOLD, name_of(type));
    er_table_add(table, ER_STYLE_PLAIN, help_of(type));
    er_table_add(table, ER_STYLE_DIM, executed_by(type));
    if (running > 0) {
        er_buf_addf(&b, "%" PRId64 " running", running);
    }
    er_table_add(table, ER_STYLE_CYAN, b.data);
    er_buf_clear(&b);
    if (takes >= 0.0) {
        er_show_add_seconds(&b, takes < LEAST ? "takes less than " : "takes ",
                            takes < LEAST ? LEAST : takes, "");
    }
    er_table_add(table, ER_STYLE_PLAIN, b.len > 0 ? b.data : NULL);
    er_buf_fini(&b);
}

/* ---- limits and defaults ---- */

/* Adds "Label:       1m00s", or nothing when the span is unknown. */
static void
add_seconds(const json_t *type, const char *name, const char *label, struct er_buf *b)
{
    double v = er_json_number(type, name, -1.0);
    if (v > 0.0) {
        er_buf_addf(b, "%-13s%s", label, v < LEAST ? "less than " : "");
        er_show_add_seconds(b, "", v < LEAST ? LEAST : v, "\n");
    }
}

static void
add_count(const json_t *type, const char *name, const char *label, const char *after,
          struct er_buf *b)
{
    int64_t v = er_json_int(type, name, -1);
    if (v >= 0) {
        er_buf_addf(b, "%-13s%" PRId64 "%s\n", label, v, after);
    }
}

static void
add_exits(const json_t *type, struct er_buf *b)
{
    json_t *exits = json_object_get(type, "exit_codes");
    const char *sep = "Exit codes:  ";
    for (void *it = json_object_iter(exits); it; it = json_object_iter_next(exits, it)) {
        const char *means = json_string_value(json_object_iter_value(it));
        er_buf_addf(b, "%s%s = %s", sep, json_object_iter_key(it), means ? means : "?");
        sep = ", ";
    }
    er_buf_add_str(b, json_object_size(exits) > 0 ? "\n" : "");
}

/* Adds a text made fit for the terminal. */
static void
add_clean(const struct er_term *t, const struct er_buf *text, struct er_buf *b)
{
    (void)er_term_text(t, b, text->data ? text->data : "", text->len, 0);
}

/* Adds "Executed by: command: curl -sS '{url}'", and where the definition is from. */
static void
add_executed(const json_t *type, const struct er_term *t, struct er_buf *b)
{
    const json_t *words = json_object_get(type, "command");
    words = json_is_array(words) ? words : json_object_get(type, "program");
    const char *origin = er_json_text(type, "origin");
    struct er_buf text;
    size_t i;
    const json_t *word;
    er_buf_init(&text, 0);
    er_buf_add_str(&text, executed_by(type));
    json_array_foreach(words, i, word)
    {
        er_buf_add_str(&text, i == 0 ? ": " : " ");
        er_shell_words_add(&text, json_is_string(word) ? json_string_value(word) : "?");
    }
    er_buf_addf(b, "%-13s", "Executed by:");
    add_clean(t, &text, b);
    er_buf_add_char(b, '\n');
    er_buf_fini(&text);
    if (origin) {
        er_buf_addf(b, "%-13s%s\n", "Origin:", origin);
    }
}

static void
add_limits(const json_t *type, struct er_buf *b)
{
    const char *on_lost = er_json_text(type, "on_lost");
    add_count(type, "concurrency", "At once:", "", b);
    add_count(type, "running", "Running:", "", b);
    add_seconds(type, "takes_s", "Takes:", b);
    add_seconds(type, "expected_s", "Expected:", b);
    add_count(type, "retries", "Retries:", "", b);
    add_seconds(type, "backoff_s", "Backoff:", b);
    add_seconds(type, "timeout_s", "Timeout:", b);
    add_seconds(type, "heartbeat_s", "Heartbeat:", b);
    add_count(type, "success_percent", "Success:", "% of its items", b);
    add_seconds(type, "rate_limit_s", "Rate limit:", b);
    if (on_lost) {
        er_buf_addf(b, "%-13s%s\n", "When lost:", on_lost);
    }
    if (er_json_bool(type, "idempotent")) {
        er_buf_addf(b, "%-13s%s\n", "Idempotent:", "yes");
    }
    add_exits(type, b);
}

/* ---- parameters ---- */

static enum er_param_kind
kind_of(const json_t *parameter)
{
    const char *word = er_json_text(parameter, "kind");
    int kind = word ? er_param_kind_find(word) : -1;
    return kind < 0 ? ER_PARAM_STRING : (enum er_param_kind)kind;
}

/* Adds a number, or a span where the parameter is one. */
static void
add_bound(const json_t *v, enum er_param_kind kind, struct er_buf *b)
{
    if (kind == ER_PARAM_DURATION) {
        er_duration_encode((er_usec)(json_number_value(v) * 1e6), b);
    } else {
        er_buf_addf(b, "%.15g", json_number_value(v));
    }
}

/* Adds "0 to 10", "from 0", "up to 10"; of texts it is their length. */
static void
add_range(const json_t *p, struct er_buf *b)
{
    enum er_param_kind kind = kind_of(p);
    const json_t *min = json_object_get(p, "min"), *max = json_object_get(p, "max");
    bool number =
        kind == ER_PARAM_INTEGER || kind == ER_PARAM_NUMBER || kind == ER_PARAM_DURATION;
    if (!json_is_number(min) && !json_is_number(max)) {
        return;
    }
    if (!number && !json_is_number(max) && json_number_value(min) == 1.0) {
        er_buf_add_str(b, "not empty");
        return;
    }
    if (json_is_number(min)) {
        er_buf_add_str(b, json_is_number(max) ? "" : "from ");
        add_bound(min, kind, b);
    }
    if (json_is_number(max)) {
        er_buf_add_str(b, json_is_number(min) ? " to " : "up to ");
        add_bound(max, kind, b);
    }
    er_buf_add_str(b, number ? "" : kind == ER_PARAM_STRINGS ? " entries" : " bytes");
}

/* Adds all that a value must be. */
static void
add_rules(const json_t *p, struct er_buf *b)
{
    const char *pattern = er_json_text(p, "pattern");
    size_t i;
    const json_t *choice;
    add_range(p, b);
    json_array_foreach(json_object_get(p, "choices"), i, choice)
    {
        er_buf_add_str(b, i > 0 ? "|" : b->len > 0 ? ", " : "");
        er_buf_add_str(b, json_is_string(choice) ? json_string_value(choice) : "?");
    }
    if (pattern) {
        er_buf_addf(b, "%slike %s", b->len > 0 ? ", " : "", pattern);
    }
    if (er_json_bool(p, "secret")) {
        er_buf_add_str(b, b->len > 0 ? ", secret" : "secret");
    }
}

/* Adds "required", "default 3", or nothing. */
static void
add_need(const json_t *p, struct er_buf *b)
{
    const json_t *v = json_object_get(p, "default");
    if (er_args_is_required(p)) {
        er_buf_add_str(b, "required");
    } else if (json_is_string(v)) {
        er_buf_addf(b, "default %s", json_string_value(v));
    } else if (json_is_number(v) && kind_of(p) == ER_PARAM_DURATION) {
        er_buf_add_str(b, "default ");
        add_bound(v, ER_PARAM_DURATION, b);
    } else if (v && !json_is_null(v)) {
        char *text = er_json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
        er_buf_addf(b, "default %s", text ? text : "?");
        free(text);
    }
}

/* Adds a cell made by a function. */
static void
add_cell(struct er_table *table, const json_t *p,
         void (*add)(const json_t *p, struct er_buf *b))
{
    struct er_buf b;
    er_buf_init(&b, 0);
    add(p, &b);
    er_table_add(table, ER_STYLE_PLAIN, b.len > 0 ? b.data : NULL);
    er_buf_fini(&b);
}

/* Adds the rows of a table, each behind two blanks. */
static void
add_indented(const struct er_table *table, const struct er_term *t, struct er_buf *b)
{
    struct er_term narrow = *t;
    struct er_buf rows;
    const char *line;
    size_t at = 0, n;
    narrow.width = t->width > 2 ? t->width - 2 : t->width;
    er_buf_init(&rows, 0);
    er_table_render(table, &narrow, 0, &rows);
    while (er_daemon_line(&rows, &at, &line, &n)) {
        er_buf_add_str(b, "  ");
        er_buf_add(b, line, n);
        er_buf_add_char(b, '\n');
    }
    er_buf_fini(&rows);
}

static void
add_parameters(const json_t *type, const struct er_term *t, struct er_buf *b)
{
    static const enum er_align align[] = {ER_ALIGN_LEFT, ER_ALIGN_LEFT, ER_ALIGN_LEFT,
                                          ER_ALIGN_FLEX, ER_ALIGN_FLEX};
    const json_t *parameters = json_object_get(type, "parameters"), *p;
    size_t i;
    if (json_array_size(parameters) == 0) {
        er_buf_addf(b, "%-13s%s\n",
                    "Parameters:", json_is_array(parameters) ? "none" : "any");
        return;
    }
    struct er_table *table = er_table_new(align, sizeof align / sizeof align[0]);
    json_array_foreach(parameters, i, p)
    {
        er_table_add(table, ER_STYLE_BOLD, name_of(p));
        er_table_add(table, ER_STYLE_PLAIN, er_json_text(p, "kind"));
        add_cell(table, p, add_need);
        add_cell(table, p, add_rules);
        er_table_add(table, ER_STYLE_PLAIN, er_json_text(p, "help"));
    }
    er_buf_add_str(b, "Parameters:\n");
    add_indented(table, t, b);
    er_table_free(table);
}

/* ---- the example ---- */

/* Adds strings with commas between: false when one has a comma itself. */
static bool
add_joined(const json_t *list, struct er_buf *b)
{
    size_t i;
    const json_t *v;
    json_array_foreach(list, i, v)
    {
        const char *text = json_string_value(v);
        if (!text || !text[0] || strchr(text, ',')) {
            return false;
        }
        er_buf_add_str(b, i > 0 ? "," : "");
        er_buf_add_str(b, text);
    }
    return json_array_size(list) > 0;
}

/* Adds " KEY=VALUE" as a shell reads it back; or KEY:=JSON, where no text will do, or
 * (typed is false) nothing says what a text stands for. */
static void
add_argument(const char *key, const json_t *v, bool typed, struct er_buf *b)
{
    struct er_buf word;
    const char *text = json_string_value(v);
    bool plain = typed && (json_is_number(v) || json_is_boolean(v));
    er_buf_init(&word, 0);
    er_buf_addf(&word, "%s=", key);
    if (text) {
        er_buf_add_str(&word, text[0] == '@' ? "@" : "");
        er_buf_add_str(&word, text);
    } else if (!typed || !json_is_array(v) || !add_joined(v, &word)) {
        char *json = er_json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
        er_buf_clear(&word);
        er_buf_addf(&word, "%s%s=%s", key, plain ? "" : ":", json ? json : "");
        free(json);
    }
    er_buf_add_char(b, ' ');
    er_shell_words_add(b, word.data);
    er_buf_fini(&word);
}

/* Adds " KEY=KIND" for what must be given, where there is no example. */
static void
add_required(const json_t *type, struct er_buf *b)
{
    size_t i;
    const json_t *p;
    json_array_foreach(json_object_get(type, "parameters"), i, p)
    {
        if (er_args_is_required(p)) {
            er_buf_addf(b, " %s=", name_of(p));
            for (const char *k = er_param_kind_word(kind_of(p)); *k; k++) {
                er_buf_add_char(b, (char)toupper((unsigned char)*k));
            }
        }
    }
}

static void
add_example(const json_t *type, const struct er_term *t, struct er_buf *b)
{
    json_t *example = json_object_get(type, "example");
    bool typed = json_is_array(json_object_get(type, "parameters"));
    struct er_buf line;
    er_buf_init(&line, 0);
    er_buf_add_str(&line, "errand submit ");
    er_shell_words_add(&line, name_of(type));
    if (json_object_size(example) == 0) {
        add_required(type, &line);
    }
    for (void *it = json_object_iter(example); it;
         it = json_object_iter_next(example, it)) {
        add_argument(json_object_iter_key(it), json_object_iter_value(it), typed, &line);
    }
    er_buf_add_str(b, "Example:\n  ");
    add_clean(t, &line, b);
    er_buf_add_char(b, '\n');
    er_buf_fini(&line);
}

/* ---- all of it ---- */

int
er_show_type(const json_t *type)
{
    struct er_buf b, title;
    struct er_term t;
    const char *help = help_of(type);
    er_buf_init(&b, 0);
    er_buf_init(&title, 0);
    er_term_init(&t, STDOUT_FILENO);
    er_buf_addf(&title, "%s%s%s", name_of(type), help ? ": " : "", help ? help : "");
    add_clean(&t, &title, &b);
    er_buf_add_char(&b, '\n');
    add_executed(type, &t, &b);
    add_limits(type, &b);
    add_parameters(type, &t, &b);
    add_example(type, &t, &b);
    int rc = er_app_out(&b);
    er_buf_fini(&title);
    er_buf_fini(&b);
    return rc;
}
