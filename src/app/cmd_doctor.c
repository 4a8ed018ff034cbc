/* SPDX-License-Identifier: MIT */
/* errand doctor: looks at everything that may be wrong with an instance, from here and,
 * by GET /v1/doctor, from inside the daemon; says what to do about it. The checks of
 * files and of the machine are in doctor_files.c and doctor_machine.c. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "app/doctor.h"
#include "app/show.h"
#include "base/io.h"
#include "base/mem.h"
#include "model/text.h"
#include "wire/autostart.h"

#define DAEMON_FOR (10 * ER_USEC_PER_SEC) /* its answer to a plain question */
#define INSIDE_FOR (60 * ER_USEC_PER_SEC) /* it looks into the store for this one */

struct doctor {
    bool json;
};

static const struct er_opt doctor_opts[] = {
    {0, "json", NULL, ER_OPT_FLAG, offsetof(struct doctor, json), "as JSON", 0, 0, NULL},
    ER_OPT_END,
};

/* Runs a program, and reads what it writes on `fd`, up to size - 1 bytes. Its wait
 * status; -1 when it does not run. */
static int
run_program(char *const *argv, int fd, char *out, size_t size)
{
    posix_spawn_file_actions_t files;
    pid_t pid;
    int ends[2], status = -1;
    size_t n = 0;
    ssize_t got;
    char rest[512];
    out[0] = '\0';
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return -1;
    }
    bool started = false;
    if (posix_spawn_file_actions_init(&files) == 0) {
        int other = fd == STDOUT_FILENO ? STDERR_FILENO : STDOUT_FILENO;
        started = posix_spawn_file_actions_adddup2(&files, ends[1], fd) == 0 &&
                  posix_spawn_file_actions_addopen(&files, other, "/dev/null", O_WRONLY,
                                                   0) == 0 &&
                  posix_spawn(&pid, argv[0], &files, NULL, argv, environ) == 0;
        (void)posix_spawn_file_actions_destroy(&files);
    }
    er_close(&ends[1]);
    while (started && ((got = read(ends[0], n + 1 < size ? out + n : rest,
                                   n + 1 < size ? size - 1 - n : sizeof rest)) > 0 ||
                       (got < 0 && errno == EINTR))) {
        n += got > 0 && n + 1 < size ? (size_t)got : 0;
    }
    er_close(&ends[0]);
    while (started && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    out[n] = '\0';
    return status;
}

/* What a program says with --version, without its line end; "" when it does not. */
static void
ask_version(char *path, char *out, size_t size)
{
    char option[] = "--version";
    char *argv[] = {path, option, NULL};
    (void)run_program(argv, STDOUT_FILENO, out, size);
    out[strcspn(out, "\n")] = '\0';
}

/* A program of ours is there, and of the same version as this command. */
static void
check_program(struct er_doctor *d, const char *name)
{
    struct er_err err;
    char *path;
    char version[200];
    if (er_autostart_find(name, NULL, &path, &err)) {
        er_doctor_note(d, name, false, "install errand again (./dev install)", "%s",
                       err.text);
        return;
    }
    ask_version(path, version, sizeof version);
    const char *number = strrchr(version, ' ');
    bool same = number && strcmp(number + 1, ER_VERSION) == 0;
    er_doctor_note(d, name, same,
                   "this command is of version " ER_VERSION
                   ": install all of errand again",
                   "%.400s, version %s", path, number ? number + 1 : "unknown");
    er_free(path);
}

/* Lets errandd read the configuration, which is the one that can. */
static void
check_config(struct er_doctor *d, const char *file)
{
    char *path;
    if (access(file, F_OK) != 0) {
        er_doctor_note(d, "configuration", true, NULL,
                       "no file %.300s; all settings have their defaults", file);
        return;
    }
    if (er_autostart_find("errandd", NULL, &path, NULL)) {
        return;
    }
    char print[] = "--print-config", check[] = "--check", words[600];
    char *copy = er_xstrdup(file);
    char *argv[] = {path, print, check, copy, NULL};
    int status = run_program(argv, STDERR_FILENO, words, sizeof words);
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    words[strcspn(words, "\n")] = '\0';
    const char *text = strncmp(words, "errandd: ", 9) == 0 ? words + 9 : words;
    er_doctor_note(d, "configuration", good, "mend it: until then no daemon starts", "%s",
                   good || !text[0] ? file : text);
    er_free(copy);
    er_free(path);
}

/* What the daemon says of itself; its checks are added to ours. */
static void
check_inside(struct er_app *app, struct er_doctor *d)
{
    struct er_err err;
    json_t *answer;
    size_t i;
    json_t *c;
    app->each = INSIDE_FOR;
    int rc = er_daemon_get(app, "/v1/doctor", &answer, &err);
    if (rc == ER_ENOTFOUND) {
        return; /* an older daemon */
    }
    if (rc) {
        er_doctor_note(d, "daemon's own checks", false, "see the daemon's log", "%s",
                       err.text);
        return;
    }
    json_array_foreach(json_object_get(answer, "checks"), i, c)
    {
        const char *name = er_json_text(c, "name");
        const char *detail = er_json_text(c, "detail");
        er_doctor_note(d, name ? name : "?", er_json_bool(c, "ok"),
                       er_json_text(c, "advice"), "%s", detail ? detail : "");
    }
    json_decref(answer);
}

/* Leaves only workers in it that are there now. */
static void
keep_connected(json_t *stats)
{
    json_t *workers = json_object_get(stats, "workers");
    for (size_t i = json_array_size(workers); i-- > 0;) {
        if (json_is_false(json_object_get(json_array_get(workers, i), "connected"))) {
            (void)json_array_remove(workers, i);
        }
    }
}

/* Whether the program of a running process was replaced since it was started. */
static bool
is_replaced(int64_t pid)
{
    static const char mark[] = " (deleted)";
    char link[64], exe[4096];
    (void)snprintf(link, sizeof link, "/proc/%" PRId64 "/exe", pid);
    ssize_t n = readlink(link, exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = '\0';
    size_t len = strlen(exe);
    return len >= sizeof mark && strcmp(exe + len - (sizeof mark - 1), mark) == 0;
}

static void
check_workers(struct er_doctor *d, const json_t *stats)
{
    size_t i, old = 0;
    const json_t *w;
    const json_t *workers = json_object_get(stats, "workers");
    json_array_foreach(workers, i, w)
    {
        const char *version = er_json_text(w, "version");
        old += is_replaced(er_json_int(w, "pid", 0)) ||
               (version && strcmp(version, ER_VERSION) != 0);
    }
    er_doctor_note(d, "worker", true, NULL, "%zu connected%s", json_array_size(workers),
                   old > 0 ? ", some of another version (they end when their tasks have)"
                           : "");
}

/* No daemon answers: none was started, or its start has failed, or it may not be
 * asked. */
static void
note_absent(struct er_app *app, struct er_doctor *d, int rc, const struct er_err *err)
{
    if (rc != ER_ENODAEMON && app->daemon > 0) {
        d->fails = true;
        er_doctor_note(d, "daemon", false, "look into its log",
                       "pid %d answers with an error: %s", (int)app->daemon, err->text);
        check_inside(app, d);
    } else if (rc != ER_ENODAEMON) {
        er_doctor_note(d, "daemon", false, "errand serve --foreground shows more", "%s",
                       err->text);
    } else if (er_doctor_is_blocked(&app->places)) {
        er_doctor_note(d, "daemon", false,
                       "mend first what is said below to be of the wrong kind",
                       "none answers at %s, and none can be started", app->places.socket);
    } else if (!er_doctor_start(d, &app->places)) {
        er_doctor_note(d, "daemon", d->may_start,
                       "errand serve starts one, and so does the next command",
                       d->may_start ? "none answers at %s; the next command starts one"
                                    : "none answers at %s",
                       app->places.socket);
    }
}

/* Asks the daemon; *out_stats stays NULL when none answers. */
static void
check_daemon(struct er_app *app, struct er_doctor *d, json_t **out_stats)
{
    struct er_err err;
    app->each = DAEMON_FOR;
    int rc = er_daemon_get(app, "/v1/stats", out_stats, &err);
    if (rc == ER_ETIMEOUT) {
        d->hangs = true;
        er_doctor_note(d, "daemon", false, ER_DOCTOR_HANGS,
                       "pid %d has not answered for %d s", app->daemon,
                       (int)(DAEMON_FOR / ER_USEC_PER_SEC));
        return;
    }
    if (rc) {
        note_absent(app, d, rc, &err);
        return;
    }
    const json_t *daemon = json_object_get(*out_stats, "daemon");
    const char *version = er_json_text(daemon, "version");
    int64_t pid = er_json_int(daemon, "pid", 0);
    bool replaced = is_replaced(pid);
    bool same = version && strcmp(version, ER_VERSION) == 0;
    er_doctor_note(
        d, "daemon", same && !replaced,
        "errand shutdown --keep-running, and the next command starts the new one",
        "pid %" PRId64 ", version %s%s, at %.300s", pid, version ? version : "?",
        !same      ? ", which is not that of this command"
        : replaced ? ", of a program that was replaced since"
                   : "",
        app->socket);
    d->daemon = (int)pid;
    if (er_json_bool(daemon, "all_paused")) {
        er_doctor_note(d, "pause", true, NULL,
                       "everything is paused: nothing starts (errand resume --all)");
    }
    keep_connected(*out_stats);
    check_inside(app, d);
    check_workers(d, *out_stats);
}

static int
print_json(const struct er_places *p, const struct er_doctor *d, const json_t *stats)
{
    json_t *places =
        json_pack("{s:s, s:s, s:s, s:s, s:s}", "config", p->config, "socket", p->socket,
                  "store", p->store, "logs", p->logs, "daemon_log", p->daemon_log);
    json_t *daemon = json_object_get(stats, "daemon");
    json_t *workers = json_object_get(stats, "workers");
    json_t *o = json_pack("{s:b, s:O, s:o, s:O?}", "ok", d->bad == 0, "checks", d->checks,
                          "places", places, "daemon", daemon);
    (void)json_object_set_new(o, "workers",
                              workers ? json_incref(workers) : json_array());
    int rc = er_show_json(o);
    json_decref(o);
    return rc;
}

static int
print_text(const struct er_doctor *d)
{
    struct er_term t;
    struct er_buf b;
    size_t i;
    const json_t *c;
    er_term_init(&t, STDOUT_FILENO);
    er_buf_init(&b, 0);
    json_array_foreach(d->checks, i, c)
    {
        bool ok = er_json_bool(c, "ok");
        const char *name = er_json_text(c, "name");
        const char *detail = er_json_text(c, "detail");
        const char *advice = er_json_text(c, "advice");
        enum er_style style = ok ? ER_STYLE_GREEN : ER_STYLE_RED;
        er_term_style(&t, &b, style);
        er_buf_add_str(
            &b, er_task_state_icon(ok ? ER_TASK_COMPLETED : ER_TASK_FAILED, t.utf8));
        er_term_plain(&t, &b, style);
        er_buf_addf(&b, " %s: ", name ? name : "?");
        (void)er_term_text(&t, &b, detail ? detail : "", detail ? strlen(detail) : 0, 0);
        if (!ok && advice) {
            er_buf_addf(&b, " (%s)", advice);
        }
        er_buf_add_char(&b, '\n');
    }
    int rc = er_app_out(&b);
    er_buf_fini(&b);
    return rc;
}

static int
doctor_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct doctor *o = data;
    struct er_err err;
    struct er_doctor d = {.checks = json_array(),
                          .may_start = !app->no_autostart && !getenv("ERRAND_TASK_ID")};
    json_t *stats = NULL;
    (void)n;
    (void)args;
    app->no_autostart = true; /* it looks only */
    int rc = er_daemon_places(app, &err);
    if (rc) {
        json_decref(d.checks);
        return er_app_fail(rc, &err);
    }
    check_program(&d, "errandd");
    check_program(&d, "errand-worker");
    check_config(&d, app->places.config);
    check_daemon(app, &d, &stats);
    er_doctor_files(&d, &app->places);
    er_doctor_machine(&d, &app->places);
    rc = o->json ? print_json(&app->places, &d, stats) : print_text(&d);
    json_decref(stats);
    json_decref(d.checks);
    return rc == 0 && d.bad > 0 ? 1 : rc;
}

const struct er_cmd er_cmd_doctor = {
    .name = "doctor",
    .operands = "",
    .summary = "look for what may be wrong, and say what to do",
    .text = "Programs, configuration, daemon, store, locks, sockets, disk space, clocks, "
            "limits "
            "of the\n"
            "machine, the daemon's log; without a daemon what can be seen from the "
            "files. Exits 1 "
            "when\n"
            "something is wrong.",
    .opts = {doctor_opts},
    .data_size = sizeof(struct doctor),
    .exec = doctor_exec,
};
