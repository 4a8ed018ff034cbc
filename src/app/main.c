/* SPDX-License-Identifier: MIT */
/* errand: finds the command in the table, reads its options, runs it. Without a command,
 * or with options alone, it is `errand tasks`.
 *
 * It is to start in about a millisecond: no locale is loaded, no configuration is read,
 * and nothing is opened but the socket, unless a command needs it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/api.h"
#include "app/cmd.h"
#include "base/mem.h"

static void
app_fini(struct er_app *app)
{
    er_api_close(app);
    json_decref(app->problem);
    er_free(app->socket);
    er_places_fini(&app->places);
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

/* Options before the command's name: help, the version, --no-autostart. Returns how many
 * arguments they took; *out_code is set when all is done. */
static int
leading_options(struct er_app *app, int argc, char **argv, int *out_code)
{
    int i = 0;
    for (; i < argc; i++) {
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

int
main(int argc, char **argv)
{
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
