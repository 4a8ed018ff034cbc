/* SPDX-License-Identifier: MIT */
/* The blocking client against a server that answers from a list, in a process of its own.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"
#include "wire/client.h"
#include "wire/places.h"

static char dir[64];
static char *path;
static pid_t server;

static int
setup(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/errand-client-XXXXXX");
    if (!mkdtemp(dir)) {
        return -1;
    }
    path = er_xasprintf("%s/errand.sock", dir);
    (void)alarm(300); /* a test that hangs ends here */
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    (void)unlink(path);
    er_free(path);
    return rmdir(dir);
}

/* One connection of the server: what it answers to each request in turn. A NULL ends the
 * connection; an answer of "" is none, and the connection stays open until the client
 * closes it. */
struct script {
    const char *answers[4];
};

static void
play(int fd, const struct script *script)
{
    char data[4096];
    for (int i = 0; script->answers[i]; i++) {
        if (recv(fd, data, sizeof data, 0) <= 0 ||
            er_write_all(fd, script->answers[i], strlen(script->answers[i]))) {
            return;
        }
        if (!script->answers[i][0]) {
            (void)!recv(fd, data, sizeof data, 0);
        }
    }
    if (!script->answers[0]) {
        (void)!recv(fd, data, sizeof data, 0);
    }
}

static void
serve(const struct script *scripts, int n)
{
    int fd = er_places_listen(path, 0600, NULL, NULL);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
    server = fork();
    assert_true(server >= 0);
    if (server == 0) {
        for (int i = 0; i < n; i++) {
            int c = accept(fd, NULL, NULL);
            play(c, &scripts[i]);
            er_close(&c);
        }
        _exit(0);
    }
    er_close(&fd);
}

static void
finish(struct er_client *c)
{
    int status = -1;
    er_client_close(c);
    assert_int_equal(waitpid(server, &status, 0), server);
    assert_int_equal(status, 0);
}

static void
get(struct er_client *c, int status, const char *body)
{
    struct er_response r;
    struct er_err err = {""};
    int rc = er_client_request(c, "GET", "/v1/stats", NULL, NULL, 0, NULL, 0, &r, &err);
    assert_string_equal(err.text, "");
    assert_int_equal(rc, 0);
    assert_int_equal(r.status, status);
    assert_string_equal(r.body.data, body);
    er_response_fini(&r);
}

static void
request__keeps_its_connection(void **state)
{
    (void)state;
    static const struct script script = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
         "HTTP/1.1 404 no\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n\r\n"}};
    struct er_client *c;
    serve(&script, 1);
    assert_int_equal(er_client_open(path, &c, NULL), 0);
    get(c, 200, "a");
    get(c, 404, "b");
    finish(c);
}

static void
request__asks_again_when_the_connection_was_closed(void **state)
{
    (void)state;
    static const struct script scripts[] = {
        {{NULL}},
        {{"HTTP/1.1 201 Created\r\nLocation: /v1/tasks/7\r\nContent-Length: "
          "2\r\n\r\n{}"}},
    };
    struct er_client *c;
    struct er_response r;
    serve(scripts, 2);
    assert_int_equal(er_client_open(path, &c, NULL), 0);
    int rc = er_client_request(c, "POST", "/v1/tasks", "application/json", "{}", 2, NULL,
                               0, &r, NULL);
    assert_int_equal(rc, 0);
    assert_int_equal(r.status, 201);
    assert_string_equal(r.location, "/v1/tasks/7");
    er_response_fini(&r);
    finish(c);
}

static void
request__does_not_ask_again_after_half_an_answer(void **state)
{
    (void)state;
    static const struct script scripts[] = {
        {{"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"}},
    };
    struct er_client *c;
    struct er_response r;
    struct er_err err;
    serve(scripts, 1);
    assert_int_equal(er_client_open(path, &c, NULL), 0);
    int rc = er_client_request(c, "GET", "/", NULL, NULL, 0, NULL, 0, &r, &err);
    assert_int_equal(rc, ER_ENODAEMON);
    assert_non_null(strstr(err.text, path));
    finish(c);
}

static void
request__gives_up_at_its_time(void **state)
{
    (void)state;
    static const struct script scripts[] = {{{""}}};
    struct er_client *c;
    struct er_response r;
    serve(scripts, 1);
    assert_int_equal(er_client_open(path, &c, NULL), 0);
    int rc = er_client_request(c, "GET", "/", NULL, NULL, 0, NULL, 20 * ER_USEC_PER_MS,
                               &r, NULL);
    assert_int_equal(rc, ER_ETIMEOUT);
    finish(c);
}

static void
request__refuses_what_is_not_http(void **state)
{
    (void)state;
    static const struct script scripts[] = {{{"hello there, who are you\r\n\r\n"}}};
    struct er_client *c;
    struct er_response r;
    struct er_err err;
    serve(scripts, 1);
    assert_int_equal(er_client_open(path, &c, NULL), 0);
    int rc = er_client_request(c, "GET", "/", NULL, NULL, 0, NULL, 0, &r, &err);
    assert_int_equal(rc, ER_EINVALID);
    assert_non_null(strstr(err.text, "not HTTP"));
    finish(c);
}

static void
stream__hands_on_all_of_it(void **state)
{
    (void)state;
    static const struct script scripts[] = {
        {{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n"
          "0\r\n\r\n",
          "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}}};
    struct er_client *c;
    struct er_buf b;
    int status = 0;
    er_buf_init(&b, 0);
    serve(scripts, 1);
    assert_int_equal(er_client_open(path, &c, NULL), 0);
    assert_int_equal(er_client_stream_start(c, "/v1/events", NULL, 0, &status, NULL), 0);
    int rc = 1;
    while (rc == 1) {
        rc = er_client_stream_read(c, &b, 0, NULL);
    }
    assert_int_equal(rc, 0);
    assert_int_equal(status, 200);
    assert_string_equal(b.data, "onetwo");
    get(c, 200, "ok"); /* on the same connection */
    er_buf_fini(&b);
    finish(c);
}

static void
stream__tells_when_nothing_comes(void **state)
{
    (void)state;
    static const struct script scripts[] = {
        {{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n", ""}}};
    struct er_client *c;
    struct er_buf b;
    int status = 0;
    er_buf_init(&b, 0);
    serve(scripts, 1);
    assert_int_equal(er_client_open(path, &c, NULL), 0);
    assert_int_equal(er_client_stream_start(c, "/v1/events", NULL, 0, &status, NULL), 0);
    while (b.len < 3) {
        assert_int_equal(er_client_stream_read(c, &b, 0, NULL), 1);
    }
    assert_string_equal(b.data, "one");
    assert_int_equal(er_client_stream_read(c, &b, 20 * ER_USEC_PER_MS, NULL),
                     ER_ETIMEOUT);
    er_buf_fini(&b);
    finish(c);
}

static void
open__without_a_daemon_says_where_it_looked(void **state)
{
    (void)state;
    struct er_client *c;
    struct er_err err;
    assert_int_equal(er_client_open(path, &c, &err), ER_ENODAEMON);
    assert_non_null(strstr(err.text, path));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request__keeps_its_connection),
        cmocka_unit_test(request__asks_again_when_the_connection_was_closed),
        cmocka_unit_test(request__does_not_ask_again_after_half_an_answer),
        cmocka_unit_test(request__gives_up_at_its_time),
        cmocka_unit_test(request__refuses_what_is_not_http),
        cmocka_unit_test(stream__hands_on_all_of_it),
        cmocka_unit_test(stream__tells_when_nothing_comes),
        cmocka_unit_test(open__without_a_daemon_says_where_it_looked),
    };
    return cmocka_run_group_tests_name("client", tests, setup, teardown);
}
