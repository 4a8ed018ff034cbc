/* SPDX-License-Identifier: MIT */
/* Lines are taken off the front of what was read until a blank one ends an event. What
 * is not whole yet stays for the next call; fields that errand does not send are passed
 * over. */
#include "app/sse.h"

#include <stdlib.h>
#include <string.h>

/* Whether a line of n bytes is the field of that name; *out_value is what follows. */
static bool
is_field(const char *line, size_t n, const char *name, const char **out_value,
         size_t *out_n)
{
    size_t len = strlen(name);
    if (n <= len || strncmp(line, name, len) != 0 || line[len] != ':') {
        return false;
    }
    size_t skip = len + 1 < n && line[len + 1] == ' ' ? len + 2 : len + 1;
    *out_value = line + skip;
    *out_n = n - skip;
    return true;
}

static void
take_line(const char *line, size_t n, struct er_buf *data, int64_t *seq)
{
    const char *value;
    size_t len;
    if (is_field(line, n, "data", &value, &len)) {
        if (data->len > 0) {
            er_buf_add_char(data, '\n');
        }
        er_buf_add(data, value, len);
    } else if (is_field(line, n, "id", &value, &len)) {
        *seq = strtoll(value, NULL, 10);
    }
}

bool
er_sse_next(struct er_buf *in, struct er_buf *data, int64_t *seq)
{
    size_t at = 0;
    int64_t number = *seq; /* told only with its event */
    er_buf_clear(data);
    while (at < in->len) {
        const char *line = in->data + at;
        const char *end = memchr(line, '\n', in->len - at);
        if (!end) {
            break;
        }
        size_t n = (size_t)(end - line);
        at += n + 1;
        n -= n > 0 && line[n - 1] == '\r';
        if (n > 0) {
            take_line(line, n, data, &number);
        } else if (data->len > 0) {
            er_buf_drop(in, at);
            *seq = number;
            return true;
        } else { /* nothing but comments so far */
            er_buf_drop(in, at);
            number = *seq;
            at = 0;
        }
    }
    er_buf_clear(data);
    return false;
}
