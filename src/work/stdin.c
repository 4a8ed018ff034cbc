/* SPDX-License-Identifier: MIT */
/* Before the spawn the descriptor is made; what was queued meanwhile is written as soon
 * as the pipe takes it. A reader that is gone (EPIPE) closes our end and drops what is
 * queued: that is no error, many commands do not read. */
#include "work/stdin.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"
#include "work/worker.h"

/* Closes our end; what is queued will not be read by anybody. */
static void
close_pipe(struct er_input *in)
{
    if (in->fd >= 0) {
        er_watch_stop(&in->attempt->worker->watches, &in->watch);
        er_close(&in->fd);
    }
    er_buf_fini(&in->queue);
}

static void on_writable(struct er_fd_watch *w, uint32_t events);

/* Writes what the pipe takes, and watches it only while it is full. */
static void
flush(struct er_input *in)
{
    struct er_watches *ws = &in->attempt->worker->watches;
    size_t at = 0;
    while (in->fd >= 0 && at < in->queue.len) {
        ssize_t n = write(in->fd, in->queue.data + at, in->queue.len - at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n < 0) { /* the command has closed it, or is gone */
            close_pipe(in);
            return;
        }
        at += (size_t)n;
    }
    er_buf_drop(&in->queue, at);
    if (in->queue.len > 0) {
        if (in->fd >= 0 && !er_watch_is_on(&in->watch) &&
            er_watch_start(ws, &in->watch, in->fd, EPOLLOUT, on_writable) != 0) {
            close_pipe(in);
        }
        return;
    }
    er_watch_stop(ws, &in->watch);
    if (in->eof && in->fd >= 0) {
        close_pipe(in);
    }
}

static void
on_writable(struct er_fd_watch *w, uint32_t events)
{
    (void)events;
    flush(ER_CONTAINER(w, struct er_input, watch));
}

/* A file in memory that holds the bytes. */
static int
open_data(const struct er_command *c)
{
    int fd = memfd_create("errand-stdin", MFD_CLOEXEC);
    if (fd >= 0 && (er_write_all(fd, c->stdin_data, c->stdin_len) != 0 ||
                    lseek(fd, 0, SEEK_SET) != 0)) {
        er_close(&fd);
    }
    return fd;
}

static int
open_input(struct er_work_attempt *a, int *out_child_fd)
{
    int rc = er_pipe_write(&a->input.fd, out_child_fd);
    if (rc == 0) {
        flush(&a->input);
    }
    return rc;
}

int
er_stdin_open(struct er_work_attempt *a, int *out_child_fd)
{
    const struct er_command *c = &a->command;
    switch (c->stdin_kind) {
    case ER_STDIN_NULL:
        *out_child_fd = a->worker->null_fd;
        return 0;
    case ER_STDIN_DATA:
        *out_child_fd = open_data(c);
        return *out_child_fd < 0 ? ER_EIO : 0;
    case ER_STDIN_INPUT:
        return open_input(a, out_child_fd);
    case ER_STDIN_ORDER:
        er_buf_add(&a->input.queue, c->stdin_data, c->stdin_len);
        er_buf_add_char(&a->input.queue, '\n');
        if (a->input.queue.failed) {
            errno = ENOMEM;
            return ER_ENOMEM;
        }
        return open_input(a, out_child_fd);
    case ER_STDIN_FILE:
        *out_child_fd = -1;
        return 0;
    }
    return ER_EINVALID;
}

void
er_stdin_close_child(struct er_work_attempt *a, int *fd)
{
    if (*fd == a->worker->null_fd) {
        *fd = -1;
    }
    er_close(fd);
}

void
er_stdin_send(struct er_work_attempt *a, const void *p, size_t n, bool eof)
{
    struct er_input *in = &a->input;
    bool open = in->fd >= 0 || a->state <= ER_ATTEMPT_SPAWNING;
    if (!in->wanted || in->eof || !open) {
        in->refused = in->refused || n > 0;
        return;
    }
    if (in->queue.len + n > ER_INPUT_MAX) {
        in->dropped += n;
    } else {
        er_buf_add(&in->queue, p, n);
    }
    in->eof = eof;
    if (in->fd >= 0) {
        flush(in);
    }
}

void
er_stdin_tell(struct er_work_attempt *a, const char *line, size_t n)
{
    struct er_input *in = &a->input;
    if (a->is_program && in->fd >= 0) {
        er_buf_add(&in->queue, line, n);
        er_buf_add_char(&in->queue, '\n');
        flush(in);
    }
}

void
er_stdin_close(struct er_work_attempt *a)
{
    struct er_input *in = &a->input;
    if (in->dropped > 0) {
        er_attempt_warn(
            a,
            "%zu bytes for standard input were dropped: more than %d were waiting "
            "to be read",
            in->dropped, ER_INPUT_MAX);
    }
    if (in->refused) {
        er_attempt_warn(a, "input was sent, but standard input %s",
                        in->wanted      ? "was closed by then"
                        : a->is_program ? "is not for it: it is a type's program"
                                        : "is not open: submit with `input`: true");
    }
    in->dropped = 0;
    in->refused = false;
    close_pipe(in);
}
