/* SPDX-License-Identifier: MIT */
/* Texts go out escaped. When memory is out the buffer says so. */
#include "wire/problem.h"

int
er_problem_json(struct er_buf *b, int code, const char *detail, const char *field,
                const char *extra)
{
    return er_problem_json_status(b, er_error_http(code), code, detail, field, extra);
}

int
er_problem_json_status(struct er_buf *b, int status, int code, const char *detail,
                       const char *field, const char *extra)
{
    const char *meaning = er_error_meaning(code);
    er_buf_add_str(b, "{\"type\":\"about:blank\",\"title\":");
    er_buf_add_json_str(b, meaning);
    er_buf_add_str(b, ",\"status\":");
    er_buf_add_i64(b, status);
    er_buf_add_str(b, ",\"code\":");
    er_buf_add_json_str(b, er_error_word(code));
    er_buf_add_str(b, ",\"detail\":");
    er_buf_add_json_str(b, detail ? detail : meaning);
    er_buf_add_str(b, ",\"field\":");
    er_buf_add_json_str(b, field);
    if (extra) {
        er_buf_add_char(b, ',');
        er_buf_add_str(b, extra);
    }
    er_buf_add_char(b, '}');
    return status;
}
