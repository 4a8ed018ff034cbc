/* SPDX-License-Identifier: MIT */
/* Posting takes the lock, hangs the mail at the end, and wakes the receiver only when it
 * waits, or, where a function wakes it, when the box was empty: a burst costs one
 * wake-up. A thread is woken outside the lock, by a semaphore: with a condition it would
 * come back only to wait for the lock. Nothing can fail but making a box. What was posted
 * before er_mailbox_close is still given out; posting to a closed box gives false, and
 * then the mail stays the sender's. */
#include "base/mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>

#include "base/mem.h"

struct er_mailbox {
    pthread_mutex_t lock;
    sem_t more;
    struct er_mail *first, **last;
    er_mailbox_wake_fn *wake;
    void *ctx;
    bool closed, is_waiting;
};

struct er_mailbox *
er_mailbox_new(er_mailbox_wake_fn *wake, void *ctx)
{
    struct er_mailbox *box = er_zalloc(sizeof *box);
    if (!box) {
        return NULL;
    }
    (void)pthread_mutex_init(&box->lock, NULL);
    (void)sem_init(&box->more, 0, 0);
    box->last = &box->first;
    box->wake = wake;
    box->ctx = ctx;
    return box;
}

void
er_mailbox_free(struct er_mailbox *box)
{
    if (box) {
        (void)sem_destroy(&box->more);
        (void)pthread_mutex_destroy(&box->lock);
        er_free(box);
    }
}

/* With the lock taken: whether the receiver has to be woken, which it is once. */
static bool
stop_waiting(struct er_mailbox *box)
{
    bool was = box->is_waiting;
    box->is_waiting = false;
    return was;
}

bool
er_mailbox_post(struct er_mailbox *box, struct er_mail *mail)
{
    mail->next = NULL;
    (void)pthread_mutex_lock(&box->lock);
    bool was_empty = !box->first;
    bool ok = !box->closed;
    bool waits = ok && stop_waiting(box);
    if (ok) {
        *box->last = mail;
        box->last = &mail->next;
    }
    (void)pthread_mutex_unlock(&box->lock);
    if (waits) {
        (void)sem_post(&box->more);
    } else if (ok && was_empty && box->wake) {
        box->wake(box->ctx);
    }
    return ok;
}

static struct er_mail *
take_locked(struct er_mailbox *box)
{
    struct er_mail *first = box->first;
    box->first = NULL;
    box->last = &box->first;
    return first;
}

struct er_mail *
er_mailbox_take(struct er_mailbox *box)
{
    (void)pthread_mutex_lock(&box->lock);
    struct er_mail *first = take_locked(box);
    (void)pthread_mutex_unlock(&box->lock);
    return first;
}

struct er_mail *
er_mailbox_wait(struct er_mailbox *box)
{
    (void)pthread_mutex_lock(&box->lock);
    while (!box->first && !box->closed) {
        box->is_waiting = true;
        (void)pthread_mutex_unlock(&box->lock);
        while (sem_wait(&box->more) != 0 && errno == EINTR) {
            /* a signal of the program's */
        }
        (void)pthread_mutex_lock(&box->lock);
    }
    struct er_mail *first = take_locked(box);
    (void)pthread_mutex_unlock(&box->lock);
    return first;
}

void
er_mailbox_close(struct er_mailbox *box)
{
    (void)pthread_mutex_lock(&box->lock);
    box->closed = true;
    bool waits = stop_waiting(box);
    (void)pthread_mutex_unlock(&box->lock);
    if (waits) {
        (void)sem_post(&box->more);
    }
}
