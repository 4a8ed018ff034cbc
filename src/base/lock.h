/* SPDX-License-Identifier: MIT */
/* A mutex with a condition, and a bell, for the few places where objects cannot travel by
 * mailbox (base/mailbox.h): in the library, where a program's threads meet (src/lib;
 * tools/locks.sh sees to it). Each file that takes one says why it must. What is done
 * under a lock is short and bounded: no callback, no file, no other lock. */
#ifndef ER_BASE_LOCK_H
#define ER_BASE_LOCK_H

#include <pthread.h>
#include <semaphore.h>

struct er_lock {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
};

/* Of one that lives as long as the process. */
#define ER_LOCK_STATIC                                                                   \
    {                                                                                    \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER                              \
    }

void er_lock_init(struct er_lock *l);
void er_lock_fini(struct er_lock *l);
void er_lock_take(struct er_lock *l);
void er_lock_give(struct er_lock *l);
/* With the lock taken: gives it, waits for er_lock_wake, takes it again. May return for
 * no reason: to be called in a loop that looks at the condition. */
void er_lock_wait(struct er_lock *l);
/* Wakes all that wait. With the lock taken. */
void er_lock_wake(struct er_lock *l);

/* What one thread waits for until another rings it: a system call on either side and no
 * more, where a lock with its condition needs several, since who is woken has to take the
 * lock that who wakes still has. */
struct er_bell {
    sem_t rung;
};

void er_bell_init(struct er_bell *b);
void er_bell_fini(struct er_bell *b);
/* Any thread. Who waits may call er_bell_fini as soon as it is back. */
void er_bell_ring(struct er_bell *b);
/* Waits until it is rung: as often as it was. What was done before the ring is seen
 * after. */
void er_bell_wait(struct er_bell *b);

#endif
