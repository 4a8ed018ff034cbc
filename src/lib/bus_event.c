/* SPDX-License-Identifier: MIT */
/* One event: is it well formed, who wants it, and how it is kept. A record begins with
 * its header; then come the payload (aligned to 8), the name and the correlation, each of
 * the latter with a NUL. */
#include <string.h>

#include "base/mem.h"
#include "lib/bus_priv.h"

struct record {
    int64_t seq;
    int64_t task;
    uint32_t len;
    uint16_t name_len;
    uint8_t has_correlation;
    uint8_t kind;
    unsigned char bytes[];
};

static size_t
record_size(const struct er_bus_pub *pub)
{
    size_t n = sizeof(struct record) + pub->ev->len + pub->name_len + 1;
    n += pub->ev->correlation ? pub->correlation_len + 1 : 0;
    return (n + 7) & ~(size_t)7;
}

int
er_bus_event_check(const struct er_bus_event *ev, const struct er_bus_pub *before,
                   struct er_bus_pub *out)
{
    if (!ev->name || ev->name[0] == '\0' || (ev->len > 0 && !ev->data) ||
        !((ev->kind == ER_BUS_FACT && ev->seq > 0 && ev->seq <= ER_BUS_SEQ_MAX) ||
          (ev->kind == ER_BUS_SAMPLE && ev->seq == 0))) {
        return ER_EINVALID;
    }
    bool named_alike = before && before->ev->name == ev->name;
    out->ev = ev;
    out->name_len = named_alike ? before->name_len : strlen(ev->name);
    out->correlation_len = ev->correlation ? strlen(ev->correlation) : 0;
    if (out->name_len > ER_BUS_NAME_MAX || out->correlation_len > ER_BUS_NAME_MAX ||
        ev->len > ER_BUS_DATA_MAX) {
        return ER_ETOOBIG;
    }
    out->size = record_size(out);
    return 0;
}

/* ---- filters ---- */

static int
word_init(struct er_bus_word *w, const char *text, const char *member, struct er_err *err)
{
    if (!text) {
        return 0;
    }
    w->len = strlen(text);
    if (w->len == 0 || w->len > ER_BUS_NAME_MAX) {
        return er_fail(err, ER_EINVALID, "filter.%s: has to have 1 to %zu bytes, has %zu",
                       member, ER_BUS_NAME_MAX, w->len);
    }
    w->text = er_strdup(text);
    return w->text ? 0 : er_fail(err, ER_ENOMEM, "out of memory");
}

static int
names_init(struct er_bus_wants *w, const struct er_bus_filter *f, struct er_err *err)
{
    if (f->n_names == 0) {
        return 0;
    }
    if (!f->names) {
        return er_fail(err, ER_EINVALID, "filter.names: is NULL but n_names is not 0");
    }
    w->names = er_realloc_array(NULL, f->n_names, sizeof *w->names);
    w->texts = er_realloc_array(NULL, f->n_names, sizeof *w->texts);
    if (!w->names || !w->texts) {
        return er_fail(err, ER_ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < f->n_names; i++) {
        if (!f->names[i]) {
            return er_fail(err, ER_EINVALID, "filter.names[%zu]: is NULL", i);
        }
        w->names[i] = (struct er_bus_word){0};
        int rc = word_init(&w->names[i], f->names[i], "names", err);
        if (rc) {
            er_free(w->names[i].text);
            return rc;
        }
        w->texts[i] = w->names[i].text;
        w->n_names = i + 1;
    }
    return 0;
}

int
er_bus_wants_init(struct er_bus_wants *w, const struct er_bus_filter *f,
                  struct er_err *err)
{
    *w = (struct er_bus_wants){0};
    unsigned both = ER_BUS_FACT | ER_BUS_SAMPLE;
    if (f->kinds & ~both) {
        return er_fail(err, ER_EINVALID,
                       "filter.kinds: %u is not made of fact and sample", f->kinds);
    }
    w->kinds = f->kinds ? f->kinds : both;
    int rc = names_init(w, f, err);
    rc = rc ? rc : word_init(&w->prefix, f->prefix, "prefix", err);
    rc = rc ? rc : word_init(&w->correlation, f->correlation, "correlation", err);
    if (rc) {
        er_bus_wants_fini(w);
        return rc;
    }
    w->filter = (struct er_bus_filter){.kinds = w->kinds,
                                       .names = (const char *const *)w->texts,
                                       .n_names = w->n_names,
                                       .prefix = w->prefix.text,
                                       .task = f->task,
                                       .correlation = w->correlation.text};
    w->all = w->kinds == both && w->n_names == 0 && !w->prefix.text && f->task == 0 &&
             !w->correlation.text;
    return 0;
}

void
er_bus_wants_fini(struct er_bus_wants *w)
{
    for (size_t i = 0; i < w->n_names; i++) {
        er_free(w->names[i].text);
    }
    er_free(w->names);
    er_free(w->texts);
    er_free(w->prefix.text);
    er_free(w->correlation.text);
    *w = (struct er_bus_wants){0};
}

static bool
name_fits(const struct er_bus_wants *w, const char *name, size_t len)
{
    for (size_t i = 0; i < w->n_names; i++) {
        if (w->names[i].len == len && memcmp(w->names[i].text, name, len) == 0) {
            return true;
        }
    }
    return w->prefix.text
               ? len >= w->prefix.len && memcmp(w->prefix.text, name, w->prefix.len) == 0
               : w->n_names == 0;
}

bool
er_bus_wants_fits(const struct er_bus_wants *w, const struct er_bus_pub *pub)
{
    const struct er_bus_event *ev = pub->ev;
    if (w->all) {
        return true;
    }
    if (!(w->kinds & ev->kind) || (w->filter.task && w->filter.task != ev->task)) {
        return false;
    }
    if (w->correlation.text &&
        (w->correlation.len != pub->correlation_len ||
         memcmp(w->correlation.text, ev->correlation, pub->correlation_len) != 0)) {
        return false;
    }
    return name_fits(w, ev->name, pub->name_len);
}

/* ---- records ---- */

/* memcpy for what is mostly short: two moves that may overlap instead of a call. Returns
 * the end of the copy. */
static inline unsigned char *
copy(unsigned char *to, const void *from, size_t n)
{
    const unsigned char *p = from;
    uint64_t first, last;
    uint32_t begin, end;
    if (n > 2 * sizeof first) {
        memcpy(to, p, n);
    } else if (n >= sizeof first) {
        memcpy(&first, p, sizeof first);
        memcpy(&last, p + n - sizeof last, sizeof last);
        memcpy(to, &first, sizeof first);
        memcpy(to + n - sizeof last, &last, sizeof last);
    } else if (n >= sizeof begin) {
        memcpy(&begin, p, sizeof begin);
        memcpy(&end, p + n - sizeof end, sizeof end);
        memcpy(to, &begin, sizeof begin);
        memcpy(to + n - sizeof end, &end, sizeof end);
    } else {
        for (size_t i = 0; i < n; i++) {
            to[i] = p[i];
        }
    }
    return to + n;
}

void
er_bus_record_write(void *record, const struct er_bus_pub *pub)
{
    const struct er_bus_event *ev = pub->ev;
    struct record *r = record;
    r->seq = ev->seq;
    r->task = ev->task;
    r->len = (uint32_t)ev->len;
    r->name_len = (uint16_t)pub->name_len;
    r->has_correlation = ev->correlation != NULL;
    r->kind = (uint8_t)ev->kind;
    unsigned char *p = copy(r->bytes, ev->data, ev->len);
    p = copy(p, ev->name, pub->name_len + 1);
    if (ev->correlation) {
        (void)copy(p, ev->correlation, pub->correlation_len + 1);
    }
}

void
er_bus_record_read(const void *record, struct er_bus_event *out)
{
    const struct record *r = record;
    const char *name = (const char *)r->bytes + r->len;
    *out = (struct er_bus_event){.name = name,
                                 .kind = (enum er_bus_kind)r->kind,
                                 .seq = r->seq,
                                 .task = r->task,
                                 .correlation =
                                     r->has_correlation ? name + r->name_len + 1 : NULL,
                                 .data = r->bytes,
                                 .len = r->len};
}
