/* SPDX-License-Identifier: MIT */
/* usage: bench_bus [TURNS]: the event bus beside GLib, libuv and libevent, in one process
 * and in turns, the best of each. Prints `NAME<TAB>VALUE`: events a second (*_per_s), and
 * nanoseconds for one event to 64 callbacks (*_ns).
 *
 * Between threads: what is sent has to arrive. The bus's publisher never waits, so the
 * bench waits for it: at most IN_FLIGHT events are on their way, less than fit the
 * buffer, so that none has to be coalesced (which is checked). GAsyncQueue has no bound
 * and gets none; uv_queue_work has 64 in flight. An event is a name, a task and 16 bytes,
 * copied for the subscriber. GAsyncQueue passes a pointer: once one that is already
 * there, which is in its favour, and once to an event as ours, which the sender allocates
 * and the receiver frees.
 *
 * What one stalled among ten costs the others: short runs with and without it take turns,
 * and the median of their ratios counts; ten threads on a few cores never run the same
 * twice. */
#include <event2/event.h>
#include <glib-object.h>
#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "bench.h"
#include "lib/bus.h"

#define EVENTS      4000000
#define PEER_EVENTS 1000000
#define BUFFER      ((size_t)1 << 19)
#define IN_FLIGHT   4000
#define LISTENERS   64
#define ROUNDS      200000

struct tally {
    _Atomic int64_t n;
    int64_t sum;
    char apart[112];
};

static void
keep_best(double *best, double value, bool more)
{
    if (*best == 0 || (more ? value > *best : value < *best)) {
        *best = value;
    }
}

static void
must(int rc, const char *what)
{
    if (rc != 0) {
        DIE("%s: %d", what, rc);
    }
}

/* ---- to another thread ---- */

static void
on_event(void *ctx, struct er_bus_sub *sub, const struct er_bus_event *ev)
{
    struct tally *t = ctx;
    (void)sub;
    t->sum += *(const int64_t *)ev->data;
    atomic_store_explicit(&t->n, atomic_load_explicit(&t->n, memory_order_relaxed) + 1,
                          memory_order_release);
}

static void
wait_for(struct tally *t, int64_t n)
{
    while (atomic_load_explicit(&t->n, memory_order_acquire) < n) {
        sched_yield();
    }
}

static struct er_bus *
new_bus(void)
{
    struct er_bus *bus;
    must(er_bus_new(&(struct er_bus_options){0}, &bus), "er_bus_new");
    return bus;
}

static struct er_bus_sub *
subscribe(struct er_bus *bus, enum er_bus_way way, er_bus_fn *fn, void *ctx)
{
    struct er_bus_subscription s = {.way = way, .fn = fn, .ctx = ctx, .buffer = BUFFER};
    struct er_bus_sub *sub;
    struct er_err err;
    if (er_bus_subscribe(bus, &s, &sub, &err) != 0) {
        DIE("%s", err.text);
    }
    return sub;
}

static void
fill(struct er_bus_event *evs, int64_t (*data)[2], int n)
{
    for (int i = 0; i < n; i++) {
        evs[i] = (struct er_bus_event){.name = "tick",
                                       .kind = ER_BUS_SAMPLE,
                                       .task = 42,
                                       .data = data[i],
                                       .len = sizeof data[i]};
    }
}

/* Events a second, published `batch` at a time. */
static double
bus_thread(int batch)
{
    struct tally *t = calloc(1, sizeof *t);
    struct er_bus *bus = new_bus();
    struct er_bus_sub *sub = subscribe(bus, ER_BUS_THREAD, on_event, t);
    struct er_bus_event evs[64];
    int64_t data[64][2] = {{0}};
    fill(evs, data, batch);
    double began = bench_now();
    for (int64_t sent = 0; sent < EVENTS; sent += batch) {
        if (sent % 1000 < batch) {
            wait_for(t, sent - IN_FLIGHT + 1000);
        }
        for (int i = 0; i < batch; i++) {
            data[i][0] = sent + i;
        }
        must(batch == 1 ? er_bus_publish(bus, evs)
                        : er_bus_publish_many(bus, evs, (size_t)batch),
             "publish");
    }
    wait_for(t, EVENTS);
    double took = bench_now() - began;
    struct er_bus_stats st;
    er_bus_sub_stats(sub, &st);
    if (st.coalesced + st.missed != 0) {
        DIE("the buffer was too small: %lld coalesced", (long long)st.coalesced);
    }
    er_bus_free(bus);
    free(t);
    return EVENTS / took;
}

static void *
pop_all(void *q)
{
    for (int i = 0; i < PEER_EVENTS; i++) {
        (void)g_async_queue_pop(q);
    }
    return NULL;
}

/* An event as ours, for a queue of pointers. */
struct parcel {
    char *name;
    int64_t task;
    size_t len;
    int64_t data[];
};

static struct parcel *
wrap(const struct er_bus_event *ev)
{
    struct parcel *p = g_malloc(sizeof *p + ev->len);
    p->name = g_strdup(ev->name);
    p->task = ev->task;
    p->len = ev->len;
    memcpy(p->data, ev->data, ev->len);
    return p;
}

static void *
pop_parcels(void *q)
{
    volatile int64_t sum = 0;
    for (int i = 0; i < PEER_EVENTS; i++) {
        struct parcel *p = g_async_queue_pop(q);
        sum += p->data[0];
        g_free(p->name);
        g_free(p);
    }
    return NULL;
}

static double
glib_queue(bool parcels)
{
    GAsyncQueue *q = g_async_queue_new();
    pthread_t thread;
    struct er_bus_event ev;
    int64_t data[1][2] = {{0}};
    fill(&ev, data, 1);
    double began = bench_now();
    must(pthread_create(&thread, NULL, parcels ? pop_parcels : pop_all, q), "thread");
    for (int i = 0; i < PEER_EVENTS; i++) {
        data[0][0] = i;
        g_async_queue_push(q, parcels ? (void *)wrap(&ev) : q);
    }
    must(pthread_join(thread, NULL), "join");
    double took = bench_now() - began;
    g_async_queue_unref(q);
    return PEER_EVENTS / took;
}

struct uv_bench {
    uv_loop_t loop;
    uv_work_t work[64];
    int left;
};

static void
on_work(uv_work_t *work)
{
    (void)work;
}

static void
after_work(uv_work_t *work, int status)
{
    struct uv_bench *b = work->data;
    (void)status;
    if (b->left-- > 0) {
        uv_queue_work(&b->loop, work, on_work, after_work);
    }
}

static double
uv_work(void)
{
    struct uv_bench b = {.left = PEER_EVENTS / 2};
    must(uv_loop_init(&b.loop), "uv_loop_init");
    double began = bench_now();
    for (int i = 0; i < 64; i++) {
        b.work[i].data = &b;
        uv_queue_work(&b.loop, &b.work[i], on_work, after_work);
    }
    uv_run(&b.loop, UV_RUN_DEFAULT);
    double took = bench_now() - began;
    uv_loop_close(&b.loop);
    return (PEER_EVENTS / 2 + 64) / took;
}

/* ---- to 64 listeners on the same thread ---- */

static struct tally tallies[LISTENERS];

static void
on_inline(void *ctx, struct er_bus_sub *sub, const struct er_bus_event *ev)
{
    (void)sub;
    ((struct tally *)ctx)->sum += *(const int64_t *)ev->data;
}

static double
bus_inline(void)
{
    struct er_bus *bus = new_bus();
    for (int i = 0; i < LISTENERS; i++) {
        (void)subscribe(bus, ER_BUS_INLINE, on_inline, &tallies[i]);
    }
    int64_t data[1][2] = {{1, 0}};
    struct er_bus_event ev;
    fill(&ev, data, 1);
    double began = bench_now();
    for (int i = 0; i < ROUNDS; i++) {
        must(er_bus_publish(bus, &ev), "publish");
    }
    double took = bench_now() - began;
    er_bus_free(bus);
    return took / ROUNDS * 1e9;
}

struct listener {
    er_bus_fn *fn;
    void *ctx;
};

static double
bare_loop(void)
{
    static struct listener listeners[LISTENERS];
    for (int i = 0; i < LISTENERS; i++) {
        listeners[i] = (struct listener){on_inline, &tallies[i]};
    }
    int64_t data[1][2] = {{1, 0}};
    struct er_bus_event ev;
    fill(&ev, data, 1);
    struct listener *volatile opaque = listeners; /* nobody sees through it */
    double began = bench_now();
    for (int i = 0; i < ROUNDS; i++) {
        struct listener *l = opaque;
        for (int k = 0; k < LISTENERS; k++) {
            l[k].fn(l[k].ctx, NULL, &ev);
        }
    }
    return (bench_now() - began) / ROUNDS * 1e9;
}

static void
on_signal(GObject *object, gpointer data, gpointer ctx)
{
    (void)object;
    ((struct tally *)ctx)->sum += *(const int64_t *)data;
}

static double
glib_signal(void)
{
    static guint id;
    if (id == 0) {
        id = g_signal_new("bench-tick", G_TYPE_OBJECT, G_SIGNAL_RUN_LAST, 0, NULL, NULL,
                          NULL, G_TYPE_NONE, 1, G_TYPE_POINTER);
    }
    GObject *object = g_object_new(G_TYPE_OBJECT, NULL);
    for (int i = 0; i < LISTENERS; i++) {
        g_signal_connect(object, "bench-tick", G_CALLBACK(on_signal), &tallies[i]);
    }
    int64_t data = 1;
    double began = bench_now();
    for (int i = 0; i < ROUNDS / 10; i++) {
        g_signal_emit(object, id, 0, &data);
    }
    double took = bench_now() - began;
    g_object_unref(object);
    return took / (ROUNDS / 10) * 1e9;
}

static void
on_libevent(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    ((struct tally *)ctx)->sum += what;
}

static double
libevent_active(void)
{
    struct event_base *base = event_base_new();
    struct event *events[LISTENERS];
    for (int i = 0; i < LISTENERS; i++) {
        events[i] = event_new(base, -1, EV_PERSIST, on_libevent, &tallies[i]);
    }
    double began = bench_now();
    for (int i = 0; i < ROUNDS / 10; i++) {
        for (int k = 0; k < LISTENERS; k++) {
            event_active(events[k], EV_READ, 0);
        }
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
    double took = bench_now() - began;
    for (int i = 0; i < LISTENERS; i++) {
        event_free(events[i]);
    }
    event_base_free(base);
    return took / (ROUNDS / 10) * 1e9;
}

/* ---- one of ten is stalled ---- */

#define TEN        10
#define TEN_EVENTS (EVENTS / 64)
#define TEN_PAIRS  8 /* of one turn */

/* The first one's callback: stays until the pipe it reads from is closed. */
static void
on_stall(void *ctx, struct er_bus_sub *sub, const struct er_bus_event *ev)
{
    char c;
    (void)sub;
    (void)ev;
    while (read(*(int *)ctx, &c, 1) > 0) {
    }
}

/* Events a second that nine subscribers on threads of their own all get, while a tenth is
 * not there, or does not come back from its first event. */
static double
ten(bool with_stalled)
{
    struct tally *t = calloc(TEN, sizeof *t);
    struct er_bus *bus = new_bus();
    struct er_bus_sub *stalled = NULL;
    int ends[2];
    must(pipe(ends), "pipe");
    if (with_stalled) {
        stalled = subscribe(bus, ER_BUS_THREAD, on_stall, &ends[0]);
    }
    for (int i = 1; i < TEN; i++) {
        (void)subscribe(bus, ER_BUS_THREAD, on_event, &t[i]);
    }
    struct er_bus_event ev;
    int64_t data[1][2] = {{0}};
    fill(&ev, data, 1);
    double began = bench_now();
    for (int64_t sent = 0; sent < TEN_EVENTS; sent++) {
        if (sent % 1000 == 0) {
            for (int i = 1; i < TEN; i++) {
                wait_for(&t[i], sent - IN_FLIGHT + 1000);
            }
        }
        data[0][0] = sent;
        must(er_bus_publish(bus, &ev), "publish");
    }
    for (int i = 1; i < TEN; i++) {
        wait_for(&t[i], TEN_EVENTS);
    }
    double took = bench_now() - began;
    close(ends[1]);
    if (stalled) {
        (void)er_bus_unsubscribe(stalled);
    }
    er_bus_free(bus);
    close(ends[0]);
    free(t);
    return TEN_EVENTS / took;
}

static int
by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* What is left of the others' rate when one is stalled: the median of pairs. */
static double
stalled_ratio(int pairs, double *nine)
{
    double *ratios = calloc((size_t)pairs, sizeof *ratios);
    for (int i = 0; i < pairs; i++) {
        double without = ten(false), with = ten(true);
        with += ten(true);
        without += ten(false);
        ratios[i] = with / without;
        keep_best(nine, without / 2, true);
    }
    qsort(ratios, (size_t)pairs, sizeof *ratios, by_size);
    double median = ratios[pairs / 2];
    free(ratios);
    return median;
}

int
main(int argc, char **argv)
{
    int turns = argc > 1 ? atoi(argv[1]) : 5;
    double one = 0, many = 0, glib = 0, parcels = 0, uv = 0, in = 0, bare = 0, sig = 0,
           ev = 0, nine = 0;
    for (int i = 0; i < turns; i++) {
        keep_best(&one, bus_thread(1), true);
        keep_best(&many, bus_thread(50), true);
        keep_best(&glib, glib_queue(false), true);
        keep_best(&parcels, glib_queue(true), true);
        keep_best(&uv, uv_work(), true);
        keep_best(&bare, bare_loop(), false);
        keep_best(&in, bus_inline(), false);
        keep_best(&sig, glib_signal(), false);
        keep_best(&ev, libevent_active(), false);
    }
    double left = stalled_ratio(TEN_PAIRS * turns + 1, &nine);
    printf("bus_per_s\t%.4g\nbus_many_per_s\t%.4g\ngasyncqueue_per_s\t%.4g\n", one, many,
           glib);
    printf("gasyncqueue_parcels_per_s\t%.4g\n", parcels);
    printf("uv_queue_work_per_s\t%.4g\nbare_ns\t%.4g\nbus_ns\t%.4g\n", uv, bare, in);
    printf("g_signal_ns\t%.4g\nlibevent_ns\t%.4g\n", sig, ev);
    printf("nine_per_s\t%.4g\nstalled_ratio\t%.4g\n", nine, left);
    return 0;
}
