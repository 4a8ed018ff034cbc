/* SPDX-License-Identifier: MIT */
/* errand shutdown: asks the daemon to end, waits until its process is gone, and says what
 * became of what ran.
 *
 * Failure modes: none answers; it takes longer than --timeout (tasks that run may have a
 * long `drain`), which names what hurries it. A daemon that goes before it could answer
 * has done what was asked. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "base/io.h"
#include "base/mem.h"
#include "model/duration.h"
#include "wire/autostart.h"

#define SHUTDOWN_FOR (120 * ER_USEC_PER_SEC)

struct shutdown {
    bool now, keep_running;
    struct er_opt_span timeout;
};

#define AT(field) offsetof(struct shutdown, field)
static const struct er_opt shutdown_opts[] = {
    {0, "now", NULL, ER_OPT_FLAG, AT(now), "put back at once what runs", 0, 0, NULL},
    {0, "keep-running", NULL, ER_OPT_FLAG, AT(keep_running),
     "let what runs go on under its worker, for the next daemon", 0, 0, NULL},
    {0, "timeout", "DUR", ER_OPT_SPAN, AT(timeout),
     "wait at most this long until it is gone (2m)", 0, 0, NULL},
    ER_OPT_END,
};
#undef AT

/* Waits until the process is gone; false when it still is there after that time. */
static bool
await_exit(int pid_fd, er_usec timeout)
{
    er_usec until = er_clock_mono(er_clock_system()) + timeout;
    struct pollfd p = {.fd = pid_fd, .events = POLLIN};
    for (;;) {
        er_usec left = until - er_clock_mono(er_clock_system());
        er_usec ms = left <= 0 ? 0 : left / ER_USEC_PER_MS + 1;
        int n = poll(&p, 1, ms < INT32_MAX ? (int)ms : INT32_MAX);
        if (n > 0 || (n == 0 && left <= 0)) {
            return n > 0;
        }
        if (n < 0 && errno != EINTR) {
            return false;
        }
    }
}

/* Whether this process runs below that one. */
static bool
is_below(int pid)
{
    char path[64], text[512];
    for (int at = (int)getppid(); at > 1;) {
        if (at == pid) {
            return true;
        }
        (void)snprintf(path, sizeof path, "/proc/%d/stat", at);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
        er_close(&fd);
        text[n > 0 ? n : 0] = '\0';
        const char *name_end = strrchr(text, ')'); /* the state and the parent follow */
        if (!name_end || sscanf(name_end, ") %*c %d", &at) != 1) {
            return false;
        }
    }
    return false;
}

/* Whether this is a task of the daemon that is asked: it, or one of its workers, is
 * above. */
static bool
is_own_task(const json_t *stats)
{
    size_t i;
    const json_t *w;
    if (!getenv("ERRAND_TASK_ID")) {
        return false;
    }
    json_array_foreach(json_object_get(stats, "workers"), i, w)
    {
        if (is_below((int)er_json_int(w, "pid", 0))) {
            return true;
        }
    }
    return is_below((int)er_json_int(json_object_get(stats, "daemon"), "pid", 0));
}

/* How many tasks run now, and the daemon's pid; what it does not tell any more, since it
 * is ending already, stays as it is. */
static int
ask(struct er_app *app, bool keep, int64_t *out_running, int *out_pid, struct er_err *err)
{
    json_t *stats;
    char *socket_path = NULL;
    int rc = er_daemon_open(app, err);
    if (rc) {
        return rc;
    }
    if (er_autostart_owner(&app->places, out_pid, &socket_path) == 0) {
        er_free(socket_path);
    }
    rc = er_daemon_get(app, "/v1/stats", &stats, err);
    if (rc == 0) {
        *out_running = er_json_int(json_object_get(stats, "counts"), "running", 0);
        *out_pid = (int)er_json_int(json_object_get(stats, "daemon"), "pid", *out_pid);
        if (!keep && is_own_task(stats)) {
            rc = er_fail(err, ER_ESTATE,
                         "this is task %.20s of the daemon that it would end: the task "
                         "would be put back, and run and end it again (errand shutdown "
                         "--keep-running lets it go on)",
                         getenv("ERRAND_TASK_ID"));
        }
        json_decref(stats);
    }
    return rc == ER_ETIMEOUT || rc == ER_ESTATE ? rc : 0;
}

/* Asks once only: one that goes before it answers has done what was asked. */
static int
tell(struct er_app *app, const struct shutdown *o, er_usec timeout, struct er_err *err)
{
    struct er_response r;
    const char *body = o->now            ? "{\"now\":true}"
                       : o->keep_running ? "{\"keep_running\":true}"
                                         : "{}";
    int rc = er_daemon_open(app, err);
    rc = rc ? rc
            : er_client_request(app->client, "POST", "/v1/shutdown", "application/json",
                                body, strlen(body), NULL, timeout, &r, err);
    if (!rc) {
        rc = r.status >= 400 ? er_daemon_problem(app, r.status, &r.body, err) : 0;
        er_response_fini(&r);
    }
    er_daemon_close(app);
    return rc;
}

static void
report(const struct shutdown *o, int pid, int64_t running)
{
    if (running == 0) {
        er_app_note("the daemon (pid %d) has ended; nothing ran", pid);
        return;
    }
    er_app_note("the daemon (pid %d) has ended; of %" PRId64 " %s, %s", pid, running,
                running == 1 ? "task that ran" : "tasks that ran",
                o->keep_running ? "all go on under their worker"
                : o->now        ? "what was not done is put back and runs again later"
                         : "what did not end in time is put back and runs again later");
}

static int
shutdown_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct shutdown *o = data;
    struct er_err err;
    int64_t running = 0;
    int pid = 0, pid_fd = -1;
    (void)n;
    (void)args;
    if (o->now && o->keep_running) {
        return er_app_failf(ER_EINVALID, "--now and --keep-running: give one of them");
    }
    er_usec timeout = o->timeout.set ? o->timeout.value : SHUTDOWN_FOR;
    app->no_autostart = true;
    app->until = er_clock_mono(er_clock_system()) + timeout;
    int rc = ask(app, o->keep_running, &running, &pid, &err);
    if (!rc && pid > 1) {
        pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    }
    rc = rc ? rc : tell(app, o, timeout + ER_DAEMON_LATE, &err);
    if (rc == ER_ENODAEMON && pid_fd >= 0) {
        rc = 0; /* it went before it could answer */
    }
    if (!rc && pid_fd >= 0 && !await_exit(pid_fd, timeout)) {
        char text[ER_DURATION_SIZE];
        er_duration_format(timeout, text);
        rc = er_fail(&err, ER_ETIMEOUT, "the daemon (pid %d) has not ended after %s%s",
                     pid, text,
                     o->now ? ""
                            : ": it gives tasks that run time to end (errand shutdown "
                              "--now puts them back)");
    }
    er_close(&pid_fd);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    report(o, pid, running);
    return 0;
}

const struct er_cmd er_cmd_shutdown = {
    .name = "shutdown",
    .operands = "",
    .summary = "stop the daemon, and wait until it is gone",
    .text =
        "Tasks that run have a while to end (the setting drain), then they are put back "
        "and run\n"
        "again under the next daemon. Nothing is lost, and none of it counts as a "
        "failure.",
    .opts = {shutdown_opts},
    .data_size = sizeof(struct shutdown),
    .exec = shutdown_exec,
};
