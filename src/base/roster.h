/* SPDX-License-Identifier: MIT */
/* A list that is walked all the time by any thread and changed now and then by any
 * thread. Walking takes no lock and waits for nobody; changing makes a new array and
 * leaves the old one to those who are still walking it. An entry that was removed is not
 * *called* any more (er_pass_at says no), and it can be told whether somebody is calling
 * it at this moment, and who: by walking, or by er_entry_enter for those who do not walk.
 *
 *     struct er_pass pass;
 *     if (er_pass_enter(roster, &pass)) {
 *         for (size_t i = 0; i < pass.list->n; i++) {
 *             if (er_pass_at(&pass, pass.list->entries[i])) ... call it ...
 *         }
 *         (void)er_pass_at(&pass, NULL);
 *         er_pass_leave(&pass);
 *     }
 *
 * What a walk does with an entry without er_pass_at (copy something into its queue) is
 * safe too: the entry's memory stays until no walk has it in its list. roster.c has the
 * argument. "The lock" below is the owner's: one lock for all changes of a roster. */
#ifndef ER_BASE_ROSTER_H
#define ER_BASE_ROSTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/count.h"
#include "base/error.h"

/* To be embedded in what the roster lists; zeroed is new. */
struct er_entry {
    _Atomic int closed; /* it was removed; looked at by every walk */
    char apart1[60];
    _Atomic uintptr_t runner; /* the thread that has entered it, or 0 */
    char apart2[56];
    int refs; /* lists that have it, and er_entry_hold (the lock) */
    struct er_entry *next_gone;
    int64_t walked; /* what was counted in lists that are gone (the lock) */
};

/* A place from which a thread walks: it says which list and which entry it has in
 * hand. */
struct er_slot {
    _Atomic uintptr_t owner; /* the thread, or 0 = free */
    struct er_roster_list *_Atomic list;
    struct er_entry *_Atomic at;
    struct er_count walks; /* by er_pass_count, over all lists */
    char apart[96]; /* a slot is written by one thread at a time: no shared lines */
};
#define ER_SLOTS 32
struct er_slot_block {
    struct er_slot slots[ER_SLOTS];
    struct er_slot_block *_Atomic next;
};

struct er_roster_list {
    struct er_roster_list *next; /* the older ones that may still be walked */
    size_t n_first;              /* so many of the entries were added with `first` */
    size_t n;
    struct {
        struct er_count n; /* by er_pass_count; of each slot, the last: of all others */
        char apart[56];
    } walks[ER_SLOTS + 1];
    struct er_entry *entries[];
};

struct er_roster {
    bool heavy; /* who changes makes the barriers; else those who walk do */
    struct er_roster_list *_Atomic list; /* the newest; never NULL */
    struct er_roster_list *old;          /* the lock */
    struct er_entry *gone;               /* the lock: in no list and not held any more */
    struct er_slot_block first;
};

struct er_pass {
    struct er_roster *roster;
    struct er_slot *slot;
    struct er_roster_list *list;
    struct er_entry *at;
    size_t count; /* where in list->walks */
    bool heavy;
    bool ended; /* an entry that was called in this pass has been removed meanwhile */
};

/* 0 or ER_ENOMEM. */
int er_roster_init(struct er_roster *r) ER_MUSTCHECK;
/* Nobody walks it and it is empty. */
void er_roster_fini(struct er_roster *r);

/* The calling thread, as it stands in `owner` and `runner`; never 0. */
uintptr_t er_roster_self(void);

/* The lock. Adds at the end, or at the end of the first part. 0 or ER_ENOMEM. */
int er_roster_add(struct er_roster *r, struct er_entry *e, bool first) ER_MUSTCHECK;
/* The lock. Closes it; from now on nobody begins to call it. Never fails: without memory
 * for a new array it stays listed, closed, until the next change. */
void er_roster_remove(struct er_roster *r, struct er_entry *e);
/* The lock. Whether a thread (0: any) is calling this entry. When it was removed before
 * and the answer is no, it stays no. */
bool er_roster_runs(const struct er_roster *r, const struct er_entry *e,
                    uintptr_t thread);
/* The lock. Keeps the entry from er_roster_collect; the second gives that up again. */
void er_entry_hold(struct er_entry *e);
void er_entry_release(struct er_roster *r, struct er_entry *e);
/* The lock. Frees old arrays that nobody walks, and gives the removed entries that are in
 * none any more and not held, as a chain by next_gone: they are the caller's. */
struct er_entry *er_roster_collect(struct er_roster *r);
/* Any thread. How many walks were counted by er_pass_count. */
int64_t er_roster_walks(const struct er_roster *r);
/* The lock. How many of them were over lists that have this entry. */
int64_t er_entry_walks(const struct er_roster *r, const struct er_entry *e);

/* Any thread. False when out of memory (32 threads walk at a time without any). */
bool er_pass_enter(struct er_roster *r, struct er_pass *out) ER_MUSTCHECK;
/* Goes on with the newest list; with no entry in hand. */
void er_pass_renew(struct er_pass *p);
void er_pass_leave(struct er_pass *p);

/* Takes the entry in hand (and puts the one before down; NULL: only that). True: it may
 * be called now. When pass->ended is true at the end of the pass, somebody may be waiting
 * for an entry that this pass has called. */
static inline bool
er_pass_at(struct er_pass *p, struct er_entry *e)
{
    struct er_entry *before = p->at;
    p->at = e;
    if (p->heavy) {
        atomic_store_explicit(&p->slot->at, e, memory_order_release);
        atomic_signal_fence(memory_order_seq_cst); /* see roster.c */
    } else {
        atomic_store(&p->slot->at, e);
    }
    if (before && atomic_load(&before->closed)) {
        p->ended = true;
    }
    return e && !atomic_load(&e->closed);
}

/* So many walks over the list are done. */
static inline void
er_pass_count(struct er_pass *p, int64_t n)
{
    er_count_own(&p->slot->walks, n);
    if (p->count < ER_SLOTS) {
        er_count_own(&p->list->walks[p->count].n, n);
    } else {
        er_count_add(&p->list->walks[ER_SLOTS].n, n);
    }
}

static inline bool
er_entry_is_closed(const struct er_entry *e)
{
    return atomic_load_explicit(&e->closed, memory_order_relaxed) != 0;
}

/* Any thread that does not walk. 0: this thread may call the entry until it leaves it.
 * ER_EBUSY: another thread has it (or this one, already). ER_ECLOSED: it was removed, and
 * somebody may be waiting for that, as with er_entry_leave. */
int er_entry_enter(struct er_entry *e) ER_MUSTCHECK;
/* True: it was removed meanwhile, and somebody may be waiting for that. */
bool er_entry_leave(struct er_entry *e) ER_MUSTCHECK;

#endif
