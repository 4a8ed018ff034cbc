/* SPDX-License-Identifier: MIT */
/* Happy path: set libcurl up from the arguments, let it work until it is done (or the
 * stop descriptor is readable), then look at the status.
 *
 * Failure modes: http_request.h has the table. The body of an answer that is a failure
 * goes to the output, as far as it is short; values of Set-Cookie do not. A request is
 * sent again by nobody but the task's retries. */
#include "types/http_request.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CONNECT_S     30L
#define STANDSTILL_S  60L
#define REDIRECTS     10L
#define MAX_BYTES     (16 << 20)
#define FAILURE_SHOWN ((size_t)4096) /* bytes of the body of a failure */
#define POLL_MS       1000

struct request {
    errand_attempt *a;
    CURL *easy;
    struct curl_slist *headers;
    char *body;
    size_t len, room, max;
    bool too_big, no_memory;
    char words[CURL_ERROR_SIZE];
};

/* ---- what libcurl calls ---- */

static size_t
on_body(char *p, size_t one, size_t n, void *ctx)
{
    struct request *r = ctx;
    n *= one;
    if (n > r->max - r->len) {
        long status = 0;
        (void)curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
        if (status >= 400) {
            return n; /* the status is what counts */
        }
        r->too_big = true;
        return CURL_WRITEFUNC_ERROR;
    }
    if (n > r->room - r->len) {
        size_t room = r->room * 2 > r->len + n ? r->room * 2 : r->len + n;
        char *more = realloc(r->body, room);
        if (!more) {
            r->no_memory = true;
            return CURL_WRITEFUNC_ERROR;
        }
        r->body = more;
        r->room = room;
    }
    memcpy(r->body + r->len, p, n);
    r->len += n;
    return n;
}

static size_t
on_header(char *p, size_t one, size_t n, void *ctx)
{
    static const char cookie[] = "set-cookie:";
    const struct request *r = ctx;
    n *= one;
    size_t shown = n;
    while (shown > 0 && (p[shown - 1] == '\n' || p[shown - 1] == '\r')) {
        shown--;
    }
    if (shown >= sizeof cookie - 1 && strncasecmp(p, cookie, sizeof cookie - 1) == 0) {
        (void)errand_outputf(r->a, "%.*s ***\n", (int)sizeof cookie - 1, p);
    } else {
        (void)errand_outputf(r->a, "%.*s\n", (int)shown, p);
    }
    return n;
}

static int
on_progress(void *ctx, curl_off_t total, curl_off_t now, curl_off_t up_total,
            curl_off_t up)
{
    const struct request *r = ctx;
    struct errand_progress p = ERRAND_INIT(errand_progress);
    bool down = now > 0;
    p.current = down ? now : up;
    p.total = down ? total : up_total;
    p.unit = "bytes";
    p.message = down ? "receiving" : up > 0 ? "sending" : "connecting";
    errand_progress_report(r->a, &p);
    return errand_should_stop(r->a) != 0;
}

/* ---- from the arguments ---- */

/* A header as libcurl wants it: one without a value is marked by a semicolon. */
static struct curl_slist *
add_header(struct curl_slist *list, const char *header)
{
    size_t name = strcspn(header, ":");
    const char *value = header + name + strspn(header + name, ": \t");
    if (*value != '\0') {
        return curl_slist_append(list, header);
    }
    char *line = malloc(name + 2);
    if (!line) {
        return NULL;
    }
    memcpy(line, header, name);
    memcpy(line + name, ";", 2);
    struct curl_slist *more = curl_slist_append(list, line);
    free(line);
    return more;
}

/* False: no memory. */
static bool
set_headers(struct request *r)
{
    const char *header;
    bool has_type = false;
    r->headers = curl_slist_append(NULL, "Expect:"); /* no waiting for a 100 */
    for (size_t i = 0; r->headers && (header = errand_arg_item(r->a, "headers", i));
         i++) {
        struct curl_slist *more = add_header(r->headers, header);
        if (!more) {
            return false;
        }
        r->headers = more;
        has_type = has_type || strncasecmp(header, "content-type:", 13) == 0;
    }
    if (r->headers && !has_type) { /* else libcurl would call it a form */
        struct curl_slist *more = curl_slist_append(r->headers, "Content-Type:");
        r->headers = more ? more : r->headers;
    }
    return r->headers != NULL;
}

static CURLcode
set_method(struct request *r)
{
    const char *method = errand_arg_text(r->a, "method");
    const char *body = errand_arg_text(r->a, "body");
    CURLcode rc = CURLE_OK;
    if (strcmp(method, "HEAD") == 0) {
        return curl_easy_setopt(r->easy, CURLOPT_NOBODY, 1L);
    }
    if (strcmp(method, "GET") == 0 && !body) {
        return curl_easy_setopt(r->easy, CURLOPT_HTTPGET, 1L);
    }
    if (body || strcmp(method, "POST") == 0) {
        rc = curl_easy_setopt(r->easy, CURLOPT_POST, 1L);
        rc = rc ? rc : curl_easy_setopt(r->easy, CURLOPT_POSTFIELDS, body ? body : "");
        rc = rc ? rc
                : curl_easy_setopt(r->easy, CURLOPT_POSTFIELDSIZE_LARGE,
                                   (curl_off_t)(body ? strlen(body) : 0));
    }
    if (rc == CURLE_OK && strcmp(method, "POST") != 0) {
        rc = curl_easy_setopt(r->easy, CURLOPT_CUSTOMREQUEST, method);
    }
    return rc;
}

static CURLcode
set_up(struct request *r)
{
    CURL *e = r->easy;
    bool follow = errand_arg_boolean(r->a, "follow", 1) != 0;
    CURLcode rc = curl_easy_setopt(e, CURLOPT_ERRORBUFFER, r->words);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_URL, errand_arg_text(r->a, "url"));
    rc = rc ? rc : set_method(r);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_HTTPHEADER, r->headers);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_USERAGENT, "errand/" ER_VERSION);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, follow ? 1L : 0L);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_MAXREDIRS, REDIRECTS);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1L);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, STANDSTILL_S);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_WRITEDATA, r);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_HEADERDATA, r);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, on_progress);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_XFERINFODATA, r);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_NOPROGRESS, 0L);
    return rc;
}

/* ---- working ---- */

static CURLcode
result_of(CURLM *m, CURLMcode rc)
{
    int left;
    const struct CURLMsg *msg = rc == CURLM_OK ? curl_multi_info_read(m, &left) : NULL;
    return msg ? msg->data.result : CURLE_ABORTED_BY_CALLBACK;
}

/* Until it is done, or to stop (CURLE_ABORTED_BY_CALLBACK). */
static CURLcode
perform(struct request *r)
{
    CURLM *m = curl_multi_init();
    if (!m) {
        return CURLE_OUT_OF_MEMORY;
    }
    struct curl_waitfd stop = {.fd = errand_stop_fd(r->a), .events = CURL_WAIT_POLLIN};
    CURLMcode rc = curl_multi_add_handle(m, r->easy);
    int running = 1;
    while (rc == CURLM_OK && !errand_should_stop(r->a)) {
        rc = curl_multi_perform(m, &running);
        if (rc != CURLM_OK || running == 0) {
            break;
        }
        rc = curl_multi_poll(m, &stop, stop.fd >= 0, POLL_MS, NULL);
    }
    CURLcode result = rc != CURLM_OK && !errand_should_stop(r->a) ? CURLE_OUT_OF_MEMORY
                                                                  : result_of(m, rc);
    (void)curl_multi_remove_handle(m, r->easy);
    (void)curl_multi_cleanup(m);
    return result;
}

/* ---- what came of it ---- */

/* How it failed before there was a whole answer. */
static int
fail_transfer(struct request *r, CURLcode rc)
{
    char text[CURL_ERROR_SIZE + 100];
    errand_attempt *a = r->a;
    (void)snprintf(text, sizeof text, "%s",
                   r->words[0] ? r->words : curl_easy_strerror(rc));
    if (r->too_big) {
        (void)snprintf(text, sizeof text, "the answer has more than max_bytes, %zu",
                       r->max);
        return errand_fail(
            a, ERRAND_FATAL, "too-big", text,
            "allow more (max_bytes, at most 16 MiB), or fetch it to a file "
            "with a command");
    }
    switch (r->no_memory ? CURLE_OUT_OF_MEMORY : (int)rc) {
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
        return errand_fail(a, ERRAND_FATAL, "bad-url", text,
                           "give a whole URL that begins with http:// or https://");
    case CURLE_TOO_MANY_REDIRECTS:
        return errand_fail(a, ERRAND_FATAL, "redirects", text, NULL);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
        return errand_fail(a, ERRAND_USER_ACTIONABLE, "certificate", text,
                           "see to it that the server's certificate is valid and known "
                           "here (package ca-certificates)");
    case CURLE_COULDNT_RESOLVE_HOST:
        return errand_fail(a, ERRAND_RETRYABLE, "unknown-host", text,
                           "check the name in the URL, and the network");
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
        return errand_fail(a, ERRAND_RETRYABLE, "no-connection", text, NULL);
    case CURLE_OPERATION_TIMEDOUT:
        return errand_fail(a, ERRAND_RETRYABLE, "timeout", text, NULL);
    case CURLE_OUT_OF_MEMORY:
        return errand_fail(a, ERRAND_RETRYABLE, "out-of-memory", "out of memory", NULL);
    default:
        return errand_fail(a, ERRAND_RETRYABLE, "transfer", text, NULL);
    }
}

/* Retry-After in milliseconds, a second at least; -1 when there is none. */
static int64_t
retry_after(const struct request *r)
{
    struct curl_header *h;
    curl_off_t s = 0;
    if (curl_easy_header(r->easy, "Retry-After", 0, CURLH_HEADER, -1, &h) != CURLHE_OK ||
        curl_easy_getinfo(r->easy, CURLINFO_RETRY_AFTER, &s) != CURLE_OK) {
        return -1;
    }
    return s < 1 ? 1000 : s * 1000;
}

static int
fail_status(struct request *r, long status)
{
    char code[32], message[100];
    bool person = status == 401 || status == 403 || status == 407;
    bool again = status == 408 || status == 425 || status >= 500;
    (void)snprintf(code, sizeof code, "http-%ld", status);
    (void)snprintf(message, sizeof message, "the server answered %ld", status);
    if (r->len > 0) {
        size_t n = r->len < FAILURE_SHOWN ? r->len : FAILURE_SHOWN;
        (void)errand_output(r->a, r->body, n);
        (void)errand_output(r->a, "\n", 1);
    }
    if (person) {
        return errand_fail(r->a, ERRAND_USER_ACTIONABLE, code, message,
                           "check the credentials that the request has, and what they "
                           "allow");
    }
    return errand_fail(r->a, again ? ERRAND_RETRYABLE : ERRAND_FATAL, code, message,
                       NULL);
}

static int
judge(struct request *r)
{
    long status = 0;
    (void)curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    int64_t after = retry_after(r);
    if (status == 429 || (status == 503 && after >= 0)) {
        return errand_rate_limited(r->a, after);
    }
    if (status >= 400) {
        return fail_status(r, status);
    }
    return errand_result_set(r->a, r->body, r->len) == 0 ? 0 : ERRAND_ENOMEM;
}

static int
request(struct request *r)
{
    if (!set_headers(r)) {
        return errand_fail(r->a, ERRAND_RETRYABLE, "out-of-memory", "out of memory",
                           NULL);
    }
    CURLcode rc = set_up(r);
    rc = rc ? rc : perform(r);
    if (errand_should_stop(r->a) && rc != CURLE_OK) {
        return ERRAND_STOPPED;
    }
    return rc == CURLE_OK ? judge(r) : fail_transfer(r, rc);
}

static int
run(errand_attempt *a, void *ctx)
{
    (void)ctx;
    int64_t max = errand_arg_integer(a, "max_bytes", MAX_BYTES);
    struct request r = {
        .a = a,
        .easy = curl_easy_init(),
        .body = malloc(1),
        .room = 1,
        .max = max < 0 || max > MAX_BYTES ? MAX_BYTES : (size_t)max,
    };
    int rc = r.easy && r.body ? request(&r)
                              : errand_fail(a, ERRAND_RETRYABLE, "out-of-memory",
                                            "out of memory", NULL);
    curl_easy_cleanup(r.easy);
    curl_slist_free_all(r.headers);
    free(r.body);
    return rc;
}

void
er_http_request_type(struct errand_type *t)
{
    static const char *const methods[] = {"GET",   "HEAD",   "POST", "PUT",
                                          "PATCH", "DELETE", NULL};
    static const struct errand_param params[] = {
        {.name = "url",
         .kind = ERRAND_PARAM_URL,
         .required = 1,
         .pattern = "^[Hh][Tt][Tt][Pp][Ss]?://",
         .help = "http or https"},
        {.name = "method",
         .kind = ERRAND_PARAM_STRING,
         .def = "\"GET\"",
         .choices = methods},
        {.name = "headers",
         .kind = ERRAND_PARAM_STRINGS,
         .has_max = 1,
         .max = 100,
         .pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\\r\\n]*$",
         .secret = 1,
         .help = "\"Name: value\" each"},
        {.name = "body", .kind = ERRAND_PARAM_STRING, .help = "what is sent"},
        {.name = "max_bytes",
         .kind = ERRAND_PARAM_INTEGER,
         .def = "1048576",
         .has_min = 1,
         .has_max = 1,
         .max = MAX_BYTES,
         .help = "the longest answer that is taken"},
        {.name = "follow",
         .kind = ERRAND_PARAM_BOOLEAN,
         .def = "true",
         .help = "follow redirects"},
    };
    t->name = "http.request";
    t->description = "an HTTP request; its result is the answer";
    t->params = params;
    t->n_params = sizeof params / sizeof *params;
    t->handler = run;
}
