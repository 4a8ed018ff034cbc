/* SPDX-License-Identifier: MIT */
/* errand types: what kinds of tasks there are, and what is the same for all of one kind.
 *
 * Only what was said is sent; the daemon leaves the rest of a definition as it is. Exit
 * codes are one member: they are read first, and written back with what was given. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "app/gate.h"
#include "app/show.h"
#include "app/show_type.h"
#include "base/io.h"
#include "model/duration.h"
#include "model/type.h"

struct types {
    bool remove, json;
    const char *describe, *define, *concurrency, *timeout, *heartbeat;
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
    {0, "define", "FILE|-", ER_OPT_TEXT, AT(define),
     "all of its definition, a JSON object (YAML: types.d/NAME.yml beside config.yml)", 0,
     0, NULL},
    {0, "remove", NULL, ER_OPT_FLAG, AT(remove), "forget its definition", 0, 0, NULL},
    {0, "json", NULL, ER_OPT_FLAG, AT(json), "as JSON", 0, 0, NULL},
    ER_OPT_END,
};
#undef AT

/* ---- showing ---- */

static int
list_types(struct er_app *app, bool json)
{
    struct er_err err;
    json_t *all;
    size_t i;
    const json_t *type;
    int rc = er_daemon_get(app, "/v1/types", &all, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    struct er_table *table = er_show_type_table();
    json_array_foreach(json_object_get(all, "types"), i, type)
    {
        if (json) {
            rc = rc ? rc : er_show_json(type);
        } else {
            er_show_type_row(table, type);
        }
    }
    int printed = er_show_table_end(table);
    json_decref(all);
    return rc ? rc : printed;
}

/* ---- changing ---- */

/* Puts a whole number or a span in seconds into the changes; "none" takes it away. */
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
        return json_object_set_new(d, member, json_null());
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

/* Puts all exit codes into the changes: those that are known (which it takes), with what
 * was given. */
static int
set_exits(json_t *d, json_t *codes, const struct er_opt_list *exits, struct er_err *err)
{
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

/* Puts all changes but the exit codes into an object. */
static int
set_all(json_t *d, const struct types *o, struct er_err *err)
{
    int rc = set_or_none(d, "concurrency", "concurrency", o->concurrency, false, err);
    rc = rc ? rc : set_or_none(d, "timeout_s", "timeout", o->timeout, true, err);
    rc = rc ? rc : set_or_none(d, "heartbeat_s", "heartbeat", o->heartbeat, true, err);
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

/* The exit codes that the definition has now: one that is not known yet has none. */
static int
get_exits(struct er_app *app, const char *target, json_t **out, struct er_err *err)
{
    json_t *now = NULL;
    int rc = er_daemon_get(app, target, &now, err);
    *out = json_deep_copy(json_object_get(now, "exit_codes"));
    json_decref(now);
    return rc == ER_ENOTFOUND ? 0 : rc;
}

/* Sends what was said; the daemon leaves the rest as it is. */
static int
change_type(struct er_app *app, const char *target, const struct types *o, json_t **out,
            struct er_err *err)
{
    json_t *d = json_object(), *exits = NULL;
    int rc = set_all(d, o, err);
    rc = rc || o->exits.n == 0 ? rc : get_exits(app, target, &exits, err);
    rc = rc || o->exits.n == 0 ? rc : set_exits(d, exits, &o->exits, err);
    if (rc) {
        json_decref(d);
        return rc;
    }
    return er_daemon_json(app, NULL, target, d, out, err);
}

/* Takes the whole definition from a file. */
static int
define_type(struct er_app *app, const char *target, const char *path, json_t **out,
            struct er_err *err)
{
    struct er_buf b, whole;
    json_error_t why;
    er_buf_init(&b, ER_MAX_ARGS);
    int rc = er_read_file(strcmp(path, "-") == 0 ? "/dev/stdin" : path, &b, err);
    json_t *d =
        rc ? NULL : json_loadb(b.data ? b.data : "", b.len, JSON_REJECT_DUPLICATES, &why);
    er_buf_fini(&b);
    if (!rc && !json_is_object(d)) {
        rc = er_fail(err, ER_EINVALID, "%.300s, line %d: %s", path, d ? 1 : why.line,
                     d ? "a definition is one JSON object" : why.text);
    }
    if (rc) {
        json_decref(d);
        return rc;
    }
    er_buf_init(&whole, 0);
    er_buf_addf(&whole, "%s?merge=0", target);
    rc = er_daemon_json(app, NULL, whole.data, d, out, err);
    er_buf_fini(&whole);
    return rc;
}

static int
print_waiters(struct er_table *waiters)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, "Waiting:\n");
    int rc = er_app_out(&b);
    int printed = er_show_table_end(waiters);
    er_buf_fini(&b);
    return rc ? rc : printed;
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
        return change || o->remove || o->define
                   ? er_app_failf(ER_EINVALID, "which type? errand types NAME")
                   : list_types(app, o->json);
    }
    if (o->remove + (o->define != NULL) + change > 1) {
        return er_app_failf(ER_EINVALID, "--%s goes with no other setting",
                            o->remove ? "remove" : "define");
    }
    er_buf_init(&target, 0);
    er_buf_add_str(&target, "/v1/types/");
    er_daemon_segment(&target, args[0]);
    int rc = o->remove   ? er_daemon_post(app, "DELETE", target.data, NULL, NULL, &err)
             : o->define ? define_type(app, target.data, o->define, &type, &err)
             : change    ? change_type(app, target.data, o, &type, &err)
                         : er_daemon_get(app, target.data, &type, &err);
    er_buf_fini(&target);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    if (change && type && !er_show_type_is_executed(type)) {
        er_app_note("nothing executes '%s' yet: its tasks wait until something does "
                    "(errand types %s --remove forgets it)",
                    args[0], args[0]);
    }
    rc = type && o->json                 ? er_show_json(type)
         : type && !change && !o->define ? er_show_type(type)
                                         : 0;
    if (type && rc == 0 && !o->json && !change && !o->define) {
        struct er_table *waiters = er_gate_waiters(type);
        rc = waiters ? print_waiters(waiters) : 0;
    }
    json_decref(type);
    return rc;
}

const struct er_cmd er_cmd_types = {
    .name = "types",
    .operands = "[NAME]",
    .summary = "types of tasks; one in full, or change its limits and defaults",
    .text =
        "A type in full has its parameters, its limits and an example. What is not "
        "given\n"
        "stays as it is. Exit codes that are not named mean what they do in a shell: 0\n"
        "completed, any other retryable.",
    .opts = {types_opts},
    .data_size = sizeof(struct types),
    .max = 1,
    .exec = types_exec,
};
