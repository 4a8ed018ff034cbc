/* SPDX-License-Identifier: MIT */
/* One uv_async carries the letters, one uv_prepare the end of a turn, one timerfd the
 * alarm. The prepare handle runs right before the loop goes to sleep, so the hook sees
 * all that a wake-up and the timers brought. It was started first, hence libuv runs it
 * last: what another prepare handle causes is seen too. On virtual time there is no
 * timerfd. */
#include "engine/loop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <uv.h>

#include "base/io.h"
#include "base/mem.h"

#define NOT_SET (-1) /* of an alarm */
/* An alarm that never rings is set to then: it still tells when the clock is set. */
#define FAR (INT64_C(4000000000) * ER_USEC_PER_SEC * 60)

struct er_loop {
    uv_loop_t uv;
    uv_async_t async;
    uv_prepare_t turn;
    uv_poll_t alarm;
    int alarm_fd;
    er_usec alarm_at;             /* what the timerfd is set to */
    const struct er_clock *clock; /* virtual time; NULL = the alarm is a timerfd */
    struct er_mailbox *inbox;
    void (*on_turn)(void *ctx);
    void *turn_ctx;
    void (*on_alarm)(void *ctx);
    void *alarm_ctx;
};

static void
on_async(uv_async_t *h)
{
    struct er_loop *loop = h->data;
    struct er_mail *mail = er_mailbox_take(loop->inbox);
    while (mail) {
        struct er_mail *next = mail->next;
        struct er_letter *letter = (struct er_letter *)(void *)mail;
        letter->deliver(letter);
        mail = next;
    }
}

static void
ring(struct er_loop *loop)
{
    loop->alarm_at = NOT_SET;
    if (loop->on_alarm) {
        loop->on_alarm(loop->alarm_ctx);
    }
}

/* Virtual time only. */
static bool
is_due(const struct er_loop *loop)
{
    return loop->clock && er_loop_alarm_at(loop) <= er_clock_wall(loop->clock);
}

static void
on_prepare(uv_prepare_t *h)
{
    struct er_loop *loop = h->data;
    if (is_due(loop)) {
        ring(loop);
    }
    if (loop->on_turn) {
        loop->on_turn(loop->turn_ctx);
    }
}

static void
on_alarm_poll(uv_poll_t *h, int status, int events)
{
    (void)status;
    (void)events;
    struct er_loop *loop = h->data;
    uint64_t times;
    /* ECANCELED tells that the clock was set: look again at what is due */
    ssize_t n = read(loop->alarm_fd, &times, sizeof times);
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    ring(loop);
}

static void
wake(void *ctx)
{
    struct er_loop *loop = ctx;
    (void)uv_async_send(&loop->async);
}

static int
start_alarm(struct er_loop *loop)
{
    loop->alarm_fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop->alarm_fd < 0 ||
        uv_poll_init(&loop->uv, &loop->alarm, loop->alarm_fd) != 0) {
        return ER_EIO;
    }
    ER_ASSERT(uv_poll_start(&loop->alarm, UV_READABLE, on_alarm_poll) == 0);
    uv_unref((uv_handle_t *)&loop->alarm);
    return 0;
}

/* What needs closing then is er_loop_free's, also when this fails halfway. */
static int
start_handles(struct er_loop *loop)
{
    loop->async.data = loop->turn.data = loop->alarm.data = loop;
    if (uv_async_init(&loop->uv, &loop->async, on_async) != 0) {
        return ER_EIO;
    }
    ER_ASSERT(uv_prepare_init(&loop->uv, &loop->turn) == 0);
    ER_ASSERT(uv_prepare_start(&loop->turn, on_prepare) == 0);
    uv_unref((uv_handle_t *)&loop->turn);
    return loop->clock ? 0 : start_alarm(loop);
}

int
er_loop_new_virtual(const struct er_clock *clock, struct er_loop **out,
                    struct er_err *err)
{
    struct er_loop *loop = er_zalloc(sizeof *loop);
    if (!loop) {
        return ER_ENOMEM;
    }
    loop->alarm_at = NOT_SET;
    loop->alarm_fd = -1;
    loop->clock = clock;
    loop->inbox = er_mailbox_new(wake, loop);
    if (!loop->inbox || uv_loop_init(&loop->uv) != 0) {
        er_mailbox_free(loop->inbox);
        er_free(loop);
        return er_fail(err, ER_EIO, "cannot make an event loop");
    }
    if (start_handles(loop)) {
        int code = errno;
        er_loop_free(loop);
        return er_fail(err, ER_EIO, "cannot make an event loop: %s", strerror(code));
    }
    *out = loop;
    return 0;
}

int
er_loop_new(struct er_loop **out, struct er_err *err)
{
    return er_loop_new_virtual(NULL, out, err);
}

static void
close_any(uv_handle_t *h, void *arg)
{
    (void)arg;
    if (!uv_is_closing(h)) {
        uv_close(h, NULL);
    }
}

void
er_loop_free(struct er_loop *loop)
{
    if (!loop) {
        return;
    }
    on_async(&loop->async); /* letters that came late are delivered, not lost */
    uv_walk(&loop->uv, close_any, NULL);
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    (void)uv_loop_close(&loop->uv);
    er_close(&loop->alarm_fd);
    er_mailbox_free(loop->inbox);
    er_free(loop);
}

struct uv_loop_s *
er_loop_uv(struct er_loop *loop)
{
    return &loop->uv;
}

void
er_loop_post(struct er_loop *loop, struct er_letter *letter)
{
    (void)er_mailbox_post(loop->inbox, &letter->mail);
}

void
er_loop_on_turn(struct er_loop *loop, void (*fn)(void *ctx), void *ctx)
{
    loop->on_turn = fn;
    loop->turn_ctx = ctx;
}

void
er_loop_settle(struct er_loop *loop)
{
    if (loop->on_turn) {
        loop->on_turn(loop->turn_ctx);
    }
}

void
er_loop_on_alarm(struct er_loop *loop, void (*fn)(void *ctx), void *ctx)
{
    loop->on_alarm = fn;
    loop->alarm_ctx = ctx;
}

void
er_loop_set_alarm(struct er_loop *loop, er_usec wall_at)
{
    if (wall_at == loop->alarm_at) {
        return;
    }
    loop->alarm_at = wall_at;
    if (loop->clock) {
        if (is_due(loop)) {
            (void)uv_async_send(&loop->async); /* rings in the next turn */
        }
        return;
    }
    er_usec at = wall_at < 1 ? 1 : wall_at > FAR ? FAR : wall_at;
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(at / ER_USEC_PER_SEC),
                     .tv_nsec = (long)(at % ER_USEC_PER_SEC) * 1000}};
    (void)timerfd_settime(loop->alarm_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET,
                          &when, NULL);
}

er_usec
er_loop_alarm_at(const struct er_loop *loop)
{
    return loop->alarm_at == NOT_SET ? ER_NEVER : loop->alarm_at;
}

bool
er_loop_ring_if_due(struct er_loop *loop)
{
    if (!is_due(loop)) {
        return false;
    }
    ring(loop);
    (void)uv_async_send(&loop->async); /* the next turn comes at once */
    return true;
}

/* ---- crews ---- */

struct er_crew {
    struct er_loop *loop;
    struct er_mailbox *inbox;
    er_crew_take_fn *take;
    void *ctx;     /* of take */
    void *job_ctx; /* what each job is given */
    pthread_t thread;
};

static void *
crew_main(void *arg)
{
    struct er_crew *crew = arg;
    struct er_mail *mail;
    while ((mail = er_mailbox_wait(crew->inbox)) != NULL) {
        crew->take(crew->ctx, mail);
    }
    return NULL;
}

/* Starts a thread that gets no signals: they are the loop's. */
static int
start_thread(pthread_t *thread, void *(*fn)(void *), void *arg)
{
    sigset_t all, old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_t attr;
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, (size_t)512 << 10);
    int rc = pthread_create(thread, &attr, fn, arg);
    (void)pthread_attr_destroy(&attr);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc ? ER_EIO : 0;
}

static int
start(struct er_crew *crew, struct er_crew **out)
{
    crew->inbox = er_mailbox_new(NULL, NULL);
    if (!crew->inbox || start_thread(&crew->thread, crew_main, crew) != 0) {
        er_mailbox_free(crew->inbox);
        er_free(crew);
        return ER_EIO;
    }
    *out = crew;
    return 0;
}

int
er_crew_start_taking(struct er_loop *loop, er_crew_take_fn *take, void *ctx,
                     struct er_crew **out)
{
    struct er_crew *crew = er_zalloc(sizeof *crew);
    if (!crew) {
        return ER_ENOMEM;
    }
    crew->loop = loop;
    crew->take = take;
    crew->ctx = ctx;
    return start(crew, out);
}

static void
deliver_job(struct er_letter *letter)
{
    struct er_job *job = (struct er_job *)(void *)letter;
    job->done(job);
}

static void
take_jobs(void *ctx, struct er_mail *mail)
{
    struct er_crew *crew = ctx;
    while (mail) {
        struct er_mail *next = mail->next;
        struct er_job *job = (struct er_job *)(void *)mail;
        job->run(job, crew->job_ctx);
        job->letter.deliver = deliver_job;
        er_loop_post(job->loop, &job->letter);
        mail = next;
    }
}

int
er_crew_start(struct er_loop *loop, void *thread_ctx, struct er_crew **out)
{
    struct er_crew *crew = er_zalloc(sizeof *crew);
    if (!crew) {
        return ER_ENOMEM;
    }
    crew->loop = loop;
    crew->take = take_jobs;
    crew->ctx = crew;
    crew->job_ctx = thread_ctx;
    return start(crew, out);
}

void
er_crew_stop(struct er_crew *crew)
{
    if (crew) {
        er_mailbox_close(crew->inbox);
        (void)pthread_join(crew->thread, NULL);
        er_mailbox_free(crew->inbox);
        er_free(crew);
    }
}

struct er_mail *
er_crew_take_more(struct er_crew *crew)
{
    return er_mailbox_take(crew->inbox);
}

void
er_crew_post_mail(struct er_crew *crew, struct er_mail *mail)
{
    ER_ASSERT(er_mailbox_post(crew->inbox, mail));
}

void
er_crew_post(struct er_crew *crew, struct er_job *job)
{
    job->loop = crew->loop;
    er_crew_post_mail(crew, &job->letter.mail);
}
