/* SPDX-License-Identifier: MIT */
/* What a request's head must be. libmicrohttpd takes what a careful server must not: a
 * Content-Length beside a Transfer-Encoding, several of Content-Length or Host, a bare
 * CR, a NUL (it ends the text there), continued lines (it glues them to the header's
 * name), blanks before a colon. Two servers that read such a head differently can be
 * played against each other, so all of it is refused.
 *
 * The library (0.9.75, 0.9.76) parses the head in place and puts NULs over CR, LF and
 * colon. What it has dropped or glued shows in where its texts lie: each header must
 * begin two NULs behind the value before it, and the head must end where the last one
 * does. Later versions are strict by themselves and may copy, so for them only the texts
 * are checked. */
#include <string.h>
#include <strings.h>

#include "api/target.h"
#include "serve/http_priv.h"

static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};

void
er_http_head_target(struct er_http_request *req, const char *uri)
{
    req->uri = uri;
    req->uri_end = uri + strlen(uri);
    req->bad = er_target_parse(&req->base.target, uri) != 0;
    req->base.path = req->base.target.data;
}

/* ---- the headers ---- */

struct walk {
    bool in_place;    /* whether the layout can be checked */
    const char *next; /* where the next header must begin */
    bool bad;
    int hosts, lengths, encodings, expects;
    const char *length, *encoding, *expect;
};

static bool
is_token(const char *s, size_t n)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < n; i++) {
        char lower = (char)(s[i] | 0x20);
        if (!((lower >= 'a' && lower <= 'z') || (s[i] >= '0' && s[i] <= '9') ||
              (s[i] && strchr(others, s[i])))) {
            return false;
        }
    }
    return n > 0;
}

static bool
is_field_text(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (((unsigned char)s[i] < 0x20 && s[i] != '\t') || s[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

/* Whether a header stands where the one before it ends; moves on to the next. */
static bool
check_place(struct walk *w, const char *name, size_t name_n, const char *value,
            size_t value_n)
{
    if (name != w->next) {
        return false;
    }
    const char *p = name + name_n + 1; /* behind the colon, which is a NUL now */
    while (*p == ' ' || *p == '\t') {
        p++;
    }
    w->next = value + value_n + 2;
    return p == value && value[value_n] == '\0' && value[value_n + 1] == '\0';
}

static enum MHD_Result
on_header(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_n,
          const char *value, size_t value_n)
{
    struct walk *w = cls;
    (void)kind;
    if (!is_token(name, name_n) || !value || !is_field_text(value, value_n) ||
        (w->in_place && !check_place(w, name, name_n, value, value_n))) {
        w->bad = true;
        return MHD_NO;
    }
    if (strcasecmp(name, "Host") == 0) {
        w->hosts++;
    } else if (strcasecmp(name, "Content-Length") == 0) {
        w->lengths++;
        w->length = value;
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        w->encodings++;
        w->encoding = value;
    } else if (strcasecmp(name, "Expect") == 0) {
        w->expects++;
        w->expect = value;
    }
    return MHD_YES;
}

static bool
parse_length(const char *text, uint64_t *out)
{
    uint64_t v = 0;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9' || v > (UINT64_MAX - 9) / 10) {
            return false;
        }
        v = v * 10 + (uint64_t)(*p - '0');
    }
    *out = v;
    return *text != '\0';
}

/* Whether the head is as it was sent: nothing dropped, glued or cut by the library. */
static bool
check_layout(const struct er_http_request *req, const struct walk *w, const char *method,
             const char *version, size_t head)
{
    return !w->in_place ||
           (method + strlen(method) + 1 == req->uri && req->uri_end + 1 == version &&
            w->next[0] == '\0' && w->next[1] == '\0' && w->next + 2 == method + head);
}

static int
check_body(const struct walk *w, bool is_http11, struct er_http_framing *out,
           const char **out_why)
{
    *out = (struct er_http_framing){.has_body = w->lengths + w->encodings > 0};
    if (w->lengths + w->encodings > 1) {
        *out_why = "more than one of Content-Length and Transfer-Encoding";
        return 400;
    }
    if (w->encoding && (!is_http11 || strcasecmp(w->encoding, "chunked") != 0)) {
        *out_why = "a Transfer-Encoding other than chunked";
        return 400;
    }
    if (w->length && !parse_length(w->length, &out->length)) {
        *out_why = "Content-Length is not a number";
        return 400;
    }
    if (w->expect && (w->expects > 1 || strcasecmp(w->expect, "100-continue") != 0)) {
        *out_why = "an Expect other than 100-continue";
        return 417;
    }
    out->expects_continue = w->expect && is_http11;
    return 0;
}

static const char *
find_method(const char *word)
{
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (strcmp(methods[i], word) == 0) {
            return methods[i];
        }
    }
    return NULL;
}

static bool
is_parsed_in_place(void)
{
    const char *version = MHD_get_version();
    return strcmp(version, "0.9.75") == 0 || strcmp(version, "0.9.76") == 0;
}

int
er_http_head_check(struct er_http_request *req, const char *method, const char *version,
                   struct er_http_framing *out, const char **out_why)
{
    struct MHD_Connection *mhd = req->conn->mhd;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    size_t head = info ? info->header_size : 0;
    bool is_http11 = strcmp(version, "HTTP/1.1") == 0;
    struct walk w = {.in_place = is_parsed_in_place(),
                     .next = version + strlen(version) + 2};

    *out = (struct er_http_framing){0};
    req->base.method = "GET";
    if (head > ER_HTTP_HEAD_MAX) {
        *out_why = "the head of the request is larger than 8 KiB";
        return 431;
    }
    if (!is_http11 && strcmp(version, "HTTP/1.0") != 0) {
        *out_why = "this is HTTP/1.1";
        return 505;
    }
    (void)MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, on_header, &w);
    if (w.bad || !is_token(method, strlen(method)) ||
        !check_layout(req, &w, method, version, head)) {
        *out_why = "the head of the request is malformed";
        return 400;
    }
    if (w.hosts > 1 || (w.hosts == 0 && is_http11)) {
        *out_why = "exactly one Host is needed";
        return 400;
    }
    if (req->bad) {
        *out_why = "the path or the query is malformed";
        return 400;
    }
    int status = check_body(&w, is_http11, out, out_why);
    if (status) {
        return status;
    }
    const char *known = find_method(method);
    if (!known) {
        *out_why = "unknown method (GET, HEAD, POST, PUT, PATCH or DELETE)";
        return 405;
    }
    req->is_head = strcmp(known, "HEAD") == 0;
    req->base.method = req->is_head ? methods[0] : known;
    return 0;
}
