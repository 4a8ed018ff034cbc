/* SPDX-License-Identifier: MIT */
/* Posting takes the lock, hangs the mail at the end, and wakes the receiver only when
 * the box was empty: a burst costs one wake-up. Nothing can fail but making a box. What
 * was posted before er_mailbox_close is still given out; posting to a closed box gives
 * false, and then the mail stays the sender's. */
#include "base/mailbox.h"

#include <pthread.h>

#include "base/mem.h"

struct er_mailbox {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct er_mail *first, **last;
    er_mailbox_wake_fn *wake;
    void *ctx;
    bool closed;
};

struct er_mailbox *
er_mailbox_new(er_mailbox_wake_fn *wake, void *ctx)
{
    struct er_mailbox *box = er_zalloc(sizeof *box);
    if (!box) {
        return NULL;
    }
    (void)pthread_mutex_init(&box->lock, NULL);
    (void)pthread_cond_init(&box->more, NULL);
    box->last = &box->first;
    box->wake = wake;
    box->ctx = ctx;
    return box;
}

void
er_mailbox_free(struct er_mailbox *box)
{
    if (box) {
        (void)pthread_cond_destroy(&box->more);
        (void)pthread_mutex_destroy(&box->lock);
        er_free(box);
    }
}

bool
er_mailbox_post(struct er_mailbox *box, struct er_mail *mail)
{
    mail->next = NULL;
    (void)pthread_mutex_lock(&box->lock);
    bool was_empty = !box->first;
    bool ok = !box->closed;
    if (ok) {
        *box->last = mail;
        box->last = &mail->next;
    }
    (void)pthread_mutex_unlock(&box->lock);
    if (ok && was_empty) {
        if (box->wake) {
            box->wake(box->ctx);
        } else {
            (void)pthread_cond_signal(&box->more);
        }
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
        (void)pthread_cond_wait(&box->more, &box->lock);
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
    (void)pthread_mutex_unlock(&box->lock);
    (void)pthread_cond_broadcast(&box->more);
}
