/* SPDX-License-Identifier: MIT */
/* Readable: one read, into the log and through the scanner. At the end of the attempt
 * what is still in the pipe is read, but no more than a pipe holds, for a child left
 * behind may write on. A log that cannot be written does not stop the command: the
 * outcome has a warning. */
#include "work/output.h"

#include <errno.h>
#include <unistd.h>

#include "base/io.h"
#include "work/worker.h"

#define PIPE_MOST (1 << 20) /* bytes that a pipe can hold at most (fs.pipe-max-size) */

static void
scan(struct er_output *o, const char *p, size_t n)
{
    struct er_work_attempt *a = o->attempt;
    if (!o->scan) {
        o->scan = er_alloc(sizeof *o->scan);
        if (!o->scan) {
            return; /* then without progress from its output */
        }
        er_progress_scan_init(o->scan);
    }
    er_progress_scan_feed(o->scan, p, n);
    struct er_progress_update update;
    if (er_progress_scan_take(o->scan, &update)) {
        er_sample_update(a, &update);
    }
}

static void
end_reading(struct er_output *o)
{
    if (o->fd >= 0) {
        er_watch_stop(&o->attempt->worker->watches, &o->watch);
        er_close(&o->fd);
    }
    er_free(o->scan);
    o->scan = NULL;
}

/* Reads once: how many bytes, 0 at the end (then it is closed), -1 = nothing there now.
 */
static ssize_t
read_some(struct er_output *o)
{
    struct er_work_attempt *a = o->attempt;
    char *chunk = a->worker->chunk;
    ssize_t n = read(o->fd, chunk, ER_OUTPUT_READ);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return -1;
    }
    if (n <= 0) {
        end_reading(o);
        return 0;
    }
    er_clocks_alive(a);
    er_outlog_write(&a->log, o->kind, er_clock_wall(a->worker->clock), chunk, (size_t)n);
    scan(o, chunk, (size_t)n);
    er_sample_output(a);
    return n;
}

static void
on_readable(struct er_fd_watch *w, uint32_t events)
{
    (void)events;
    (void)read_some(ER_CONTAINER(w, struct er_output, watch));
}

int
er_output_open(struct er_output *o, struct er_work_attempt *a, enum er_outlog_kind kind,
               int *out_child_fd)
{
    o->attempt = a;
    o->kind = kind;
    return er_pipe_read(&o->fd, out_child_fd);
}

int
er_output_start(struct er_output *o)
{
    return er_watch_start(&o->attempt->worker->watches, &o->watch, o->fd, EPOLLIN,
                          on_readable);
}

void
er_output_finish(struct er_output *o)
{
    size_t most = PIPE_MOST;
    while (o->fd >= 0) {
        ssize_t n = read_some(o);
        if (n <= 0 || (size_t)n >= most) {
            break;
        }
        most -= (size_t)n;
    }
    end_reading(o);
}
