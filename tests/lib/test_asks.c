/* SPDX-License-Identifier: MIT */
/* Requests to a daemon that behaves badly, played by the test: connections that break,
 * answers in pieces, many at once. */
#include "lib_fixture.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

struct server {
    char folder[64], url[128];
    int listener;
    pthread_t thread;
    void (*serve)(struct server *s, int fd, int nth); /* one connection, from 1 */
    pthread_mutex_t lock;
    int connections, requests, most, now;
    char head[8192]; /* of the latest request */
};

/* One a test, or two: a connection's thread may look at its server a little longer. */
static struct server servers[16];
static size_t n_servers;

/* Reads one request: false when the client has gone. */
static bool
read_request(struct server *s, int fd)
{
    char text[65536];
    size_t len = 0;
    for (;;) {
        ssize_t n = recv(fd, text + len, sizeof text - 1 - len, 0);
        if (n <= 0) {
            return false;
        }
        len += (size_t)n;
        text[len] = '\0';
        char *end = strstr(text, "\r\n\r\n");
        char *length = strstr(text, "Content-Length: ");
        size_t body = length && length < end ? strtoul(length + 16, NULL, 10) : 0;
        if (end && len >= (size_t)(end + 4 - text) + body) {
            (void)pthread_mutex_lock(&s->lock);
            s->requests++;
            (void)snprintf(s->head, sizeof s->head, "%.*s", (int)(end - text), text);
            (void)pthread_mutex_unlock(&s->lock);
            return true;
        }
    }
}

static void
answer(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void
answer_json(int fd, const char *json)
{
    char text[1024];
    (void)snprintf(text, sizeof text,
                   "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                   "Content-Length: %zu\r\n\r\n%s",
                   strlen(json), json);
    answer(fd, text);
}

struct peer {
    struct server *s;
    int fd, nth;
};

static void *
peer_main(void *arg)
{
    struct peer p = *(struct peer *)arg;
    free(arg);
    p.s->serve(p.s, p.fd, p.nth);
    (void)close(p.fd);
    return NULL;
}

static void *
server_main(void *arg)
{
    struct server *s = arg;
    int fd;
    while ((fd = accept(s->listener, NULL, NULL)) >= 0) {
        pthread_t t;
        struct peer *p = malloc(sizeof *p);
        assert_non_null(p);
        (void)pthread_mutex_lock(&s->lock);
        *p = (struct peer){s, fd, ++s->connections};
        (void)pthread_mutex_unlock(&s->lock);
        assert_int_equal(pthread_create(&t, NULL, peer_main, p), 0);
        (void)pthread_detach(t);
    }
    return NULL;
}

static errand *
start(struct server **out, void (*serve)(struct server *s, int fd, int nth),
      int threading)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct errand_options o = ERRAND_INIT(errand_options);
    errand_error error;
    errand *e;
    struct server *s = *out = &servers[n_servers++];
    *s = (struct server){.serve = serve, .lock = PTHREAD_MUTEX_INITIALIZER};
    (void)snprintf(s->folder, sizeof s->folder, "/tmp/errand-asks-XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s/s", s->folder);
    (void)snprintf(s->url, sizeof s->url, "unix:%s", at.sun_path);
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(s->listener, 50), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, server_main, s), 0);
    o.threading = threading;
    o.no_autostart = 1;
    OK(errand_open(s->url, &o, &e, &error));
    return e;
}

static void
stop(struct server *s, errand *e)
{
    errand_close(e);
    (void)shutdown(s->listener, SHUT_RDWR);
    (void)close(s->listener);
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    (void)nftw(s->folder, remove_entry, 4, FTW_DEPTH | FTW_PHYS);
}

static int
requests(struct server *s)
{
    (void)pthread_mutex_lock(&s->lock);
    int n = s->requests;
    (void)pthread_mutex_unlock(&s->lock);
    return n;
}

/* ---- answers ---- */

static void
serve_in_pieces(struct server *s, int fd, int nth)
{
    static const char text[] =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: "
        "chunked\r\n\r\n"
        "5\r\n{\"id\"\r\n7;x=y\r\n:42,\"st\r\n10\r\nate\":\"completed\"\r\n1\r\n}\r\n"
        "0\r\nTrailer: x\r\n\r\n";
    (void)nth;
    while (read_request(s, fd)) {
        for (size_t i = 0; text[i]; i++) {
            assert_int_equal(send(fd, text + i, 1, MSG_NOSIGNAL), 1);
        }
    }
}

static void
asks__an_answer_may_come_byte_by_byte(void **state)
{
    (void)state;
    for (int threading = 0; threading < 2; threading++) {
        struct server *s;
        errand *e = start(&s, serve_in_pieces, threading);
        errand_error error;
        for (int i = 0; i < 5; i++) {
            assert_int_equal(errand_state(e, 42, &error), ERRAND_COMPLETED);
        }
        assert_int_equal(s->connections, 1); /* it is kept */
        stop(s, e);
    }
}

static void
serve_nonsense(struct server *s, int fd, int nth)
{
    (void)nth;
    if (read_request(s, fd)) {
        answer(fd, "HELLO 200\r\n\r\n");
    }
}

static void
asks__what_is_no_answer_is_an_error(void **state)
{
    struct server *s;
    errand *e = start(&s, serve_nonsense, ERRAND_THREAD);
    errand_error error;
    (void)state;
    assert_int_equal(errand_state(e, 42, &error), ERRAND_ENODAEMON);
    assert_true(requests(s) <= 5); /* it was tried again, but not for ever */
    stop(s, e);
}

/* ---- connections that break ---- */

static void
serve_every_second(struct server *s, int fd, int nth)
{
    while (read_request(s, fd)) {
        if (nth % 2) {
            answer(fd, "HTTP/1.1 200 OK\r\nContent-Le");
            return;
        }
        answer_json(fd, "{\"id\":42,\"state\":\"queued\"}");
    }
}

static void
asks__what_does_no_harm_is_sent_again(void **state)
{
    struct server *s;
    errand *e = start(&s, serve_every_second, ERRAND_THREAD);
    errand_error error;
    int64_t id = 0;
    (void)state;
    assert_int_equal(errand_state(e, 42, &error), ERRAND_QUEUED);
    assert_int_equal(requests(s), 2);
    OK(errand_submit(e, "x", NULL, NULL, &id, &error)); /* it bears a key */
    assert_int_equal(id, 42);
    assert_non_null(strstr(s->head, "Idempotency-Key: "));
    stop(s, e);
}

static void
serve_none(struct server *s, int fd, int nth)
{
    (void)nth;
    (void)read_request(s, fd);
}

/* The program's own key takes the place of the library's. */
static void
asks__a_key_of_the_programs_own_is_the_key(void **state)
{
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    struct server *s;
    errand *e = start(&s, serve_every_second, ERRAND_THREAD);
    errand_error error;
    int64_t id = 0;
    (void)state;
    o.key = "mine";
    OK(errand_submit(e, "x", NULL, &o, &id, &error)); /* the first answer is lost */
    assert_int_equal(id, 42);
    assert_int_equal(requests(s), 2);
    assert_null(strstr(s->head, "Idempotency-Key: "));
    o.key = NULL;
    o.more = "{\"key\":\"mine\"}";
    OK(errand_submit(e, "x", NULL, &o, &id, &error));
    assert_null(strstr(s->head, "Idempotency-Key: "));
    /* texts that are none would become the same one */
    o.more = NULL;
    o.key = "\xfe";
    assert_int_equal(errand_submit(e, "x", NULL, &o, &id, &error), ERRAND_EINVALID);
    assert_string_equal(error.field, "key");
    stop(s, e);
}

static void
asks__a_target_is_one_line(void **state)
{
    static const char *const bad[] = {"/v1/tasks HTTP/1.1\r\nHost: x\r\n\r\nGET /",
                                      "/v1/tasks?name=a b", "/v1/\n"};
    struct server *s;
    errand *e = start(&s, serve_none, ERRAND_THREAD);
    errand_error error;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(errand_request(e, "GET", bad[i], NULL, 0, NULL, NULL, &error),
                         ERRAND_EINVALID);
        assert_string_equal(error.field, "target");
    }
    assert_int_equal(requests(s), 0);
    stop(s, e);
}

static void
asks__what_may_do_harm_is_not(void **state)
{
    struct server *s;
    errand *e = start(&s, serve_none, ERRAND_THREAD);
    errand_error error;
    (void)state;
    assert_int_equal(
        errand_request(e, "POST", "/v1/tasks/1/retry", NULL, 0, NULL, NULL, &error),
        ERRAND_ENODAEMON);
    assert_non_null(strstr(error.message, "may have been done"));
    assert_int_equal(requests(s), 1);
    stop(s, e);
}

static void
serve_once(struct server *s, int fd, int nth)
{
    (void)nth;
    if (read_request(s, fd)) {
        answer_json(fd, "{\"id\":42,\"state\":\"running\"}");
    }
}

static void
asks__a_connection_that_was_closed_is_no_error(void **state)
{
    struct server *s;
    errand *e = start(&s, serve_once, ERRAND_TURN);
    errand_error error;
    (void)state;
    for (int i = 1; i <= 20; i++) {
        assert_int_equal(errand_state(e, 42, &error), ERRAND_RUNNING);
    }
    stop(s, e);
}

/* ---- many at once ---- */

static void
serve_slowly(struct server *s, int fd, int nth)
{
    (void)nth;
    while (read_request(s, fd)) {
        (void)pthread_mutex_lock(&s->lock);
        s->now++;
        s->most = s->now > s->most ? s->now : s->most;
        for (int i = 0; s->most < 2 && i < 60000; i++) { /* until there is another */
            (void)pthread_mutex_unlock(&s->lock);
            (void)usleep(1000);
            (void)pthread_mutex_lock(&s->lock);
        }
        s->now--;
        (void)pthread_mutex_unlock(&s->lock);
        answer_json(fd, "{\"id\":42,\"state\":\"running\"}");
    }
}

struct count {
    pthread_mutex_t lock;
    int good, bad;
};

static void
on_answer(void *ctx, int status, const char *body, size_t len, const errand_error *error)
{
    struct count *c = ctx;
    (void)body;
    (void)len;
    (void)error;
    (void)pthread_mutex_lock(&c->lock);
    c->good += status == 200;
    c->bad += status != 200;
    (void)pthread_mutex_unlock(&c->lock);
}

static int
all_of(struct count *c)
{
    (void)pthread_mutex_lock(&c->lock);
    int n = c->good + c->bad;
    (void)pthread_mutex_unlock(&c->lock);
    return n;
}

static void
asks__many_share_some_connections(void **state)
{
    struct server *s;
    errand *e = start(&s, serve_slowly, ERRAND_THREAD);
    struct count c = {.lock = PTHREAD_MUTEX_INITIALIZER};
    errand_error error;
    (void)state;
    for (int i = 0; i < 500; i++) {
        OK(errand_request_async(e, "GET", "/v1/tasks/42", NULL, 0, on_answer, &c,
                                &error));
    }
    AWAIT(e, all_of(&c) == 500);
    assert_int_equal(c.good, 500);
    assert_in_range(s->most, 2, 32);
    stop(s, e);
}

static void
serve_never(struct server *s, int fd, int nth)
{
    char byte;
    (void)nth;
    (void)read_request(s, fd);
    (void)recv(fd, &byte, 1, 0); /* until the client goes */
}

static void
asks__closing_answers_all(void **state)
{
    struct server *s;
    errand *e = start(&s, serve_never, ERRAND_THREAD);
    struct count c = {.lock = PTHREAD_MUTEX_INITIALIZER};
    errand_error error;
    (void)state;
    for (int i = 0; i < 100; i++) {
        OK(errand_request_async(e, "GET", "/v1/tasks/42", NULL, 0, on_answer, &c,
                                &error));
    }
    stop(s, e);
    assert_int_equal(c.bad, 100);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asks__an_answer_may_come_byte_by_byte),
        cmocka_unit_test(asks__what_is_no_answer_is_an_error),
        cmocka_unit_test(asks__what_does_no_harm_is_sent_again),
        cmocka_unit_test(asks__a_key_of_the_programs_own_is_the_key),
        cmocka_unit_test(asks__a_target_is_one_line),
        cmocka_unit_test(asks__what_may_do_harm_is_not),
        cmocka_unit_test(asks__a_connection_that_was_closed_is_no_error),
        cmocka_unit_test(asks__many_share_some_connections),
        cmocka_unit_test(asks__closing_answers_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
