/* SPDX-License-Identifier: MIT */
/* errand queue, errand limit: what holds tasks back, by queue and by limit key. Both are
 * told the same way: settings, what runs and waits, and when the next one may start. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "app/gate.h"
#include "app/show.h"
#include "model/name.h"
#include "model/rate.h"

struct gate {
    const char *concurrency, *size;
    struct er_opt_list rates;
    bool pause, resume, remove, json;
};

/* What differs between the two. */
struct gate_kind {
    const char *word;   /* in messages */
    const char *target; /* of the list; one is behind a slash */
    const char *member; /* of the list's answer */
};
static const struct gate_kind queue_kind = {"queue", "/v1/queues", "queues"};
static const struct gate_kind limit_kind = {"limit", "/v1/limits", "limits"};

#define AT(field) offsetof(struct gate, field)
static const struct er_opt gate_opts[] = {
    {0, "concurrency", "N|none", ER_OPT_TEXT, AT(concurrency),
     "at most N of it run at once", 0, 0, NULL},
    {0, "rate", "N/DUR|none", ER_OPT_LIST, AT(rates),
     "at most N in any DUR, as 60/1m (again for more); N counts costs, with :starts "
     "starts; "
     ":burst=N lets N go at once",
     0, 0, NULL},
    {0, "remove", NULL, ER_OPT_FLAG, AT(remove), "forget its settings", 0, 0, NULL},
    {0, "json", NULL, ER_OPT_FLAG, AT(json), "as JSON", 0, 0, NULL},
    ER_OPT_END,
};
static const struct er_opt queue_opts[] = {
    {0, "size", "N|none", ER_OPT_TEXT, AT(size), "at most N of it may wait", 0, 0, NULL},
    {0, "pause", NULL, ER_OPT_FLAG, AT(pause),
     "start nothing of it (errand pause --queue stops what runs, too)", 0, 0, NULL},
    {0, "resume", NULL, ER_OPT_FLAG, AT(resume), "start its tasks again", 0, 0, NULL},
    ER_OPT_END,
};
#undef AT

static int
list(struct er_app *app, const struct gate_kind *kind, bool json)
{
    struct er_err err;
    json_t *all;
    size_t i;
    const json_t *gate;
    int rc = er_daemon_get(app, kind->target, &all, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    const json_t *gates = json_object_get(all, kind->member);
    struct er_table *table = er_gate_table();
    er_usec now = er_clock_wall(er_clock_system());
    json_array_foreach(gates, i, gate)
    {
        if (json) {
            rc = rc ? rc : er_show_json(gate);
        } else {
            er_gate_row(table, gate, now);
        }
    }
    if (!json && json_array_size(gates) == 0) {
        er_app_note("No %ss. Try: errand %s NAME --concurrency 1", kind->word,
                    kind->word);
    }
    int printed = er_show_table_end(table);
    if (!json && er_json_bool(all, "all_paused")) {
        er_app_note("everything is paused (errand resume --all)");
    }
    json_decref(all);
    return rc ? rc : printed;
}

/* ---- changing ---- */

/* Sets a member to a number, or to null for "none". */
static int
set_number(json_t *o, const char *name, const char *text, struct er_err *err)
{
    int64_t v;
    if (!text) {
        return 0;
    }
    if (strcmp(text, "none") == 0) {
        return json_object_set_new(o, name, json_null());
    }
    if (er_options_int(text, 1, INT32_MAX, &v)) {
        return er_fail(
            err, ER_EINVALID,
            "invalid value '%.60s' for --%s: it takes a whole number from 1 on, "
            "or none",
            text, name);
    }
    return json_object_set_new(o, name, json_integer(v));
}

/* Sets the rates: those that are given take the place of all that were. */
static int
set_rates(json_t *o, const struct er_opt_list *rates, struct er_err *err)
{
    json_t *array = json_array();
    int rc = 0;
    for (size_t i = 0; !rc && i < rates->n; i++) {
        struct er_rate rate;
        if (strcmp(rates->v[i], "none") == 0 && rates->n == 1) {
            break;
        }
        rc = er_rate_parse(rates->v[i], &rate, err);
        if (rc) {
            rc = er_fail_prefix(err, rc, "--rate");
        } else {
            (void)json_array_append_new(array, json_string(rates->v[i]));
        }
    }
    if (!rc && rates->n > ER_MAX_RATES) {
        rc = er_fail(err, ER_EINVALID, "--rate: at most %d rates hold at once, not %zu",
                     ER_MAX_RATES, rates->n);
    }
    if (rc) {
        json_decref(array);
        return rc;
    }
    return json_object_set_new(o, "rates", array);
}

/* Sends what was said; the daemon leaves the rest as it is. */
static int
change(struct er_app *app, const char *target, const struct gate *g, json_t **out,
       struct er_err *err)
{
    json_t *o = json_object();
    int rc = set_number(o, "concurrency", g->concurrency, err);
    rc = rc ? rc : set_number(o, "size", g->size, err);
    rc = rc || g->rates.n == 0 ? rc : set_rates(o, &g->rates, err);
    if (g->pause || g->resume) {
        (void)json_object_set_new(o, "paused", json_boolean(g->pause));
    }
    if (rc) {
        json_decref(o);
        return rc;
    }
    return er_daemon_json(app, NULL, target, o, out, err);
}

static int
gate_exec(struct er_app *app, const struct gate_kind *kind, const struct gate *g, int n,
          char **args)
{
    struct er_err err;
    struct er_buf target;
    json_t *gate = NULL;
    bool changes = g->concurrency || g->size || g->rates.n > 0 || g->pause || g->resume;
    if (g->pause && g->resume) {
        return er_app_failf(ER_EINVALID, "--pause and --resume: give one of them");
    }
    if (n == 0) {
        return changes || g->remove
                   ? er_app_failf(ER_EINVALID, "which %s? errand %s NAME", kind->word,
                                  kind->word)
                   : list(app, kind, g->json);
    }
    if (g->remove && changes) {
        return er_app_failf(ER_EINVALID, "--remove goes with no other setting");
    }
    const char *refusal = er_name_refusal(args[0]);
    if (refusal) {
        return er_app_failf(ER_EINVALID, "the name of a %s %s", kind->word, refusal);
    }
    er_buf_init(&target, 0);
    er_buf_addf(&target, "%s/", kind->target);
    er_daemon_segment(&target, args[0]);
    int rc = g->remove ? er_daemon_post(app, "DELETE", target.data, NULL, NULL, &err)
             : changes ? change(app, target.data, g, &gate, &err)
                       : er_daemon_get(app, target.data, &gate, &err);
    er_buf_fini(&target);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    if (gate && g->json) {
        rc = er_show_json(gate);
    } else if (gate && !changes) {
        struct er_table *table = er_gate_table();
        er_gate_row(table, gate, er_clock_wall(er_clock_system()));
        rc = er_show_table_end(table);
        table = er_gate_waiters(gate);
        rc = rc || !table ? rc : er_show_table_end(table);
    }
    json_decref(gate);
    return rc;
}

static int
queue_exec(struct er_app *app, void *data, int n, char **args)
{
    return gate_exec(app, &queue_kind, data, n, args);
}

const struct er_cmd er_cmd_queue = {
    .name = "queue",
    .operands = "[NAME]",
    .summary = "list queues, show or change one",
    .text =
        "What is not given stays as it is; --rate takes the place of all rates (none: no "
        "rate).",
    .group = "Limits",
    .opts = {queue_opts, gate_opts},
    .data_size = sizeof(struct gate),
    .max = 1,
    .exec = queue_exec,
};

static int
limit_exec(struct er_app *app, void *data, int n, char **args)
{
    return gate_exec(app, &limit_kind, data, n, args);
}

const struct er_cmd er_cmd_limit = {
    .name = "limit",
    .operands = "[KEY]",
    .summary = "list limit keys, show or change the limits of one",
    .text =
        "They hold for all tasks with that --limit-key, whatever their queue or type.\n"
        "What is not given stays as it is; --rate takes the place of all rates (none: no "
        "rate).",
    .opts = {gate_opts},
    .data_size = sizeof(struct gate),
    .max = 1,
    .exec = limit_exec,
};
