/* SPDX-License-Identifier: MIT */
/* Signals are caught by handlers (not blocked: a program that the handler starts must not
 * inherit that) which only write to an event descriptor; it lives as long as the
 * process. */
#include "lib/main.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/io.h"

static int signal_fd = -1; /* the process's, as signals are */

static void
on_signal(int number)
{
    int kept = errno;
    uint64_t one = 1;
    (void)number;
    (void)!write(signal_fd, &one, sizeof one);
    errno = kept;
}

static void
on_pipe(int number)
{
    (void)number; /* the write fails with EPIPE */
}

bool
er_main_catch_signals(void)
{
    struct sigaction stop = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct sigaction pipe = {.sa_handler = on_pipe, .sa_flags = SA_RESTART};
    if (signal_fd < 0) {
        signal_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    return signal_fd >= 0 && sigaction(SIGTERM, &stop, NULL) == 0 &&
           sigaction(SIGINT, &stop, NULL) == 0 && sigaction(SIGPIPE, &pipe, NULL) == 0;
}

static enum errand_stop
find_why(const char *word)
{
    static const struct {
        const char *word;
        enum errand_stop why;
    } words[] = {{"cancel", ERRAND_STOP_CANCEL},
                 {"pause", ERRAND_STOP_PAUSE},
                 {"timeout", ERRAND_STOP_TIMEOUT},
                 {"heartbeat", ERRAND_STOP_TIMEOUT},
                 {"requeue", ERRAND_STOP_SHUTDOWN}};
    for (size_t i = 0; word && i < sizeof words / sizeof *words; i++) {
        if (strcmp(word, words[i].word) == 0) {
            return words[i].why;
        }
    }
    return ERRAND_STOP_SHUTDOWN;
}

/* Lines that say something else are passed over. */
static void
take_line(struct er_main_listener *listener, const char *line, size_t n)
{
    json_t *o = json_loadb(line, n, 0, NULL);
    const json_t *stop = json_object_get(o, "stop");
    if (json_is_object(stop)) {
        er_attempt_ask_stop(listener->attempt,
                            find_why(json_string_value(json_object_get(stop, "why"))));
    }
    json_decref(o);
}

static void
take_lines(struct er_main_listener *listener)
{
    char *nl;
    while (listener->line.len > 0 &&
           (nl = memchr(listener->line.data, '\n', listener->line.len))) {
        size_t n = (size_t)(nl - listener->line.data);
        take_line(listener, listener->line.data, n);
        er_buf_drop(&listener->line, n + 1);
    }
}

/* What is there to be read now. */
static void
read_some(struct er_main_listener *listener)
{
    char chunk[4096];
    ssize_t n = read(listener->fd, chunk, sizeof chunk);
    if (n > 0) {
        er_buf_add(&listener->line, chunk, (size_t)n);
        take_lines(listener);
    } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
        listener->fd = -1;
        if (!errand_should_stop(listener->attempt)) {
            er_attempt_ask_stop(listener->attempt, ERRAND_STOP_LOST);
        }
    }
}

/* The line that says why comes before its signal: it is read first. */
static void *
listen_to_all(void *ctx)
{
    struct er_main_listener *listener = ctx;
    for (;;) {
        struct pollfd p[] = {{listener->fd, POLLIN, 0},
                             {signal_fd, POLLIN, 0},
                             {listener->quit_fd, POLLIN, 0}};
        if (poll(p, 3, -1) < 0) {
            continue; /* EINTR */
        }
        if (p[2].revents != 0) {
            return NULL;
        }
        if (p[0].revents != 0) {
            read_some(listener);
        } else if (p[1].revents != 0) {
            uint64_t n;
            (void)!read(signal_fd, &n, sizeof n);
            er_attempt_ask_stop(listener->attempt, listener->on_signal);
        }
    }
}

int
er_main_listener_open(struct er_main_listener *listener)
{
    take_lines(listener);
    listener->quit_fd = eventfd(0, EFD_CLOEXEC);
    if (listener->quit_fd < 0) {
        return er_error_from_errno(errno);
    }
    int rc = pthread_create(&listener->thread, NULL, listen_to_all, listener);
    if (rc != 0) {
        er_close(&listener->quit_fd);
    }
    return rc ? er_error_from_errno(rc) : 0;
}

void
er_main_listener_close(struct er_main_listener *listener)
{
    if (listener->quit_fd >= 0) {
        (void)eventfd_write(listener->quit_fd, 1);
        (void)pthread_join(listener->thread, NULL);
        er_close(&listener->quit_fd);
    }
    er_buf_fini(&listener->line);
}
