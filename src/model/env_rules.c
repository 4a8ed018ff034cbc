/* SPDX-License-Identifier: MIT */
/* Rules are kept as text and matched one by one: there are few, and an environment is
 * looked at once a submit. A rule that could match no name (empty, with blanks or '=')
 * is refused when it is added. */
#include "model/env_rules.h"

#include <string.h>
#include <strings.h>

#include "base/mem.h"

static const char *const defaults[] = {
#define RULE(rule, such_as) rule,
    ER_ENV_RULES_DEFAULT(RULE)
#undef RULE
};

void
er_env_rules_init(struct er_env_rules *r)
{
    *r = (struct er_env_rules){0};
}

void
er_env_rules_fini(struct er_env_rules *r)
{
    for (size_t i = 0; i < r->n; i++) {
        er_free(r->added[i]);
    }
    er_free(r->added);
    er_env_rules_init(r);
}

static const char *
find_flaw(const char *rule)
{
    const char *name = rule + (rule[0] == '!' ? 1 : 0);
    if (name[0] == '\0') {
        return "it is empty";
    }
    if (strlen(rule) > ER_ENV_RULES_PATTERN) {
        return "it is longer than 128 bytes";
    }
    for (const char *p = name; *p; p++) {
        if ((unsigned char)*p <= ' ' || *p == '=' || *p == '!' || *p == 0x7f) {
            return "names have no blanks, '=' or '!'";
        }
    }
    return NULL;
}

int
er_env_rules_add(struct er_env_rules *r, const char *rule, struct er_err *err)
{
    const char *flaw = find_flaw(rule);
    if (flaw) {
        return er_fail(err, ER_EINVALID,
                       "invalid environment rule '%.60s': %s (try *_TOKEN or !MY_TOKEN)",
                       rule, flaw);
    }
    if (r->n == ER_ENV_RULES_MAX) {
        return er_fail(err, ER_EFULL, "too many environment rules (max: %d)",
                       ER_ENV_RULES_MAX);
    }
    char **added = er_realloc_array(r->added, r->n + 1, sizeof *added);
    if (!added) {
        return er_fail(err, ER_ENOMEM, "out of memory");
    }
    r->added = added;
    added[r->n] = er_strdup(rule);
    if (!added[r->n]) {
        return er_fail(err, ER_ENOMEM, "out of memory");
    }
    r->n++;
    return 0;
}

static char
lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Matches with `*` and `?`. On a mismatch the last star takes one character more, so the
 * work is bounded by the product of the lengths. */
static bool
matches(const char *pattern, const char *name)
{
    const char *star = NULL, *retry = name;
    while (*name) {
        if (*pattern == '*') {
            star = ++pattern;
            retry = name;
        } else if (*pattern == '?' || (*pattern && lower(*pattern) == lower(*name))) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star;
            name = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == '\0';
}

/* What this rule says to the name: *allowed changes only when it matches. */
static void
apply(const char *rule, const char *name, bool *allowed)
{
    bool allows = rule[0] == '!';
    if (matches(rule + (allows ? 1 : 0), name)) {
        *allowed = allows;
    }
}

bool
er_env_rules_allows(const struct er_env_rules *r, const char *name)
{
    bool allowed = true;
    if (name[0] == '\0' || strchr(name, '=') || strncasecmp(name, "ERRAND_", 7) == 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++) {
        apply(defaults[i], name, &allowed);
    }
    for (size_t i = 0; i < r->n; i++) {
        apply(r->added[i], name, &allowed);
    }
    return allowed;
}
