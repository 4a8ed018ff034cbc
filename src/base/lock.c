/* SPDX-License-Identifier: MIT */
/* Faults of pthreads here are mistakes of ours (a lock that is not held), so they are
 * assertions; there is nothing for a caller to handle. */
#include "base/lock.h"

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
er_lock_wake_one(struct er_lock *l)
{
    (void)pthread_cond_signal(&l->changed);
}
