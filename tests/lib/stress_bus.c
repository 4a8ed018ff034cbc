/* SPDX-License-Identifier: MIT */
/* usage: stress_bus EVENTS [SEED]: eight publishers, and 32 subscribers of every way that
 * come and go, over one bus, until EVENTS were published. Speaks TAP; exits with 1 at the
 * first breach, which it names.
 *
 * Checked with each event that arrives:
 *   - what one publisher has published comes in its order (each event carries the
 *     publisher and its running number; coalesced ones are only ever missing)
 *   - facts rise, and every fact since the subscriber began was delivered or lies in a
 *     gap (facts are numbered without holes, and within each task, too, for those who
 *     filter)
 *   - the filter
 *   - no callback after unsubscribe has returned (its memory is freed then)
 * and at the end, when the publishers are still and all has been delivered:
 *   - each subscriber that is left has the latest sample of every key, and every fact
 *   - the memory of the process has not grown since the first quarter
 *
 * The store of facts is a ring of the newest KEEP: subscribers that are slow enough meet
 * gaps. Slow ones are made by waiting in callbacks for rounds of a loop, not for a
 * time. */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bus.h"

#define PUBLISHERS 8
#define KEEPERS    4
#define EACH       8 /* subscribers of one keeper: 32 in all */
#define TASKS      16
#define KEEP       256
#define FACT_EVERY 16 /* of so many events of a publisher one is a fact */

#define BREACH(...) (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), abort())

struct load {
    int64_t publisher, number; /* its running number, over all it publishes */
    int64_t in_task;           /* a fact's running number within its task */
};

struct stress {
    struct er_bus *bus;
    int64_t each; /* events of one publisher */
    unsigned seed;
    pthread_mutex_t lock; /* of the store; held to publish a fact */
    struct er_bus_event facts[KEEP];
    struct load fact_loads[KEEP];
    int64_t last_fact, in_task[TASKS];
    _Atomic int64_t newest[PUBLISHERS][TASKS]; /* the last sample's number */
    _Atomic int64_t published;
    _Atomic int publishing; /* publishers at work */
    _Atomic int still;      /* no subscriber comes or goes any more */
    _Atomic int64_t subscribed, gaps, missed, delivered;
};

struct listener {
    struct stress *s;
    struct er_bus_sub *sub;
    enum er_bus_way way;
    int64_t task;   /* 0: of all */
    int64_t rounds; /* how slow it is */
    bool facts, samples, quits, whole;
    _Atomic int dead;
    int64_t number[PUBLISHERS];        /* last seen of each publisher */
    int64_t sample[PUBLISHERS][TASKS]; /* last seen of each key */
    int64_t first_seq, last_seq, in_task;
    bool after_gap, missed;
    _Atomic int64_t life; /* visits (or calls) until it is ended */
};

static unsigned
rnd(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* ---- the store ---- */

static int
read_facts(void *ctx, struct er_bus_read *req, er_bus_sink_fn *fn, void *sink)
{
    struct stress *s = ctx;
    struct er_bus_event evs[64];
    struct load loads[64];
    int n = 0;
    pthread_mutex_lock(&s->lock);
    int64_t oldest = s->last_fact > KEEP ? s->last_fact - KEEP + 1 : 1;
    int64_t at = req->since + 1 > oldest ? req->since + 1 : oldest;
    req->first = oldest;
    for (; at <= req->until && n < 64; at++, n++) {
        evs[n] = s->facts[at % KEEP];
        loads[n] = s->fact_loads[at % KEEP];
        evs[n].data = &loads[n];
    }
    pthread_mutex_unlock(&s->lock);
    req->reached = at - 1;
    for (int i = 0; i < n; i++) {
        int rc = fn(sink, &evs[i]);
        if (rc) {
            return rc == ER_EFULL ? 0 : rc;
        }
    }
    return 0;
}

/* ---- what a listener checks ---- */

static void
check_fact(struct listener *l, const struct er_bus_event *ev, const struct load *load)
{
    if (!l->facts) {
        BREACH("a fact for one that wants none");
    }
    if (ev->seq <= l->last_seq) {
        BREACH("fact %lld after %lld", (long long)ev->seq, (long long)l->last_seq);
    }
    bool first = l->last_seq == l->first_seq;
    if (l->task == 0 && ev->seq != l->last_seq + 1) {
        BREACH("fact %lld comes after %lld without a gap", (long long)ev->seq,
               (long long)l->last_seq);
    }
    if (l->task && !first && !l->after_gap && load->in_task != l->in_task + 1) {
        BREACH("fact %lld of task %lld comes after %lld without a gap",
               (long long)load->in_task, (long long)l->task, (long long)l->in_task);
    }
    l->in_task = load->in_task;
    l->last_seq = ev->seq;
    l->after_gap = false;
}

static void
check_gap(struct listener *l, const struct er_bus_event *ev)
{
    if (ev->from <= l->last_seq || ev->to < ev->from ||
        (l->facts && l->task == 0 && ev->from != l->last_seq + 1)) {
        BREACH("a gap %lld..%lld after %lld", (long long)ev->from, (long long)ev->to,
               (long long)l->last_seq);
    }
    l->last_seq = ev->to;
    l->after_gap = true;
    atomic_fetch_add(&l->s->gaps, 1);
}

static void
check_load(struct listener *l, const struct er_bus_event *ev)
{
    struct load load;
    if (ev->len != sizeof load) {
        BREACH("a payload of %zu bytes", ev->len);
    }
    memcpy(&load, ev->data, sizeof load);
    if (load.number <= l->number[load.publisher]) {
        BREACH("number %lld of publisher %lld after %lld", (long long)load.number,
               (long long)load.publisher, (long long)l->number[load.publisher]);
    }
    l->number[load.publisher] = load.number;
    if (l->task && ev->task != l->task) {
        BREACH("task %lld for one that wants %lld", (long long)ev->task,
               (long long)l->task);
    }
    if (ev->kind == ER_BUS_FACT) {
        check_fact(l, ev, &load);
    } else if (!l->samples) {
        BREACH("a sample for one that wants none");
    } else {
        l->sample[load.publisher][ev->task - 1] = load.number;
    }
}

static void
listen(struct listener *l, const struct er_bus_event *ev)
{
    if (atomic_load(&l->dead)) {
        BREACH("called after its end");
    }
    if (ev->kind == ER_BUS_GAP) {
        check_gap(l, ev);
    } else if (ev->kind == ER_BUS_MISSED) {
        l->missed = true;
        atomic_fetch_add(&l->s->missed, ev->to);
    } else {
        check_load(l, ev);
    }
    for (volatile int64_t i = 0; i < l->rounds; i++) {
    }
}

static void
on_event(void *ctx, struct er_bus_sub *sub, const struct er_bus_event *ev)
{
    struct listener *l = ctx;
    listen(l, ev);
    if (l->quits && atomic_fetch_sub(&l->life, 1) == 0) {
        (void)er_bus_unsubscribe(sub);
    }
}

static void
on_quit(void *ctx)
{
    struct listener *l = ctx;
    if (l->quits) {
        free(l);
    }
}

/* ---- publishers ---- */

struct publisher {
    struct stress *s;
    int id;
};

static void
publish_fact(struct stress *s, int id, int64_t number, int64_t task)
{
    pthread_mutex_lock(&s->lock);
    int64_t seq = ++s->last_fact;
    struct load *load = &s->fact_loads[seq % KEEP];
    *load = (struct load){id, number, ++s->in_task[task - 1]};
    s->facts[seq % KEEP] = (struct er_bus_event){.name = "fact",
                                                 .kind = ER_BUS_FACT,
                                                 .seq = seq,
                                                 .task = task,
                                                 .data = load,
                                                 .len = sizeof *load};
    if (er_bus_publish(s->bus, &s->facts[seq % KEEP]) != 0) {
        BREACH("fact %lld was refused", (long long)seq);
    }
    pthread_mutex_unlock(&s->lock);
}

static const char *const topics[PUBLISHERS] = {"p0", "p1", "p2", "p3",
                                               "p4", "p5", "p6", "p7"};

static void
publish_samples(struct stress *s, int id, int64_t number, int n, unsigned *state)
{
    struct er_bus_event evs[8];
    struct load loads[8];
    for (int i = 0; i < n; i++) {
        loads[i] = (struct load){id, number + i, 0};
        evs[i] = (struct er_bus_event){.name = topics[id],
                                       .kind = ER_BUS_SAMPLE,
                                       .task = rnd(state) % TASKS + 1,
                                       .data = &loads[i],
                                       .len = sizeof loads[i]};
        atomic_store_explicit(&s->newest[id][evs[i].task - 1], number + i,
                              memory_order_relaxed);
    }
    int rc = n == 1 ? er_bus_publish(s->bus, evs)
                    : er_bus_publish_many(s->bus, evs, (size_t)n);
    if (rc) {
        BREACH("samples were refused: %d", rc);
    }
}

static void *
publish_all(void *ctx)
{
    struct publisher *p = ctx;
    struct stress *s = p->s;
    unsigned state = s->seed * 31 + (unsigned)p->id;
    for (int64_t number = 1; number <= s->each;) {
        int64_t before = number;
        if (rnd(&state) % FACT_EVERY == 0) {
            publish_fact(s, p->id, number++, rnd(&state) % TASKS + 1);
        } else {
            int n = rnd(&state) % 4 == 0 ? (int)(rnd(&state) % 8 + 1) : 1;
            publish_samples(s, p->id, number, n, &state);
            number += n;
        }
        atomic_fetch_add_explicit(&s->published, number - before, memory_order_relaxed);
    }
    atomic_fetch_sub(&s->publishing, 1);
    return NULL;
}

/* ---- keepers: each has some subscribers, tends them and changes them ---- */

static struct er_bus_filter
choose(struct listener *l, unsigned *state)
{
    l->facts = l->samples = true;
    struct er_bus_filter f = {0};
    if (rnd(state) % 3 == 0) {
        f.task = l->task = rnd(state) % TASKS + 1;
    }
    switch (rnd(state) % 4) {
    case 0:
        f.kinds = ER_BUS_FACT;
        l->samples = false;
        break;
    case 1:
        f.prefix = "p";
        l->facts = false;
        break;
    default:
        break;
    }
    return f;
}

static struct listener *
begin(struct stress *s, unsigned *state)
{
    struct listener *l = calloc(1, sizeof *l);
    l->s = s;
    l->way = (enum er_bus_way)(rnd(state) % 4);
    l->life = rnd(state) % 30;
    l->rounds = rnd(state) % 4 == 0 ? (int64_t)(rnd(state) % 2000) : 0;
    l->quits = l->way != ER_BUS_PULL && l->way != ER_BUS_TURN && rnd(state) % 8 == 0;
    struct er_bus_subscription sub = {.filter = choose(l, state),
                                      .way = l->way,
                                      .fn = l->way == ER_BUS_PULL ? NULL : on_event,
                                      .ctx = l,
                                      .ended = on_quit,
                                      .buffer = (size_t)1 << (14 + rnd(state) % 5)};
    if (l->way == ER_BUS_INLINE) {
        l->rounds = 0;
    } else {
        sub.resume = rnd(state) % 2;
    }
    /* no fact is published while it begins: so it is known from where its facts count */
    pthread_mutex_lock(&s->lock);
    sub.since = sub.resume ? s->last_fact - (s->last_fact > 200 ? 200 : 0) : 0;
    l->first_seq = l->last_seq = sub.resume ? sub.since : s->last_fact;
    bool quits = l->quits;
    struct er_bus_sub *handle;
    struct er_err err;
    if (er_bus_subscribe(s->bus, &sub, &handle, &err) != 0) {
        BREACH("subscribe: %s", err.text);
    }
    pthread_mutex_unlock(&s->lock);
    atomic_fetch_add(&s->subscribed, 1);
    if (quits) {
        return NULL; /* it may be gone by now, and ends itself */
    }
    l->sub = handle;
    return l;
}

static void
finish(struct listener *l)
{
    struct er_bus_stats st;
    er_bus_sub_stats(l->sub, &st);
    atomic_fetch_add(&l->s->delivered, st.delivered);
    if (er_bus_unsubscribe(l->sub) != 0) {
        BREACH("unsubscribe does not return 0");
    }
    atomic_store(&l->dead, 1);
    free(l);
}

/* Lets a turn or pull subscriber do some work; how much it did. */
static int
tend(struct listener *l, int most)
{
    int n = 0, rc = 0;
    if (l->way == ER_BUS_TURN) {
        rc = er_bus_turn(l->sub, (size_t)most);
        n = rc;
    } else if (l->way == ER_BUS_PULL) {
        const struct er_bus_event *ev;
        while (n < most && (rc = er_bus_pull(l->sub, &ev)) == 1) {
            listen(l, ev);
            n++;
        }
    }
    if (rc < 0) {
        BREACH("turn or pull: %d", rc);
    }
    return n;
}

/* All has been published: whether all has arrived; then it must be complete. */
static bool
is_complete(struct listener *l)
{
    struct er_bus_stats st;
    while (tend(l, 1000) > 0) {
    }
    er_bus_sub_stats(l->sub, &st);
    return st.lag == 0;
}

static void
check_complete(struct listener *l)
{
    struct stress *s = l->s;
    if (l->facts && l->task == 0 && l->last_seq != s->last_fact) {
        BREACH("the last fact is %lld, %lld came", (long long)s->last_fact,
               (long long)l->last_seq);
    }
    if (l->facts && l->task && !l->after_gap && l->last_seq != l->first_seq &&
        l->in_task != s->in_task[l->task - 1]) {
        BREACH("the last fact of task %lld is %lld, %lld came", (long long)l->task,
               (long long)s->in_task[l->task - 1], (long long)l->in_task);
    }
    for (int p = 0; p < PUBLISHERS && l->samples && !l->missed; p++) {
        for (int t = 0; t < TASKS; t++) {
            if (l->task && l->task != t + 1) {
                continue;
            }
            if (l->whole && l->sample[p][t] != s->newest[p][t]) {
                BREACH("the latest of %s, task %d is %lld, %lld came", topics[p], t + 1,
                       (long long)s->newest[p][t], (long long)l->sample[p][t]);
            }
        }
    }
}

struct keeper {
    struct stress *s;
    struct listener *of[EACH];
    int id;
};

static void *
keep(void *ctx)
{
    struct keeper *k = ctx;
    struct stress *s = k->s;
    unsigned state = s->seed * 77 + (unsigned)k->id;
    while (!atomic_load(&s->still)) {
        for (int i = 0; i < EACH; i++) {
            struct listener **l = &k->of[i];
            if (!*l) {
                *l = begin(s, &state);
            } else if (atomic_fetch_sub(&(*l)->life, 1) <= 0) {
                finish(*l);
                *l = NULL;
            } else {
                (void)tend(*l, 500);
            }
        }
        sched_yield();
    }
    return NULL;
}

/* ---- the whole ---- */

static int64_t
resident_kib(void)
{
    long long pages = 0, all = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lld %lld", &all, &pages) != 2) {
        BREACH("no /proc/self/statm");
    }
    fclose(f);
    return pages * 4;
}

/* The publishers publish once more, every key, now that nobody comes or goes. */
static void
publish_last(struct stress *s)
{
    for (int id = 0; id < PUBLISHERS; id++) {
        for (int t = 0; t < TASKS; t++) {
            struct load load = {id, s->each + 100 + t, 0};
            struct er_bus_event ev = {.name = topics[id],
                                      .kind = ER_BUS_SAMPLE,
                                      .task = t + 1,
                                      .data = &load,
                                      .len = sizeof load};
            if (er_bus_publish(s->bus, &ev) != 0) {
                BREACH("the last ones were refused");
            }
            s->newest[id][t] = load.number;
        }
    }
}

static void
check_keepers(struct keeper *keepers)
{
    for (int k = 0; k < KEEPERS; k++) {
        for (int i = 0; i < EACH; i++) {
            struct listener *l = keepers[k].of[i];
            if (l) {
                while (!is_complete(l)) {
                    sched_yield();
                }
                struct er_bus_sub *sub = l->sub;
                (void)er_bus_unsubscribe(sub); /* what its thread wrote is ours to see */
                check_complete(l);
                free(l);
            }
        }
    }
}

/* Waits until so many were published; the memory then. */
static int64_t
memory_at(struct stress *s, int64_t events)
{
    while (atomic_load(&s->published) < events) {
        (void)poll(NULL, 0, 10);
    }
    return resident_kib();
}

static void
run(struct stress *s, struct keeper *keepers, int64_t *early, int64_t *late)
{
    struct publisher publishers[PUBLISHERS];
    pthread_t threads[PUBLISHERS], keeping[KEEPERS];
    s->publishing = PUBLISHERS;
    for (int i = 0; i < KEEPERS; i++) {
        keepers[i] = (struct keeper){.s = s, .id = i};
        pthread_create(&keeping[i], NULL, keep, &keepers[i]);
    }
    for (int i = 0; i < PUBLISHERS; i++) {
        publishers[i] = (struct publisher){s, i};
        pthread_create(&threads[i], NULL, publish_all, &publishers[i]);
    }
    *early = memory_at(s, s->each * PUBLISHERS / 4);
    *late = memory_at(s, s->each * PUBLISHERS);
    for (int i = 0; i < PUBLISHERS; i++) {
        pthread_join(threads[i], NULL);
    }
    atomic_store(&s->still, 1);
    for (int i = 0; i < KEEPERS; i++) {
        pthread_join(keeping[i], NULL);
    }
    for (int i = 0; i < KEEPERS * EACH; i++) {
        if (keepers[i / EACH].of[i % EACH]) {
            keepers[i / EACH].of[i % EACH]->whole = true;
        }
    }
    publish_last(s);
    check_keepers(keepers);
}

int
main(int argc, char **argv)
{
    int64_t events = argc > 1 ? atoll(argv[1]) : 0;
    if (events < PUBLISHERS) {
        fprintf(stderr, "usage: stress_bus EVENTS [SEED]\n");
        return 2;
    }
    static struct stress s;
    static struct keeper keepers[KEEPERS];
    int64_t early, late;
    s.each = events / PUBLISHERS;
    s.seed = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
    pthread_mutex_init(&s.lock, NULL);
    if (er_bus_new(&(struct er_bus_options){.read = read_facts, .ctx = &s}, &s.bus) !=
        0) {
        BREACH("no bus");
    }
    printf("1..2\n");
    run(&s, keepers, &early, &late);
    er_bus_free(s.bus);
    printf("ok 1 order, marks and ends: %lld events, %lld facts, %lld subscribers\n",
           (long long)s.published, (long long)s.last_fact, (long long)s.subscribed);
    printf("# %lld gaps, %lld missed, %lld delivered\n", (long long)s.gaps,
           (long long)s.missed, (long long)s.delivered);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    printf("ok 2 # SKIP memory: a sanitizer keeps what was freed\n");
#else
    bool flat = late < early + 16 * 1024;
    printf("%s 2 memory: %lld KiB after a quarter, %lld KiB at the end\n",
           flat ? "ok" : "not ok", (long long)early, (long long)late);
    return !flat;
#endif
    return 0;
}
