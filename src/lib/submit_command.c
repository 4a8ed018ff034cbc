/* SPDX-License-Identifier: MIT */
/* Submitting a command: a task of the type `shell` with its words, the folder and this
 * process's environment. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"
#include "lib/handle.h"
#include "lib/submit_priv.h"

static int
add_valid(struct er_buf *b, const char *text, const char *field, errand_error *error)
{
    if (!er_utf8_is_valid(text, strlen(text))) {
        return er_handle_fail(error, ER_EINVALID, field,
                              "%s is not UTF-8 and cannot be passed on", field);
    }
    er_buf_add_json_str(b, text);
    return 0;
}

static bool
is_repeated(size_t at, size_t name_len)
{
    for (size_t i = 0; i < at; i++) {
        if (strncmp(environ[i], environ[at], name_len + 1) == 0) {
            return true;
        }
    }
    return false;
}

/* This process's variables but ERRAND_*; the API leaves out what looks like a secret. */
static void
add_env(struct er_buf *b)
{
    bool first = true;
    er_buf_add_str(b, ",\"env\":{");
    for (size_t i = 0; environ && environ[i]; i++) {
        const char *entry = environ[i], *equals = strchr(entry, '=');
        if (!equals || equals == entry || strncmp(entry, "ERRAND_", 7) == 0 ||
            !er_utf8_is_valid(entry, strlen(entry)) ||
            is_repeated(i, (size_t)(equals - entry))) {
            continue;
        }
        er_buf_add_str(b, first ? "" : ",");
        first = false;
        er_buf_add_json(b, entry, (size_t)(equals - entry));
        er_buf_add_char(b, ':');
        er_buf_add_json_str(b, equals + 1);
    }
    er_buf_add_char(b, '}');
}

static int
make_command(struct er_buf *b, const char *const *argv, const char *cwd,
             const struct errand_submit_options *given, errand_error *error)
{
    struct errand_submit_options o;
    char here[PATH_MAX];
    int rc = er_submit_read_options(&o, given, error);
    if (rc == 0 && !cwd && !getcwd(here, sizeof here)) {
        rc = er_handle_fail(error, ER_EIO, "cwd", "the current folder cannot be read: %s",
                            strerror(errno));
    }
    er_buf_add_str(b, "{\"type\":\"shell\",\"args\":{\"argv\":[");
    for (size_t i = 0; rc == 0 && argv[i]; i++) {
        er_buf_add_str(b, i > 0 ? "," : "");
        rc = add_valid(b, argv[i], "argv", error);
    }
    er_buf_add_str(b, "]},\"cwd\":");
    rc = rc ? rc : add_valid(b, cwd ? cwd : here, "cwd", error);
    add_env(b);
    er_submit_add_options(b, &o);
    er_buf_add_char(b, '}');
    rc = rc ? rc : er_submit_add_more(b, o.more, error);
    return rc ? rc : er_submit_check_size(b, error);
}

/* What the API calls args was given as argv here, unless `more` has args of its own. */
static int
name_argv(int rc, const struct errand_submit_options *given, errand_error *error)
{
    struct errand_submit_options o;
    static const char args[] = "args";
    bool is_args = rc && error && strncmp(error->field, args, sizeof args - 1) == 0;
    if (is_args && er_submit_read_options(&o, given, NULL) == 0) {
        json_t *more = o.more ? json_loads(o.more, 0, NULL) : NULL;
        if (!json_object_get(more, args)) {
            (void)snprintf(error->field, sizeof error->field, "argv");
        }
        json_decref(more);
    }
    return rc;
}

int
errand_submit_command(errand *e, const char *const *argv, const char *cwd,
                      const struct errand_submit_options *options, int64_t *out_id,
                      errand_error *error)
{
    struct er_buf body;
    if (!e || !argv || !argv[0]) {
        return er_handle_fail(error, ER_EINVALID, e ? "argv" : "e",
                              e ? "argv names no program" : "e is NULL");
    }
    if (e->embedded && e->options.no_commands && !(e->options.test & ERRAND_TEST_HOLD)) {
        return er_handle_fail(error, ER_EINVALID, "no_commands",
                              "no command can run here: this handle was opened with the "
                              "option no_commands");
    }
    er_buf_init(&body, 0);
    int rc = make_command(&body, argv, cwd, options, error);
    if (rc) {
        er_buf_fini(&body);
    } else {
        rc = er_submit_send(e, &body, options, out_id, error);
    }
    return name_argv(rc, options, error);
}
