/* SPDX-License-Identifier: MIT */
/* A worker from its start until it has a session: a pause, if one is due -> the process
 * -> its hello, which the routes tell (supervise.c), and from which on its guard has it.
 *
 * The first restart after a healthy time is at once, the next ones come after 1 s, 2 s, 4
 * s and 8 s, all others after 60 s: never given up, never a storm. Why one could not be
 * started, or ended before it had a session, is logged and kept (`trouble`) for those who
 * wait for a worker.
 *
 * The daemon's worker is its child, and SIGCHLD tells of its end. Hidden, it is nobody's
 * child, and a pidfd tells. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "serve/supervise_priv.h"

#define HEALTHY_FOR (60 * ER_USEC_PER_SEC)
#define PAUSE_MAX_S 60

/* A hidden child, from its start to its death, or until another one is started. */
struct er_birth {
    uv_poll_t poll;
    struct er_supervisor *v;
    int pidfd;
};

/* It never came as far as a session: no guard tells. `how`: " (signal ...)", or
 * nothing. */
static void
lose_child(struct er_supervisor *v, const char *how)
{
    er_log(v->stopping ? ER_LOG_INFO : ER_LOG_ERROR, "supervise",
           "the worker ended at its start%s", how);
    (void)er_fail(&v->trouble, ER_EIO, "errand-worker ended at its start%s", how);
    v->child = 0;
    er_supervise_consider(v);
}

/* ---- hidden ---- */

static void
on_birth_closed(uv_handle_t *h)
{
    struct er_birth *b = h->data;
    er_close(&b->pidfd);
    er_free(b);
}

void
er_birth_forget(struct er_supervisor *v)
{
    if (v->birth) {
        uv_close((uv_handle_t *)&v->birth->poll, on_birth_closed);
        v->birth = NULL;
    }
}

static void
on_birth_gone(uv_poll_t *h, int status, int events)
{
    struct er_birth *b = h->data;
    struct er_supervisor *v = b->v;
    (void)status;
    (void)events;
    er_birth_forget(v);
    if (v->child && !v->child_hello) {
        lose_child(v, "");
    }
}

static int
start_hidden(struct er_supervisor *v, struct er_err *err)
{
    struct er_birth *b = er_xzalloc(sizeof *b);
    er_birth_forget(v);
    int pid = er_local_worker_start_hidden(v->program, v->beside, v->api->places->socket,
                                           v->folder, &b->pidfd, err);
    if (pid == 0) {
        er_free(b);
        return 0;
    }
    int rc = uv_poll_init(er_loop_uv(v->api->loop), &b->poll, b->pidfd);
    if (rc) {
        er_log(ER_LOG_WARN, "supervise", "worker pid %d cannot be watched: %s", pid,
               uv_strerror(rc));
        er_close(&b->pidfd);
        er_free(b);
        return pid;
    }
    b->v = v;
    b->poll.data = b;
    v->birth = b;
    (void)uv_poll_start(&b->poll, UV_READABLE, on_birth_gone);
    return pid;
}

/* ---- its start ---- */

/* A worker ends at once without the folder of its lock, which may have been removed since
 * the start. What is above it is not made: without that there is no store either. */
static int
make_folder(const struct er_supervisor *v, struct er_err *err)
{
    const char *path = v->api->places->workers;
    if (mkdir(path, 0700) == 0) {
        er_log(ER_LOG_WARN, "supervise", "the folder '%s' was gone: made again", path);
    } else if (errno != EEXIST) {
        int code = errno;
        int rc = er_fail(err, er_error_from_errno(code), "cannot make folder '%s': %s",
                         path, strerror(code));
        er_log(ER_LOG_ERROR, "supervise", "%s", err->text);
        return rc;
    }
    return 0;
}

static int
start_child(struct er_supervisor *v, struct er_err *err)
{
    return make_folder(v, err) ? 0
           : v->hidden         ? start_hidden(v, err)
                               : er_local_worker_start(v->api->places->socket, err);
}

static void
start_now(struct er_supervisor *v)
{
    v->waiting = false;
    v->child_hello = false;
    v->child_at = er_clock_mono(er_clock_system());
    struct er_err err = {""};
    v->child = start_child(v, &err);
    if (v->child == 0) {
        v->trouble = err;
        er_supervise_consider(v);
    }
}

static void
on_again(uv_timer_t *t)
{
    start_now(t->data);
}

/* The pause before the next start. */
static uint64_t
pause_ms(struct er_supervisor *v)
{
    if (v->child_at == 0) {
        return 0; /* the very first */
    }
    v->restarts++;
    if (er_clock_mono(er_clock_system()) - v->child_at >= HEALTHY_FOR) {
        v->in_a_row = 0;
    }
    int n = v->in_a_row++;
    if (n == 0) {
        return 0;
    }
    int s = n < 5 ? 1 << (n - 1) : PAUSE_MAX_S;
    if (n >= 5) {
        er_log(ER_LOG_ERROR, "supervise",
               "the worker has died %d times in a row: trying again "
               "in %d s",
               n, PAUSE_MAX_S);
    }
    return (uint64_t)s * 1000;
}

void
er_birth_plan(struct er_supervisor *v)
{
    v->waiting = true;
    (void)uv_timer_start(&v->again, on_again, pause_ms(v), 0);
}

/* ---- its end ---- */

/* Our own is not reaped yet, so its number is its; one that is nobody's child has a
 * descriptor. */
void
er_birth_signal(const struct er_supervisor *v, int signum)
{
    if (!v->child || v->child_hello) {
        return;
    }
    if (!v->hidden) {
        (void)kill(v->child, signum);
    } else if (v->birth) {
        (void)syscall(SYS_pidfd_send_signal, v->birth->pidfd, signum, NULL, 0);
    }
}

static const char *
end_words(int status, char *out, size_t size)
{
    if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));
        (void)snprintf(out, size, " (signal %s)", name ? name : "unknown");
    } else {
        (void)snprintf(out, size, " (exit code %d)", WEXITSTATUS(status));
    }
    return out;
}

void
er_supervisor_reap(struct er_supervisor *v)
{
    int pid, status;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == v->child && !v->child_hello) {
            char how[64];
            lose_child(v, end_words(status, how, sizeof how));
        }
    }
}
