/* SPDX-License-Identifier: MIT */
/* The client's parser of answers: the same pieces come out however the bytes are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire/http1.h"

static void
collect(void *ctx, const char *data, size_t len)
{
    er_buf_add(ctx, data, len);
}

/* Feeds text in pieces of `step` bytes; the code of the first error, or bytes used. */
static int64_t
feed(struct er_http1 *h, const char *text, size_t step)
{
    int64_t used = 0;
    size_t len = strlen(text);
    for (size_t i = 0; i < len && !h->done; i += step) {
        size_t n = len - i < step ? len - i : step;
        int64_t got = er_http1_feed(h, text + i, n);
        if (got < 0) {
            return got;
        }
        used += got;
    }
    return used;
}

/* Feeds an answer in every cut from 1 byte to all at once and checks what comes out. */
static void
check(const char *text, int status, const char *body, bool keep_alive)
{
    for (size_t step = 1; step <= strlen(text); step++) {
        struct er_http1 h;
        struct er_buf b;
        er_buf_init(&b, 0);
        er_http1_init(&h, collect, &b);
        assert_int_equal(feed(&h, text, step), (int64_t)strlen(text));
        assert_int_equal(er_http1_eof(&h), 0);
        assert_true(h.done);
        assert_int_equal(h.status, status);
        assert_string_equal(b.data ? b.data : "", body);
        assert_int_equal(h.keep_alive, keep_alive);
        er_http1_fini(&h);
        er_buf_fini(&b);
    }
}

static void
answer__with_a_length_is_read_to_it(void **state)
{
    (void)state;
    check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", true);
    check("HTTP/1.1 201 Created\r\ncontent-length:2\r\nConnection: close\r\n\r\n{}", 201,
          "{}", false);
}

static void
answer__in_chunks_is_joined(void **state)
{
    (void)state;
    check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
          "5\r\nhello\r\nA;x=y\r\n, world 12\r\n0\r\n\r\n",
          200, "hello, world 12", true);
    check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
          "1\r\na\r\n0\r\nTrailer: x\r\n\r\n",
          200, "a", true);
}

static void
answer__without_a_length_ends_with_the_connection(void **state)
{
    (void)state;
    check("HTTP/1.1 200 OK\r\n\r\nall of it", 200, "all of it", false);
}

static void
answer__without_a_body_ends_with_its_head(void **state)
{
    (void)state;
    check("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true);
    check("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, "", true);
}

static void
answer__interim_ones_are_passed_over(void **state)
{
    (void)state;
    check("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
          200, "x", true);
}

static void
answer__stops_at_its_end(void **state)
{
    (void)state;
    struct er_http1 h;
    er_http1_init(&h, NULL, NULL);
    const char *two =
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 500 no\r\n\r\n";
    int64_t used = er_http1_feed(&h, two, strlen(two));
    assert_string_equal(two + used, "HTTP/1.1 500 no\r\n\r\n");
    er_http1_fini(&h);
}

static void
headers__are_found_in_any_case(void **state)
{
    (void)state;
    struct er_http1 h;
    char value[8];
    er_http1_init(&h, NULL, NULL);
    const char *text =
        "HTTP/1.1 200 OK\r\nX-Errand-Attempt:  3 \r\nLocation: /v1/tasks/42\r\n"
        "Content-Length: 0\r\n\r\n";
    assert_true(er_http1_feed(&h, text, strlen(text)) > 0);
    assert_true(er_http1_header(&h, "x-errand-attempt", value, sizeof value));
    assert_string_equal(value, "3");
    assert_true(er_http1_header(&h, "LOCATION", value, sizeof value));
    assert_string_equal(value, "/v1/tas");
    assert_false(er_http1_header(&h, "X-Errand", value, sizeof value));
    er_http1_fini(&h);
}

static void
bad_answers__are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct er_http1 h;
        er_http1_init(&h, NULL, NULL);
        assert_int_equal(feed(&h, bad[i], 1), ER_EINVALID);
        er_http1_fini(&h);
    }
}

static void
bad_answers__with_an_endless_head_are_refused(void **state)
{
    (void)state;
    struct er_http1 h;
    er_http1_init(&h, NULL, NULL);
    int64_t got = 0;
    for (int i = 0; i < 5000 && got >= 0; i++) {
        got = er_http1_feed(&h, i == 0 ? "HTTP/1.1 200 OK\r\n" : "X: yyyy\r\n",
                            i == 0 ? 17 : 9);
    }
    assert_int_equal(got, ER_ETOOBIG);
    er_http1_fini(&h);
}

static void
bad_answers__that_are_cut_short_are_told(void **state)
{
    (void)state;
    static const char *const cut[] = {
        "HTTP/1.1 20",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    };
    for (size_t i = 0; i < sizeof cut / sizeof cut[0]; i++) {
        struct er_http1 h;
        er_http1_init(&h, NULL, NULL);
        assert_true(feed(&h, cut[i], 100) > 0);
        assert_false(h.done);
        assert_int_equal(er_http1_eof(&h), ER_EIO);
        er_http1_fini(&h);
    }
}

static void
request__has_what_is_needed_and_no_more(void **state)
{
    (void)state;
    struct er_buf b;
    er_buf_init(&b, 0);
    er_http1_request(&b, "POST", "/v1/tasks", "application/json", 2,
                     "Idempotency-Key: k\r\n");
    assert_string_equal(b.data, "POST /v1/tasks HTTP/1.1\r\nHost: errand\r\n"
                                "Content-Type: application/json\r\nContent-Length: 2\r\n"
                                "Idempotency-Key: k\r\n\r\n");
    er_buf_clear(&b);
    er_http1_request(&b, "GET", "/v1/stats", NULL, -1, NULL);
    assert_string_equal(b.data, "GET /v1/stats HTTP/1.1\r\nHost: errand\r\n\r\n");
    er_buf_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer__with_a_length_is_read_to_it),
        cmocka_unit_test(answer__in_chunks_is_joined),
        cmocka_unit_test(answer__without_a_length_ends_with_the_connection),
        cmocka_unit_test(answer__without_a_body_ends_with_its_head),
        cmocka_unit_test(answer__interim_ones_are_passed_over),
        cmocka_unit_test(answer__stops_at_its_end),
        cmocka_unit_test(headers__are_found_in_any_case),
        cmocka_unit_test(bad_answers__are_refused),
        cmocka_unit_test(bad_answers__with_an_endless_head_are_refused),
        cmocka_unit_test(bad_answers__that_are_cut_short_are_told),
        cmocka_unit_test(request__has_what_is_needed_and_no_more),
    };
    return cmocka_run_group_tests_name("http1", tests, NULL, NULL);
}
