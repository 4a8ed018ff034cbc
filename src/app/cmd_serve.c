/* SPDX-License-Identifier: MIT */
/* errand serve, worker, config: the other programs, started. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "base/mem.h"
#include "wire/autostart.h"

/* Becomes one of the other programs; returns only when that fails. */
static int
become(const char *program, const char *const *options, int n, char **args)
{
    struct er_err err;
    char *path;
    int rc = er_autostart_find(program, NULL, &path, &err);
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
    int rc = er_daemon_places(app, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    app->no_autostart = true;
    if (er_daemon_open(app, NULL) == 0) {
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
    .group = "The daemon, and this command",
    .opts = {serve_opts},
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
    .opts = {config_opts},
    .data_size = sizeof(struct config),
    .exec = config_exec,
};
