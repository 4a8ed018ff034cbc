/* SPDX-License-Identifier: MIT */
/* errand types: what kinds of tasks there are, and what is the same for all of one kind.
 *
 * A definition is changed by reading it, putting the changes in, and writing it back as a
 * whole: what was not said stays. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/api.h"
#include "app/cmd.h"
#include "app/show.h"
#include "base/mem.h"
#include "model/duration.h"
#include "model/type.h"

struct types {
    bool remove, json;
    const char *describe, *concurrency, *timeout, *heartbeat;
    struct er_opt_int retries, success;
    struct er_opt_span backoff, rate_limit;
    struct er_opt_list exits;
};

#define AT(field) offsetof(struct types, field)
static const struct er_opt types_opts[] = {
    {0, "concurrency", "N|none", ER_OPT_TEXT, AT(concurrency),
     "at most N of its tasks run at once", 0, 0, NULL},
    {0, "retries", "N", ER_OPT_INT, AT(retries),
     "its tasks run again after up to N failures", 0, 1000, NULL},
    {0, "backoff", "DUR", ER_OPT_SPAN, AT(backoff),
     "wait before the first retry, doubled each time", 0, 0, NULL},
    {0, "timeout", "DUR|none", ER_OPT_TEXT, AT(timeout),
     "end an attempt that runs longer", 0, 0, NULL},
    {0, "heartbeat", "DUR|none", ER_OPT_TEXT, AT(heartbeat),
     "end an attempt that is silent for longer", 0, 0, NULL},
    {0, "success", "PERCENT", ER_OPT_INT, AT(success),
     "fail when fewer of its items complete (95)", 0, 100, NULL},
    {0, "exit-code", "CODE=WHAT", ER_OPT_LIST, AT(exits),
     "what an exit code means: completed, retryable, fatal, user-actionable, rate-limit, "
     "or "
     "default",
     0, 0, NULL},
    {0, "rate-limit", "DUR", ER_OPT_SPAN, AT(rate_limit),
     "the wait after an exit code that means rate-limit (1m)", 0, 0, NULL},
    {0, "describe", "TEXT", ER_OPT_TEXT, AT(describe), "what it does, in a line", 0,
     ER_MAX_NAME, NULL},
    {0, "remove", NULL, ER_OPT_FLAG, AT(remove), "forget its definition", 0, 0, NULL},
    {0, "json", NULL, ER_OPT_FLAG, AT(json), "as JSON", 0, 0, NULL},
    ER_OPT_END,
};
#undef AT

/* ---- showing ---- */

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

/* The object with its settings: its definition where that is told apart. */
static const json_t *
definition_of(const json_t *type)
{
    const json_t *definition = json_object_get(type, "definition");
    return json_is_object(definition) ? definition : type;
}

/* Adds "Label:       1m00s", or nothing when the span is unknown. */
static void
add_seconds(const json_t *d, const char *name, const char *label, struct er_buf *b)
{
    double v = er_json_number(d, name, -1.0);
    if (v > 0.0) {
        er_buf_addf(b, "%-13s", label);
        er_show_add_seconds(b, "", v, "\n");
    }
}

static void
add_count(const json_t *d, const char *name, const char *label, const char *after,
          struct er_buf *b)
{
    int64_t v = er_json_int(d, name, -1);
    if (v >= 0) {
        er_buf_addf(b, "%-13s%" PRId64 "%s\n", label, v, after);
    }
}

static void
add_exits(const json_t *d, struct er_buf *b)
{
    json_t *exits = json_object_get(d, "exit_codes");
    const char *sep = "Exit codes:  ";
    for (void *it = json_object_iter(exits); it; it = json_object_iter_next(exits, it)) {
        const char *means = json_string_value(json_object_iter_value(it));
        er_buf_addf(b, "%s%s = %s", sep, json_object_iter_key(it), means ? means : "?");
        sep = ", ";
    }
    er_buf_add_str(b, json_object_size(exits) > 0 ? "\n" : "");
}

/* Adds a member as indented JSON under a heading. */
static void
add_json(const json_t *type, const char *name, const char *label, struct er_buf *b)
{
    const json_t *v = json_object_get(type, name);
    char *text = json_is_null(v) ? NULL : json_dumps(v, JSON_INDENT(2) | JSON_ENCODE_ANY);
    if (v && text) {
        er_buf_addf(b, "%s\n%s\n", label, text);
    }
    free(text);
}

/* One type in full: its limits and defaults, its parameters, an example. */
static int
print_type(const json_t *type)
{
    struct er_buf b;
    struct er_term t;
    const char *help = help_of(type);
    const json_t *d = definition_of(type);
    er_buf_init(&b, 0);
    er_term_init(&t, STDOUT_FILENO);
    (void)er_term_text(&t, &b, name_of(type), strlen(name_of(type)), 0);
    er_buf_add_str(&b, help ? ": " : "");
    (void)er_term_text(&t, &b, help ? help : "", help ? strlen(help) : 0, 0);
    er_buf_add_char(&b, '\n');
    add_count(d, "concurrency", "At once:", "", &b);
    add_count(d, "running", "Running:", "", &b);
    add_count(d, "retries", "Retries:", "", &b);
    add_seconds(d, "backoff_s", "Backoff:", &b);
    add_seconds(d, "timeout_s", "Timeout:", &b);
    add_seconds(d, "heartbeat_s", "Heartbeat:", &b);
    add_count(d, "success_percent", "Success:", "% of its items", &b);
    add_seconds(d, "rate_limit_s", "Rate limit:", &b);
    add_exits(d, &b);
    add_json(type, "parameters", "Parameters:", &b);
    add_json(type, "example", "Example:", &b);
    int rc = er_app_out(&b);
    er_buf_fini(&b);
    return rc;
}

static int
list_types(struct er_app *app, bool json)
{
    static const enum er_align align[] = {ER_ALIGN_LEFT, ER_ALIGN_FLEX};
    struct er_err err;
    json_t *all;
    size_t i;
    const json_t *type;
    int rc = er_api_get(app, "/v1/types", &all, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    struct er_table *table = er_table_new(align, 2);
    json_array_foreach(json_object_get(all, "types"), i, type)
    {
        if (json) {
            rc = rc ? rc : er_show_json(type);
        } else {
            er_table_add(table, ER_STYLE_BOLD, name_of(type));
            er_table_add(table, ER_STYLE_PLAIN, help_of(type));
        }
    }
    int printed = er_show_table_end(table);
    json_decref(all);
    return rc ? rc : printed;
}

/* ---- changing ---- */

/* Puts a whole number or a span in seconds into the definition; "none" takes it out. */
static int
set_or_none(json_t *d, const char *member, const char *option, const char *text,
            bool span, struct er_err *err)
{
    int64_t v;
    int rc = 0;
    if (!text) {
        return 0;
    }
    if (strcmp(text, "none") == 0) {
        (void)json_object_del(d, member);
        return 0;
    }
    if (span) {
        rc = er_duration_parse(text, &v, err);
        return rc ? er_fail_prefix(err, rc, "--%s", option)
                  : json_object_set_new(d, member, json_real((double)v / 1e6));
    }
    if (er_options_int(text, 1, INT32_MAX, &v)) {
        return er_fail(
            err, ER_EINVALID,
            "invalid value '%.60s' for --%s: it takes a whole number from 1 on, "
            "or none",
            text, option);
    }
    return json_object_set_new(d, member, json_integer(v));
}

static int
set_exits(json_t *d, const struct er_opt_list *exits, struct er_err *err)
{
    json_t *codes = json_deep_copy(json_object_get(d, "exit_codes"));
    codes = codes ? codes : json_object();
    for (size_t i = 0; i < exits->n; i++) {
        int64_t code;
        char key[8] = "";
        size_t n = strcspn(exits->v[i], "=");
        const char *means = exits->v[i][n] ? exits->v[i] + n + 1 : "";
        (void)snprintf(key, sizeof key, "%.*s", (int)(n < 7 ? n : 7), exits->v[i]);
        if (er_options_int(key, 0, 255, &code) || er_exit_means_find(means) < 0) {
            json_decref(codes);
            return er_fail(err, ER_EINVALID,
                           "invalid value '%.60s' for --exit-code: it takes CODE=WHAT, a "
                           "code from 0 to 255 and completed, retryable, fatal, "
                           "user-actionable, rate-limit or default",
                           exits->v[i]);
        }
        (void)snprintf(key, sizeof key, "%" PRId64, code);
        if (er_exit_means_find(means) == ER_EXIT_DEFAULT) {
            (void)json_object_del(codes, key);
        } else {
            (void)json_object_set_new(codes, key, json_string(means));
        }
    }
    return json_object_set_new(d, "exit_codes", codes);
}

/* Puts all changes into a definition. */
static int
set_all(json_t *d, const struct types *o, struct er_err *err)
{
    int rc = set_or_none(d, "concurrency", "concurrency", o->concurrency, false, err);
    rc = rc ? rc : set_or_none(d, "timeout_s", "timeout", o->timeout, true, err);
    rc = rc ? rc : set_or_none(d, "heartbeat_s", "heartbeat", o->heartbeat, true, err);
    rc = rc || o->exits.n == 0 ? rc : set_exits(d, &o->exits, err);
    if (!rc && o->describe) {
        rc = json_object_set_new(d, "help", json_string(o->describe))
                 ? er_fail(err, ER_EINVALID, "the value of --describe is not UTF-8")
                 : 0;
    }
    if (o->retries.set) {
        (void)json_object_set_new(d, "retries", json_integer(o->retries.value));
    }
    if (o->success.set) {
        (void)json_object_set_new(d, "success_percent", json_integer(o->success.value));
    }
    if (o->backoff.set) {
        (void)json_object_set_new(d, "backoff_s",
                                  json_real((double)o->backoff.value / 1e6));
    }
    if (o->rate_limit.set) {
        (void)json_object_set_new(d, "rate_limit_s",
                                  json_real((double)o->rate_limit.value / 1e6));
    }
    return rc;
}

/* What a PUT may say, taken out of an answer; what is null there is left out. */
static json_t *
copy_definition(const json_t *type)
{
    static const char *const members[] = {
        "help",        "concurrency",     "retries",      "backoff_s", "timeout_s",
        "heartbeat_s", "success_percent", "rate_limit_s", "exit_codes"};
    const json_t *from = definition_of(type);
    json_t *d = json_object();
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        json_t *v = json_object_get(from, members[i]);
        if (v && !json_is_null(v)) {
            (void)json_object_set(d, members[i], v);
        }
    }
    return d;
}

static int
change_type(struct er_app *app, const char *target, const struct types *o, json_t **out,
            struct er_err *err)
{
    json_t *now = NULL;
    int rc = er_api_get(app, target, &now, err);
    if (rc && rc != ER_ENOTFOUND) { /* one that is not known is made by this */
        return rc;
    }
    json_t *d = copy_definition(now);
    json_decref(now);
    rc = set_all(d, o, err);
    if (rc) {
        json_decref(d);
        return rc;
    }
    return er_api_json(app, NULL, target, d, out, err);
}

static int
types_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct types *o = data;
    struct er_err err;
    struct er_buf target;
    json_t *type = NULL;
    bool change = o->concurrency || o->timeout || o->heartbeat || o->describe ||
                  o->retries.set || o->success.set || o->backoff.set ||
                  o->rate_limit.set || o->exits.n > 0;
    if (n == 0) {
        return change || o->remove
                   ? er_app_failf(ER_EINVALID, "which type? errand types NAME")
                   : list_types(app, o->json);
    }
    if (o->remove && change) {
        return er_app_failf(ER_EINVALID, "--remove goes with no other setting");
    }
    er_buf_init(&target, 0);
    er_buf_add_str(&target, "/v1/types/");
    er_api_segment(&target, args[0]);
    int rc = o->remove ? er_api_post(app, "DELETE", target.data, NULL, NULL, &err)
             : change  ? change_type(app, target.data, o, &type, &err)
                       : er_api_get(app, target.data, &type, &err);
    er_buf_fini(&target);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    rc = type && o->json ? er_show_json(type) : type && !change ? print_type(type) : 0;
    json_decref(type);
    return rc;
}

const struct er_cmd er_cmd_types = {
    .name = "types",
    .operands = "[NAME]",
    .summary = "types of tasks; one in full, or change its limits and defaults",
    .text =
        "What is not given stays as it is. Exit codes that are not named mean what they "
        "do in a\n"
        "shell: 0 completed, any other retryable.",
    .opts = {types_opts},
    .data_size = sizeof(struct types),
    .max = 1,
    .exec = types_exec,
};
