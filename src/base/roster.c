/* SPDX-License-Identifier: MIT */
/* How it works. The array in use is never changed: a change makes a copy, stores it as
 * the newest and puts the one before into `old`. A thread that walks claims a slot,
 * writes the list it walks into it, and goes on only when that is still the newest. A
 * list in `old` is freed once no slot names it; an entry, once no list has it.
 *
 * Memory order. Each of the three rules below is one thread that stores A and loads B
 * while another stores B and loads A, so that at least one of both has to see what the
 * other has stored:
 *
 *   1 lists: the walker stores slot->list, loads roster->list; who changes stores
 *     roster->list, then loads every slot->list (er_roster_collect). Either the walker
 *     sees a newer list and begins again, or its slot is seen and the list stays.
 *   2 calls: the walker stores slot->at, loads entry->closed; who removes stores closed,
 *     then loads every slot->at (er_roster_runs). Either the walker does not call, or it
 *     is seen calling. The same holds for er_entry_enter with entry->runner. After a
 *     removal no call begins, so that "nobody calls it" stays true.
 *   3 ends: a walker that puts an entry down stores slot->at, then loads closed of the
 *     one before; who waits has stored closed and then looks at slot->at. Either the
 *     waiting one sees that it is over, or the walker sees `closed` (pass->ended) and has
 *     to wake it, under the lock.
 *
 * That takes a full barrier between store and load on both sides. The walker's is a
 * locked instruction for each entry, which is more than the call of a short callback
 * costs. Walks are many and changes are rare; so where the kernel can, who changes makes
 * the barriers of both (base/barrier.h) between its store and its loads.
 * er_roster_collect and er_roster_runs stand behind one: er_roster_add and
 * er_roster_remove end with it. Rule 3 is the same one: the waiting one has removed
 * before. Else all are sequentially consistent, which says the same. er_entry_enter
 * always is; it is rare enough.
 *
 * What was done by the one who called is visible to who then finds slot->at moved on,
 * since those stores release and the loads acquire (sequentially consistent ones do
 * both). A slot goes from thread to thread by its `owner`: acquired when claimed,
 * released when left. */
#include "base/roster.h"

#include <pthread.h>
#include <string.h>

#include "base/barrier.h"
#include "base/mem.h"

uintptr_t
er_roster_self(void)
{
    return (uintptr_t)pthread_self();
}

static struct er_roster_list *
list_new(size_t n)
{
    return er_zalloc(sizeof(struct er_roster_list) + n * sizeof(struct er_entry *));
}

int
er_roster_init(struct er_roster *r)
{
    memset(r, 0, sizeof *r);
    struct er_roster_list *empty = list_new(0);
    if (!empty) {
        return ER_ENOMEM;
    }
    atomic_init(&r->list, empty);
    r->heavy = er_barrier_init();
    return 0;
}

/* Behind a change: the walkers' barrier as well as ours. */
static void
barrier(const struct er_roster *r)
{
    if (r->heavy) {
        er_barrier_all();
    }
}

void
er_roster_fini(struct er_roster *r)
{
    (void)er_roster_collect(r);
    er_free(atomic_load(&r->list));
    struct er_slot_block *block = atomic_load(&r->first.next);
    while (block) {
        struct er_slot_block *next = atomic_load(&block->next);
        er_free(block);
        block = next;
    }
}

/* ---- changes ---- */

static void
list_append(struct er_roster_list *to, struct er_entry *e)
{
    to->entries[to->n++] = e;
    e->refs++;
}

/* The entries of one part that were not removed. */
static void
copy_live(struct er_roster_list *to, const struct er_roster_list *from, size_t begin,
          size_t end)
{
    for (size_t i = begin; i < end; i++) {
        if (!atomic_load(&from->entries[i]->closed)) {
            list_append(to, from->entries[i]);
        }
    }
}

/* Makes a new list of those that are not closed, and of `more` when it is not NULL. */
static int
renew(struct er_roster *r, struct er_entry *more, bool first)
{
    struct er_roster_list *was = atomic_load(&r->list);
    struct er_roster_list *list = list_new(was->n + (more ? 1 : 0));
    if (!list) {
        return ER_ENOMEM;
    }
    copy_live(list, was, 0, was->n_first);
    if (more && first) {
        list_append(list, more);
    }
    list->n_first = list->n;
    copy_live(list, was, was->n_first, was->n);
    if (more && !first) {
        list_append(list, more);
    }
    atomic_store(&r->list, list);
    was->next = r->old;
    r->old = was;
    return 0;
}

int
er_roster_add(struct er_roster *r, struct er_entry *e, bool first)
{
    int rc = renew(r, e, first);
    barrier(r);
    return rc;
}

void
er_roster_remove(struct er_roster *r, struct er_entry *e)
{
    atomic_store(&e->closed, 1);
    (void)renew(r, NULL, false); /* else the next change takes it out */
    barrier(r);
}

void
er_entry_hold(struct er_entry *e)
{
    e->refs++;
}

static int64_t
list_walks(const struct er_roster_list *list)
{
    int64_t sum = 0;
    for (size_t i = 0; i <= ER_SLOTS; i++) {
        sum += er_count_get(&list->walks[i].n);
    }
    return sum;
}

static void
let_go(struct er_roster *r, struct er_entry *e)
{
    if (--e->refs == 0) {
        e->next_gone = r->gone;
        r->gone = e;
    }
}

void
er_entry_release(struct er_roster *r, struct er_entry *e)
{
    let_go(r, e);
}

/* ---- looking at the slots ---- */

static bool
is_walked(const struct er_roster *r, const struct er_roster_list *list)
{
    for (const struct er_slot_block *b = &r->first; b; b = atomic_load(&b->next)) {
        for (size_t i = 0; i < ER_SLOTS; i++) {
            if (atomic_load(&b->slots[i].list) == list) {
                return true;
            }
        }
    }
    return false;
}

bool
er_roster_runs(const struct er_roster *r, const struct er_entry *e, uintptr_t thread)
{
    uintptr_t runner = atomic_load(&e->runner);
    if (runner && (!thread || runner == thread)) {
        return true;
    }
    for (const struct er_slot_block *b = &r->first; b; b = atomic_load(&b->next)) {
        for (size_t i = 0; i < ER_SLOTS; i++) {
            const struct er_slot *s = &b->slots[i];
            if (atomic_load(&s->at) == e &&
                (!thread || atomic_load(&s->owner) == thread)) {
                return true;
            }
        }
    }
    return false;
}

static bool
list_has(const struct er_roster_list *list, const struct er_entry *e)
{
    for (size_t i = 0; i < list->n; i++) {
        if (list->entries[i] == e) {
            return true;
        }
    }
    return false;
}

int64_t
er_entry_walks(const struct er_roster *r, const struct er_entry *e)
{
    const struct er_roster_list *list = atomic_load(&r->list);
    int64_t sum = e->walked + (list_has(list, e) ? list_walks(list) : 0);
    for (list = r->old; list; list = list->next) {
        sum += list_has(list, e) ? list_walks(list) : 0;
    }
    return sum;
}

int64_t
er_roster_walks(const struct er_roster *r)
{
    int64_t sum = 0;
    for (const struct er_slot_block *b = &r->first; b; b = atomic_load(&b->next)) {
        for (size_t i = 0; i < ER_SLOTS; i++) {
            sum += er_count_get(&b->slots[i].walks);
        }
    }
    return sum;
}

static void
list_free(struct er_roster *r, struct er_roster_list *list)
{
    int64_t walks = list_walks(list);
    for (size_t i = 0; i < list->n; i++) {
        list->entries[i]->walked += walks;
        let_go(r, list->entries[i]);
    }
    er_free(list);
}

struct er_entry *
er_roster_collect(struct er_roster *r)
{
    struct er_roster_list **at = &r->old;
    while (*at) {
        struct er_roster_list *list = *at;
        if (is_walked(r, list)) {
            at = &list->next;
        } else {
            *at = list->next;
            list_free(r, list);
        }
    }
    struct er_entry *gone = r->gone;
    r->gone = NULL;
    return gone;
}

/* ---- walking ---- */

static struct er_slot *
claim_in(struct er_slot_block *b, uintptr_t self)
{
    /* the same thread tries the same slot first: the bits in which threads differ */
    size_t start = (size_t)((self >> 12) * UINT64_C(0x9e3779b97f4a7c15) >> 58);
    for (size_t i = 0; i < ER_SLOTS; i++) {
        struct er_slot *s = &b->slots[(start + i) % ER_SLOTS];
        uintptr_t nobody = 0;
        if (atomic_load_explicit(&s->owner, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong_explicit(
                &s->owner, &nobody, self, memory_order_acquire, memory_order_relaxed)) {
            return s;
        }
    }
    return NULL;
}

/* The next block; made when there is none. NULL when out of memory. */
static struct er_slot_block *
next_block(struct er_slot_block *b)
{
    struct er_slot_block *next = atomic_load(&b->next);
    if (next) {
        return next;
    }
    struct er_slot_block *made = er_zalloc(sizeof *made);
    if (made && !atomic_compare_exchange_strong(&b->next, &next, made)) {
        er_free(made);
        return next;
    }
    return made;
}

void
er_pass_renew(struct er_pass *p)
{
    struct er_roster_list *list = atomic_load(&p->roster->list), *now;
    for (;; list = now) {
        if (p->heavy) {
            atomic_store_explicit(&p->slot->list, list, memory_order_release);
            atomic_signal_fence(memory_order_seq_cst);
        } else {
            atomic_store(&p->slot->list, list);
        }
        now = atomic_load(&p->roster->list);
        if (now == list) {
            break;
        }
    }
    p->list = list;
}

bool
er_pass_enter(struct er_roster *r, struct er_pass *out)
{
    uintptr_t self = er_roster_self();
    struct er_slot_block *block = &r->first;
    struct er_slot *slot = claim_in(block, self);
    size_t count = slot ? (size_t)(slot - block->slots) : ER_SLOTS;
    while (!slot) {
        block = next_block(block);
        if (!block) {
            return false;
        }
        slot = claim_in(block, self);
    }
    *out = (struct er_pass){.roster = r, .slot = slot, .count = count, .heavy = r->heavy};
    er_pass_renew(out);
    return true;
}

void
er_pass_leave(struct er_pass *p)
{
    atomic_store_explicit(&p->slot->list, NULL, memory_order_release);
    atomic_store_explicit(&p->slot->owner, 0, memory_order_release);
}

int
er_entry_enter(struct er_entry *e)
{
    uintptr_t nobody = 0;
    if (!atomic_compare_exchange_strong(&e->runner, &nobody, er_roster_self())) {
        return ER_EBUSY;
    }
    if (atomic_load(&e->closed)) {
        atomic_store(&e->runner, 0);
        return ER_ECLOSED;
    }
    return 0;
}

bool
er_entry_leave(struct er_entry *e)
{
    atomic_store(&e->runner, 0);
    return atomic_load(&e->closed) != 0;
}
