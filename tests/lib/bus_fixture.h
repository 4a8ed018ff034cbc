/* SPDX-License-Identifier: MIT */
/* What the tests of the bus share: a store of facts to read again from, cursors, and
 * lists of what was received. Included after cmocka's headers. */
#ifndef TESTS_LIB_BUS_FIXTURE_H
#define TESTS_LIB_BUS_FIXTURE_H

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "lib/bus.h"

#define MAX_FACTS 20000
#define MAX_GOT   40000

struct fixture {
    struct er_bus *bus;
    /* the store: facts 1..last, of which those before `first` are gone */
    int64_t first, last;
    int64_t task_of[MAX_FACTS];
    int reads, fail_reads; /* so many reads fail from now on */
    int page;              /* facts given in one read at most; 0 = as many as asked for */
    /* the only cursor */
    char cursor[32];
    int64_t cursor_seq; /* -1 = none */
    int saves, fail_cursor;
};

struct got {
    struct {
        enum er_bus_kind kind;
        int64_t seq, task, value, from, to;
        char name[24];
    } ev[MAX_GOT];
    int n;
    int ended;
};

static int
fixture_read(void *ctx, struct er_bus_read *req, er_bus_sink_fn *fn, void *sink)
{
    struct fixture *f = ctx;
    f->reads++;
    if (f->fail_reads > 0) {
        f->fail_reads--;
        return ER_EIO;
    }
    req->first = f->first;
    int given = 0;
    int64_t at = req->since + 1 > f->first ? req->since + 1 : f->first;
    for (; at <= f->last && at <= req->until; at++) {
        struct er_bus_event ev = {.name = "fact",
                                  .kind = ER_BUS_FACT,
                                  .seq = at,
                                  .task = f->task_of[at],
                                  .data = &at,
                                  .len = sizeof at};
        if (f->page && given == f->page) {
            req->reached = at - 1;
            return 0;
        }
        given++;
        int rc = fn(sink, &ev);
        if (rc) {
            return rc == ER_EFULL ? 0 : rc;
        }
    }
    return 0;
}

static int
fixture_load(void *ctx, const char *name, int64_t *out_seq)
{
    struct fixture *f = ctx;
    if (f->fail_cursor) {
        return ER_EIO;
    }
    if (f->cursor_seq < 0 || strcmp(name, f->cursor) != 0) {
        return ER_ENOTFOUND;
    }
    *out_seq = f->cursor_seq;
    return 0;
}

static int
fixture_save(void *ctx, const char *name, int64_t seq)
{
    struct fixture *f = ctx;
    f->saves++;
    if (f->fail_cursor) {
        return ER_EIO;
    }
    snprintf(f->cursor, sizeof f->cursor, "%s", name);
    f->cursor_seq = seq;
    return 0;
}

static inline struct er_bus_options
fixture_options(struct fixture *f)
{
    return (struct er_bus_options){.last_seq = f->last,
                                   .read = fixture_read,
                                   .cursor_load = fixture_load,
                                   .cursor_save = fixture_save,
                                   .ctx = f};
}

/* Puts a fact into the store and publishes it; its payload is its number. */
static inline int
fixture_fact(struct fixture *f, int64_t task)
{
    int64_t seq = ++f->last;
    f->task_of[seq] = task;
    struct er_bus_event ev = {.name = "fact",
                              .kind = ER_BUS_FACT,
                              .seq = seq,
                              .task = task,
                              .data = &seq,
                              .len = sizeof seq};
    return er_bus_publish(f->bus, &ev);
}

static inline int
fixture_sample(struct fixture *f, const char *name, int64_t task, int64_t value)
{
    struct er_bus_event ev = {.name = name,
                              .kind = ER_BUS_SAMPLE,
                              .task = task,
                              .data = &value,
                              .len = sizeof value};
    return er_bus_publish(f->bus, &ev);
}

static inline void
got_add(struct got *g, const struct er_bus_event *ev)
{
    if (g->n >= MAX_GOT) {
        abort();
    }
    g->ev[g->n].kind = ev->kind;
    g->ev[g->n].seq = ev->seq;
    g->ev[g->n].task = ev->task;
    g->ev[g->n].from = ev->from;
    g->ev[g->n].to = ev->to;
    g->ev[g->n].value = 0;
    if (ev->len == sizeof(int64_t)) {
        memcpy(&g->ev[g->n].value, ev->data, sizeof(int64_t));
    }
    snprintf(g->ev[g->n].name, sizeof g->ev[g->n].name, "%s", ev->name);
    g->n++;
}

/* Pulls until there is none; the code of the last pull. */
static inline int
pull_all(struct er_bus_sub *sub, struct got *g)
{
    const struct er_bus_event *ev;
    int rc;
    while ((rc = er_bus_pull(sub, &ev)) == 1) {
        got_add(g, ev);
    }
    return rc;
}

static inline bool
is_readable(const struct er_bus_sub *sub)
{
    struct pollfd p = {.fd = er_bus_fd(sub), .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

/* A box in which threads leave numbers and wait for them. */
struct meeting {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int n;
};

static inline void
meeting_init(struct meeting *m)
{
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->changed, NULL);
    m->n = 0;
}

static inline void
meeting_come(struct meeting *m)
{
    pthread_mutex_lock(&m->lock);
    m->n++;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

static inline void
meeting_wait(struct meeting *m, int n)
{
    pthread_mutex_lock(&m->lock);
    while (m->n < n) {
        pthread_cond_wait(&m->changed, &m->lock);
    }
    pthread_mutex_unlock(&m->lock);
}

#endif
