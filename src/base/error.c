/* SPDX-License-Identifier: MIT */
/* The codes stand in errors.def with their word, HTTP status, exit code and meaning. A
 * message that is too long for the struct is cut. A failed assertion prints file, line
 * and condition and aborts: also in a release. */
#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct row {
    int code;
    const char *word;
    int http;
    int exit;
    const char *meaning;
};

static const struct row rows[] = {
#define ER_ERROR(name, number, word, http, exit, meaning)                                \
    {-(number), word, http, exit, meaning},
#include "base/errors.def"
#undef ER_ERROR
};

static const struct row *
find(int code)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].code == code) {
            return &rows[i];
        }
    }
    return NULL;
}

const char *
er_error_word(int code)
{
    const struct row *r = find(code);
    return r ? r->word : "internal";
}

const char *
er_error_meaning(int code)
{
    const struct row *r = find(code);
    return r ? r->meaning : "internal error";
}

int
er_error_http(int code)
{
    const struct row *r = find(code);
    return r ? r->http : 500;
}

int
er_error_exit(int code)
{
    const struct row *r = find(code);
    return r ? r->exit : 1;
}

int
er_error_find(const char *word)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].word, word) == 0) {
            return rows[i].code;
        }
    }
    return 0;
}

int
er_fail(struct er_err *err, int code, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        (void)vsnprintf(err->text, sizeof err->text, fmt, ap);
        va_end(ap);
    }
    return code;
}

int
er_fail_prefix(struct er_err *err, int code, const char *fmt, ...)
{
    if (err) {
        char rest[sizeof err->text];
        memcpy(rest, err->text, sizeof rest);
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(err->text, sizeof err->text, fmt, ap);
        va_end(ap);
        if (n >= 0 && (size_t)n < sizeof err->text) {
            (void)snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s",
                           rest[0] ? rest : er_error_meaning(code));
        }
    }
    return code;
}

int
er_error_from_errno(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
        return ER_EDISKFULL;
    case ENOMEM:
        return ER_ENOMEM;
    case ENOENT:
        return ER_ENOTFOUND;
    case EEXIST:
        return ER_EEXISTS;
    case EACCES:
    case EPERM:
        return ER_EAUTH;
    case EINVAL:
        return ER_EINVALID;
    default:
        return ER_EIO;
    }
}

void
er_assert_failed(const char *file, int line, const char *func, const char *cond)
{
    (void)fprintf(stderr, "errand: broken assertion at %s:%d in %s: %s\n", file, line,
                  func, cond);
    abort();
}
