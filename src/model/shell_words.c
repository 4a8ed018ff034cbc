/* SPDX-License-Identifier: MIT */
/* Only memory can fail, and then the buffer says so. What is not UTF-8 is replaced in
 * names, which go into JSON, but not in lines, which go into a shell. */
#include "model/shell_words.h"

#include <string.h>

#include "model/mask.h"
#include "model/text.h"

/* What no shell gives a meaning to, anywhere in a word. */
static const char safe[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    "_@%+=:,./-";

static void
add_quoted(struct er_buf *b, const char *word)
{
    er_buf_add_char(b, '\'');
    for (;;) {
        const char *quote = strchrnul(word, '\'');
        er_buf_add(b, word, (size_t)(quote - word));
        if (*quote == '\0') {
            break;
        }
        er_buf_add_str(b, "'\\''");
        word = quote + 1;
    }
    er_buf_add_char(b, '\'');
}

void
er_shell_words_add(struct er_buf *b, const char *word)
{
    if (word[0] != '\0' && word[strspn(word, safe)] == '\0') {
        er_buf_add_str(b, word);
    } else {
        add_quoted(b, word);
    }
}

void
er_shell_words_encode(struct er_buf *b, const char *const *argv, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i > 0) {
            er_buf_add_char(b, ' ');
        }
        if (i == 0 && strchr(argv[0], '=')) {
            add_quoted(b, argv[0]);
        } else {
            er_shell_words_add(b, argv[i]);
        }
    }
}

void
er_shell_words_name(struct er_buf *b, const char *const *argv, size_t n)
{
    struct er_buf line, masked;
    char clean[4 * ER_SHELL_WORDS_NAME + 8];
    er_buf_init(&line, 0);
    er_buf_init(&masked, 0);
    if (n == 1) {
        er_buf_add_str(&line, argv[0]);
    } else {
        er_shell_words_encode(&line, argv, n);
    }
    if (line.len > 0) {
        er_mask_encode(&masked, line.data, line.len);
    }
    if (line.failed || masked.failed) {
        b->failed = line.failed ? line.failed : masked.failed;
    } else if (masked.len > 0) {
        size_t len = er_text_clean(clean, sizeof clean, masked.data, masked.len);
        if (er_text_fit_chars(clean, len, ER_SHELL_WORDS_NAME) < len) {
            er_buf_add(b, clean, er_text_fit_chars(clean, len, ER_SHELL_WORDS_NAME - 1));
            er_buf_add_str(b, "…");
        } else {
            er_buf_add(b, clean, len);
        }
    }
    er_buf_fini(&masked);
    er_buf_fini(&line);
}
