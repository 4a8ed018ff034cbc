/* SPDX-License-Identifier: MIT */
/* The bus of a handle: every delivery, what is read again, cursors, two processes' worth
 * of handles at one daemon. */
#include "lib_fixture.h"

#include <dlfcn.h>
#include <errno.h>

#define MANY    3000
#define LONGEST 1000 /* bytes of a name, a correlation id */

struct heard {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int n, samples, gaps, ended;
    bool blocked; /* the first event waits until this is false */
    int64_t last_seq;
    bool in_order;
    char name[64], data[64];
    size_t len;
    errand_subscription *leave; /* to be ended from inside */
};

static void
init(struct heard *h)
{
    *h = (struct heard){.lock = PTHREAD_MUTEX_INITIALIZER,
                        .changed = PTHREAD_COND_INITIALIZER,
                        .in_order = true};
}

static void
on_event(void *ctx, errand_subscription *sub, const errand_event *ev)
{
    struct heard *h = ctx;
    (void)pthread_mutex_lock(&h->lock);
    while (h->blocked) {
        (void)pthread_cond_wait(&h->changed, &h->lock);
    }
    if (ev->kind == ERRAND_FACT) {
        h->in_order = h->in_order && ev->seq > h->last_seq;
        h->last_seq = ev->seq;
        h->n++;
    } else if (ev->kind == ERRAND_SAMPLE) {
        h->samples++;
    } else {
        h->gaps++;
    }
    (void)snprintf(h->name, sizeof h->name, "%s", ev->name);
    h->len = ev->len < sizeof h->data ? ev->len : sizeof h->data;
    memcpy(h->data, ev->data ? ev->data : "", h->len); /* a gap has none */
    bool leave = h->leave != NULL;
    h->leave = NULL;
    (void)pthread_mutex_unlock(&h->lock);
    if (leave) {
        errand_unsubscribe(sub);
    }
}

static void
on_ended(void *ctx)
{
    struct heard *h = ctx;
    (void)pthread_mutex_lock(&h->lock);
    h->ended++;
    (void)pthread_mutex_unlock(&h->lock);
}

static int
get(struct heard *h, const int *what)
{
    (void)pthread_mutex_lock(&h->lock);
    int n = *what;
    (void)pthread_mutex_unlock(&h->lock);
    return n;
}

static void
let_go(struct heard *h)
{
    (void)pthread_mutex_lock(&h->lock);
    h->blocked = false;
    (void)pthread_cond_broadcast(&h->changed);
    (void)pthread_mutex_unlock(&h->lock);
}

static errand_subscription *
subscribe(errand *e, int delivery, struct heard *h, const char *prefix, size_t buffer)
{
    struct errand_subscribe_options o = ERRAND_INIT(errand_subscribe_options);
    errand_subscription *sub = NULL;
    errand_error error;
    o.delivery = delivery;
    o.prefix = prefix;
    o.buffer = buffer;
    o.ended = delivery == ERRAND_PULL ? NULL : on_ended;
    OK(errand_subscribe(e, &o, delivery == ERRAND_PULL ? NULL : on_event, h, &sub,
                        &error));
    return sub;
}

static void
publish(errand *e, int kind, const char *name, const void *data, size_t len)
{
    errand_event ev = {.name = name, .kind = kind, .data = data, .len = len};
    errand_error error;
    OK(errand_publish(e, &ev, &error));
}

static const char *
url_of(const struct home *h, int which)
{
    return which == 0 ? "memory:" : which == 1 ? h->sqlite : h->daemon;
}

/* ---- every delivery ---- */

static void
events__facts_and_samples_come_every_way(void **state)
{
    static const int ways[] = {ERRAND_ON_THREAD, ERRAND_ON_LOOP, ERRAND_INLINE};
    for (int run = 0; run < 6; run++) {
        errand *e = open_with(url_of(*state, run / 2), run % 2);
        struct heard h[3];
        errand_subscription *subs[3], *pull;
        const errand_event *ev;
        int pulled = 0;
        for (int i = 0; i < 3; i++) {
            init(&h[i]);
            subs[i] = subscribe(e, ways[i], &h[i], "test.", 0);
        }
        pull = subscribe(e, ERRAND_PULL, NULL, "test.", 0);
        publish(e, ERRAND_SAMPLE, "test.sample", "a\0b", 3);
        publish(e, ERRAND_FACT, "test.fact", "{\"n\":[1,2.50]}", 14);
        publish(e, ERRAND_FACT, "test.fact", "two\n\"words\"", 11);
        publish(e, ERRAND_SAMPLE, "other.sample", "x", 1);
        for (int i = 0; i < 3; i++) {
            AWAIT(e, get(&h[i], &h[i].n) == 2);
            assert_int_equal(get(&h[i], &h[i].samples), 1);
            assert_string_equal(h[i].name, "test.fact");
            assert_int_equal(h[i].len, 11);
            assert_memory_equal(h[i].data, "two\n\"words\"", 11);
            assert_true(h[i].in_order);
        }
        while (pulled < 3) {
            struct pollfd fd = {.fd = errand_subscription_fd(pull), .events = POLLIN};
            assert_int_equal(poll(&fd, 1, 30000), 1);
            while (errand_pull(pull, &ev) == 1) {
                if (ev->kind == ERRAND_SAMPLE) {
                    assert_int_equal(ev->len, 3);
                    assert_memory_equal(ev->data, "a\0b", 3);
                }
                pulled++;
            }
        }
        for (int i = 0; i < 3; i++) {
            errand_unsubscribe(subs[i]);
            AWAIT(e, get(&h[i], &h[i].ended) == 1);
        }
        errand_unsubscribe(pull);
        errand_close(e);
    }
}

static void
events__of_tasks_are_told(void **state)
{
    for (int which = 0; which < 3; which++) {
        errand *e = open_with(url_of(*state, which), ERRAND_THREAD);
        const char *const argv[] = {"true", NULL};
        struct heard h;
        errand_error error;
        int64_t id;
        init(&h);
        (void)subscribe(e, ERRAND_ON_THREAD, &h, "task-completed", 0);
        OK(errand_submit_command(e, argv, "/", NULL, &id, &error));
        AWAIT(e, get(&h, &h.n) == 1);
        assert_string_equal(h.name, "task-completed");
        assert_memory_equal(h.data, "{\"seq\":", 7);
        errand_close(e);
        assert_int_equal(h.ended, 1);
    }
}

/* What a task may have for its correlation, and an event for its name, a subscriber
 * gets. */
static void
events__with_the_longest_names_are_told(void **state)
{
    char correlation[LONGEST + 1], name[LONGEST + 1];
    memset(correlation, 'c', sizeof correlation - 1);
    correlation[sizeof correlation - 1] = '\0';
    memset(name, 'n', sizeof name - 1);
    name[1] = '.';
    name[sizeof name - 1] = '\0';
    for (int which = 0; which < 3; which++) {
        errand *e = open_with(url_of(*state, which), ERRAND_THREAD);
        const char *const argv[] = {"true", NULL};
        struct errand_submit_options submit = ERRAND_INIT(errand_submit_options);
        struct errand_subscribe_options o = ERRAND_INIT(errand_subscribe_options);
        errand_event ev = {
            .name = name, .kind = ERRAND_SAMPLE, .correlation = correlation};
        errand_subscription *sub;
        struct heard h;
        errand_error error;
        int64_t id;
        init(&h);
        o.correlation = submit.correlation = correlation;
        OK(errand_subscribe(e, &o, on_event, &h, &sub, &error));
        OK(errand_submit_command(e, argv, "/", &submit, &id, &error));
        AWAIT(e, get(&h, &h.n) == 3); /* queued, started, completed */
        OK(errand_publish(e, &ev, &error));
        ev.kind = ERRAND_FACT;
        OK(errand_publish(e, &ev, &error));
        AWAIT(e, get(&h, &h.n) == 4);
        AWAIT(e, get(&h, &h.samples) > 0);
        errand_close(e);
        assert_int_equal(h.gaps, 0);
        assert_true(h.in_order);
    }
}

static void
events__one_may_leave_from_inside(void **state)
{
    static const int ways[] = {ERRAND_ON_THREAD, ERRAND_ON_LOOP, ERRAND_INLINE};
    (void)state;
    for (int run = 0; run < 6; run++) {
        errand *e = open_with("memory:", run % 2);
        struct heard h;
        init(&h);
        h.leave = subscribe(e, ways[run / 2], &h, "test.", 0);
        publish(e, ERRAND_SAMPLE, "test.a", NULL, 0);
        AWAIT(e, get(&h, &h.ended) == 1);
        publish(e, ERRAND_SAMPLE, "test.b", NULL, 0);
        assert_int_equal(h.samples, 1);
        errand_close(e);
    }
}

struct pair {
    errand_subscription *subs[2];
    int heard, ended;
};

static void
leave_both(void *ctx, errand_subscription *sub, const errand_event *ev)
{
    struct pair *p = ctx;
    bool is_second = sub == p->subs[1];
    assert_string_equal(ev->name, "test.fact");
    p->heard++;
    errand_unsubscribe(sub);
    errand_unsubscribe(p->subs[!is_second]);
}

static void
on_pair_ended(void *ctx)
{
    struct pair *p = ctx;
    p->ended++;
}

/* Both wait for the page; whoever gets it first takes the other along. */
static void
events__one_may_take_another_along(void **state)
{
    struct errand_subscribe_options o = ERRAND_INIT(errand_subscribe_options);
    errand *e = open_with("memory:", ERRAND_TURN);
    struct pair p = {.heard = 0};
    errand_error error;
    (void)state;
    publish(e, ERRAND_FACT, "test.fact", NULL, 0);
    o.delivery = ERRAND_ON_LOOP;
    o.prefix = "test.";
    o.resume = 1;
    o.ended = on_pair_ended;
    for (int i = 0; i < 2; i++) {
        OK(errand_subscribe(e, &o, leave_both, &p, &p.subs[i], &error));
    }
    AWAIT(e, p.ended == 2);
    assert_int_equal(p.heard, 1);
    errand_close(e);
}

/* The library's uv_poll_init comes through here. */
static bool polls_are_refused;
__attribute__((visibility("default"))) int uv_poll_init(void *loop, void *poll, int fd);

int
uv_poll_init(void *loop, void *poll, int fd)
{
    int (*real)(void *loop, void *poll, int fd);
    void *found = dlsym(RTLD_NEXT, "uv_poll_init");
    assert_non_null(found);
    memcpy(&real, &found, sizeof real);
    return polls_are_refused ? -ENOMEM : real(loop, poll, fd);
}

static void
events__one_that_the_loop_cannot_look_at_never_began(void **state)
{
    struct errand_subscribe_options o = ERRAND_INIT(errand_subscribe_options);
    struct heard h;
    errand_subscription *sub;
    errand_error error;
    (void)state;
    init(&h);
    o.delivery = ERRAND_ON_LOOP;
    o.ended = on_ended;
    for (int is_turned = 0; is_turned < 2; is_turned++) {
        errand *e = open_with("memory:", is_turned ? ERRAND_TURN : ERRAND_THREAD);
        struct heard first;
        init(&first);
        (void)subscribe(e, ERRAND_ON_THREAD, &first, "test.", 0);
        polls_are_refused = true;
        int rc = errand_subscribe(e, &o, on_event, &h, &sub, &error);
        polls_are_refused = false;
        assert_int_equal(rc, ERRAND_EIO);
        assert_null(sub);
        errand_close(e);
    }
    assert_int_equal(h.ended, 0);
}

/* ---- what had no room is read again ---- */

static void
publish_many(errand *e, int from, int n)
{
    for (int i = 0; i < n; i++) {
        char data[16];
        int data_len = snprintf(data, sizeof data, "%d", from + i);
        publish(e, ERRAND_FACT, "test.fact", data, (size_t)data_len);
    }
}

static void
events__a_slow_subscriber_loses_no_fact(void **state)
{
    static const int ways[] = {ERRAND_ON_THREAD, ERRAND_ON_LOOP};
    for (int run = 0; run < 4; run++) {
        errand *e = open_with(run < 2 ? "memory:" : ((struct home *)*state)->daemon,
                              ERRAND_THREAD);
        struct heard slow, quick;
        struct errand_bus_stats stats = ERRAND_INIT(errand_bus_stats);
        int n = run < 2 ? MANY : MANY / 10;
        init(&slow);
        init(&quick);
        slow.blocked = ways[run % 2] == ERRAND_ON_THREAD;
        errand_subscription *sub = subscribe(e, ways[run % 2], &slow, "test.", 1024);
        (void)subscribe(e, ERRAND_ON_THREAD, &quick, "test.", 0);
        publish_many(e, 0, n);
        AWAIT(e, get(&quick, &quick.n) == n);
        let_go(&slow);
        AWAIT(e, get(&slow, &slow.n) == n);
        assert_true(slow.in_order);
        assert_int_equal(slow.gaps, 0);
        errand_bus_metrics(e, sub, &stats);
        assert_true(stats.delivered >= n);
        if (ways[run % 2] == ERRAND_ON_THREAD) {
            assert_true(stats.reread > 0);
        }
        errand_close(e);
    }
}

/* ---- from the past ---- */

static void
events__a_cursor_goes_on_where_it_was_left(void **state)
{
    struct home *home = *state;
    static const int ways[] = {ERRAND_ON_THREAD, ERRAND_ON_LOOP};
    for (int run = 0; run < 4; run++) {
        const char *url = run % 2 ? home->daemon : home->sqlite;
        struct errand_subscribe_options o = ERRAND_INIT(errand_subscribe_options);
        char cursor[32];
        errand_error error;
        struct heard h;
        errand_subscription *sub, *second;
        (void)snprintf(cursor, sizeof cursor, "a b&%%%d", run);
        o.prefix = "test.";
        o.cursor = cursor;
        o.delivery = ways[run / 2];
        errand *e = open_with(url, ERRAND_THREAD);
        init(&h);
        OK(errand_subscribe(e, &o, on_event, &h, &sub, &error));
        assert_int_equal(errand_subscribe(e, &o, on_event, &h, &second, &error),
                         ERRAND_EBUSY);
        publish(e, ERRAND_FACT, "test.one", "1", 1);
        AWAIT(e, get(&h, &h.n) == 1);
        errand_close(e); /* the cursor is saved */
        e = open_with(url, ERRAND_THREAD);
        publish(e, ERRAND_FACT, "test.two", "2", 1);
        init(&h);
        OK(errand_subscribe(e, &o, on_event, &h, &sub, &error));
        AWAIT(e, get(&h, &h.n) >= 1);
        assert_string_equal(h.name, "test.two");
        assert_int_equal(get(&h, &h.n), 1);
        errand_unsubscribe(sub);
        o.cursor = NULL;
        o.resume = 1;
        o.since = 0;
        init(&h);
        OK(errand_subscribe(e, &o, on_event, &h, &sub, &error));
        AWAIT(e, get(&h, &h.n) >= 2);
        assert_true(h.in_order);
        errand_close(e);
    }
}

static int64_t
where_cursor_is(errand *e, const char *name)
{
    char target[64], *body;
    errand_error error;
    (void)snprintf(target, sizeof target, "/v1/cursors/%s", name);
    int status = errand_request(e, "GET", target, NULL, 0, &body, NULL, &error);
    const char *seq = status == 200 ? strstr(body, "\"seq\":") : NULL;
    int64_t at = seq ? strtoll(seq + 6, NULL, 10) : -1;
    errand_free(body);
    return at;
}

/* Who dies before its first fact, or with one in its hands, has missed nothing. */
static void
events__a_new_cursor_is_kept_from_the_subscription_on(void **state)
{
    struct home *home = *state;
    static const int ways[] = {ERRAND_ON_THREAD, ERRAND_ON_LOOP, ERRAND_PULL};
    for (int run = 0; run < 6; run++) {
        struct errand_subscribe_options o = ERRAND_INIT(errand_subscribe_options);
        errand *e = open_with(run % 2 ? home->daemon : home->sqlite, ERRAND_THREAD);
        char cursor[32];
        errand_error error;
        struct heard h;
        errand_subscription *sub;
        (void)snprintf(cursor, sizeof cursor, "new%d", run);
        init(&h);
        o.cursor = cursor;
        o.delivery = ways[run / 2];
        o.buffer = 1;
        errand_event_fn *fn = o.delivery == ERRAND_PULL ? NULL : on_event;
        assert_int_equal(errand_subscribe(e, &o, fn, &h, &sub, &error), ERRAND_EINVALID);
        assert_int_equal(where_cursor_is(e, cursor), -1); /* nothing is left behind */
        o.buffer = 0;
        o.prefix = "test.";
        OK(errand_subscribe(e, &o, fn, &h, &sub, &error));
        assert_true(where_cursor_is(e, cursor) >= 0);
        errand_unsubscribe(sub);
        errand_close(e);
    }
}

/* ---- what is gone ---- */

static int
do_nothing(errand_attempt *a, void *ctx)
{
    (void)a;
    (void)ctx;
    return 0;
}

/* Finishes as many tasks as lead to a look at what is to be kept. Returns the first fact
 * that is left. */
static int64_t
forget(errand *e)
{
    struct errand_type type = ERRAND_INIT(errand_type);
    long long first = 0;
    errand_error error;
    type.name = "test.nothing";
    type.description = "nothing";
    type.handler = do_nothing;
    OK(errand_register(e, &type, &error));
    for (int i = 0; i < 250; i++) {
        int64_t id;
        OK(errand_submit(e, type.name, NULL, NULL, &id, &error));
    }
    for (int tries = 0; first < 2; tries++) {
        char *page;
        assert_int_equal(errand_request(e, "GET",
                                        "/v1/events?format=ndjson&since=9000000", NULL, 0,
                                        &page, NULL, &error),
                         200);
        const char *bounds =
            strstr(page, "{\"first\":"); /* facts may have come before it */
        int got = bounds ? sscanf(bounds, "{\"first\":%lld", &first) : 0;
        errand_free(page);
        assert_int_equal(got, 1);
        assert_true(tries < 60000);
        (void)usleep(1000);
    }
    return first;
}

/* The first two events of a subscription that pulls. */
static void
expect_gap(errand *e, const struct errand_subscribe_options *o, int64_t first)
{
    errand_subscription *sub;
    const errand_event *ev = NULL;
    errand_error error;
    struct errand_bus_stats stats = ERRAND_INIT(errand_bus_stats);
    OK(errand_subscribe(e, o, NULL, NULL, &sub, &error));
    AWAIT(e, errand_pull(sub, &ev) == 1);
    assert_int_equal(ev->kind, ERRAND_GAP);
    assert_string_equal(ev->name, "gap");
    assert_int_equal(ev->from, 2);
    assert_true(ev->to >= first - 1); /* more may go at any time */
    int64_t to = ev->to;
    AWAIT(e, errand_pull(sub, &ev) == 1);
    assert_true(ev->kind == ERRAND_GAP || ev->seq == to + 1);
    errand_bus_metrics(e, sub, &stats);
    assert_true(stats.gaps >= 1);
    errand_unsubscribe(sub);
}

static void
events__what_is_gone_from_the_store_is_told_as_a_gap(void **state)
{
    struct home *home = *state;
    assert_int_equal(setenv("ERRAND_FACTS_MAX", "1000", 1), 0);
    for (int run = 0; run < 2; run++) {
        errand *e = open_with(run ? home->daemon : "memory:", ERRAND_THREAD);
        struct errand_subscribe_options o = ERRAND_INIT(errand_subscribe_options);
        struct heard h;
        errand_subscription *sub;
        errand_error error;
        init(&h);
        publish_many(e, 0, run ? 1500 : 10500); /* a store in memory keeps 10,000 */
        int64_t first = forget(e);
        o.delivery = ERRAND_PULL;
        o.kinds = ERRAND_FACT;
        o.resume = 1;
        o.since = 1;
        expect_gap(e, &o, first);
        o.cursor = "left"; /* what it begins behind is gone, too */
        expect_gap(e, &o, first);
        o.cursor = NULL;
        for (int way = ERRAND_ON_THREAD; way <= ERRAND_ON_LOOP; way++) {
            init(&h);
            o.delivery = way;
            OK(errand_subscribe(e, &o, on_event, &h, &sub, &error));
            AWAIT(e, get(&h, &h.n) >= 1000);
            assert_true(get(&h, &h.gaps) >= 1);
            errand_unsubscribe(sub);
        }
        errand_close(e);
    }
    (void)unsetenv("ERRAND_FACTS_MAX");
}

/* ---- several at one daemon ---- */

static void
events__others_hear_it_and_the_own_do_once(void **state)
{
    struct home *home = *state;
    errand *a = open_with(home->daemon, ERRAND_THREAD);
    errand *b = open_with(home->daemon, ERRAND_TURN);
    struct heard at_a, at_b;
    char text[16];
    init(&at_a);
    init(&at_b);
    (void)subscribe(a, ERRAND_ON_THREAD, &at_a, "test.", 1 << 20);
    (void)subscribe(b, ERRAND_ON_LOOP, &at_b, "test.", 1 << 20);
    for (int i = 0; i < 50; i++) {
        int n = snprintf(text, sizeof text, "%d", i);
        publish(a, ERRAND_SAMPLE, "test.sample", text, (size_t)n);
    }
    AWAIT(b, get(&at_b, &at_b.samples) == 50);
    /* a fact comes behind all samples: what would come back has come */
    publish(a, ERRAND_FACT, "test.fact", "end", 3);
    AWAIT(a, get(&at_a, &at_a.n) == 1);
    assert_int_equal(get(&at_a, &at_a.samples), 50);
    errand_close(b);
    errand_close(a);
}

static void
events__the_stream_is_opened_again_behind_the_last(void **state)
{
    struct home *home = *state;
    errand *e = open_with(home->daemon, ERRAND_THREAD);
    struct heard h;
    init(&h);
    (void)subscribe(e, ERRAND_ON_THREAD, &h, "test.", 0);
    publish(e, ERRAND_FACT, "test.one", NULL, 0);
    AWAIT(e, get(&h, &h.n) == 1);
    kill_wholly(daemon_pid(home));
    errand_error error;
    while (errand_state(e, 1, &error) != ERRAND_ENOTFOUND) {
        /* until there is another */
    }
    publish(e, ERRAND_FACT, "test.two", NULL, 0);
    publish(e, ERRAND_FACT, "test.three", NULL, 0);
    AWAIT(e, get(&h, &h.n) == 3);
    assert_true(h.in_order);
    errand_close(e);
}

static void
events__what_is_wrong_is_refused(void **state)
{
    errand *e = open_with("memory:", ERRAND_THREAD);
    struct errand_subscribe_options o = ERRAND_INIT(errand_subscribe_options);
    errand_event ev = {.name = "nodot", .kind = ERRAND_SAMPLE};
    errand_subscription *sub;
    errand_error error;
    (void)state;
    assert_int_equal(errand_publish(e, &ev, &error), ERRAND_EINVALID);
    assert_string_equal(error.field, "name");
    ev.name = "\xff.b";
    assert_int_equal(errand_publish(e, &ev, &error), ERRAND_EINVALID);
    ev.name = "a.b";
    ev.correlation = "\xff";
    assert_int_equal(errand_publish(e, &ev, &error), ERRAND_EINVALID);
    char correlation[LONGEST + 2];
    memset(correlation, 'c', sizeof correlation - 1);
    correlation[sizeof correlation - 1] = '\0';
    ev.correlation = correlation;
    assert_int_equal(errand_publish(e, &ev, &error), ERRAND_EINVALID);
    assert_string_equal(error.field, "correlation");
    ev.correlation = NULL;
    ev.kind = ERRAND_GAP;
    assert_int_equal(errand_publish(e, &ev, &error), ERRAND_EINVALID);
    ev.kind = ERRAND_FACT;
    ev.data = "\xff";
    ev.len = 1;
    assert_int_equal(errand_publish(e, &ev, &error), ERRAND_EINVALID);
    ev.len = (size_t)2 << 20;
    assert_int_equal(errand_publish(e, &ev, &error), ERRAND_ETOOBIG);
    assert_int_equal(errand_subscribe(e, &o, NULL, NULL, &sub, &error), ERRAND_EINVALID);
    o.delivery = ERRAND_PULL;
    assert_int_equal(errand_subscribe(e, &o, on_event, NULL, &sub, &error),
                     ERRAND_EINVALID);
    o.delivery = 9;
    assert_int_equal(errand_subscribe(e, &o, on_event, NULL, &sub, &error),
                     ERRAND_EINVALID);
    errand_close(e);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_home, teardown_home)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(events__facts_and_samples_come_every_way),
        TEST(events__of_tasks_are_told),
        TEST(events__with_the_longest_names_are_told),
        TEST(events__one_may_leave_from_inside),
        TEST(events__one_may_take_another_along),
        TEST(events__one_that_the_loop_cannot_look_at_never_began),
        TEST(events__a_slow_subscriber_loses_no_fact),
        TEST(events__a_cursor_goes_on_where_it_was_left),
        TEST(events__a_new_cursor_is_kept_from_the_subscription_on),
        TEST(events__what_is_gone_from_the_store_is_told_as_a_gap),
        TEST(events__others_hear_it_and_the_own_do_once),
        TEST(events__the_stream_is_opened_again_behind_the_last),
        TEST(events__what_is_wrong_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
