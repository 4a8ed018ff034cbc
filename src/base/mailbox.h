/* SPDX-License-Identifier: MIT */
/* Messages from thread to thread: the way objects cross (base/lock.h is for the library
 * alone). A message is a struct of the sender's that begins with a struct er_mail;
 * posting it gives the whole object to the receiver. Two kinds of receivers: a thread
 * that waits (er_mailbox_wait), and an event loop that is woken by a function
 * (uv_async_send) and then takes all. */
#ifndef ER_BASE_MAILBOX_H
#define ER_BASE_MAILBOX_H

#include <stdbool.h>

#include "base/error.h"

struct er_mail {
    struct er_mail *next; /* the mailbox's while posted */
};

struct er_mailbox;
/* Called by the poster's thread, outside the lock, when the box was empty before. */
typedef void er_mailbox_wake_fn(void *ctx);

/* wake may be NULL: then er_mailbox_wait is the way to be woken. NULL when out of
 * memory. */
struct er_mailbox *er_mailbox_new(er_mailbox_wake_fn *wake, void *ctx);
void er_mailbox_free(struct er_mailbox *box); /* what is still in it is the caller's */
/* Any thread. Never fails; returns false, and the mail stays the caller's, once
 * closed. */
bool er_mailbox_post(struct er_mailbox *box, struct er_mail *mail);
/* Takes all mails in the order posted, as a chain by `next`; NULL when there is none. */
struct er_mail *er_mailbox_take(struct er_mailbox *box);
/* The same, but waits for one; NULL only when the box is closed and empty. */
struct er_mail *er_mailbox_wait(struct er_mailbox *box);
/* No more mails are accepted; the waiting thread wakes. Any thread. */
void er_mailbox_close(struct er_mailbox *box);

#endif
