/* SPDX-License-Identifier: MIT */
/* errand queue, types, stats: what there is besides tasks. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/api.h"
#include "app/cmd.h"
#include "app/show.h"
#include "model/duration.h"

/* The array behind a name, or the value itself when it is one. */
static const json_t *
array_of(const json_t *v, const char *name)
{
    return json_is_array(v) ? v : json_object_get(v, name);
}

static int
print_table(struct er_table *table)
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

/* ---- queue ---- */

struct queue {
    const char *concurrency, *size;
    bool pause, resume, remove, json;
};

#define AT(field) offsetof(struct queue, field)
static const struct er_opt queue_opts[] = {
    {0, "concurrency", "N|none", ER_OPT_TEXT, AT(concurrency),
     "at most N of it run at once", 0, 0, NULL},
    {0, "size", "N|none", ER_OPT_TEXT, AT(size), "at most N of it may wait", 0, 0, NULL},
    {0, "pause", NULL, ER_OPT_FLAG, AT(pause), "start nothing of it", 0, 0, NULL},
    {0, "resume", NULL, ER_OPT_FLAG, AT(resume), "start its tasks again", 0, 0, NULL},
    {0, "remove", NULL, ER_OPT_FLAG, AT(remove), "forget its settings", 0, 0, NULL},
    {0, "json", NULL, ER_OPT_FLAG, AT(json), "as JSON", 0, 0, NULL},
    ER_OPT_END,
};
#undef AT

static void
add_queue(struct er_table *table, const json_t *q)
{
    struct er_buf b;
    const char *name = er_json_text(q, "name");
    int64_t concurrency = er_json_int(q, "concurrency", -1);
    int64_t size = er_json_int(q, "size", -1);
    bool paused = er_json_bool(q, "paused");
    er_buf_init(&b, 0);
    er_table_add(table, ER_STYLE_PLAIN, name ? name : "?");
    er_table_add(table, paused ? ER_STYLE_YELLOW : ER_STYLE_PLAIN,
                 paused ? "paused" : "open");
    if (concurrency >= 0) {
        er_buf_addf(&b, "at most %" PRId64 " at once", concurrency);
    }
    er_table_add(table, ER_STYLE_PLAIN, b.data);
    er_buf_clear(&b);
    if (size >= 0) {
        er_buf_addf(&b, "at most %" PRId64 " waiting", size);
    }
    er_table_add(table, ER_STYLE_PLAIN, b.data);
    er_buf_clear(&b);
    if (json_object_get(q, "queued")) {
        er_buf_addf(&b, "%" PRId64 " queued", er_json_int(q, "queued", 0));
    }
    er_table_add(table, ER_STYLE_PLAIN, b.data);
    er_buf_clear(&b);
    if (json_object_get(q, "running")) {
        er_buf_addf(&b, "%" PRId64 " running", er_json_int(q, "running", 0));
    }
    er_table_add(table, ER_STYLE_PLAIN, b.data);
    er_buf_fini(&b);
}

static struct er_table *
queue_table(void)
{
    static const enum er_align align[] = {ER_ALIGN_FLEX, ER_ALIGN_LEFT,  ER_ALIGN_LEFT,
                                          ER_ALIGN_LEFT, ER_ALIGN_RIGHT, ER_ALIGN_RIGHT};
    return er_table_new(align, sizeof align / sizeof align[0]);
}

static int
list_queues(struct er_app *app, bool json)
{
    struct er_err err;
    json_t *all;
    size_t i;
    const json_t *q;
    int rc = er_api_get(app, "/v1/queues", &all, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    struct er_table *table = queue_table();
    json_array_foreach(array_of(all, "queues"), i, q)
    {
        if (json) {
            rc = rc ? rc : er_show_json(q);
        } else {
            add_queue(table, q);
        }
    }
    int printed = print_table(table);
    json_decref(all);
    return rc ? rc : printed;
}

/* Sets a member to a number, or to null for "none". */
static int
set_limit(json_t *q, const char *name, const char *text, int64_t min, struct er_err *err)
{
    int64_t v;
    if (!text) {
        return 0;
    }
    if (strcmp(text, "none") == 0) {
        return json_object_set_new(q, name, json_null());
    }
    if (er_options_int(text, min, INT32_MAX, &v)) {
        return er_fail(
            err, ER_EINVALID,
            "invalid value '%.60s' for --%s: it takes a whole number from %" PRId64
            " on, or none",
            text, name, min);
    }
    return json_object_set_new(q, name, json_integer(v));
}

/* The settings as they are now, with the changes in them; NULL and the code with words.
 */
static json_t *
changed(struct er_app *app, const char *target, const struct queue *o, int *rc,
        struct er_err *err)
{
    static const char *const settings[] = {"concurrency", "size", "paused"};
    json_t *now = NULL;
    json_t *q = json_object();
    *rc = er_api_get(app, target, &now, err);
    if (*rc == ER_ENOTFOUND) { /* it is made by this */
        *rc = 0;
    }
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        json_t *v = json_object_get(now, settings[i]);
        if (v) {
            (void)json_object_set(q, settings[i], v);
        }
    }
    json_decref(now);
    *rc = *rc ? *rc : set_limit(q, "concurrency", o->concurrency, 0, err);
    *rc = *rc ? *rc : set_limit(q, "size", o->size, 0, err);
    if (o->pause || o->resume) {
        (void)json_object_set_new(q, "paused", json_boolean(o->pause));
    }
    if (*rc) {
        json_decref(q);
        return NULL;
    }
    return q;
}

static int
set_queue(struct er_app *app, const char *target, const struct queue *o, json_t **out,
          struct er_err *err)
{
    int rc;
    json_t *q = changed(app, target, o, &rc, err);
    if (!q) {
        return rc;
    }
    struct er_buf body;
    char *text = json_dumps(q, JSON_COMPACT);
    er_buf_init(&body, 0);
    er_buf_add_str(&body, text);
    rc = er_api_post(app, "PUT", target, &body, out, err);
    er_buf_fini(&body);
    free(text);
    json_decref(q);
    return rc;
}

static int
queue_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct queue *o = data;
    struct er_err err;
    struct er_buf target;
    json_t *q = NULL;
    bool change = o->concurrency || o->size || o->pause || o->resume;
    if (o->pause && o->resume) {
        return er_app_failf(ER_EINVALID, "--pause and --resume: give one of them");
    }
    if (n == 0) {
        return change || o->remove
                   ? er_app_failf(ER_EINVALID, "which queue? errand queue NAME")
                   : list_queues(app, o->json);
    }
    if (o->remove && change) {
        return er_app_failf(ER_EINVALID, "--remove goes with no other setting");
    }
    er_buf_init(&target, 0);
    er_api_param(&target, "", args[0]); /* "?=NAME": percent-encoded */
    char *name = er_buf_take(&target);
    er_buf_add_str(&target, "/v1/queues/");
    er_buf_add_str(&target, name + 2);
    free(name);
    int rc = o->remove ? er_api_post(app, "DELETE", target.data, NULL, NULL, &err)
             : change  ? set_queue(app, target.data, o, &q, &err)
                       : er_api_get(app, target.data, &q, &err);
    er_buf_fini(&target);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    if (q && o->json) {
        rc = er_show_json(q);
    } else if (q && !change) {
        struct er_table *table = queue_table();
        add_queue(table, q);
        rc = print_table(table);
    }
    json_decref(q);
    return rc;
}

const struct er_cmd er_cmd_queue = {
    .name = "queue",
    .operands = "[NAME]",
    .summary = "list queues, show or change one",
    .opts = queue_opts,
    .data_size = sizeof(struct queue),
    .max = 1,
    .exec = queue_exec,
};

/* ---- types ---- */

struct types {
    bool json;
};

static const struct er_opt types_opts[] = {
    {0, "json", NULL, ER_OPT_FLAG, offsetof(struct types, json), "as JSON", 0, 0, NULL},
    ER_OPT_END,
};

static const char *
type_name(const json_t *type)
{
    const char *name = json_string_value(type);
    name = name ? name : er_json_text(type, "name");
    return name ? name : er_json_text(type, "type");
}

/* One type in full: what it is, and the rest as JSON. */
static int
print_type(const json_t *type)
{
    struct er_buf b;
    const char *summary = er_json_text(type, "description");
    char *text = json_dumps(type, JSON_INDENT(2));
    er_buf_init(&b, 0);
    er_buf_addf(&b, "%s%s%s\n%s\n", type_name(type), summary ? ": " : "",
                summary ? summary : "", text ? text : "");
    free(text);
    int rc = er_app_out(&b);
    er_buf_fini(&b);
    return rc;
}

static int
types_exec(struct er_app *app, void *data, int n, char **args)
{
    static const enum er_align align[] = {ER_ALIGN_LEFT, ER_ALIGN_FLEX};
    const struct types *o = data;
    struct er_err err;
    json_t *all;
    size_t i;
    const json_t *type;
    bool found = false;
    int rc = er_api_get(app, "/v1/types", &all, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    struct er_table *table = er_table_new(align, 2);
    json_array_foreach(array_of(all, "types"), i, type)
    {
        const char *name = type_name(type);
        if (n > 0 && (!name || strcmp(name, args[0]) != 0)) {
            continue;
        }
        found = true;
        if (o->json) {
            rc = rc ? rc : er_show_json(type);
        } else if (n > 0) {
            rc = rc ? rc : print_type(type);
        } else {
            er_table_add(table, ER_STYLE_BOLD, name);
            er_table_add(table, ER_STYLE_PLAIN, er_json_text(type, "description"));
        }
    }
    int printed = print_table(table);
    json_decref(all);
    if (n > 0 && !found) {
        return er_app_failf(ER_ENOTFOUND,
                            "unknown type '%.60s' (errand types lists them)", args[0]);
    }
    return rc ? rc : printed;
}

const struct er_cmd er_cmd_types = {
    .name = "types",
    .operands = "[NAME]",
    .summary = "registered types of tasks",
    .opts = types_opts,
    .data_size = sizeof(struct types),
    .max = 1,
    .exec = types_exec,
};

/* ---- stats ---- */

struct stats {
    bool json;
};

static const struct er_opt stats_opts[] = {
    {0, "json", NULL, ER_OPT_FLAG, offsetof(struct stats, json), "as JSON", 0, 0, NULL},
    ER_OPT_END,
};

static void
add_workers(const json_t *workers, struct er_buf *b)
{
    size_t i;
    const json_t *w;
    json_array_foreach(workers, i, w)
    {
        const char *name = er_json_text(w, "worker");
        er_buf_addf(b, "%-13s%s, pid %" PRId64 ", %zu of %" PRId64 " slots in use\n",
                    "Worker:", name ? name : "?", er_json_int(w, "pid", 0),
                    json_array_size(json_object_get(w, "running")),
                    er_json_int(w, "slots", 0));
    }
    if (json_array_size(workers) == 0) {
        er_buf_addf(b, "%-13s%s\n", "Worker:", "none now");
    }
}

static int
stats_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct stats *o = data;
    struct er_err err;
    struct er_term t;
    struct er_buf b;
    json_t *stats;
    (void)n;
    (void)args;
    int rc = er_api_get(app, "/v1/stats", &stats, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    if (o->json) {
        rc = er_show_json(stats);
        json_decref(stats);
        return rc;
    }
    const json_t *daemon = json_object_get(stats, "daemon");
    const char *store = er_json_text(daemon, "store");
    const char *version = er_json_text(daemon, "version");
    char uptime[ER_DURATION_SIZE];
    er_duration_format((er_usec)(er_json_number(daemon, "uptime_s", 0.0) * 1e6), uptime);
    er_buf_init(&b, 0);
    er_term_init(&t, STDOUT_FILENO);
    er_show_footer(&t, json_object_get(stats, "counts"), &b);
    er_buf_addf(&b, "%-13spid %" PRId64 ", version %s, up %s\n",
                "Daemon:", er_json_int(daemon, "pid", 0), version ? version : "?",
                uptime);
    er_buf_addf(&b, "%-13s%s\n", "Store:", store ? store : "?");
    add_workers(json_object_get(stats, "workers"), &b);
    rc = er_app_out(&b);
    er_buf_fini(&b);
    json_decref(stats);
    return rc;
}

const struct er_cmd er_cmd_stats = {
    .name = "stats",
    .operands = "",
    .summary = "counts, the daemon, its workers",
    .opts = stats_opts,
    .data_size = sizeof(struct stats),
    .exec = stats_exec,
};
