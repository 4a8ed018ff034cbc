/* SPDX-License-Identifier: MIT */
/* Who wants to know? Facts are published here after their commit, in order. The newest
 * ER_RING of them stay in memory as ready-made frames; a subscriber that is further
 * behind reads from the store, a page at a time, until it has caught up. Samples are kept
 * per subscriber (samples.h) until it pulls. So a slow subscriber costs the publisher
 * nothing and holds at most ER_RING frames of memory that it shares, and some samples.
 *
 * Order: a subscriber gets its samples before the facts that are published after them, so
 * the last progress comes before the final event. */
#include "engine/engine_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/samples.h"
#include "model/topic.h"
#include "wire/task_json.h"

#define PAGE       200               /* facts read from the store at a time */
#define PAGE_BYTES ((size_t)1 << 20) /* and of their data, but for the last one */

struct er_sub {
    struct er_engine *engine;
    struct er_sub_filter filter;
    char *correlation;
    const char **names; /* the filter's, our own */
    int64_t next;       /* number of the next fact to look at */
    bool reading;       /* a page is being read */
    bool checked;       /* the gap at the start has been looked at */
    bool closed;        /* unsubscribed while reading */
    int failed;         /* why the last page could not be read; 0 = it could */
    struct er_buf page; /* frames that were read and not pulled yet */
    struct er_samples samples;
    void (*wake)(void *ctx);
    void *ctx;
    TAILQ_ENTRY(er_sub) in_engine;
};

struct er_watch {
    struct er_watch_list *list;
    struct er_engine *engine;
    er_watch_fn *fn;
    void (*silence)(void *ctx); /* NULL = it is not asked for */
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

const struct er_fact *
er_engine_told(const struct er_engine *e)
{
    return e->told;
}

void
er_engine_watch_silence(struct er_watch *w, void (*fn)(void *ctx))
{
    w->silence = fn;
}

/* event NULL: the worker is silent. */
static void
tell_watches(struct er_engine *e, er_task_id id, const enum er_event *event)
{
    struct er_watch_list *list;
    HASH_FIND(hh, e->watches, &id, sizeof id, list);
    if (!list) {
        return;
    }
    list->walking++;
    struct er_watch *w;
    TAILQ_FOREACH (w, &list->watches, in_list) {
        if (!w->dead && event) {
            w->fn(w->ctx, *event);
        } else if (!w->dead && w->silence) {
            w->silence(w->ctx);
        }
    }
    list->walking--;
    list_sweep(e, list);
}

void
er_observe_silence(struct er_engine *e, er_task_id id)
{
    tell_watches(e, id, NULL);
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
    er_free(r->topic);
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

/* A fact, or a sample when it has no number. */
static void
add_frame(struct er_buf *b, const struct er_fact *f)
{
    if (f->seq > 0) {
        er_buf_add_str(b, "id: ");
        er_buf_add_i64(b, f->seq);
        er_buf_add_char(b, '\n');
    }
    er_buf_add_str(b, "event: ");
    er_buf_add_str(b, f->topic ? f->topic : er_event_word(f->event));
    er_buf_add_str(b, "\ndata: ");
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
    r->topic = er_xstrdup(f->topic);
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
            e->told = &facts[i];
            tell_watches(e, facts[i].task, &facts[i].event);
            e->told = NULL;
        }
    }
    wake_subs(e);
}

/* ---- subscribers ---- */

static void
copy_names(struct er_sub *s)
{
    size_t n = s->filter.n_names;
    s->names = n > 0 ? er_xrealloc_array(NULL, n, sizeof *s->names) : NULL;
    for (size_t i = 0; i < n; i++) {
        s->names[i] = er_xstrdup(s->filter.names[i]);
    }
    s->filter.names = s->names;
}

static void
free_names(struct er_sub *s)
{
    for (size_t i = 0; i < s->filter.n_names; i++) {
        er_free((void *)(uintptr_t)s->names[i]);
    }
    er_free(s->names);
}

struct er_sub *
er_engine_subscribe(struct er_engine *e, const struct er_sub_filter *f, int64_t since,
                    void (*wake)(void *ctx), void *ctx)
{
    struct er_sub *s = er_xzalloc(sizeof *s);
    s->engine = e;
    s->filter = *f;
    s->correlation = er_xstrdup(f->correlation);
    s->filter.correlation = s->correlation;
    copy_names(s);
    /* a number that was not given yet is one of another store: go on from here */
    s->next = since < 0 || since > e->last_seq ? e->last_seq + 1 : since + 1;
    s->checked = since < 0;
    s->wake = wake;
    s->ctx = ctx;
    er_buf_init(&s->page, 0);
    er_samples_init(&s->samples);
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
    er_samples_fini(&s->samples);
    er_buf_fini(&s->page);
    free_names(s);
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
           (!r->topic || er_topic_fits_any(f->names, f->n_names, r->topic)) &&
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
        s->failed = 0;
        s->wake(s->ctx);
    } else if (!s->failed) { /* it ends, or asks again: once, else at the next fact */
        er_log(ER_LOG_ERROR, "observe",
               "facts behind %lld cannot be read for a subscriber: %s",
               (long long)p->filter.since, er_error_meaning(q->rc));
        s->failed = q->rc;
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
                                        .names = s->filter.names,
                                        .n_names = s->filter.n_names,
                                        .limit = PAGE,
                                        .max_bytes = PAGE_BYTES};
    s->reading = true;
    er_engine_query(s->engine, &p->q);
}

/* ---- samples ---- */

/* What a subscriber gets of a sample, made when the first one wants it. */
struct news {
    struct er_fact fact;
    struct er_frame *frame;
};

static struct er_frame *
news_frame(struct news *news)
{
    if (!news->frame) {
        struct er_buf b;
        er_buf_init(&b, 0);
        add_frame(&b, &news->fact);
        news->frame = er_frame_new(b.data ? b.data : "", b.failed ? 0 : b.len);
        er_buf_fini(&b);
    }
    return news->frame;
}

static bool
sub_wants_sample(const struct er_sub *s, const struct er_fact *f)
{
    const struct er_sub_filter *want = &s->filter;
    bool kind =
        f->topic ? want->topics && er_topic_fits_any(want->names, want->n_names, f->topic)
        : f->event == ER_EVENT_TASK_PROGRESS ? want->progress
                                             : want->output;
    return kind && (want->task == 0 || want->task == f->task) &&
           (!s->correlation ||
            (f->correlation && strcmp(s->correlation, f->correlation) == 0));
}

static void
hand_out(struct er_engine *e, const struct er_fact *fact)
{
    struct news news = {.fact = *fact};
    struct er_sub *s, *following;
    for (s = TAILQ_FIRST(&e->subs); s; s = following) {
        following = TAILQ_NEXT(s, in_engine);
        if (sub_wants_sample(s, fact)) {
            er_samples_put(&s->samples, fact->task, fact->event, fact->topic,
                           news_frame(&news));
            s->wake(s->ctx);
        }
    }
    er_frame_drop(news.frame);
}

/* The sample as far as the run knows it. */
static struct er_fact
fact_of_run(const struct er_engine *e, const struct er_live_attempt *run,
            enum er_event event)
{
    return (struct er_fact){
        .event = event,
        .at = er_clock_wall(e->options.clock),
        .task = run->id,
        .run = run->run,
        .attempt = run->attempt,
        .type = run->lane->type->name,
        .queue = run->lane->queue->limit.name,
        .correlation = run->correlation,
    };
}

void
er_observe_sample(struct er_engine *e, struct er_live_attempt *run, enum er_event event)
{
    char bytes[40];
    if (e->n_subs > 0) {
        struct er_fact f = fact_of_run(e, run, event);
        (void)snprintf(bytes, sizeof bytes, "{\"bytes\":%llu}",
                       (unsigned long long)run->output_bytes);
        f.data_json = event == ER_EVENT_TASK_OUTPUT ? bytes
                      : run->progress               ? run->progress
                                                    : "null";
        hand_out(e, &f);
    }
    tell_watches(e, run->id, &event);
}

void
er_engine_topic(struct er_engine *e, const struct er_topic *topic)
{
    const struct er_live_attempt *run =
        topic->task != 0 ? er_live_attempt_find(e, topic->task) : NULL;
    struct er_fact f = {.event = ER_EVENT_TOPIC,
                        .at = er_clock_wall(e->options.clock),
                        .task = topic->task};
    if (run) {
        f = fact_of_run(e, run, ER_EVENT_TOPIC);
    }
    f.topic = topic->name;
    f.correlation = topic->correlation ? topic->correlation : f.correlation;
    f.data_json = topic->data_json ? topic->data_json : "null";
    hand_out(e, &f);
}

int
er_sub_failed(const struct er_sub *s)
{
    return s->failed;
}

void
er_sub_pull(struct er_sub *s, struct er_buf *out, size_t room)
{
    struct er_engine *e = s->engine;
    er_samples_pull(&s->samples, out);
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
