/* SPDX-License-Identifier: MIT */
/* Regular expressions, by PCRE2 as far as it is what ECMAScript has: UTF-8, `$` only at
 * the very end, \uXXXX, empty classes. Patterns come from whoever may define types, texts
 * from whoever may submit: steps, depth and memory of a match have bounds, and a match
 * that would need more is an error, never a hang. Nothing is kept between calls: a
 * pattern is compiled in some microseconds. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "wire/params_priv.h"

#define STEPS_MAX ((uint32_t)200000) /* a few milliseconds */
#define DEPTH_MAX ((uint32_t)20000)
#define HEAP_KIB  ((uint32_t)8192)
#define NEST_MAX  ((uint32_t)50) /* of groups within each other */

static const uint32_t options = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALT_BSUX |
                                PCRE2_ALLOW_EMPTY_CLASS | PCRE2_MATCH_UNSET_BACKREF |
                                PCRE2_NEVER_BACKSLASH_C;

static int
compile(const char *pattern, pcre2_code **out, struct er_err *err)
{
    int why = 0;
    PCRE2_SIZE at = 0;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context) {
        return er_fail(err, ER_ENOMEM, "out of memory");
    }
    (void)pcre2_set_newline(context, PCRE2_NEWLINE_ANYCRLF);
    (void)pcre2_set_parens_nest_limit(context, NEST_MAX);
    (void)pcre2_set_compile_extra_options(context, PCRE2_EXTRA_ALT_BSUX);
    *out = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, options, &why, &at,
                         context);
    pcre2_compile_context_free(context);
    if (!*out && why == PCRE2_ERROR_HEAP_FAILED) {
        return er_fail(err, ER_ENOMEM, "out of memory");
    }
    if (!*out) {
        PCRE2_UCHAR words[160] = "";
        (void)pcre2_get_error_message(why, words, sizeof words);
        return er_fail(err, ER_EINVALID,
                       "'%.80s' is not a regular expression: %s (at character %zu)",
                       pattern, (const char *)words, (size_t)at + 1);
    }
    return 0;
}

int
er_params_pattern_check(const char *pattern, struct er_err *err)
{
    pcre2_code *code = NULL;
    int rc = compile(pattern, &code, err);
    pcre2_code_free(code);
    return rc;
}

static int
match(const pcre2_code *code, const char *text, size_t len)
{
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    int rc = PCRE2_ERROR_NOMEMORY;
    if (data && context) {
        (void)pcre2_set_match_limit(context, STEPS_MAX);
        (void)pcre2_set_depth_limit(context, DEPTH_MAX);
        (void)pcre2_set_heap_limit(context, HEAP_KIB);
        rc = pcre2_match(code, (PCRE2_SPTR)text, len, 0, 0, data, context);
    }
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
    if (rc >= 0) {
        return 1;
    }
    switch (rc) {
    case PCRE2_ERROR_NOMATCH:
        return 0;
    case PCRE2_ERROR_MATCHLIMIT:
    case PCRE2_ERROR_DEPTHLIMIT:
    case PCRE2_ERROR_HEAPLIMIT:
        return ER_ETOOBIG;
    case PCRE2_ERROR_NOMEMORY:
        return ER_ENOMEM;
    default: /* no UTF-8, which JSON is */
        return 0;
    }
}

int
er_params_pattern_match(const char *pattern, const char *text, size_t len)
{
    pcre2_code *code = NULL;
    int rc = compile(pattern, &code, NULL);
    rc = rc ? rc : match(code, text, len);
    pcre2_code_free(code);
    return rc;
}
