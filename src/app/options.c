/* SPDX-License-Identifier: MIT */
/* How it works: one pass over the arguments; an entry is found by letter or name, its
 * value is read by its kind and stored at its offset. What cannot be read names the
 * option, the value and what would be right. */
#include "app/options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/duration.h"
#include "model/suggest.h"

#define NAMES_MAX 96

struct parse {
    const struct er_opt_target *targets;
    size_t n;
    const char *what;
    int argc, at; /* at: the argument that is looked at */
    char **argv;
    struct er_err *err;
};

int
er_options_int(const char *text, int64_t min, int64_t max, int64_t *out)
{
    char *end;
    if (text[0] != '-' && (text[0] < '0' || text[0] > '9')) {
        return ER_EINVALID;
    }
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || end == text || *end || v < min || v > max) {
        return ER_EINVALID;
    }
    *out = v;
    return 0;
}

/* The entry of a letter, or of a name of n bytes; *out_data is the struct it fills. */
static const struct er_opt *
find(const struct parse *p, char letter, const char *name, size_t n, char **out_data)
{
    for (size_t i = 0; i < p->n; i++) {
        for (const struct er_opt *o = p->targets[i].opts; o && o->name; o++) {
            bool same = name ? strlen(o->name) == n && memcmp(o->name, name, n) == 0
                             : o->letter && o->letter == letter;
            if (same) {
                *out_data = p->targets[i].data;
                return o;
            }
        }
    }
    return NULL;
}

static int
fail_unknown(const struct parse *p, const char *name, size_t n)
{
    char word[ER_SUGGEST_MAX];
    const char *names[NAMES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < p->n; i++) {
        for (const struct er_opt *o = p->targets[i].opts; o && o->name; o++) {
            if (count < NAMES_MAX) {
                names[count++] = o->name;
            }
        }
    }
    if (n >= sizeof word) {
        n = sizeof word - 1;
    }
    memcpy(word, name, n);
    word[n] = '\0';
    const char *near = er_suggest_find(word, names, count);
    if (near) {
        return er_fail(p->err, ER_EINVALID, "unknown option '--%s' (did you mean --%s?)",
                       word, near);
    }
    return er_fail(p->err, ER_EINVALID, "unknown option '--%s' (%s --help lists them)",
                   word, p->what);
}

/* Whether `text` is one of the words in a list with blanks between. */
static bool
is_word(const char *words, const char *text)
{
    size_t n = strlen(text);
    for (const char *w = words; n > 0 && *w; w += strspn(w, " ")) {
        size_t len = strcspn(w, " ");
        if (len == n && memcmp(w, text, n) == 0) {
            return true;
        }
        w += len;
    }
    return false;
}

static int
check_text(const struct er_opt *o, const char *value, struct er_err *err)
{
    if (!value[0]) {
        return er_fail(err, ER_EINVALID, "--%s needs a value (%s), not an empty one",
                       o->name, o->arg);
    }
    if (o->max > 0 && strlen(value) > (size_t)o->max) {
        return er_fail(err, ER_EINVALID,
                       "the value of --%s is too long: %zu bytes (max: %" PRId64 ")",
                       o->name, strlen(value), o->max);
    }
    return 0;
}

static int
set_list(const struct er_opt *o, struct er_opt_list *list, const char *value,
         struct er_err *err)
{
    int rc = check_text(o, value, err);
    if (rc) {
        return rc;
    }
    const char **v = er_realloc_array(list->v, list->n + 1, sizeof *v);
    if (!v) {
        return er_fail(err, ER_ENOMEM, "out of memory");
    }
    list->v = v;
    list->v[list->n++] = value;
    return 0;
}

static int
set_int(const struct er_opt *o, struct er_opt_int *out, const char *value,
        struct er_err *err)
{
    if (er_options_int(value, o->min, o->max, &out->value)) {
        return er_fail(
            err, ER_EINVALID,
            "invalid value '%.100s' for --%s: it takes a whole number from %" PRId64
            " to %" PRId64,
            value, o->name, o->min, o->max);
    }
    out->set = true;
    return 0;
}

static int
set_span(const struct er_opt *o, struct er_opt_span *out, const char *value,
         struct er_err *err)
{
    int rc = er_duration_parse(value, &out->value, err);
    if (rc) {
        return er_fail_prefix(err, rc, "--%s", o->name);
    }
    out->set = true;
    return 0;
}

/* Stores a value (NULL for a flag) where the entry says. */
static int
set(const struct er_opt *o, char *data, const char *value, struct er_err *err)
{
    void *at = data + o->at;
    int rc;
    switch (o->kind) {
    case ER_OPT_FLAG:
        *(bool *)at = true;
        return 0;
    case ER_OPT_TEXT:
        rc = check_text(o, value, err);
        if (!rc) {
            *(const char **)at = value;
        }
        return rc;
    case ER_OPT_WORD:
        if (!is_word(o->words, value)) {
            return er_fail(err, ER_EINVALID,
                           "invalid value '%.100s' for --%s: it is one of %s", value,
                           o->name, o->words);
        }
        *(const char **)at = value;
        return 0;
    case ER_OPT_INT:
        return set_int(o, at, value, err);
    case ER_OPT_SPAN:
        return set_span(o, at, value, err);
    case ER_OPT_LIST:
        return set_list(o, at, value, err);
    }
    return ER_EINVALID;
}

/* The next argument as the value of an option; NULL and words when there is none. */
static const char *
next_value(struct parse *p, const struct er_opt *o)
{
    if (p->at + 1 >= p->argc) {
        (void)er_fail(p->err, ER_EINVALID, "--%s needs a value: --%s %s", o->name,
                      o->name, o->arg);
        return NULL;
    }
    return p->argv[++p->at];
}

/* "--name", "--name=value" or "--name" "value". */
static int
parse_long(struct parse *p, const char *text)
{
    const char *equals = strchr(text, '=');
    size_t n = equals ? (size_t)(equals - text) : strlen(text);
    char *data;
    const struct er_opt *o = find(p, '\0', text, n, &data);
    if (!o) {
        return fail_unknown(p, text, n);
    }
    const char *value = equals ? equals + 1 : NULL;
    if (!o->arg && value) {
        return er_fail(p->err, ER_EINVALID, "--%s takes no value", o->name);
    }
    if (o->arg && !value && !(value = next_value(p, o))) {
        return ER_EINVALID;
    }
    return set(o, data, value, p->err);
}

/* "-f", "-n5", "-n" "5", "-fn5". */
static int
parse_short(struct parse *p, const char *text)
{
    for (; *text; text++) {
        char *data;
        const struct er_opt *o = find(p, *text, NULL, 0, &data);
        if (!o) {
            return er_fail(p->err, ER_EINVALID,
                           "unknown option '-%c' (%s --help lists them)",
                           *text >= ' ' && *text < 0x7f ? *text : '?', p->what);
        }
        if (!o->arg) {
            int rc = set(o, data, NULL, p->err);
            if (rc) {
                return rc;
            }
            continue;
        }
        const char *value = text[1] ? text + 1 : next_value(p, o);
        return value ? set(o, data, value, p->err) : ER_EINVALID;
    }
    return 0;
}

int
er_options_parse(const struct er_opt_target *targets, size_t n, const char *what,
                 bool stop_early, int argc, char **argv, int *out_rest,
                 struct er_err *err)
{
    struct parse p = {targets, n, what, argc, 0, argv, err};
    int operands = 0, rest = -1;
    for (; p.at < argc; p.at++) {
        char *arg = argv[p.at];
        bool ends = strcmp(arg, "--") == 0;
        if (ends || (stop_early && (arg[0] != '-' || !arg[1]))) {
            rest = ends ? operands : -1;
            for (p.at += ends; p.at < argc; p.at++) {
                argv[operands++] = argv[p.at];
            }
            break;
        }
        if (arg[0] != '-' || !arg[1]) {
            argv[operands++] = arg;
            continue;
        }
        int rc = arg[1] == '-' ? parse_long(&p, arg + 2) : parse_short(&p, arg + 1);
        if (rc) {
            return rc;
        }
    }
    if (out_rest) {
        *out_rest = rest;
    }
    return operands;
}

void
er_options_fini(const struct er_opt_target *targets, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (const struct er_opt *o = targets[i].opts; o && o->name; o++) {
            if (o->kind == ER_OPT_LIST) {
                struct er_opt_list *list =
                    (struct er_opt_list *)(void *)((char *)targets[i].data + o->at);
                er_free(list->v);
                *list = (struct er_opt_list){0};
            }
        }
    }
}
