/* SPDX-License-Identifier: MIT */
/* Pieces between commas are read from left to right; a range is added id by id, up to
 * ER_IDLIST_MAX ids. A piece that is none leaves the list as it was before the whole
 * text. `@last` stands as 0 until it is resolved. */
#include "model/idlist.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void
er_idlist_init(struct er_idlist *l)
{
    *l = (struct er_idlist){0};
}

void
er_idlist_fini(struct er_idlist *l)
{
    er_free(l->ids);
    er_idlist_init(l);
}

/* Reads a number from 1 on; NULL when there is none or it is too large. */
static const char *
read_id(const char *p, er_task_id *out)
{
    er_task_id v = 0;
    if (*p < '0' || *p > '9') {
        return NULL;
    }
    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, *p - '0', &v)) {
            return NULL;
        }
    }
    *out = v;
    return v > 0 ? p : NULL;
}

static int
fail_size(struct er_err *err, const char *text)
{
    return er_fail(err, ER_ETOOBIG, "too many ids in '%.60s' (at most %d at a time)",
                   text, ER_IDLIST_MAX);
}

/* Adds the ids from first to last. */
static int
add_range(struct er_idlist *l, er_task_id first, er_task_id last, const char *text,
          struct er_err *err)
{
    if (last - first >= ER_IDLIST_MAX || l->n + (size_t)(last - first) >= ER_IDLIST_MAX) {
        return fail_size(err, text);
    }
    size_t need = l->n + (size_t)(last - first) + 1;
    if (need > l->size) {
        size_t size = need > l->size * 2 ? need + 8 : l->size * 2;
        er_task_id *ids = er_realloc_array(l->ids, size, sizeof *ids);
        if (!ids) {
            return er_fail(err, ER_ENOMEM, "out of memory");
        }
        l->ids = ids;
        l->size = size;
    }
    for (er_task_id i = 0; i <= last - first; i++) {
        l->ids[l->n++] = first + i;
    }
    return 0;
}

/* Adds what stands between two commas, [p, end). */
static int
add_piece(struct er_idlist *l, const char *p, const char *end, const char *text,
          struct er_err *err)
{
    er_task_id first = 0, last;
    if (end - p == 5 && memcmp(p, "@last", 5) == 0) {
        return add_range(l, ER_IDLIST_LAST, ER_IDLIST_LAST, text, err);
    }
    const char *at = read_id(p, &first);
    last = first;
    if (at && *at == '-') {
        at = read_id(at + 1, &last);
    }
    if (at != end) {
        return er_fail(err, ER_EINVALID, "invalid id '%.60s' (try 42, 3-7 or @last)",
                       text);
    }
    if (last < first) {
        return er_fail(err, ER_EINVALID,
                       "invalid id '%.60s': a range goes from the lower to the higher",
                       text);
    }
    return add_range(l, first, last, text, err);
}

int
er_idlist_parse(struct er_idlist *l, const char *text, struct er_err *err)
{
    size_t before = l->n;
    const char *p = text;
    for (;;) {
        const char *end = strchrnul(p, ',');
        int rc = add_piece(l, p, end, text, err);
        if (rc) {
            l->n = before;
            return rc;
        }
        if (*end == '\0') {
            return 0;
        }
        p = end + 1;
    }
}

bool
er_idlist_has_last(const struct er_idlist *l)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->ids[i] == ER_IDLIST_LAST) {
            return true;
        }
    }
    return false;
}

void
er_idlist_resolve(struct er_idlist *l, er_task_id last)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->ids[i] == ER_IDLIST_LAST) {
            l->ids[i] = last;
        }
    }
}

struct place {
    er_task_id id;
    size_t at;
};

static int
compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->id != y->id) {
        return x->id < y->id ? -1 : 1;
    }
    return x->at < y->at ? -1 : x->at > y->at;
}

static int
compare_at(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}

int
er_idlist_unique(struct er_idlist *l)
{
    struct place *places = er_realloc_array(NULL, l->n + 1, sizeof *places);
    size_t kept = 0;
    if (!places) {
        return ER_ENOMEM;
    }
    for (size_t i = 0; i < l->n; i++) {
        places[i] = (struct place){l->ids[i], i};
    }
    qsort(places, l->n, sizeof *places, compare_places);
    for (size_t i = 0; i < l->n; i++) {
        if (i == 0 || places[i].id != places[kept - 1].id) {
            places[kept++] = places[i];
        }
    }
    qsort(places, kept, sizeof *places, compare_at);
    for (size_t i = 0; i < kept; i++) {
        l->ids[i] = places[i].id;
    }
    l->n = kept;
    er_free(places);
    return 0;
}
