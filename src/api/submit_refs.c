/* SPDX-License-Identifier: MIT */
/* Names that the lines of one request have for each other. */
#include <stdio.h>
#include <string.h>

#include "api/submit.h"
#include "base/mem.h"

#define CHAIN_SHOWN ((size_t)16) /* names of a circle that are shown */

void
er_submit_fail(struct er_result *r, int status, const char *field, const char *words)
{
    r->status = status;
    r->field = field && *field ? er_xstrdup(field) : NULL;
    (void)snprintf(r->err.text, sizeof r->err.text, "%s", words);
}

/* ---- names ---- */

int
er_submit_add_ref(struct er_submit_group *g, struct er_draft *d)
{
    struct er_ref *ref;
    HASH_FIND_STR(g->refs, d->ref, ref);
    if (ref) {
        return er_draft_bad(d, "ref", "ref '%.100s' names two tasks of this request",
                            d->ref);
    }
    ref = er_xzalloc(sizeof *ref);
    ref->name = d->ref;
    ref->index = g->submit->n;
    HASH_ADD_KEYPTR(hh, g->refs, ref->name, strlen(ref->name), ref);
    g->named = true;
    return 0;
}

/* Turns the names in `after` into places; 0 or the row's failure. */
static int
resolve(struct er_submit_group *g, size_t row, char *words, size_t size)
{
    const char **names = g->after_refs[row];
    struct er_new_after *after =
        (struct er_new_after *)(uintptr_t)g->submit->rows[row].after;
    for (size_t i = 0; names && i < g->submit->rows[row].n_after; i++) {
        struct er_ref *ref;
        if (!names[i]) {
            continue;
        }
        HASH_FIND_STR(g->refs, names[i], ref);
        if (!ref) {
            (void)snprintf(words, size, "no task of this request has ref '%.100s'",
                           names[i]);
            return ER_EINVALID;
        }
        after[i].ref = (int)ref->index;
    }
    return 0;
}

/* Leaves out the rows that have failed. */
static void
compact(struct er_submission *s, struct er_submit_group *g)
{
    size_t kept = 0;
    int *moved = er_xrealloc_array(NULL, g->submit->n + 1, sizeof *moved);
    for (size_t i = 0; i < g->submit->n; i++) {
        moved[i] = (int)kept;
        if (s->results[g->lines[i]].status == 0) {
            g->submit->rows[kept] = g->submit->rows[i];
            g->lines[kept] = g->lines[i];
            g->after_refs[kept++] = g->after_refs[i];
        }
    }
    g->submit->n = kept;
    for (size_t i = 0; i < kept; i++) {
        struct er_new_task *row = &g->submit->rows[i];
        struct er_new_after *after = (struct er_new_after *)(uintptr_t)row->after;
        for (size_t k = 0; k < row->n_after; k++) {
            after[k].ref = after[k].ref < 0 ? -1 : moved[after[k].ref];
        }
    }
    er_free(moved);
}

/* The name of a task that a row waits for and that was refused, or NULL. */
static const char *
refused_name(const struct er_submission *s, const struct er_submit_group *g, size_t row)
{
    const struct er_new_task *t = &g->submit->rows[row];
    for (size_t i = 0; i < t->n_after; i++) {
        int ref = t->after[i].ref;
        if (ref >= 0 && s->results[g->lines[ref]].status) {
            return g->after_refs[row][i];
        }
    }
    return NULL;
}

/* ---- circles ---- */

enum { NEW, ON_WAY, DONE };
struct step {
    size_t row, next; /* next: index in its `after` */
};

/* The name by which the one before it on the way knows a row. */
static const char *
name_from(const struct er_submit_group *g, const struct step *before)
{
    return g->after_refs[before->row][before->next - 1];
}

/* Adds the names way[from .. n) and the first again, as JSON and as words; of a long
 * circle the first ones. */
static void
add_chain(const struct er_submit_group *g, const struct step *way, size_t from, size_t n,
          struct er_buf *json, struct er_buf *words)
{
    const char *first = name_from(g, &way[n - 1]);
    er_buf_add_str(json, "\"chain\":[");
    er_buf_add_json_str(json, first);
    er_buf_addf(words, "'%.60s'", first);
    for (size_t i = from + 1; i < n && i - from < CHAIN_SHOWN; i++) {
        const char *name = name_from(g, &way[i - 1]);
        er_buf_add_char(json, ',');
        er_buf_add_json_str(json, name);
        er_buf_addf(words, " waits for '%.60s'", name);
    }
    er_buf_add_str(json, n - from > CHAIN_SHOWN ? ",\"...\"," : ",");
    er_buf_add_json_str(json, first);
    er_buf_add_char(json, ']');
    er_buf_addf(words, " waits for %s'%.60s'", n - from > CHAIN_SHOWN ? "... " : "",
                first);
}

/* The rows way[from .. n) wait for each other: all of them stay out. */
static void
refuse_circle(struct er_submission *s, struct er_submit_group *g, const struct step *way,
              size_t from, size_t n)
{
    struct er_buf json, words;
    er_buf_init(&json, 0);
    er_buf_init(&words, 0);
    add_chain(g, way, from, n, &json, &words);
    char *text = er_xasprintf("these tasks wait for each other in a circle: %.300s",
                              words.data ? words.data : "");
    for (size_t i = from; i < n; i++) {
        struct er_result *r = &s->results[g->lines[way[i].row]];
        er_submit_fail(r, ER_EINVALID, "after", text);
        r->extra = er_xstrdup(json.data);
    }
    er_free(text);
    er_buf_fini(&json);
    er_buf_fini(&words);
    s->failed = s->atomic ? ER_EINVALID : s->failed;
}

/* Walks from one row along what it waits for, depth first, without recursion. Returns how
 * many rows were refused. */
static size_t
walk(struct er_submission *s, struct er_submit_group *g, size_t start,
     unsigned char *marks, size_t *places, struct step *way)
{
    size_t n = 0, refused = 0;
    marks[start] = ON_WAY;
    places[start] = 0;
    way[n++] = (struct step){start, 0};
    while (n > 0) {
        struct step *st = &way[n - 1];
        const struct er_new_task *row = &g->submit->rows[st->row];
        if (st->next == row->n_after || s->results[g->lines[st->row]].status) {
            marks[st->row] = DONE;
            n--;
            continue;
        }
        int ref = row->after[st->next++].ref;
        if (ref < 0 || marks[ref] == DONE) {
            continue;
        }
        if (marks[ref] == ON_WAY) {
            refuse_circle(s, g, way, places[ref], n);
            refused += n - places[ref];
            continue;
        }
        marks[ref] = ON_WAY;
        places[ref] = n;
        way[n++] = (struct step){(size_t)ref, 0};
    }
    return refused;
}

static size_t
refuse_circles(struct er_submission *s, struct er_submit_group *g)
{
    size_t n = g->submit->n, refused = 0;
    unsigned char *marks = er_xzalloc(n + 1);
    size_t *places = er_xrealloc_array(NULL, n + 1, sizeof *places);
    struct step *way = er_xrealloc_array(NULL, n + 1, sizeof *way);
    for (size_t i = 0; i < n; i++) {
        if (marks[i] == NEW) {
            refused += walk(s, g, i, marks, places, way);
        }
    }
    er_free(marks);
    er_free(places);
    er_free(way);
    return refused;
}

/* Rows that name a task which is not there stay out, and those that name them; the others
 * are stored. */
void
er_submit_resolve(struct er_submission *s, struct er_submit_group *g)
{
    char words[256];
    size_t refused = 0;
    for (size_t i = 0; i < g->submit->n; i++) {
        int rc = resolve(g, i, words, sizeof words);
        if (rc) {
            er_submit_fail(&s->results[g->lines[i]], rc, "after", words);
            s->failed = s->atomic ? rc : s->failed;
            refused++;
        }
    }
    refused += g->named ? refuse_circles(s, g) : 0;
    for (size_t before = 0; refused > before;) {
        before = refused;
        for (size_t i = 0; i < g->submit->n; i++) {
            struct er_result *r = &s->results[g->lines[i]];
            const char *name = r->status ? NULL : refused_name(s, g, i);
            if (name || (s->atomic && r->status == 0)) {
                (void)snprintf(words, sizeof words, "not stored: %s%.100s%s was refused",
                               name ? "the task with ref '"
                                    : "another task of the request",
                               name ? name : "", name ? "'" : "");
                er_submit_fail(r, ER_ECANCELLED, name ? "after" : NULL, words);
                refused++;
            }
        }
    }
    if (refused > 0) {
        compact(s, g);
    }
}
