/* SPDX-License-Identifier: MIT */
/* errand stats: counts, the daemon, its workers, and what is limited. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "app/gate.h"
#include "app/show.h"
#include "model/duration.h"

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

/* Whether something is set for a queue or a key, or it stands still. */
static bool
is_limited(const json_t *gate)
{
    return er_json_int(gate, "concurrency", 0) > 0 || er_json_int(gate, "size", 0) > 0 ||
           json_array_size(json_object_get(gate, "rates")) > 0 ||
           er_json_bool(gate, "paused");
}

/* The queues and keys that have limits, under a heading. */
static void
add_limits(const struct er_term *t, const json_t *gates, const char *heading,
           struct er_buf *b)
{
    size_t i;
    const json_t *gate;
    struct er_table *table = er_gate_table();
    er_usec now = er_clock_wall(er_clock_system());
    json_array_foreach(gates, i, gate)
    {
        if (is_limited(gate)) {
            er_gate_row(table, gate, now);
        }
    }
    if (er_table_rows(table) > 0) {
        er_buf_addf(b, "%s\n", heading);
        er_table_render(table, t, 0, b);
    }
    er_table_free(table);
}

static void
add_daemon(const json_t *stats, struct er_buf *b)
{
    const json_t *daemon = json_object_get(stats, "daemon");
    const char *store = er_json_text(daemon, "store");
    const char *version = er_json_text(daemon, "version");
    char uptime[ER_DURATION_SIZE];
    er_duration_format((er_usec)(er_json_number(daemon, "uptime_s", 0.0) * 1e6), uptime);
    er_buf_addf(b, "%-13spid %" PRId64 ", version %s, up %s\n",
                "Daemon:", er_json_int(daemon, "pid", 0), version ? version : "?",
                uptime);
    er_buf_addf(b, "%-13s%s\n", "Store:", store ? store : "?");
    if (er_json_bool(daemon, "all_paused")) {
        er_buf_addf(b, "%-13s%s\n", "Paused:", "everything (errand resume --all)");
    }
    if (er_json_bool(daemon, "draining")) {
        er_buf_addf(b, "%-13s%s\n",
                    "Ends:", "it waits for tasks that run, then it stops");
    }
}

static int
stats_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct stats *o = data;
    struct er_err err;
    struct er_term t;
    struct er_buf b;
    json_t *stats, *queues = NULL;
    (void)n;
    (void)args;
    int rc = er_daemon_get(app, "/v1/stats", &stats, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    rc = o->json ? 0 : er_daemon_get(app, "/v1/queues", &queues, &err);
    if (rc || o->json) {
        rc = rc ? er_app_fail(rc, &err) : er_show_json(stats);
        json_decref(stats);
        return rc;
    }
    er_buf_init(&b, 0);
    er_term_init(&t, STDOUT_FILENO);
    er_show_footer(&t, json_object_get(stats, "counts"), &b);
    add_daemon(stats, &b);
    add_workers(json_object_get(stats, "workers"), &b);
    add_limits(&t, json_object_get(queues, "queues"), "Queues:", &b);
    add_limits(&t, json_object_get(stats, "limits"), "Limit keys:", &b);
    rc = er_app_out(&b);
    er_buf_fini(&b);
    json_decref(queues);
    json_decref(stats);
    return rc;
}

const struct er_cmd er_cmd_stats = {
    .name = "stats",
    .operands = "",
    .summary = "counts, the daemon, its workers, the limits",
    .opts = {stats_opts},
    .data_size = sizeof(struct stats),
    .exec = stats_exec,
};
