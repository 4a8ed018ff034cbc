/* SPDX-License-Identifier: MIT */
/* Words and numbers of kinds come from one table. */
#include "model/param.h"

#include <string.h>

static const char *const words[] = {
    [ER_PARAM_STRING] = "string",     [ER_PARAM_INTEGER] = "integer",
    [ER_PARAM_NUMBER] = "number",     [ER_PARAM_BOOLEAN] = "boolean",
    [ER_PARAM_PATH] = "path",         [ER_PARAM_URL] = "url",
    [ER_PARAM_DURATION] = "duration", [ER_PARAM_STRINGS] = "strings",
    [ER_PARAM_OBJECT] = "object",
};
#define N_WORDS (sizeof words / sizeof *words)

static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
static const char others[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                             "0123456789_-";
static const char first_in_types[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    "0123456789_";
static const char in_types[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789_-.";

const char *
er_param_kind_word(enum er_param_kind k)
{
    return k > 0 && (size_t)k < N_WORDS ? words[k] : "?";
}

int
er_param_kind_find(const char *word)
{
    for (size_t i = 1; word && i < N_WORDS; i++) {
        if (strcmp(words[i], word) == 0) {
            return (int)i;
        }
    }
    return -1;
}

bool
er_param_is_name(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n <= ER_PARAM_NAME_MAX && strchr(letters, *name) &&
           strspn(name, others) == n;
}

bool
er_type_is_name(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n <= ER_PARAM_NAME_MAX && strchr(first_in_types, *name) &&
           strspn(name, in_types) == n;
}
