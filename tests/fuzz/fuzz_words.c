/* SPDX-License-Identifier: MIT */
/* Words that people give: durations, rates, times, ids and progress lines. What is read
 * and written again must read the same; what is refused must say why. `./dev fuzz words`;
 * replay.c feeds seeds without a fuzzer. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "model/duration.h"
#include "model/env_rules.h"
#include "model/idlist.h"
#include "model/mask.h"
#include "model/progress_line.h"
#include "model/rate.h"
#include "model/shell_words.h"
#include "model/suggest.h"
#include "model/text.h"
#include "model/when.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void
check_duration(const char *text)
{
    er_usec v = -1, again = -1;
    struct er_err err = {""};
    if (er_duration_parse(text, &v, &err)) {
        require(v == -1 && err.text[0] != '\0');
        return;
    }
    require(v >= 0 && v <= ER_DURATION_MAX);
    struct er_buf b;
    char out[ER_DURATION_SIZE];
    er_buf_init(&b, 0);
    er_duration_encode(v, &b);
    require(er_duration_parse(b.data, &again, NULL) == 0 && again == v);
    er_duration_format(v, out);
    er_buf_fini(&b);
}

static void
check_rate(const char *text)
{
    struct er_rate r, again;
    if (er_rate_parse(text, &r, NULL) == 0) {
        struct er_buf b;
        er_buf_init(&b, 0);
        er_rate_encode(&r, &b);
        require(r.n > 0 && r.per_for > 0);
        require(er_rate_parse(b.data, &again, NULL) == 0);
        require(again.n == r.n && again.burst == r.burst && again.per_for == r.per_for);
        er_buf_fini(&b);
    }
}

static void
check_times(const char *text)
{
    er_usec at = 0, back = 0;
    struct er_err err = {""};
    if (er_when_parse(text, INT64_C(1769851800123456), &at, &err)) {
        require(err.text[0] != '\0');
    }
    if (er_time_parse(text, &at) == 0 && at >= 0 && at < INT64_C(253402300799000000)) {
        char out[ER_RFC3339_SIZE];
        er_time_format(at, out);
        require(er_time_parse(out, &back) == 0 && back == at - at % 1000);
    }
}

static void
check_ids(const char *text)
{
    struct er_idlist l;
    er_idlist_init(&l);
    if (er_idlist_parse(&l, text, NULL) == 0) {
        require(l.n >= 1 && l.n <= ER_IDLIST_MAX);
        require(er_idlist_unique(&l) == 0 && l.n >= 1);
    } else {
        require(l.n == 0);
    }
    er_idlist_fini(&l);
}

static void
check_line(const char *p, size_t n)
{
    struct er_progress_line line;
    struct er_progress progress;
    er_progress_init(&progress, 0);
    if (er_progress_line_parse(p, n, &line, NULL) == 0 && !line.is_json &&
        !line.is_blank) {
        struct er_progress_update u = er_progress_line_update(&line);
        require(er_progress_update(&progress, &u, 1000) >= 0);
        require(progress.has_percent);
        require(progress.percent >= 0.0 && progress.percent <= 100.0);
    }
}

static void
check_texts(const char *text, size_t n)
{
    struct er_buf once, twice, word;
    char clean[64];
    const char *argv[] = {text, text};
    er_buf_init(&once, 0);
    er_buf_init(&twice, 0);
    er_buf_init(&word, 0);
    er_mask_encode(&once, text, n);
    er_buf_add(&once, "", 0);
    er_mask_encode(&twice, once.data, once.len);
    require(once.len == twice.len &&
            memcmp(once.data, twice.data ? twice.data : "", once.len) == 0);
    er_shell_words_name(&word, argv, 2);
    require(!word.failed && er_utf8_is_valid(word.data ? word.data : "", word.len));
    size_t len = er_text_clean(clean, sizeof clean, text, n);
    require(len < sizeof clean && er_utf8_is_valid(clean, len));
    er_buf_fini(&once);
    er_buf_fini(&twice);
    er_buf_fini(&word);
}

static void
check_names(const char *text)
{
    static const char *const names[] = {"add", "tasks", "cancel", "http.request"};
    struct er_env_rules r;
    (void)er_suggest_find(text, names, 4);
    er_env_rules_init(&r);
    if (er_env_rules_add(&r, text, NULL) == 0) {
        require(!er_env_rules_allows(&r, "ERRAND_HOME"));
    }
    (void)er_env_rules_allows(&r, text);
    er_env_rules_fini(&r);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = er_xalloc(size + 1);
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    check_duration(text);
    check_rate(text);
    check_times(text);
    check_ids(text);
    check_line(text, size);
    check_texts(text, size);
    check_names(text);
    er_free(text);
    return 0;
}
