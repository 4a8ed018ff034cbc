/* SPDX-License-Identifier: MIT */
/* Faults of pthreads here are mistakes of ours (a lock that is not held), so they are
 * assertions; there is nothing for a caller to handle. */
#include "base/lock.h"

#include <errno.h>

void
er_lock_init(struct er_lock *l)
{
    (void)pthread_mutex_init(&l->mutex, NULL);
    (void)pthread_cond_init(&l->changed, NULL);
}

void
er_lock_fini(struct er_lock *l)
{
    (void)pthread_cond_destroy(&l->changed);
    (void)pthread_mutex_destroy(&l->mutex);
}

void
er_lock_take(struct er_lock *l)
{
    (void)pthread_mutex_lock(&l->mutex);
}

void
er_lock_give(struct er_lock *l)
{
    (void)pthread_mutex_unlock(&l->mutex);
}

void
er_lock_wait(struct er_lock *l)
{
    (void)pthread_cond_wait(&l->changed, &l->mutex);
}

void
er_lock_wake(struct er_lock *l)
{
    (void)pthread_cond_broadcast(&l->changed);
}

void
er_bell_init(struct er_bell *b)
{
    (void)sem_init(&b->rung, 0, 0);
}

void
er_bell_fini(struct er_bell *b)
{
    (void)sem_destroy(&b->rung);
}

void
er_bell_ring(struct er_bell *b)
{
    (void)sem_post(&b->rung);
}

void
er_bell_wait(struct er_bell *b)
{
    while (sem_wait(&b->rung) != 0 && errno == EINTR) {
        /* a signal of the program's */
    }
}
