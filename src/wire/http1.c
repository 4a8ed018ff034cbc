/* SPDX-License-Identifier: MIT */
/* How it works: the head is collected until its empty line, then looked at once; the body
 * is handed on by the phase that the head decided. Interim answers (1xx) are passed over.
 *
 * Failure modes: a head above 16 KiB is ER_ETOOBIG; a bad status line, both kinds of
 * length, two different lengths or a bad chunk are ER_EINVALID, and the connection is
 * then of no more use. */
#include "wire/http1.h"

#include <string.h>
#include <strings.h>

#define HEAD_MAX ((size_t)16 << 10)

enum phase {
    PHASE_HEAD,
    PHASE_LENGTH,      /* `left` bytes of body */
    PHASE_UNTIL_CLOSE, /* body until the connection ends */
    PHASE_CHUNK_SIZE,  /* hex digits of a chunk's size in `left` */
    PHASE_CHUNK_EXT,   /* the rest of that line */
    PHASE_CHUNK_DATA,  /* `left` bytes of the chunk */
    PHASE_CHUNK_END,   /* the CRLF behind it */
    PHASE_TRAILER,     /* lines until an empty one; `left` = bytes in this line */
    PHASE_DONE,
};

void
er_http1_request(struct er_buf *b, const char *method, const char *target,
                 const char *content_type, int64_t body_len, const char *headers)
{
    er_buf_add_str(b, method);
    er_buf_add_char(b, ' ');
    er_buf_add_str(b, target);
    er_buf_add_str(b, " HTTP/1.1\r\nHost: errand\r\n");
    if (content_type) {
        er_buf_add_str(b, "Content-Type: ");
        er_buf_add_str(b, content_type);
        er_buf_add_str(b, "\r\n");
    }
    if (body_len >= 0) {
        er_buf_add_str(b, "Content-Length: ");
        er_buf_add_i64(b, body_len);
        er_buf_add_str(b, "\r\n");
    }
    if (headers) {
        er_buf_add_str(b, headers);
    }
    er_buf_add_str(b, "\r\n");
}

void
er_http1_init(struct er_http1 *h, er_http1_body_fn *on_body, void *ctx)
{
    *h = (struct er_http1){.on_body = on_body, .ctx = ctx};
    er_buf_init(&h->head, HEAD_MAX);
}

void
er_http1_fini(struct er_http1 *h)
{
    er_buf_fini(&h->head);
}

/* Finds the n-th header of that name (from 0): its value and length, without the white
 * space around it; NULL when there is none. */
static const char *
find_header(const struct er_http1 *h, const char *name, int n, size_t *out_len)
{
    size_t name_len = strlen(name);
    const char *line = h->head.data ? strchr(h->head.data, '\n') : NULL;
    while (line) {
        line++;
        const char *end = strchr(line, '\n');
        if (!end) {
            return NULL;
        }
        if (strncasecmp(line, name, name_len) == 0 && line[name_len] == ':' && n-- == 0) {
            const char *value = line + name_len + 1;
            while (value < end && (*value == ' ' || *value == '\t')) {
                value++;
            }
            while (end > value &&
                   (end[-1] == '\r' || end[-1] == ' ' || end[-1] == '\t')) {
                end--;
            }
            *out_len = (size_t)(end - value);
            return value;
        }
        line = end;
    }
    return NULL;
}

bool
er_http1_header(const struct er_http1 *h, const char *name, char *out, size_t size)
{
    size_t len;
    const char *value = find_header(h, name, 0, &len);
    if (!value || size == 0) {
        return false;
    }
    if (len >= size) {
        len = size - 1;
    }
    memcpy(out, value, len);
    out[len] = '\0';
    return true;
}

/* Reads "HTTP/1.x NNN": 0 or ER_EINVALID. */
static int
parse_status_line(struct er_http1 *h)
{
    const char *p = h->head.data;
    if (strncmp(p, "HTTP/1.", 7) != 0 || (p[7] != '0' && p[7] != '1') || p[8] != ' ') {
        return ER_EINVALID;
    }
    int status = 0;
    for (int i = 9; i < 12; i++) {
        if (p[i] < '0' || p[i] > '9') {
            return ER_EINVALID;
        }
        status = status * 10 + (p[i] - '0');
    }
    if (status < 100 || (p[12] != ' ' && p[12] != '\r' && p[12] != '\n')) {
        return ER_EINVALID;
    }
    h->status = status;
    h->keep_alive = p[7] == '1';
    return 0;
}

/* Reads Content-Length into *out (-1 = none): 0, or ER_EINVALID when it is no number or
 * there are several that differ. */
static int
parse_length(const struct er_http1 *h, int64_t *out)
{
    size_t len;
    const char *v;
    *out = -1;
    for (int i = 0; (v = find_header(h, "Content-Length", i, &len)) != NULL; i++) {
        int64_t n = 0;
        if (len == 0 || len > 18) {
            return ER_EINVALID;
        }
        for (size_t k = 0; k < len; k++) {
            if (v[k] < '0' || v[k] > '9') {
                return ER_EINVALID;
            }
            n = n * 10 + (v[k] - '0');
        }
        if (*out >= 0 && *out != n) {
            return ER_EINVALID;
        }
        *out = n;
    }
    return 0;
}

/* Decides by the whole head how the body comes (RFC 9112, 6.3). */
static int
finish_head(struct er_http1 *h)
{
    char value[64];
    int64_t length;
    if (parse_status_line(h) || parse_length(h, &length)) {
        return ER_EINVALID;
    }
    if (h->status < 200 &&
        h->status != 101) { /* an interim answer; the real one follows */
        er_buf_clear(&h->head);
        return 0;
    }
    if (er_http1_header(h, "Connection", value, sizeof value)) {
        if (strcasecmp(value, "close") == 0) {
            h->keep_alive = false;
        } else if (strcasecmp(value, "keep-alive") == 0) {
            h->keep_alive = true;
        }
    }
    if (er_http1_header(h, "Transfer-Encoding", value, sizeof value)) {
        if (strcasecmp(value, "chunked") != 0 || length >= 0) {
            return ER_EINVALID;
        }
        h->chunked = true;
    }
    h->head_done = true;
    if (h->status == 204 || h->status == 304 || (!h->chunked && length == 0)) {
        h->done = true;
        h->phase = PHASE_DONE;
    } else if (h->chunked) {
        h->left = -1;
        h->phase = PHASE_CHUNK_SIZE;
    } else if (length > 0) {
        h->left = length;
        h->phase = PHASE_LENGTH;
    } else {
        h->keep_alive = false;
        h->phase = PHASE_UNTIL_CLOSE;
    }
    return 0;
}

/* Takes bytes of the head up to its empty line: how many, or an error. */
static int64_t
feed_head(struct er_http1 *h, const char *data, size_t n)
{
    size_t used = 0;
    while (used < n) {
        const char *nl = memchr(data + used, '\n', n - used);
        size_t part = nl ? (size_t)(nl - data) + 1 - used : n - used;
        er_buf_add(&h->head, data + used, part);
        used += part;
        if (h->head.failed) {
            return h->head.failed;
        }
        const char *end = h->head.data + h->head.len;
        bool blank = (h->head.len >= 4 && memcmp(end - 4, "\r\n\r\n", 4) == 0) ||
                     (h->head.len >= 2 && memcmp(end - 2, "\n\n", 2) == 0);
        if (nl && blank) {
            int rc = finish_head(h);
            if (rc || h->head_done) {
                return rc ? rc : (int64_t)used;
            }
        }
    }
    return (int64_t)used;
}

/* Hands on at most `left` bytes of body and goes to the next phase when it is used up. */
static size_t
feed_body(struct er_http1 *h, const char *data, size_t n, enum phase next)
{
    if (h->phase != PHASE_UNTIL_CLOSE && (uint64_t)h->left < n) {
        n = (size_t)h->left;
    }
    if (h->on_body && n > 0) {
        h->on_body(h->ctx, data, n);
    }
    if (h->phase != PHASE_UNTIL_CLOSE) {
        h->left -= (int64_t)n;
        if (h->left == 0) {
            h->phase = (int)next;
            h->done = next == PHASE_DONE;
        }
    }
    return n;
}

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The line of the size has ended: data follows, or the trailer after the last chunk. */
static int
end_size_line(struct er_http1 *h)
{
    if (h->left < 0) {
        return ER_EINVALID;
    }
    h->phase = h->left > 0 ? PHASE_CHUNK_DATA : PHASE_TRAILER;
    return 0;
}

/* One byte of what stands between the chunks: 0 or ER_EINVALID. */
static int
feed_framing(struct er_http1 *h, char c)
{
    int digit;
    switch ((enum phase)h->phase) {
    case PHASE_CHUNK_SIZE:
        digit = hex_digit(c);
        if (digit >= 0) {
            h->left = (h->left < 0 ? 0 : h->left) * 16 + digit;
            return h->left > ((int64_t)1 << 50) ? ER_EINVALID : 0;
        }
        if (c == '\n') {
            return end_size_line(h);
        }
        h->phase = PHASE_CHUNK_EXT;
        return c == '\r' || c == ';' || c == ' ' ? 0 : ER_EINVALID;
    case PHASE_CHUNK_EXT:
        return c == '\n' ? end_size_line(h) : 0;
    case PHASE_CHUNK_END:
        if (c == '\n') {
            h->phase = PHASE_CHUNK_SIZE;
            h->left = -1;
            return 0;
        }
        return c == '\r' ? 0 : ER_EINVALID;
    case PHASE_TRAILER:
        if (c == '\n') {
            h->done = h->left == 0;
            h->phase = h->done ? PHASE_DONE : PHASE_TRAILER;
            h->left = 0;
        } else if (c != '\r') {
            h->left++;
        }
        return h->left > (int64_t)HEAD_MAX ? ER_ETOOBIG : 0;
    case PHASE_HEAD:
    case PHASE_LENGTH:
    case PHASE_UNTIL_CLOSE:
    case PHASE_CHUNK_DATA:
    case PHASE_DONE:
        break;
    }
    return ER_EINVALID;
}

int64_t
er_http1_feed(struct er_http1 *h, const char *data, size_t n)
{
    size_t used = 0;
    while (used < n && !h->done) {
        int64_t got = 1;
        switch ((enum phase)h->phase) {
        case PHASE_HEAD:
            got = feed_head(h, data + used, n - used);
            break;
        case PHASE_LENGTH:
        case PHASE_UNTIL_CLOSE:
            got = (int64_t)feed_body(h, data + used, n - used, PHASE_DONE);
            break;
        case PHASE_CHUNK_DATA:
            got = (int64_t)feed_body(h, data + used, n - used, PHASE_CHUNK_END);
            break;
        case PHASE_CHUNK_SIZE:
        case PHASE_CHUNK_EXT:
        case PHASE_CHUNK_END:
        case PHASE_TRAILER: {
            int rc = feed_framing(h, data[used]);
            got = rc ? rc : 1;
            break;
        }
        case PHASE_DONE:
            break;
        }
        if (got < 0) {
            return got;
        }
        used += (size_t)got;
    }
    return (int64_t)used;
}

int
er_http1_eof(struct er_http1 *h)
{
    if (h->done) {
        return 0;
    }
    if (h->phase != PHASE_UNTIL_CLOSE) {
        return ER_EIO;
    }
    h->done = true;
    h->phase = PHASE_DONE;
    return 0;
}
