/* SPDX-License-Identifier: MIT */
/* Complaints go to standard error as one line, "errand: ...". What is to be printed is
 * collected and written at once; where standard output cannot be written (a full disk, a
 * closed pipe), or not all was collected, the command ends with the code for that. */
#include "app/app.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "app/cmd.h"
#include "app/render.h"
#include "base/io.h"
#include "model/suggest.h"

/* clang-format off */
const struct er_cmd *const er_commands[] = {
    &er_cmd_add, &er_cmd_submit, &er_cmd_call,
    &er_cmd_tasks, &er_cmd_show, &er_cmd_why, &er_cmd_log, &er_cmd_result, &er_cmd_events,
    &er_cmd_wait, &er_cmd_stats,
    &er_cmd_cancel, &er_cmd_pause, &er_cmd_resume, &er_cmd_retry, &er_cmd_requeue, &er_cmd_edit,
    &er_cmd_send, &er_cmd_remove, &er_cmd_clean,
    &er_cmd_queue, &er_cmd_limit, &er_cmd_types,
    &er_cmd_progress,
    &er_cmd_serve, &er_cmd_worker, &er_cmd_shutdown, &er_cmd_doctor, &er_cmd_config,
    &er_cmd_completions, &er_cmd_help,
    NULL,
};
/* clang-format on */

const struct er_opt er_common_opts[] = {
    {'h', "help", NULL, ER_OPT_FLAG, offsetof(struct er_common, help), "show this", 0, 0,
     NULL},
    {0, "no-autostart", NULL, ER_OPT_FLAG, offsetof(struct er_common, no_autostart),
     "do not start a daemon when none answers", 0, 0, NULL},
    {0, "socket", "PATH", ER_OPT_TEXT, offsetof(struct er_common, socket),
     "ask who answers at that socket", 0, 0, NULL},
    ER_OPT_END,
};

const struct er_cmd *
er_command_find(const char *name)
{
    const char *names[sizeof er_commands / sizeof er_commands[0]];
    size_t n = 0;
    for (; er_commands[n]; n++) {
        names[n] = er_commands[n]->name;
        if (strcmp(names[n], name) == 0) {
            return er_commands[n];
        }
    }
    struct er_err err;
    (void)er_suggest_fail(&err, ER_EINVALID, "command", name, names, n);
    (void)er_app_failf(ER_EINVALID, "%s%s", err.text,
                       strstr(err.text, "did you mean") ? ""
                                                        : " (errand help lists them)");
    return NULL;
}

/* Writes one message on standard error: masked, clean, with one write. */
static void
say(const char *text)
{
    struct er_term t;
    struct er_buf b;
    er_term_init(&t, STDERR_FILENO);
    er_buf_init(&b, 0);
    er_buf_add_str(&b, "errand: ");
    t.utf8 = true; /* messages are passed on as they came; only tables have ASCII forms */
    (void)er_term_text(&t, &b, text, strlen(text), 0);
    er_buf_add_char(&b, '\n');
    (void)!er_write_all(STDERR_FILENO, b.data, b.len);
    er_buf_fini(&b);
}

int
er_app_fail(int code, const struct er_err *err)
{
    say(err->text[0] ? err->text : er_error_meaning(code));
    return er_error_exit(code);
}

int
er_app_failf(int code, const char *fmt, ...)
{
    struct er_err err;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(err.text, sizeof err.text, fmt, ap);
    va_end(ap);
    return er_app_fail(code, &err);
}

void
er_app_note(const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    say(text);
}

int
er_app_out(const struct er_buf *b)
{
    if (b->failed) {
        return er_app_failf(b->failed, "cannot show all of it: %s",
                            er_error_meaning(b->failed));
    }
    if (b->len > 0 && er_write_all(STDOUT_FILENO, b->data, b->len)) {
        return er_app_failf(ER_EIO, "cannot write to standard output: %s",
                            strerror(errno));
    }
    return 0;
}

bool
er_app_env_flag(const char *name)
{
    static const char *const no[] = {"", "0", "no", "false", "off"};
    const char *v = getenv(name);
    if (!v) {
        return false;
    }
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
        if (strcasecmp(v, no[i]) == 0) {
            return false;
        }
    }
    return true;
}
