/* SPDX-License-Identifier: MIT */
/* Each task is followed by a process of its own, which does just what `errand log -f ID`
 * does (it goes on over breaks and attempts) and writes into a pipe; here the pipes are
 * read, cut into lines, and written with the id before each.
 *
 * A task cannot be followed: its process says so and ends, the others go on. Our own
 * output cannot be written, or we are ended: the processes end with us, by a signal. A
 * line that is longer than LINE_MAX_BYTES is cut into several. */
#include "app/follow.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/daemon.h"
#include "app/render.h"
#include "base/io.h"
#include "base/mem.h"

#define READ_BYTES     ((size_t)64 << 10)
#define LINE_MAX_BYTES ((size_t)1 << 20)

/* One task, and the process that follows it. */
struct side {
    er_task_id id;
    pid_t pid; /* 0 = none, or it was reaped */
    int fd;    /* -1 = at its end */
    int code;
    enum er_style style;
    struct er_buf in; /* what has no line end yet */
};
struct sides {
    struct er_term term;
    bool plain; /* lines are written as they come */
    int digits; /* of the longest id */
    size_t n;
    struct side *all;
};

/* The process for one task; of the others it keeps nothing. */
static void
follow_one(struct er_app *app, struct sides *all, er_task_id id,
           const struct er_output_options *o, int out, pid_t parent)
{
    struct er_err err;
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    for (size_t i = 0; i < all->n; i++) {
        er_close(&all->all[i].fd);
    }
    if (getppid() != parent || dup2(out, STDOUT_FILENO) < 0) {
        _exit(er_error_exit(ER_EIO));
    }
    int rc = er_output_run(app, id, o, &err);
    _exit(rc ? er_app_fail(rc, &err) : 0);
}

static int
start(struct er_app *app, struct sides *all, struct side *side,
      const struct er_output_options *o)
{
    int ends[2];
    pid_t parent = getpid();
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return er_error_from_errno(errno);
    }
    side->pid = fork();
    if (side->pid == 0) {
        (void)close(ends[0]);
        follow_one(app, all, side->id, o, ends[1], parent);
    }
    int code = errno;
    (void)close(ends[1]);
    if (side->pid < 0) {
        (void)close(ends[0]);
        side->pid = 0;
        return er_error_from_errno(code);
    }
    side->fd = ends[0];
    return 0;
}

/* Adds a line of n bytes, its end included or not. */
static void
add_line(const struct sides *all, const struct side *side, const char *p, size_t n,
         struct er_buf *b)
{
    if (!all->plain) {
        er_term_style(&all->term, b, side->style);
        er_buf_addf(b, "%*" PRId64 " |", all->digits, side->id);
        er_term_plain(&all->term, b, side->style);
        er_buf_add_char(b, ' ');
    }
    er_buf_add(b, p, n);
    if (n == 0 || p[n - 1] != '\n') {
        er_buf_add_char(b, '\n');
    }
}

/* Writes the lines that are whole; at the end also what is none. */
static int
write_lines(const struct sides *all, struct side *side, bool is_end)
{
    struct er_buf b;
    size_t at = 0;
    er_buf_init(&b, 0);
    while (at < side->in.len) {
        const char *p = side->in.data + at;
        size_t left = side->in.len - at;
        const char *nl = memchr(p, '\n', left);
        if (!nl && !is_end && left < LINE_MAX_BYTES) {
            break;
        }
        size_t n = nl ? (size_t)(nl - p) + 1 : left;
        add_line(all, side, p, n, &b);
        at += n;
    }
    er_buf_drop(&side->in, at);
    int rc = er_app_out(&b);
    er_buf_fini(&b);
    return rc;
}

/* Reads what is there: 0, or the exit code when it cannot be written. */
static int
take(const struct sides *all, struct side *side)
{
    char bytes[READ_BYTES];
    ssize_t n = read(side->fd, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) {
        return 0;
    }
    if (n > 0) {
        er_buf_add(&side->in, bytes, (size_t)n);
    }
    int rc = write_lines(all, side, n <= 0);
    if (n > 0) {
        return rc;
    }
    int status = 0;
    er_close(&side->fd);
    if (waitpid(side->pid, &status, 0) == side->pid) {
        side->code = WIFEXITED(status) ? WEXITSTATUS(status) : er_error_exit(ER_EIO);
    }
    side->pid = 0;
    return rc;
}

/* Until all are at their end: 0, or the exit code when the output cannot be written. */
static int
run(struct sides *all, struct pollfd *fds)
{
    int rc = 0;
    for (;;) {
        size_t open = 0;
        for (size_t i = 0; i < all->n; i++) {
            fds[i] = (struct pollfd){.fd = all->all[i].fd, .events = POLLIN};
            open += all->all[i].fd >= 0;
        }
        if (open == 0 || rc) {
            return rc;
        }
        if (poll(fds, (nfds_t)all->n, -1) < 0 && errno != EINTR) {
            return er_app_failf(ER_EIO, "cannot wait for output: %s", strerror(errno));
        }
        for (size_t i = 0; !rc && i < all->n; i++) {
            rc = all->all[i].fd >= 0 && fds[i].revents ? take(all, &all->all[i]) : 0;
        }
    }
}

static void
end(struct sides *all)
{
    for (size_t i = 0; i < all->n; i++) {
        struct side *side = &all->all[i];
        if (side->pid > 0) {
            (void)kill(side->pid, SIGTERM);
            (void)waitpid(side->pid, NULL, 0);
        }
        er_close(&side->fd);
        er_buf_fini(&side->in);
    }
    er_free(all->all);
}

static void
begin(struct sides *all, const struct er_idlist *ids, const struct er_output_options *o)
{
    static const enum er_style styles[] = {ER_STYLE_CYAN, ER_STYLE_YELLOW, ER_STYLE_GREEN,
                                           ER_STYLE_BOLD, ER_STYLE_DIM};
    *all = (struct sides){
        .plain = o->json, .n = ids->n, .all = er_xzalloc(ids->n * sizeof *all->all)};
    er_term_init(&all->term, STDOUT_FILENO);
    for (size_t i = 0; i < ids->n; i++) {
        struct side *side = &all->all[i];
        int digits = snprintf(NULL, 0, "%" PRId64, ids->ids[i]);
        all->digits = digits > all->digits ? digits : all->digits;
        side->id = ids->ids[i];
        side->fd = -1;
        side->style = styles[i % (sizeof styles / sizeof styles[0])];
        er_buf_init(&side->in, 0);
    }
}

int
er_follow_many(struct er_app *app, const struct er_idlist *ids,
               const struct er_output_options *o)
{
    struct sides all;
    struct pollfd fds[ER_FOLLOW_MAX];
    struct er_err err;
    if (ids->n > ER_FOLLOW_MAX) {
        return er_app_failf(ER_EINVALID, "-f follows at most %zu tasks at once, not %zu",
                            ER_FOLLOW_MAX, ids->n);
    }
    int rc = er_daemon_open(app, &err); /* it is started once, not by each */
    if (rc) {
        return er_app_fail(rc, &err);
    }
    er_daemon_close(app);
    begin(&all, ids, o);
    for (size_t i = 0; !rc && i < all.n; i++) {
        rc = start(app, &all, &all.all[i], o);
    }
    rc = rc ? er_app_failf(rc, "cannot follow so many tasks: %s", er_error_meaning(rc))
            : run(&all, fds);
    for (size_t i = 0; !rc && i < all.n; i++) {
        rc = all.all[i].code;
    }
    end(&all);
    return rc;
}
