/* SPDX-License-Identifier: MIT */
/* Measures what choosing the next task costs in memory: a task is taken, ends, and
 * another one comes to its lane. One line a case, tab-separated: what, lanes, nanoseconds
 * a task, times the first case. No store, no worker.
 *
 * usage: bench_gates [LANES [TASKS]]     (1000 lanes with 100 tasks each)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "bench.h"
#include "engine/engine_priv.h"

#define TURNS 400000

enum kind {
    PLAIN,       /* one lane */
    KEYS,        /* a key each */
    KEY_LIMITS,  /* ... with a permit each */
    TYPE_LIMIT,  /* ... and two permits for all, beside lanes of another type */
    QUEUE_LIMIT, /* ... in a queue with four */
    PAUSED,      /* ... beside as many in a paused queue */
    RATES,       /* ... and tokens for one task in a thousand of them */
};

struct bench {
    struct er_engine e;
    size_t lanes;
    er_task_id last;
    struct er_lane_live *running[4];
};

static void
add(struct bench *b, int64_t lane)
{
    struct er_ready r = {.id = ++b->last, .lane = lane, .rank = b->last, .cost = 1};
    er_lanes_ready(&b->e, &r);
}

static void
make_lane(struct bench *b, const char *queue, const char *type, const char *key,
          size_t tasks)
{
    struct er_lane lane = {(int64_t)++b->lanes, queue, type, key};
    (void)er_lanes_add(&b->e, &lane);
    for (size_t i = 0; i < tasks; i++) {
        add(b, lane.id);
    }
}

static void
make_lanes(struct bench *b, enum kind kind, size_t lanes, size_t tasks)
{
    struct er_limit limit = {.concurrency = kind == RATES ? 0 : 1};
    struct er_queue queue = {.name = "default",
                             .concurrency = kind == QUEUE_LIMIT ? 4 : 0};
    struct er_queue other = {.name = "other", .paused = kind == PAUSED};
    if (kind == RATES) {
        limit.n_rates = 1;
        limit.rates[0] = (struct er_rate){.n = 1, .per_for = ER_USEC_PER_SEC, .burst = 1};
    }
    const char *command[] = {"true"};
    struct er_type more = {.name = "more", .command = command, .n_command = 1};
    er_engine_type_changed(&b->e, &more); /* so that workers execute it */
    er_engine_queue_changed(&b->e, &queue);
    er_engine_queue_changed(&b->e, &other);
    for (size_t i = 0; i < lanes; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "key%zu", i);
        make_lane(b, "default", "shell", key, tasks);
        if (kind == TYPE_LIMIT || kind == PAUSED) {
            make_lane(b, "other", kind == PAUSED ? "shell" : "more", key, tasks);
        }
        limit.key = key;
        if (kind != KEYS) {
            er_engine_limit_changed(&b->e, &limit);
        }
    }
    if (kind == TYPE_LIMIT || kind == QUEUE_LIMIT) {
        er_gates_set(&b->e, er_gates_limit(&b->e, ER_GATE_TYPE, "shell"), 2, NULL, 0);
    }
    if (kind == RATES) {
        make_lane(b, "default", "shell", "", tasks); /* what runs meanwhile */
    }
}

/* One ends, the next is taken. */
static void
turn(struct bench *b, size_t i)
{
    struct er_lane_live **place = &b->running[i % 4], *lane = *place;
    struct er_ready got;
    *place = NULL;
    if (lane) {
        add(b, lane->id);
        er_lanes_release(&b->e, lane);
    }
    er_gates_tick(&b->e);
    (void)er_lanes_take(&b->e, &got, place);
}

static double
measure(const char *what, enum kind kind, size_t lanes, size_t tasks, double first)
{
    struct bench *b = er_xzalloc(sizeof *b);
    struct er_err err = {""};
    b->e.options.clock = er_clock_system();
    b->e.next_due = ER_NEVER;
    b->e.stopping = true; /* no store */
    if (er_loop_new(&b->e.options.loop, &err)) {
        DIE("bench_gates: %s", err.text);
    }
    er_lanes_init(&b->e);
    if (kind == PLAIN) {
        make_lane(b, "default", "shell", "", tasks);
    } else {
        make_lanes(b, kind, lanes, tasks);
    }
    for (size_t i = 0; i < TURNS / 10; i++) {
        turn(b, i);
    }
    double began = bench_now();
    for (size_t i = 0; i < TURNS; i++) {
        turn(b, i);
    }
    double ns = (bench_now() - began) * 1e9 / TURNS;
    printf("%s\t%zu\t%.0f\t%.2f\n", what, b->lanes, ns, first > 0 ? ns / first : 1.0);
    er_lanes_fini(&b->e);
    er_loop_free(b->e.options.loop);
    er_free(b);
    return ns;
}

int
main(int argc, char **argv)
{
    size_t lanes = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
    size_t tasks = argc > 2 ? strtoul(argv[2], NULL, 10) : 100;
    printf("what\tlanes\tnanoseconds\ttimes\n");
    double first = measure("no keys", PLAIN, 1, tasks, 0);
    (void)measure("a key each", KEYS, lanes, tasks, first);
    (void)measure("... with a permit each", KEY_LIMITS, lanes, tasks, first);
    (void)measure("... two permits for their type", TYPE_LIMIT, lanes, tasks, first);
    (void)measure("... four for their queue, too", QUEUE_LIMIT, lanes, tasks, first);
    (void)measure("... as many in a paused queue", PAUSED, lanes, tasks, first);
    (void)measure("... a token a second each", RATES, lanes, tasks, first);
    return 0;
}
