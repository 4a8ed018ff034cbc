/* SPDX-License-Identifier: MIT */
/* errand serve, worker, shutdown, config: the other programs, started and stopped. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "app/api.h"
#include "app/autostart.h"
#include "app/cmd.h"
#include "base/io.h"
#include "base/mem.h"

#define SHUTDOWN_MS 30000

/* Becomes one of the other programs; returns only when that fails. */
static int
become(const char *program, const char *const *options, int n, char **args)
{
    struct er_err err;
    char *path;
    int rc = er_autostart_find(program, &path, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    size_t count = 0;
    while (options[count]) {
        count++;
    }
    const char **argv = er_xrealloc_array(NULL, count + (size_t)n + 2, sizeof *argv);
    argv[0] = path;
    memcpy(argv + 1, options, count * sizeof *argv);
    for (int i = 0; i < n; i++) {
        argv[1 + count + (size_t)i] = args[i];
    }
    argv[1 + count + (size_t)n] = NULL;
    (void)execv(path, (char *const *)(void *)argv);
    int code = er_app_failf(ER_EIO, "cannot run %s: %s", path, strerror(errno));
    er_free(argv);
    er_free(path);
    return code;
}

/* ---- serve ---- */

struct serve {
    bool foreground;
};

static const struct er_opt serve_opts[] = {
    {0, "foreground", NULL, ER_OPT_FLAG, offsetof(struct serve, foreground),
     "stay in the foreground, with the log on standard error", 0, 0, NULL},
    ER_OPT_END,
};

static int
serve_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct serve *o = data;
    struct er_err err;
    if (o->foreground) {
        static const char *const options[] = {"--foreground", NULL};
        return become("errandd", options, n, args);
    }
    if (n > 0) {
        return er_app_failf(ER_EINVALID,
                            "options of errandd are for --foreground; the others "
                            "belong into the configuration");
    }
    int rc = er_api_places(app, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    app->no_autostart = true;
    if (er_api_open(app, NULL) == 0) {
        er_app_note("a daemon answers already at %s", app->socket);
        return 0;
    }
    rc = er_autostart_run(&app->places, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    er_app_note("the daemon answers at %s", app->places.socket);
    return 0;
}

const struct er_cmd er_cmd_serve = {
    .name = "serve",
    .operands = "[-- OPTION...]",
    .summary = "start the daemon",
    .text = "In the background, unless --foreground is given; options behind -- go to "
            "errandd.",
    .opts = serve_opts,
    .data_size = sizeof(struct serve),
    .max = -1,
    .exec = serve_exec,
};

static int
worker_exec(struct er_app *app, void *data, int n, char **args)
{
    static const char *const options[] = {NULL};
    (void)app;
    (void)data;
    return become("errand-worker", options, n, args);
}

const struct er_cmd er_cmd_worker = {
    .name = "worker",
    .operands = "[-- OPTION...]",
    .summary = "run a worker in the foreground (the daemon starts its own)",
    .max = -1,
    .exec = worker_exec,
};

/* ---- shutdown ---- */

struct shutdown {
    bool now;
};

static const struct er_opt shutdown_opts[] = {
    {0, "now", NULL, ER_OPT_FLAG, offsetof(struct shutdown, now),
     "put back what runs instead of leaving it to its worker", 0, 0, NULL},
    ER_OPT_END,
};

/* Waits until the daemon's process is gone; false when it still is there after a while.
 */
static bool
await_exit(int pid_fd)
{
    struct pollfd p = {.fd = pid_fd, .events = POLLIN};
    int n;
    do {
        n = poll(&p, 1, SHUTDOWN_MS);
    } while (n < 0 && errno == EINTR);
    return n > 0;
}

static int
shutdown_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct shutdown *o = data;
    struct er_err err;
    struct er_buf body;
    int pid = 0, pid_fd = -1;
    char *socket_path = NULL;
    (void)n;
    (void)args;
    app->no_autostart = true;
    int rc = er_api_open(app, &err);
    if (rc) {
        return rc == ER_ENODAEMON
                   ? er_app_failf(rc, "no daemon answers at %s", app->places.socket)
                   : er_app_fail(rc, &err);
    }
    if (er_autostart_owner(&app->places, &pid, &socket_path) == 0 && pid > 1) {
        pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    }
    er_free(socket_path);
    er_buf_init(&body, 0);
    er_buf_addf(&body, "{\"now\":%s}", o->now ? "true" : "false");
    rc = er_api_post(app, "POST", "/v1/shutdown", &body, NULL, &err);
    er_buf_fini(&body);
    er_api_close(app);
    if (rc == ER_ENODAEMON && pid_fd >= 0) {
        rc = 0; /* it went before it could answer */
    }
    if (!rc && pid_fd >= 0 && !await_exit(pid_fd)) {
        rc = er_fail(&err, ER_ETIMEOUT, "the daemon (pid %d) has not ended after 30s",
                     pid);
    }
    er_close(&pid_fd);
    return rc ? er_app_fail(rc, &err) : 0;
}

const struct er_cmd er_cmd_shutdown = {
    .name = "shutdown",
    .operands = "",
    .summary = "stop the daemon",
    .text =
        "Tasks that run go on: their worker hands in what they did to the next daemon.",
    .opts = shutdown_opts,
    .data_size = sizeof(struct shutdown),
    .exec = shutdown_exec,
};

/* ---- config ---- */

struct config {
    const char *check;
    bool json;
};

static const struct er_opt config_opts[] = {
    {0, "check", "FILE", ER_OPT_TEXT, offsetof(struct config, check),
     "only look whether that file is right", 0, 0, NULL},
    {0, "json", NULL, ER_OPT_FLAG, offsetof(struct config, json), "as JSON", 0, 0, NULL},
    ER_OPT_END,
};

static int
config_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct config *o = data;
    const char *options[5];
    size_t count = 0;
    (void)app;
    options[count++] = "--print-config";
    if (o->json) {
        options[count++] = "--json";
    }
    if (o->check) {
        options[count++] = "--check";
        options[count++] = o->check;
    }
    options[count] = NULL;
    return become("errandd", options, n, args);
}

const struct er_cmd er_cmd_config = {
    .name = "config",
    .operands = "",
    .summary = "each setting with its value and where that comes from",
    .opts = config_opts,
    .data_size = sizeof(struct config),
    .exec = config_exec,
};
