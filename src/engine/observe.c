/* SPDX-License-Identifier: MIT */
/* Who wants to know? Facts are published here after their commit, in order. The newest
 * ER_RING of them stay in memory as ready-made frames; a subscriber that is further behind
 * reads from the store, a page at a time, until it has caught up. Samples are kept per
 * subscriber, the latest of each (task, kind), until it pulls. So a slow subscriber costs
 * the publisher nothing and holds at most ER_RING frames of memory that it shares.
 *
 * Order: a subscriber gets its samples before the facts that are published after them, so
 * the last progress comes before the final event. */
#include "engine/engine_priv.h"

#include <string.h>

#include "base/mem.h"
#include "wire/task_json.h"

#define PAGE        200   /* facts read from the store at a time */
#define SAMPLES_MAX 1024u /* samples that wait for one subscriber; the oldest go */

struct sample {
    struct {
        er_task_id task;
        int64_t event; /* enum er_event, wide: no padding in a hash key */
    } key;
    char *frame;
    UT_hash_handle hh; /* in order of insertion */
};
struct er_sub {
    struct er_engine *engine;
    struct er_sub_filter filter;
    char *correlation;
    int64_t next;       /* number of the next fact to look at */
    bool reading;       /* a page is being read */
    bool checked;       /* the gap at the start has been looked at */
    bool closed;        /* unsubscribed while reading */
    struct er_buf page; /* frames that were read and not pulled yet */
    struct sample *samples;
    void (*wake)(void *ctx);
    void *ctx;
    TAILQ_ENTRY(er_sub) in_engine;
};

struct er_watch {
    struct er_watch_list *list;
    struct er_engine *engine;
    er_watch_fn *fn;
    void *ctx;
    bool dead; /* removed while the list is walked */
    TAILQ_ENTRY(er_watch) in_list;
};
struct er_watch_list {
    er_task_id id;
    int walking;
    TAILQ_HEAD(, er_watch) watches;
    UT_hash_handle hh;
};

/* ---- watches ---- */

struct er_watch *
er_engine_watch(struct er_engine *e, er_task_id id, er_watch_fn *fn, void *ctx)
{
    struct er_watch_list *list;
    HASH_FIND(hh, e->watches, &id, sizeof id, list);
    if (!list) {
        list = er_xzalloc(sizeof *list);
        list->id = id;
        TAILQ_INIT(&list->watches);
        HASH_ADD(hh, e->watches, id, sizeof list->id, list);
    }
    struct er_watch *w = er_xzalloc(sizeof *w);
    *w = (struct er_watch){.list = list, .engine = e, .fn = fn, .ctx = ctx};
    TAILQ_INSERT_TAIL(&list->watches, w, in_list);
    return w;
}

static void
list_sweep(struct er_engine *e, struct er_watch_list *list)
{
    if (list->walking) {
        return;
    }
    struct er_watch *w = TAILQ_FIRST(&list->watches);
    while (w) {
        struct er_watch *next = TAILQ_NEXT(w, in_list);
        if (w->dead) {
            TAILQ_REMOVE(&list->watches, w, in_list);
            er_free(w);
        }
        w = next;
    }
    if (TAILQ_EMPTY(&list->watches)) {
        HASH_DEL(e->watches, list);
        er_free(list);
    }
}

void
er_engine_unwatch(struct er_watch *w)
{
    if (w) {
        w->dead = true;
        list_sweep(w->engine, w->list);
    }
}

static void
tell_watches(struct er_engine *e, er_task_id id, enum er_event event)
{
    struct er_watch_list *list;
    HASH_FIND(hh, e->watches, &id, sizeof id, list);
    if (!list) {
        return;
    }
    list->walking++;
    struct er_watch *w;
    TAILQ_FOREACH (w, &list->watches, in_list) {
        if (!w->dead) {
            w->fn(w->ctx, event);
        }
    }
    list->walking--;
    list_sweep(e, list);
}

/* ---- the ring ---- */

void
er_observe_init(struct er_engine *e)
{
    TAILQ_INIT(&e->subs);
    e->ring = er_xrealloc_array(NULL, ER_RING, sizeof *e->ring);
    memset(e->ring, 0, ER_RING * sizeof *e->ring);
    e->ring_first = e->last_seq + 1;
}

static void
ring_clear(struct er_ring_fact *r)
{
    er_free(r->frame);
    er_free(r->correlation);
    *r = (struct er_ring_fact){0};
}

void
er_observe_fini(struct er_engine *e)
{
    for (size_t i = 0; e->ring && i < ER_RING; i++) {
        ring_clear(&e->ring[i]);
    }
    er_free(e->ring);
}

static void
add_frame(struct er_buf *b, const struct er_fact *f)
{
    er_buf_addf(b, "id: %lld\nevent: %s\ndata: ", (long long)f->seq,
                er_event_word(f->event));
    er_fact_json(b, f);
    er_buf_add_str(b, "\n\n");
}

static void
ring_add(struct er_engine *e, const struct er_fact *f)
{
    struct er_ring_fact *r = &e->ring[f->seq % ER_RING];
    ring_clear(r);
    struct er_buf b;
    er_buf_init(&b, 0);
    add_frame(&b, f);
    r->len = b.len;
    r->frame = er_buf_take(&b);
    r->seq = f->seq;
    r->event = f->event;
    r->task = f->task;
    r->correlation = er_xstrdup(f->correlation);
}

static void
wake_subs(struct er_engine *e)
{
    struct er_sub *s, *next;
    for (s = TAILQ_FIRST(&e->subs); s; s = next) {
        next = TAILQ_NEXT(s, in_engine); /* it may unsubscribe */
        s->wake(s->ctx);
    }
}

void
er_observe_publish(struct er_engine *e, const struct er_fact *facts, size_t n)
{
    if (n == 0) {
        return;
    }
    bool keep = e->n_subs > 0;
    e->stats.facts_published += (int64_t)n;
    for (size_t i = 0; i < n; i++) {
        e->last_seq = facts[i].seq;
        /* of more than the ring holds only the end is worth making */
        if (keep && n - i <= ER_RING) {
            ring_add(e, &facts[i]);
        }
    }
    if (!keep) {
        e->ring_first = e->last_seq + 1;
    } else if (n > ER_RING) {
        e->ring_first = e->last_seq - ER_RING + 1;
    }
    if (e->last_seq - e->ring_first >= ER_RING) {
        e->ring_first = e->last_seq - ER_RING + 1;
    }
    for (size_t i = 0; i < n; i++) {
        if (e->watches) {
            tell_watches(e, facts[i].task, facts[i].event);
        }
    }
    wake_subs(e);
}

/* ---- subscribers ---- */

struct er_sub *
er_engine_subscribe(struct er_engine *e, const struct er_sub_filter *f, int64_t since,
                    void (*wake)(void *ctx), void *ctx)
{
    struct er_sub *s = er_xzalloc(sizeof *s);
    s->engine = e;
    s->filter = *f;
    s->correlation = er_xstrdup(f->correlation);
    s->filter.correlation = s->correlation;
    /* a number that was not given yet is one of another store: go on from here */
    s->next = since < 0 || since > e->last_seq ? e->last_seq + 1 : since + 1;
    s->checked = since < 0;
    s->wake = wake;
    s->ctx = ctx;
    er_buf_init(&s->page, 0);
    if (e->n_subs == 0) {
        e->ring_first = e->last_seq + 1;
    }
    e->n_subs++;
    TAILQ_INSERT_TAIL(&e->subs, s, in_engine);
    return s;
}

static void
sub_free(struct er_sub *s)
{
    struct sample *p, *next;
    HASH_ITER (hh, s->samples, p, next) {
        HASH_DEL(s->samples, p);
        er_free(p->frame);
        er_free(p);
    }
    er_buf_fini(&s->page);
    er_free(s->correlation);
    er_free(s);
}

void
er_engine_unsubscribe(struct er_sub *s)
{
    struct er_engine *e = s->engine;
    TAILQ_REMOVE(&e->subs, s, in_engine);
    e->n_subs--;
    if (s->reading) {
        s->closed = true; /* freed when the page comes */
    } else {
        sub_free(s);
    }
}

static bool
sub_wants(const struct er_sub *s, const struct er_ring_fact *r)
{
    const struct er_sub_filter *f = &s->filter;
    return (f->task == 0 || f->task == r->task) &&
           (f->facts == 0 || (f->facts & (1ull << r->event)) != 0) &&
           (!f->correlation ||
            (r->correlation && strcmp(f->correlation, r->correlation) == 0));
}

/* ---- pages from the store ---- */

struct page_query {
    struct er_query q;
    struct er_sub *sub;
    struct er_fact_filter filter;
    int64_t gap_to; /* last number that is gone; 0 = none */
    struct er_fact *facts;
    size_t n;
    int64_t last;
};

/* Whether what the page begins with is gone; then it begins behind that. */
static bool
page_has_gap(struct er_query *q, struct er_store_reader *r)
{
    struct page_query *p = (struct page_query *)(void *)q;
    int64_t first, last;
    q->rc = er_store_fact_bounds(r, &first, &last);
    if (q->rc || first <= p->filter.since + 1) {
        return false;
    }
    p->gap_to = first - 1;
    p->filter.since = p->gap_to;
    return true;
}

/* Facts may go at any time, also from before one that is slow: looked at again behind. */
static void
run_page(struct er_query *q, struct er_store_reader *r)
{
    struct page_query *p = (struct page_query *)(void *)q;
    (void)page_has_gap(q, r);
    do {
        if (q->rc == 0) {
            q->rc = er_store_facts(r, &p->filter, &q->arena, &p->facts, &p->n, &p->last);
        }
    } while (q->rc == 0 && page_has_gap(q, r));
}

static void
done_page(struct er_query *q)
{
    struct page_query *p = (struct page_query *)(void *)q;
    struct er_sub *s = p->sub;
    s->reading = false;
    if (s->closed) {
        sub_free(s);
    } else if (q->rc == 0) {
        s->checked = true;
        if (p->gap_to) {
            er_buf_addf(
                &s->page,
                "event: gap\ndata: {\"seq\":null,\"event\":\"gap\",\"data\":{\"from\":"
                "%lld,\"to\":%lld}}\n\n",
                (long long)s->next, (long long)p->gap_to);
        }
        for (size_t i = 0; i < p->n; i++) {
            add_frame(&s->page, &p->facts[i]);
        }
        int64_t reached = p->last > p->filter.since ? p->last : p->filter.since;
        s->next = reached + 1 > s->next ? reached + 1 : s->next;
        s->wake(s->ctx);
    }
    er_arena_free(&q->arena);
    er_free(p);
}

static void
read_page(struct er_sub *s)
{
    struct page_query *p = er_xzalloc(sizeof *p);
    p->q.run = run_page;
    p->q.done = done_page;
    p->sub = s;
    p->filter = (struct er_fact_filter){.since = s->next - 1,
                                        .task = s->filter.task,
                                        .correlation = s->correlation,
                                        .events = s->filter.facts,
                                        .limit = PAGE};
    s->reading = true;
    er_engine_query(s->engine, &p->q);
}

/* ---- samples ---- */

static char *
sample_frame(const struct er_engine *e, const struct er_run *run, enum er_event event)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_addf(&b, "event: %s\ndata: {\"seq\":null,\"event\":\"%s\",\"time\":",
                er_event_word(event), er_event_word(event));
    char at[ER_RFC3339_SIZE];
    er_time_format(er_clock_wall(e->options.clock), at);
    er_buf_addf(&b, "\"%s\",\"task\":%lld,\"run\":%d,\"type\":", at, (long long)run->id,
                run->run);
    er_buf_add_json_str(&b, run->lane->type->name);
    er_buf_add_str(&b, ",\"queue\":");
    er_buf_add_json_str(&b, run->lane->queue->limit.name);
    er_buf_add_str(&b, ",\"correlation_id\":");
    er_buf_add_json_str(&b, run->correlation);
    er_buf_addf(&b, ",\"attempt\":%d,\"data\":", run->attempt);
    if (event == ER_EVENT_TASK_PROGRESS) {
        er_buf_add_str(&b, run->progress ? run->progress : "null");
    } else {
        er_buf_addf(&b, "{\"bytes\":%llu}", (unsigned long long)run->output_bytes);
    }
    er_buf_add_str(&b, "}\n\n");
    return er_buf_take(&b);
}

static void
sub_sample(struct er_sub *s, const struct er_run *run, enum er_event event)
{
    struct sample key = {.key = {run->id, event}}, *p;
    HASH_FIND(hh, s->samples, &key.key, sizeof key.key, p);
    if (!p) {
        if (HASH_COUNT(s->samples) >= SAMPLES_MAX) {
            struct sample *oldest = s->samples;
            HASH_DEL(s->samples, oldest);
            er_free(oldest->frame);
            er_free(oldest);
        }
        p = er_xzalloc(sizeof *p);
        p->key = key.key;
        HASH_ADD(hh, s->samples, key, sizeof p->key, p);
    }
    er_free(p->frame);
    p->frame = sample_frame(s->engine, run, event);
    s->wake(s->ctx);
}

void
er_observe_sample(struct er_engine *e, struct er_run *run, enum er_event event)
{
    struct er_sub *s, *following;
    for (s = TAILQ_FIRST(&e->subs); s; s = following) {
        following = TAILQ_NEXT(s, in_engine);
        bool wanted =
            event == ER_EVENT_TASK_PROGRESS ? s->filter.progress : s->filter.output;
        if (wanted && (s->filter.task == 0 || s->filter.task == run->id) &&
            (!s->correlation ||
             (run->correlation && strcmp(s->correlation, run->correlation) == 0))) {
            sub_sample(s, run, event);
        }
    }
    tell_watches(e, run->id, event);
}

static void
pull_samples(struct er_sub *s, struct er_buf *out)
{
    struct sample *p, *next;
    HASH_ITER (hh, s->samples, p, next) {
        HASH_DEL(s->samples, p);
        if (p->frame) {
            er_buf_add_str(out, p->frame);
        }
        er_free(p->frame);
        er_free(p);
    }
}

void
er_sub_pull(struct er_sub *s, struct er_buf *out, size_t room)
{
    struct er_engine *e = s->engine;
    pull_samples(s, out);
    if (s->page.len > 0) {
        er_buf_add(out, s->page.data, s->page.len);
        er_buf_fini(&s->page);
    }
    while (!s->reading && s->next <= e->last_seq && out->len < room) {
        if (s->next < e->ring_first || !s->checked) {
            read_page(s);
            return;
        }
        const struct er_ring_fact *r = &e->ring[s->next % ER_RING];
        if (sub_wants(s, r)) {
            er_buf_add(out, r->frame, r->len);
        }
        s->next++;
    }
    if (!s->checked && !s->reading) {
        read_page(s); /* nothing newer, but what was asked for may be gone */
    }
}
