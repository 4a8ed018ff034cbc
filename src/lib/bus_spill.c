/* SPDX-License-Identifier: MIT */
/* What a subscriber with a full ring keeps: the latest sample of each (task, name), in
 * the order in which they were last changed, and the number of the first fact that was
 * left out. A sample remembers the last fact that was published before it, so that both
 * can be put together in their order again.
 *
 * It is bounded in bytes: then the samples that were not changed for longest go, and are
 * counted as missed. A sample for which there is no memory is missed, too, and so is the
 * older one in its place: what is delivered is never older than what was dropped. */
#define HASH_NONFATAL_OOM                                                                \
    1 /* before <uthash.h>: no memory means that nothing was added */

#include <string.h>

#include "base/mem.h"
#include "lib/bus_priv.h"

#undef uthash_malloc
#define uthash_malloc(size) er_alloc(size)
#undef uthash_free
#define uthash_free(p, size) er_free(p)

#define KEY_MAX (sizeof(int64_t) + ER_BUS_NAME_MAX)

void
er_bus_spill_init(struct er_bus_spill *s, size_t max)
{
    *s = (struct er_bus_spill){.max = max};
    TAILQ_INIT(&s->samples);
}

void
er_bus_spill_fini(struct er_bus_spill *s)
{
    struct er_bus_sample *p;
    while ((p = er_bus_spill_take(s))) {
        er_free(p);
    }
}

void
er_bus_spill_move(struct er_bus_spill *s, struct er_bus_spill *to)
{
    size_t max = s->max;
    *to = *s;
    TAILQ_INIT(&to->samples);
    TAILQ_CONCAT(&to->samples, &s->samples, link);
    er_bus_spill_init(s, max);
}

int64_t
er_bus_spill_count(const struct er_bus_spill *s)
{
    return (int64_t)HASH_COUNT(s->table) + (s->missed > 0);
}

static void
take_out(struct er_bus_spill *s, struct er_bus_sample *p)
{
    HASH_DEL(s->table, p);
    TAILQ_REMOVE(&s->samples, p, link);
    s->bytes -= p->size;
}

struct er_bus_sample *
er_bus_spill_take(struct er_bus_spill *s)
{
    struct er_bus_sample *p = TAILQ_FIRST(&s->samples);
    if (p) {
        take_out(s, p);
    }
    return p;
}

static size_t
make_key(unsigned char *key, const struct er_bus_pub *pub)
{
    memcpy(key, &pub->ev->task, sizeof pub->ev->task);
    memcpy(key + sizeof pub->ev->task, pub->ev->name, pub->name_len);
    return sizeof pub->ev->task + pub->name_len;
}

/* Adds a new one, with some room to spare for its successors. False: no memory. */
static bool
add_sample(struct er_bus_spill *s, const struct er_bus_pub *pub, const unsigned char *key,
           size_t key_len)
{
    size_t room = pub->size + 32;
    size_t size = sizeof(struct er_bus_sample) + room + key_len;
    while (s->bytes + size > s->max && !TAILQ_EMPTY(&s->samples)) {
        er_free(er_bus_spill_take(s));
        s->missed++;
    }
    struct er_bus_sample *p = size > s->max ? NULL : er_alloc(size);
    if (!p) {
        return false;
    }
    *p = (struct er_bus_sample){.room = room, .size = size, .after = pub->after};
    p->key = p->record + room;
    memcpy(p->key, key, key_len);
    HASH_ADD_KEYPTR(hh, s->table, p->key, key_len, p);
    if (!p->hh.tbl) {
        er_free(p);
        return false;
    }
    er_bus_record_write(p->record, pub);
    TAILQ_INSERT_TAIL(&s->samples, p, link);
    s->bytes += size;
    return true;
}

/* Writes over an older one, when it has the room. */
static bool
replace(struct er_bus_sample *p, const struct er_bus_pub *pub)
{
    if (pub->size > p->room) {
        return false;
    }
    er_bus_record_write(p->record, pub);
    p->after = pub->after;
    return true;
}

/* Whether it is of the same task and name. */
static bool
is_same(const struct er_bus_sample *p, const struct er_bus_pub *pub)
{
    int64_t task;
    memcpy(&task, p->key, sizeof task);
    return task == pub->ev->task && p->hh.keylen == sizeof task + pub->name_len &&
           memcmp(p->key + sizeof task, pub->ev->name, pub->name_len) == 0;
}

bool
er_bus_spill_sample(struct er_bus_spill *s, const struct er_bus_pub *pub)
{
    unsigned char key[KEY_MAX];
    struct er_bus_sample *p = TAILQ_LAST(&s->samples, er_bus_samples);
    if (p && is_same(p, pub) && replace(p, pub)) {
        return true; /* the same again, as so often */
    }
    size_t key_len = make_key(key, pub);
    HASH_FIND(hh, s->table, key, key_len, p);
    if (p && replace(p, pub)) {
        TAILQ_REMOVE(&s->samples, p, link);
        TAILQ_INSERT_TAIL(&s->samples, p, link);
        return true;
    }
    bool had = p != NULL;
    if (p) {
        take_out(s, p);
        er_free(p);
    }
    if (!add_sample(s, pub, key, key_len)) {
        s->missed++;
    }
    return had;
}
