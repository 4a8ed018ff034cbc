/* SPDX-License-Identifier: MIT */
/* What the JSON lacks or has in another kind is shown as none: a newer daemon's answer
 * makes a cell empty, not the command fail. */
#include "app/gate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "app/daemon.h"
#include "app/show.h"
#include "model/rate.h"

#define COUNTED 10000 /* the daemon counts who waits no further */

static const char *
name_of(const json_t *gate)
{
    const char *name = er_json_text(gate, "name");
    name = name ? name : er_json_text(gate, "key");
    return name ? name : "?";
}

/* Adds a rate as it is given: `60/1m:starts`; also one that is a text already. */
static void
add_rate(const json_t *v, struct er_buf *b)
{
    const char *counts = er_json_text(v, "counts");
    struct er_rate rate = {
        .n = er_json_int(v, "n", 0),
        .per_for = (er_usec)(er_json_number(v, "per_s", 0.0) * 1e6),
        .burst = er_json_int(v, "burst", 1),
        .starts = counts && strcmp(counts, "starts") == 0,
    };
    if (json_is_string(v)) {
        er_buf_add_str(b, json_string_value(v));
    } else {
        er_rate_encode(&rate, b);
    }
}

/* The settings in short: "at most 2 at once, 60/1m, at most 10 waiting". */
static void
add_settings(const json_t *gate, struct er_buf *b)
{
    int64_t concurrency = er_json_int(gate, "concurrency", -1);
    int64_t size = er_json_int(gate, "size", -1);
    size_t i;
    const json_t *rate;
    if (concurrency >= 0) {
        er_buf_addf(b, "at most %" PRId64 " at once", concurrency);
    }
    json_array_foreach(json_object_get(gate, "rates"), i, rate)
    {
        er_buf_add_str(b, b->len > 0 ? ", " : "");
        add_rate(rate, b);
    }
    if (size >= 0) {
        er_buf_addf(b, "%sat most %" PRId64 " waiting", b->len > 0 ? ", " : "", size);
    }
}

/* When its rates let the next one through; ER_NEVER = nothing waits for them. */
static er_usec
open_at(const json_t *gate)
{
    er_usec last = er_json_time(gate, "open_at");
    size_t i;
    const json_t *rate;
    json_array_foreach(json_object_get(gate, "rates"), i, rate)
    {
        er_usec at = er_json_time(rate, "open_at");
        if (at != ER_NEVER && (last == ER_NEVER || at > last)) {
            last = at;
        }
    }
    return last;
}

/* How many wait; -1 = unknown. */
static int64_t
waiting_of(const json_t *gate)
{
    const json_t *counts = json_object_get(gate, "counts");
    if (!json_is_object(counts)) {
        return er_json_int(gate, "waiting", -1);
    }
    return er_json_int(counts, "queued", 0) + er_json_int(counts, "scheduled", 0) +
           er_json_int(counts, "blocked", 0);
}

static void
add_number_cell(struct er_table *table, int64_t v, bool more, const char *what)
{
    char text[48] = "";
    if (v >= 0) {
        (void)snprintf(text, sizeof text, "%" PRId64 "%s %s", v, more ? "+" : "", what);
    }
    er_table_add(table, ER_STYLE_PLAIN, text);
}

struct er_table *
er_gate_table(void)
{
    static const enum er_align align[] = {ER_ALIGN_FLEX,  ER_ALIGN_LEFT, ER_ALIGN_RIGHT,
                                          ER_ALIGN_RIGHT, ER_ALIGN_LEFT, ER_ALIGN_LEFT};
    return er_table_new(align, sizeof align / sizeof align[0]);
}

void
er_gate_row(struct er_table *table, const json_t *gate, er_usec now)
{
    struct er_buf b;
    bool paused = er_json_bool(gate, "paused");
    er_buf_init(&b, 0);
    er_table_add(table, ER_STYLE_PLAIN, name_of(gate));
    er_table_add(table, paused ? ER_STYLE_YELLOW : ER_STYLE_PLAIN,
                 paused                            ? "paused"
                 : json_object_get(gate, "paused") ? "open"
                                                   : "");
    add_number_cell(table, er_json_int(gate, "running", -1), false, "running");
    add_number_cell(table, waiting_of(gate),
                    !json_object_get(gate, "counts") && waiting_of(gate) >= COUNTED,
                    "waiting");
    add_settings(gate, &b);
    er_table_add(table, ER_STYLE_PLAIN, b.data);
    er_buf_clear(&b);
    if (!er_show_add_in(&b, "rate limited, next in ", open_at(gate), now)) {
        er_buf_clear(&b);
    }
    er_table_add(table, ER_STYLE_YELLOW, b.data);
    er_buf_fini(&b);
}

struct er_table *
er_gate_waiters(const json_t *gate)
{
    static const enum er_align align[] = {ER_ALIGN_RIGHT, ER_ALIGN_FLEX, ER_ALIGN_LEFT};
    const json_t *all = json_object_get(gate, "waiters"), *one;
    size_t i, n = json_array_size(all);
    int64_t more = er_json_int(gate, "waiting", 0) - (int64_t)n;
    if (n == 0) {
        return NULL;
    }
    struct er_table *table = er_table_new(align, sizeof align / sizeof align[0]);
    json_array_foreach(all, i, one)
    {
        char id[32];
        const char *name = er_json_text(one, "name"),
                   *why = er_json_text(one, "waiting_for");
        (void)snprintf(id, sizeof id, "%" PRId64, er_json_int(one, "id", 0));
        er_table_add(table, ER_STYLE_PLAIN, id);
        er_table_add(table, ER_STYLE_PLAIN, name ? name : "");
        er_table_add(table, ER_STYLE_YELLOW, why ? why : "");
    }
    if (more > 0) {
        char text[64];
        (void)snprintf(text, sizeof text, "and %s%" PRId64 " more",
                       more + (int64_t)n >= COUNTED ? "at least " : "", more);
        er_table_add(table, ER_STYLE_PLAIN, "");
        er_table_add(table, ER_STYLE_PLAIN, text);
        er_table_add(table, ER_STYLE_PLAIN, "");
    }
    return table;
}
