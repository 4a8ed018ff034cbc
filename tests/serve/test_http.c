/* SPDX-License-Identifier: MIT */
/* Speaks to tests/serve/http_server.c as clients do, well-behaved ones and others. The
 * server's program is in HTTP_SERVER, one that is quicker to lose its patience in
 * HTTP_SERVER_HASTY. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"
#include "wire/http1.h"

#define PATIENCE_MS 120000 /* how long anything may take before the test fails */
#define HEAD        " HTTP/1.1\r\nHost: a\r\n"
#define GET(path)   "GET " path HEAD "\r\n"

struct server {
    pid_t pid;
    char folder[64], path[100];
    int port; /* 0: on a unix socket */
};

/* ---- the server ---- */

static struct server
start_server(const char *variable, bool is_tcp, const char *connections, const char *uid)
{
    struct server s = {.folder = "/tmp/errand-http-XXXXXX"};
    char where[120], line[32] = "";
    int out[2];
    assert_non_null(mkdtemp(s.folder));
    assert_int_equal(chmod(s.folder, 0755), 0);
    (void)snprintf(s.path, sizeof s.path, "%s/s", s.folder);
    (void)snprintf(where, sizeof where, is_tcp ? "tcp" : "unix:%s", s.path);
    assert_int_equal(pipe(out), 0);
    s.pid = fork();
    if (s.pid == 0) {
        (void)dup2(out[1], 1);
        (void)close(out[0]);
        (void)close(out[1]);
        (void)execl(getenv(variable), "http_server", where, connections, uid,
                    (char *)NULL);
        _exit(127);
    }
    (void)close(out[1]);
    for (size_t n = 0; n < sizeof line - 1 && !strchr(line, '\n'); n++) {
        assert_int_equal(read(out[0], line + n, 1), 1);
    }
    (void)close(out[0]);
    s.port = is_tcp ? atoi(line) : 0;
    return s;
}

static int
connect_to(const struct server *s)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)s->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(s->port ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(un.sun_path, sizeof un.sun_path, "%s", s->path);
    int rc = s->port ? connect(fd, (struct sockaddr *)&in, sizeof in)
                     : connect(fd, (struct sockaddr *)&un, sizeof un);
    assert_int_equal(rc, 0);
    return fd;
}

/* ---- talking ---- */

struct answer {
    struct er_http1 parser;
    struct er_buf body;
    char rest[1 << 16]; /* received behind the answer */
    size_t n_rest;
    int status;
};

static void
on_body(void *ctx, const char *data, size_t n)
{
    er_buf_add(ctx, data, n);
}

static void
free_answer(struct answer *a)
{
    er_http1_fini(&a->parser);
    er_buf_fini(&a->body);
}

static void
send_bytes(int fd, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, data, n, MSG_NOSIGNAL);
        if (sent < 0) {
            return; /* it has closed: the answer tells */
        }
        data += sent;
        n -= (size_t)sent;
    }
}

static void
send_text(int fd, const char *text)
{
    send_bytes(fd, text, strlen(text));
}

/* More bytes into the answer: their number, 0 at the end of the connection. */
static ssize_t
receive(int fd, struct answer *a)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    ssize_t n = recv(fd, a->rest + a->n_rest, sizeof a->rest - a->n_rest, 0);
    if (n > 0) {
        a->n_rest += (size_t)n;
    }
    return n > 0 ? n : 0;
}

/* Parses what was received, and receives until there are `want` bytes of body, or (want =
 * SIZE_MAX) the whole answer. */
static void
read_until(int fd, struct answer *a, size_t want)
{
    while (!a->parser.done && a->body.len < want) {
        if (a->n_rest == 0 && receive(fd, a) == 0) {
            assert_int_equal(er_http1_eof(&a->parser), 0);
            break;
        }
        int64_t used = er_http1_feed(&a->parser, a->rest, a->n_rest);
        assert_true(used >= 0);
        a->n_rest -= (size_t)used;
        memmove(a->rest, a->rest + used, a->n_rest);
    }
    a->status = a->parser.status;
}

static void
init_answer(struct answer *a)
{
    er_buf_init(&a->body, 0);
    er_http1_init(&a->parser, on_body, &a->body);
    a->status = 0;
}

/* Reads the next answer of a connection into a (which may hold the one before it). */
static void
next_answer(int fd, struct answer *a)
{
    free_answer(a);
    init_answer(a);
    read_until(fd, a, SIZE_MAX);
}

static void
ask(int fd, const char *request, struct answer *a)
{
    send_text(fd, request);
    next_answer(fd, a);
}

static void
check_answer(const struct answer *a, int status, const char *body)
{
    assert_int_equal(a->status, status);
    if (body) {
        assert_string_equal(a->body.data ? a->body.data : "", body);
    }
}

/* Asks on a connection of its own. */
static void
check_once(const struct server *s, const char *request, int status, const char *body)
{
    struct answer a = {0};
    int fd = connect_to(s);
    ask(fd, request, &a);
    check_answer(&a, status, body);
    free_answer(&a);
    (void)close(fd);
}

/* Asks for the counts until they are as expected. */
static void
await_counts(const struct server *s, const char *expected)
{
    struct answer a = {0};
    int fd = connect_to(s);
    for (int i = 0; i < 20000; i++) {
        ask(fd, GET("/counts"), &a);
        if (strstr(a.body.data, expected)) {
            free_answer(&a);
            (void)close(fd);
            return;
        }
        (void)poll(NULL, 0, 5);
    }
    fail_msg("counts are %s not %s", a.body.data, expected);
}

static void
await_closed(int fd)
{
    struct answer a = {0};
    while (receive(fd, &a) > 0) {
        a.n_rest = 0;
    }
    (void)close(fd);
}

/* Stops the server; it must have freed all and ended each request once. */
static void
stop_server(struct server *s)
{
    int status;
    check_once(s, "POST /stop" HEAD "Content-Length: 0\r\n\r\n", 204, "");
    assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    (void)unlink(s->path);
    (void)rmdir(s->folder);
}

static int
set_up(void **state)
{
    static struct server s;
    s = start_server("HTTP_SERVER", false, "100", NULL);
    *state = &s;
    return 0;
}

static int
tear_down(void **state)
{
    stop_server(*state);
    return 0;
}

/* ---- requests ---- */

static void
get__is_answered_again_and_again_on_one_connection(void **state)
{
    struct answer a = {0};
    int fd = connect_to(*state);
    for (int i = 0; i < 3; i++) {
        ask(fd, GET("/hello"), &a);
        check_answer(&a, 200, "hello\n");
    }
    send_text(fd, GET("/hello") GET("/echo") GET("/hello"));
    next_answer(fd, &a);
    check_answer(&a, 200, "hello\n");
    next_answer(fd, &a);
    assert_non_null(strstr(a.body.data, "path /echo\n"));
    next_answer(fd, &a);
    check_answer(&a, 200, "hello\n");
    free_answer(&a);
    (void)close(fd);
}

static void
get__hands_on_what_was_asked(void **state)
{
    char expected[300], value[20];
    struct answer a = {0};
    int fd = connect_to(*state);
    (void)snprintf(expected, sizeof expected,
                   "method GET\npath /a b/\xc3\xa9\nquery a=1 2\nquery =x\nquery b=\n"
                   "query c=A&B\nquery a=3\na 1 2\nheader v w\npid %d\nbody 0\n",
                   (int)getpid());
    ask(fd, "GET /a%20b/%c3%A9?a=1+2&=x&&b&c=%41%26B&a=3" HEAD "X-TEST:  v w\r\n\r\n",
        &a);
    check_answer(&a, 200, expected);
    assert_true(er_http1_header(&a.parser, "x-answer", value, sizeof value));
    assert_string_equal(value, "yes");
    free_answer(&a);
    (void)close(fd);
    check_once(*state, "DELETE http://host/x" HEAD "\r\n", 200, NULL);
    check_once(*state, "GET /hello HTTP/1.0\r\n\r\n", 200, "hello\n");
}

/* Reads until the connection is closed, for answers whose head promises a body that does
 * not come. */
static void
read_all(int fd, char *out, size_t size)
{
    size_t n = 0;
    ssize_t got;
    while (n < size - 1 && (got = recv(fd, out + n, size - 1 - n, 0)) > 0) {
        n += (size_t)got;
    }
    out[n] = '\0';
}

static void
head__is_a_get_without_body(void **state)
{
    static const char *const paths[] = {"/hello", "/stream", "/flood?n=100"};
    for (size_t i = 0; i < 3; i++) {
        char request[100], got[1000];
        int fd = connect_to(*state);
        (void)snprintf(request, sizeof request,
                       "HEAD %s" HEAD "Connection: close\r\n\r\n", paths[i]);
        send_text(fd, request);
        read_all(fd, got, sizeof got);
        assert_memory_equal(got, "HTTP/1.1 200 ", 13);
        assert_string_equal(strstr(got, "\r\n\r\n"), "\r\n\r\n");
        (void)close(fd);
    }
    await_counts(*state, "open 0 requests 3 broken 0");
}

/* ---- bodies ---- */

/* Sends a body of n bytes with a length or in chunks and reads the answer. */
static void
send_body(int fd, const char *path, size_t n, bool chunked, struct answer *a)
{
    char head[200], piece[1000];
    (void)snprintf(head, sizeof head, "POST %s" HEAD "%s: %s\r\n\r\n", path,
                   chunked ? "Transfer-Encoding" : "Content-Length",
                   chunked ? "chunked" : "");
    if (!chunked) {
        (void)snprintf(head, sizeof head, "POST %s" HEAD "Content-Length: %zu\r\n\r\n",
                       path, n);
    }
    send_text(fd, head);
    memset(piece, 'x', sizeof piece);
    for (size_t left = n; left > 0;) {
        size_t len = left < sizeof piece ? left : sizeof piece;
        if (chunked) {
            (void)snprintf(head, sizeof head, "%zx\r\n", len);
            send_text(fd, head);
        }
        send_bytes(fd, piece, len);
        send_text(fd, chunked ? "\r\n" : "");
        left -= len;
    }
    send_text(fd, chunked ? "0\r\n\r\n" : "");
    next_answer(fd, a);
}

static void
body__comes_whole_up_to_its_bound(void **state)
{
    static const size_t sizes[] = {0, 1, 100000, 1 << 20};
    struct answer a = {0};
    int fd = connect_to(*state);
    for (int i = 0; i < 8; i++) {
        send_body(fd, "/whole", sizes[i / 2], i % 2 == 1, &a);
        assert_int_equal(a.status, 200);
        assert_int_equal(a.body.len, sizes[i / 2]);
    }
    for (int i = 0; i < 2; i++) {
        send_body(fd, "/whole", (1 << 20) + 1, i == 1, &a);
        assert_int_equal(a.status, 413);
        assert_non_null(strstr(a.body.data, "\"code\":\"too-big\""));
    }
    ask(fd, GET("/hello"), &a);
    check_answer(&a, 200, "hello\n");
    free_answer(&a);
    (void)close(fd);
}

static void
body__too_large_is_told_before_it_is_sent(void **state)
{
    struct answer a = {0};
    int fd = connect_to(*state);
    send_text(fd, "POST /whole" HEAD "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n", got[sizeof go_on] = "";
    assert_int_equal(recv(fd, got, sizeof go_on - 1, MSG_WAITALL), sizeof go_on - 1);
    assert_string_equal(got, go_on);
    ask(fd, "abc", &a);
    check_answer(&a, 200, "abc");
    ask(fd, "POST /whole" HEAD "Content-Length: 2000000\r\nExpect: 100-continue\r\n\r\n",
        &a);
    assert_int_equal(a.status, 413);
    await_closed(fd);
    fd = connect_to(*state);
    ask(fd, "POST /whole" HEAD "Content-Length: 99999999999\r\n\r\nabc", &a);
    assert_int_equal(a.status, 413);
    await_closed(fd);
    free_answer(&a);
}

static void
body__of_a_refused_request_is_thrown_away(void **state)
{
    struct answer a = {0};
    int fd = connect_to(*state);
    for (int i = 0; i < 2; i++) {
        send_body(fd, "/reject", 3000000, i == 1, &a);
        check_answer(&a, 404, "no\n");
    }
    ask(fd, "POST /reject" HEAD "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n", &a);
    check_answer(&a, 404, "no\n");
    await_closed(fd);
    free_answer(&a);
    await_counts(*state, "open 0 requests 0 broken 0");
}

static void
lines__come_whole_however_they_are_cut(void **state)
{
    static const char lines[] = "one\ntwo\r\n\n\r\nthree\nf\n\nlast";
    char request[200];
    struct answer a = {0};
    (void)snprintf(request, sizeof request,
                   "POST /lines" HEAD "Content-Length: %zu\r\n\r\n%s", strlen(lines),
                   lines);
    for (size_t step = 1; step < strlen(lines); step += 3) {
        int fd = connect_to(*state);
        send_text(fd, "POST /lines" HEAD "Transfer-Encoding: chunked\r\n\r\n");
        for (size_t i = 0; i < strlen(lines); i += step) {
            size_t n = strlen(lines) - i < step ? strlen(lines) - i : step;
            char chunk[64];
            (void)snprintf(chunk, sizeof chunk, "%zx\r\n%.*s\r\n", n, (int)n, lines + i);
            send_text(fd, chunk);
        }
        ask(fd, "0\r\n\r\n", &a);
        check_answer(&a, 200, "5 16 one|two|three|f|last|\n");
        ask(fd, request, &a);
        check_answer(&a, 200, "5 16 one|two|three|f|last|\n");
        (void)close(fd);
    }
    free_answer(&a);
    check_once(*state, "POST /lines" HEAD "Content-Length: 0\r\n\r\n", 200, "0 0 \n");
    check_once(*state, "POST /lines" HEAD "Content-Length: 2\r\n\r\na\n", 200,
               "1 1 a|\n");
}

static void
lines__are_bounded_and_stop_at_an_answer(void **state)
{
    struct answer a = {0};
    int fd = connect_to(*state);
    send_body(fd, "/lines", 1000, false, &a);
    assert_int_equal(a.status, 200);
    send_body(fd, "/lines", 1001, false, &a);
    assert_int_equal(a.status, 413);
    send_body(fd, "/lines", 5000, true, &a);
    assert_int_equal(a.status, 413);
    await_counts(*state, "open 0 requests 1 broken 0");
    ask(fd, "POST /lines" HEAD "Content-Length: 15\r\n\r\nok\nbad\nok\nmore\n", &a);
    check_answer(&a, 400, "bad line\n");
    ask(fd, "POST /lines" HEAD "Content-Length: 6\r\n\r\nok\nbad", &a);
    check_answer(&a, 400, "bad line\n");
    await_counts(*state, "open 0 requests 1 broken 0");
    free_answer(&a);
    (void)close(fd);
}

/* ---- late answers ---- */

static void
later__answers_from_outside(void **state)
{
    struct answer a = {0};
    int fds[20];
    for (int i = 0; i < 20; i++) {
        fds[i] = connect_to(*state);
        send_text(fds[i], GET("/later") GET("/hello"));
    }
    await_counts(*state, "open 20 ");
    check_once(*state, "POST /release" HEAD "Content-Length: 0\r\n\r\n", 200, "done\n");
    for (int i = 0; i < 20; i++) {
        next_answer(fds[i], &a);
        check_answer(&a, 200, "released\n");
        next_answer(fds[i], &a);
        check_answer(&a, 200, "hello\n");
        a.n_rest = 0;
        (void)close(fds[i]);
    }
    free_answer(&a);
}

static void
later__notices_who_hangs_up(void **state)
{
    int fds[10];
    for (int i = 0; i < 10; i++) {
        fds[i] = connect_to(*state);
        send_text(fds[i], GET("/later"));
    }
    await_counts(*state, "open 10 ");
    for (int i = 0; i < 7; i++) {
        (void)close(fds[i]);
    }
    await_counts(*state, "open 3 requests 10 broken 7");
    check_once(*state, "POST /release" HEAD "Content-Length: 0\r\n\r\n", 200, "done\n");
    for (int i = 7; i < 10; i++) {
        struct answer a = {0};
        next_answer(fds[i], &a);
        check_answer(&a, 200, "released\n");
        free_answer(&a);
        (void)close(fds[i]);
    }
}

static void
later__answers_one_who_only_ended_its_sending(void **state)
{
    struct answer a = {0};
    int fd = connect_to(*state);
    send_text(fd, GET("/later"));
    (void)shutdown(fd, SHUT_WR);
    await_counts(*state, "open 1 ");
    check_once(*state, "POST /release" HEAD "Content-Length: 0\r\n\r\n", 200, "done\n");
    next_answer(fd, &a);
    check_answer(&a, 200, "released\n");
    free_answer(&a);
    (void)close(fd);
}

static void
body__that_breaks_off_ends_its_request(void **state)
{
    int whole = connect_to(*state), lines = connect_to(*state);
    send_text(whole, "POST /whole" HEAD "Content-Length: 10\r\n\r\nabc");
    send_text(lines, "POST /lines" HEAD "Content-Length: 10\r\n\r\nabc");
    await_counts(*state, "open 2 ");
    (void)close(whole);
    (void)close(lines);
    await_counts(*state, "open 0 requests 0 broken 2");
}

/* ---- streams ---- */

static void
publish(const struct server *s, const char *path, const char *text)
{
    char request[200];
    (void)snprintf(request, sizeof request,
                   "POST %s" HEAD "Content-Length: %zu\r\n\r\n%s", path, strlen(text),
                   text);
    check_once(s, request, 200, "done\n");
}

static void
stream__sends_what_comes_until_it_ends(void **state)
{
    static struct answer a[10];
    int fds[10];
    for (int i = 0; i < 10; i++) {
        fds[i] = connect_to(*state);
        send_text(fds[i], i % 2 == 0 ? GET("/stream") : "GET /stream HTTP/1.0\r\n\r\n");
        init_answer(&a[i]);
        a[i].n_rest = 0;
    }
    await_counts(*state, "open 10 ");
    publish(*state, "/publish", "one\n");
    for (int i = 0; i < 10; i++) {
        read_until(fds[i], &a[i], 4);
        check_answer(&a[i], 200, "one\n");
    }
    for (int i = 0; i < 5; i++) {
        (void)close(fds[i]);
    }
    await_counts(*state, "open 5 ");
    publish(*state, "/publish", "two\n");
    publish(*state, "/finish", "end\n");
    for (int i = 0; i < 10; i++) {
        if (i >= 5) {
            read_until(fds[i], &a[i], SIZE_MAX);
            check_answer(&a[i], 200, "one\ntwo\nend\n");
            (void)close(fds[i]);
        }
        free_answer(&a[i]);
    }
    await_counts(*state, "open 0 ");
}

/* The dead ones would keep the door closed: nothing else happens that would clear them
 * up, and an older connection only waits for its next request. */
static void
stream__whose_reader_dies_is_closed_at_once(void **state)
{
    (void)state;
    struct server s = start_server("HTTP_SERVER", false, "13", NULL);
    struct answer a = {0};
    int fds[10], kept[5];
    for (int i = 0; i < 5; i++) {
        if (i == 1) {
            for (int k = 0; k < 10; k++) {
                fds[k] = connect_to(&s);
                send_text(fds[k], GET("/stream"));
            }
            await_counts(&s, "open 10 ");
            for (int k = 0; k < 10; k++) {
                (void)close(fds[k]);
            }
        }
        kept[i] = connect_to(&s);
        ask(kept[i], GET("/hello"), &a);
        check_answer(&a, 200, "hello\n");
    }
    for (int i = 0; i < 5; i++) {
        (void)close(kept[i]);
    }
    free_answer(&a);
    stop_server(&s);
}

static void
stream__arrives_intact_when_it_is_long(void **state)
{
    static const char *const requests[] = {GET("/flood?n=3000000"),
                                           "GET /flood?n=3000000 HTTP/1.0\r\n\r\n"};
    for (size_t i = 0; i < 2; i++) {
        struct answer a = {0};
        int fd = connect_to(*state);
        ask(fd, requests[i], &a);
        assert_int_equal(a.body.len, 3000000);
        for (size_t at = 0; at < a.body.len; at++) {
            assert_int_equal(a.body.data[at], 'a' + (3000000 - at) % 26);
        }
        free_answer(&a);
        (void)close(fd);
    }
}

static void
stream__does_not_lose_a_wake_that_comes_early(void **state)
{
    check_once(*state, GET("/nap"), 200, "awake\n");
}

/* ---- bad and worse ---- */

struct bad_head {
    const char *text;
    size_t n;
    int status;
};
#define BAD(text, status)                                                                \
    {                                                                                    \
        text, sizeof(text) - 1, status                                                   \
    }

static void
head__is_refused_when_two_could_read_it_differently(void **state)
{
    static const struct bad_head heads[] = {
        BAD("POST /whole" HEAD
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
            400),
        BAD("POST /whole" HEAD "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        BAD("POST /whole" HEAD "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        BAD("POST /whole" HEAD "Content-Length: +3\r\n\r\nabc", 400),
        BAD("POST /whole" HEAD "Content-Length: 3, 3\r\n\r\nabc", 400),
        BAD("POST /whole" HEAD "Content-Length: 99999999999999999999\r\n\r\nabc", 413),
        BAD("POST /whole" HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        BAD("POST /whole HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        BAD("POST /whole" HEAD "Transfer-Encoding: chunked\r\n\r\nz\r\n", 400),
        BAD("GET /hello" HEAD "Host: b\r\n\r\n", 400),
        BAD("GET /hello HTTP/1.1\r\n\r\n", 400),
        BAD("GET /hello" HEAD "X: a\rY: b\r\n\r\n", 400),
        BAD("GET /hello" HEAD "X: a\nY: b\r\n\r\n", 400),
        BAD("GET /hello" HEAD "X: a\r\n\n", 400),
        BAD("GET /hello HTTP/1.1\nHost: a\r\n\r\n", 400),
        BAD("GET /hello" HEAD "X: a\r\n b\r\n\r\n", 400),
        BAD("GET /hello" HEAD "X: a\r\n\tb\r\nY: c\r\n\r\n", 400),
        BAD("GET /hello" HEAD "X: a\0b\r\n\r\n", 400),
        BAD("GET /hello" HEAD "X: a\0\0b\r\n\r\n", 400),
        BAD("GET /hello" HEAD "X: a\0\0\0\0b\r\n\r\n", 400),
        BAD("GET /hello" HEAD "X\0Y: a\r\n\r\n", 400),
        BAD("GET /hello\0" HEAD "\r\n", 400),
        BAD("GET /hello?a\0b" HEAD "\r\n", 400),
        BAD("GET\0 /hello" HEAD "\r\n", 400),
        BAD("GET /hello" HEAD "X : a\r\n\r\n", 400),
        BAD("GET /hello" HEAD ": a\r\n\r\n", 400),
        BAD("GET /hello" HEAD "no colon\r\n\r\n", 400),
        BAD("GET  /hello" HEAD "\r\n", 400),
        BAD("GET /hel lo" HEAD "\r\n", 400),
        BAD("GET hello" HEAD "\r\n", 400),
        BAD("GET *" HEAD "\r\n", 400),
        BAD("GET /%" HEAD "\r\n", 400),
        BAD("GET /%4" HEAD "\r\n", 400),
        BAD("GET /%xy" HEAD "\r\n", 400),
        BAD("GET /%00" HEAD "\r\n", 400),
        BAD("GET /?a=%00" HEAD "\r\n", 400),
        BAD("GET /\x01" HEAD "\r\n", 400),
        BAD("G(T /hello" HEAD "\r\n", 400),
        BAD("GET /hello\r\n\r\n", 400),
        BAD("GET /hello HTTP/9.9\r\n\r\n", 505),
        BAD("POST /whole" HEAD "Expect: wonders\r\nContent-Length: 0\r\n\r\n", 417),
    };
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        struct answer a = {0};
        int fd = connect_to(*state);
        send_bytes(fd, heads[i].text, heads[i].n);
        next_answer(fd, &a);
        if (a.status != heads[i].status) {
            fail_msg("%d for %s", a.status, heads[i].text);
        }
        await_closed(fd);
        free_answer(&a);
    }
    await_counts(*state, "open 0 requests 0 ");
    check_once(*state, GET("/hello"), 200, "hello\n");
}

static void
method__unknown_is_refused_with_those_that_are_known(void **state)
{
    char allow[100];
    struct answer a = {0};
    int fd = connect_to(*state);
    ask(fd, "BREW /hello" HEAD "Content-Length: 3\r\n\r\nabc", &a);
    assert_int_equal(a.status, 405);
    assert_true(er_http1_header(&a.parser, "Allow", allow, sizeof allow));
    assert_string_equal(allow, "GET, HEAD, POST, PUT, PATCH, DELETE");
    ask(fd, GET("/hello"), &a);
    check_answer(&a, 200, "hello\n");
    free_answer(&a);
    (void)close(fd);
}

/* Sends a head of n bytes, in one header or in headers of 64 bytes. */
static int
status_of_head(const struct server *s, size_t n, bool many)
{
    static const char start[] = "GET /hello" HEAD;
    struct answer a = {0};
    struct er_buf b;
    int fd = connect_to(s);
    er_buf_init(&b, 0);
    er_buf_add_str(&b, start);
    while (b.len + 2 < n) {
        size_t left = n - 2 - b.len;
        size_t len = many && left >= 128 ? 64 : left;
        er_buf_add_str(&b, "X-Header: ");
        for (size_t i = 12; i < len; i++) {
            er_buf_add_char(&b, 'x');
        }
        er_buf_add_str(&b, "\r\n");
    }
    er_buf_add_str(&b, "\r\n");
    send_bytes(fd, b.data, b.len);
    next_answer(fd, &a);
    int status = a.status;
    er_buf_fini(&b);
    free_answer(&a);
    (void)close(fd);
    return status;
}

static void
head__may_have_8_kib(void **state)
{
    for (int many = 0; many < 2; many++) {
        assert_int_equal(status_of_head(*state, 8192, many), 200);
        assert_int_equal(status_of_head(*state, 8193, many), 431);
        assert_int_equal(status_of_head(*state, 100000, many), 431);
    }
}

static void
connections__beyond_the_limit_wait(void **state)
{
    (void)state;
    struct server s = start_server("HTTP_SERVER", false, "3", NULL);
    struct answer a = {0};
    int fds[4];
    for (int i = 0; i < 4; i++) {
        fds[i] = connect_to(&s);
        send_text(fds[i], GET("/hello"));
    }
    for (int i = 0; i < 3; i++) {
        next_answer(fds[i], &a);
        check_answer(&a, 200, "hello\n");
    }
    struct pollfd p = {.fd = fds[3], .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0);
    ask(fds[0], GET("/hello"), &a);
    check_answer(&a, 200, "hello\n");
    assert_int_equal(poll(&p, 1, 0), 0);
    (void)close(fds[1]);
    next_answer(fds[3], &a);
    check_answer(&a, 200, "hello\n");
    (void)close(fds[0]);
    (void)close(fds[2]);
    (void)close(fds[3]);
    free_answer(&a);
    stop_server(&s);
}

static void
peer__of_another_user_is_refused(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        skip(); /* only root can be somebody else */
    }
    struct server s = start_server("HTTP_SERVER", false, "10", "uid");
    check_once(&s, GET("/hello"), 200, "hello\n");
    assert_int_equal(seteuid(65534), 0);
    int fd = connect_to(&s);
    assert_int_equal(seteuid(0), 0);
    struct answer a = {0};
    ask(fd, GET("/hello"), &a);
    assert_int_equal(a.status, 403);
    assert_non_null(strstr(a.body.data, "\"code\":\"auth\""));
    free_answer(&a);
    (void)close(fd);
    await_counts(&s, "open 0 requests 1 ");
    stop_server(&s);
}

static void
tcp__serves_the_same(void **state)
{
    (void)state;
    struct server s = start_server("HTTP_SERVER", true, "100", NULL);
    struct answer a = {0};
    int fd = connect_to(&s), gone = connect_to(&s);
    send_body(fd, "/whole", 3000000, false, &a);
    assert_int_equal(a.status, 413);
    send_body(fd, "/whole", 1000000, true, &a);
    assert_int_equal(a.body.len, 1000000);
    send_text(gone, GET("/later"));
    await_counts(&s, "open 1 ");
    (void)close(gone);
    await_counts(&s, "open 0 requests 2 broken 1");
    ask(fd, GET("/echo"), &a);
    assert_non_null(strstr(a.body.data, "pid 0\n"));
    free_answer(&a);
    (void)close(fd);
    stop_server(&s);
}

static void
patience__ends_for_half_a_request_only(void **state)
{
    (void)state;
    struct server s = start_server("HTTP_SERVER_HASTY", false, "100", NULL);
    struct answer a = {0};
    int silent = connect_to(&s), head = connect_to(&s), body = connect_to(&s),
        kept = connect_to(&s), later = connect_to(&s);
    send_text(head, "GET /hello HTTP/1.1\r\nHo");
    send_text(body, "POST /whole" HEAD "Content-Length: 10\r\n\r\nabc");
    send_text(later, GET("/later"));
    ask(kept, GET("/hello"), &a);
    await_closed(silent);
    await_closed(head);
    await_closed(body);
    ask(kept, GET("/hello"), &a);
    check_answer(&a, 200, "hello\n");
    ask(kept, "POST /release" HEAD "Content-Length: 0\r\n\r\n", &a);
    check_answer(&a, 200, "done\n");
    next_answer(later, &a);
    check_answer(&a, 200, "released\n");
    free_answer(&a);
    (void)close(kept);
    (void)close(later);
    stop_server(&s);
}

static void
stop__ends_streams_and_closes_the_rest(void **state)
{
    (void)state;
    struct server s = start_server("HTTP_SERVER", false, "100", NULL);
    struct answer a = {0};
    int stream = connect_to(&s), later = connect_to(&s), idle = connect_to(&s),
        half = connect_to(&s);
    send_text(stream, GET("/stream"));
    send_text(later, GET("/later"));
    send_text(half, "POST /whole" HEAD "Content-Length: 10\r\n\r\nabc");
    await_counts(&s, "open 3 ");
    stop_server(&s);
    next_answer(stream, &a);
    check_answer(&a, 200, "");
    assert_true(a.parser.done);
    free_answer(&a);
    (void)close(stream);
    await_closed(later);
    await_closed(idle);
    await_closed(half);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(get__is_answered_again_and_again_on_one_connection),
        WITH_SERVER(get__hands_on_what_was_asked),
        WITH_SERVER(head__is_a_get_without_body),
        WITH_SERVER(body__comes_whole_up_to_its_bound),
        WITH_SERVER(body__too_large_is_told_before_it_is_sent),
        WITH_SERVER(body__of_a_refused_request_is_thrown_away),
        WITH_SERVER(body__that_breaks_off_ends_its_request),
        WITH_SERVER(lines__come_whole_however_they_are_cut),
        WITH_SERVER(lines__are_bounded_and_stop_at_an_answer),
        WITH_SERVER(later__answers_from_outside),
        WITH_SERVER(later__notices_who_hangs_up),
        WITH_SERVER(later__answers_one_who_only_ended_its_sending),
        WITH_SERVER(stream__sends_what_comes_until_it_ends),
        cmocka_unit_test(stream__whose_reader_dies_is_closed_at_once),
        WITH_SERVER(stream__arrives_intact_when_it_is_long),
        WITH_SERVER(stream__does_not_lose_a_wake_that_comes_early),
        WITH_SERVER(head__is_refused_when_two_could_read_it_differently),
        WITH_SERVER(method__unknown_is_refused_with_those_that_are_known),
        WITH_SERVER(head__may_have_8_kib),
        cmocka_unit_test(connections__beyond_the_limit_wait),
        cmocka_unit_test(peer__of_another_user_is_refused),
        cmocka_unit_test(tcp__serves_the_same),
        cmocka_unit_test(patience__ends_for_half_a_request_only),
        cmocka_unit_test(stop__ends_streams_and_closes_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
