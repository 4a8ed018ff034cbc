/* SPDX-License-Identifier: MIT */
/* Errors: a function that can fail returns 0 or a negative ER_E* code; where a person
 * reads the reason, its last parameter is a struct er_err that carries the words. */
#ifndef ER_BASE_ERROR_H
#define ER_BASE_ERROR_H

#include <stdarg.h>

#define ER_MUSTCHECK         __attribute__((warn_unused_result))
#define ER_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

enum er_error {
    ER_OK = 0,
#define ER_ERROR(name, number, word, http, exit, meaning) ER_E##name = -(number),
#include "base/errors.def"
#undef ER_ERROR
};

/* The words of an error, for people. Text is always terminated; "" = nothing said. */
struct er_err {
    char text[512];
};

/* The stable word ("not-found"), the meaning ("no such thing"), the HTTP status and the
 * exit code of a code; for an unknown code "internal", "internal error", 500 and 1. */
const char *er_error_word(int code);
const char *er_error_meaning(int code);
int er_error_http(int code);
int er_error_exit(int code);
/* The code whose stable word is `word`, or 0 when there is none. */
int er_error_find(const char *word);

/* Sets the words (err may be NULL) and returns `code`, so that one can write
 * `return er_fail(err, ER_EINVALID, "...")`. A message longer than the text is cut. */
int er_fail(struct er_err *err, int code, const char *fmt, ...) ER_PRINTF(3, 4);
/* Puts "prefix: " before the words that are there (err may be NULL); returns `code`. */
int er_fail_prefix(struct er_err *err, int code, const char *fmt, ...) ER_PRINTF(3, 4);
/* Maps an errno value to a code: ENOSPC/EDQUOT DISKFULL, ENOMEM NOMEM, ENOENT NOTFOUND,
 * EEXIST EXISTS, EACCES/EPERM AUTH, EINVAL INVALID, anything else IO. */
int er_error_from_errno(int errnum);

/* Always on, also in releases: prints file, line and the condition, then aborts. For what
 * cannot be unless our own code is wrong; never for input or the system's answers. */
#define ER_ASSERT(cond)                                                                  \
    ((cond) ? (void)0 : er_assert_failed(__FILE__, __LINE__, __func__, #cond))
_Noreturn void er_assert_failed(const char *file, int line, const char *func,
                                const char *cond);

#endif
