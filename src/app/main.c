/* SPDX-License-Identifier: MIT */
/* errand: finds the command in the table, reads its options, runs it. Without a command,
 * or with options alone, it is `errand tasks`.
 *
 * It is to start in about a millisecond: no locale is loaded, no configuration is read,
 * and nothing is opened but the socket, unless a command needs it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "base/mem.h"

static void
app_fini(struct er_app *app)
{
    er_daemon_close(app);
    json_decref(app->problem);
    er_free(app->socket);
    er_places_fini(&app->places);
}

static bool
is_own_place(const char *path)
{
    struct er_places places = {0};
    (void)unsetenv("ERRAND_SOCKET");
    bool is =
        er_places_init(&places, false, NULL) == 0 && strcmp(places.socket, path) == 0;
    er_places_fini(&places);
    return is;
}

/* As if the environment had said it, but that no daemon is started for a place that is
 * somebody else's. A task that asks there is no task of theirs. */
static int
use_socket(struct er_app *app, const char *path, struct er_err *err)
{
    const char *own = getenv("ERRAND_SOCKET");
    if (!*path) {
        return er_fail(err, ER_EINVALID, "--socket needs a path");
    }
    if (!own || strcmp(own, path) != 0) {
        (void)unsetenv("ERRAND_TASK_ID");
    }
    app->elsewhere = !is_own_place(path);
    app->no_autostart = app->elsewhere || app->no_autostart;
    return setenv("ERRAND_SOCKET", path, 1) == 0
               ? 0
               : er_fail(err, ER_ENOMEM, "out of memory");
}

/* Reads the options of a command and runs it. */
static int
run(struct er_app *app, const struct er_cmd *cmd, int argc, char **argv)
{
    struct er_common common = {0};
    struct er_err err;
    char what[64];
    void *data = er_xzalloc(cmd->data_size ? cmd->data_size : 1);
    struct er_opt_target targets[ER_CMD_TABLES + 1] = {{er_common_opts, &common}};
    size_t n_targets = 1;
    while (n_targets <= ER_CMD_TABLES && cmd->opts[n_targets - 1]) {
        targets[n_targets] = (struct er_opt_target){cmd->opts[n_targets - 1], data};
        n_targets++;
    }
    (void)snprintf(what, sizeof what, "errand %s", cmd->name);
    int code;
    int n = er_options_parse(targets, n_targets, what, cmd->stop_early, argc, argv,
                             &app->rest, &err);
    app->cmd = cmd;
    app->no_autostart = app->no_autostart || common.no_autostart;
    n = n >= 0 && common.socket && use_socket(app, common.socket, &err) ? ER_EINVALID : n;
    if (common.help) {
        er_help_print(cmd);
        code = 0;
    } else if (n < 0) {
        code = er_app_fail(n, &err);
    } else if (n < cmd->min) {
        code = er_app_failf(ER_EINVALID, "something is missing: errand %s %s", cmd->name,
                            cmd->operands);
    } else if (cmd->max >= 0 && n > cmd->max) {
        code = er_app_failf(ER_EINVALID, "'%.100s' is too much: errand %s %s",
                            argv[cmd->max], cmd->name, cmd->operands);
    } else {
        code = cmd->exec(app, data, n, argv);
    }
    er_options_fini(targets, n_targets);
    er_free(data);
    return code;
}

/* The path of "--socket PATH" or "--socket=PATH" at argument *i, which moves to its last
 * one; NULL = it is something else, or has none. */
static const char *
socket_of(int argc, char **argv, int *i)
{
    static const char name[] = "--socket";
    const char *arg = argv[*i];
    if (strncmp(arg, name, sizeof name - 1) != 0) {
        return NULL;
    }
    if (arg[sizeof name - 1] == '=') {
        return arg + sizeof name;
    }
    return arg[sizeof name - 1] != '\0' ? NULL : *i + 1 < argc ? argv[++*i] : "";
}

/* Options before the command's name: help, the version, --no-autostart, --socket. Returns
 * how many arguments they took; *out_code is set when all is done. */
static int
leading_options(struct er_app *app, int argc, char **argv, int *out_code)
{
    struct er_err err;
    int i = 0;
    for (; i < argc; i++) {
        const char *path = socket_of(argc, argv, &i);
        int rc = path ? use_socket(app, path, &err) : 0;
        if (rc) {
            *out_code = er_app_fail(rc, &err);
            return i;
        }
        if (path) {
            continue;
        }
        if (strcmp(argv[i], "--no-autostart") == 0) {
            app->no_autostart = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            er_help_print_all();
            *out_code = 0;
            return i;
        } else if (strcmp(argv[i], "--version") == 0 || strcmp(argv[i], "-V") == 0) {
            (void)puts("errand " ER_VERSION);
            *out_code = 0;
            return i;
        } else {
            break;
        }
    }
    return i;
}

/* A standard descriptor that is closed is not to become a connection, to which messages
 * would be written then: writing to it goes on to fail. */
static void
hold_standard_fds(void)
{
    for (int fd = 0; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) < 0) {
            return;
        }
    }
}

int
main(int argc, char **argv)
{
    hold_standard_fds();
    struct er_app app = {.no_autostart = er_app_env_flag("ERRAND_NO_AUTOSTART")};
    int code = -1;
    json_object_seed((size_t)getpid()); /* instead of reading /dev/urandom */
    int at = argc > 0 ? 1 : 0;
    at += leading_options(&app, argc - at, argv + at, &code);
    if (code < 0) {
        bool named = at < argc && argv[at][0] != '-';
        const struct er_cmd *cmd = named ? er_command_find(argv[at]) : &er_cmd_tasks;
        code = cmd ? run(&app, cmd, argc - at - named, argv + at + named) : 2;
    }
    app_fini(&app);
    if (fflush(stdout) != 0) {
        return er_app_failf(ER_EIO, "cannot write to standard output");
    }
    return code;
}
