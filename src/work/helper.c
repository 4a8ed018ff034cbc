/* SPDX-License-Identifier: MIT */
/* A job crosses by mailbox and comes back by another, whose wake is an async of the
 * loop: its `done` is always on the loop. Where a thread cannot be started the job is
 * run at once, on the loop. er_helpers_fini is false while a job is under way, maybe for
 * ever: the process then ends without it. */
#include "work/helper.h"

#include "base/heap.h"

#define STACK_SIZE (256 << 10)

static void *
thread_main(void *arg)
{
    struct er_helper *h = arg;
    struct er_mail *mail;
    while ((mail = er_mailbox_wait(h->in)) != NULL) {
        while (mail) {
            struct er_helper_job *job = ER_CONTAINER(mail, struct er_helper_job, mail);
            mail = mail->next;
            job->run(job);
            ER_ASSERT(er_mailbox_post(h->all->back, &job->mail));
        }
    }
    return NULL;
}

/* Loop thread: what the threads handed back. */
static void
on_back(uv_async_t *wake)
{
    struct er_helpers *hs = wake->data;
    struct er_mail *mail = er_mailbox_take(hs->back);
    while (mail) {
        struct er_helper_job *job = ER_CONTAINER(mail, struct er_helper_job, mail);
        mail = mail->next;
        job->helper->under_way--;
        job->done(job);
    }
}

static void
send_wake(void *ctx)
{
    (void)uv_async_send(ctx);
}

int
er_helpers_init(struct er_helpers *hs, uv_loop_t *loop)
{
    *hs = (struct er_helpers){0};
    if (uv_async_init(loop, &hs->wake, on_back) != 0) {
        return ER_EIO;
    }
    hs->wake.data = hs;
    hs->back = er_mailbox_new(send_wake, &hs->wake);
    bool ok = hs->back != NULL;
    for (int i = 0; i < ER_HELPERS; i++) {
        hs->each[i].all = hs;
        hs->each[i].in = er_mailbox_new(NULL, NULL);
        ok = ok && hs->each[i].in;
    }
    return ok ? 0 : ER_ENOMEM;
}

bool
er_helpers_fini(struct er_helpers *hs)
{
    for (int i = 0; i < ER_HELPERS; i++) {
        if (hs->each[i].under_way > 0) {
            return false;
        }
    }
    for (int i = 0; i < ER_HELPERS; i++) {
        er_mailbox_close(hs->each[i].in);
        if (hs->each[i].started) {
            (void)pthread_join(hs->each[i].thread, NULL);
        }
        er_mailbox_free(hs->each[i].in);
    }
    er_mailbox_free(hs->back);
    uv_close((uv_handle_t *)&hs->wake, NULL);
    return true;
}

static void
start(struct er_helper *h)
{
    pthread_attr_t attr;
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, STACK_SIZE);
    h->started = pthread_create(&h->thread, &attr, thread_main, h) == 0;
    (void)pthread_attr_destroy(&attr);
}

void
er_helper_post(struct er_helpers *hs, enum er_helper_kind kind, struct er_helper_job *job)
{
    struct er_helper *h = &hs->each[kind];
    job->helper = h;
    h->under_way++;
    if (!h->started) {
        start(h);
    }
    if (!h->started) { /* no thread can be had: better blocked than not at all */
        job->run(job);
        ER_ASSERT(er_mailbox_post(hs->back, &job->mail));
        return;
    }
    ER_ASSERT(er_mailbox_post(h->in, &job->mail));
}
