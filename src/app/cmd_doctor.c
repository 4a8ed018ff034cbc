/* SPDX-License-Identifier: MIT */
/* errand doctor: looks at everything that may be wrong with an instance, from here and,
 * by GET /v1/doctor, from inside the daemon; says what to do about it. */
#include <errno.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/api.h"
#include "app/autostart.h"
#include "app/cmd.h"
#include "app/show.h"
#include "base/mem.h"

#define DISK_LOW ((uint64_t)256 << 20)

struct doctor {
    bool json;
};

static const struct er_opt doctor_opts[] = {
    {0, "json", NULL, ER_OPT_FLAG, offsetof(struct doctor, json), "as JSON", 0, 0, NULL},
    ER_OPT_END,
};

struct exam {
    json_t *checks;
    int bad;
};

/* Notes one check. */
static void
note(struct exam *e, const char *name, bool ok, const char *detail, const char *advice)
{
    json_t *c = json_pack("{s:s, s:b, s:s, s:s?}", "name", name, "ok", ok ? 1 : 0,
                          "detail", detail, "advice", ok ? NULL : advice);
    e->bad += !ok;
    if (c) {
        (void)json_array_append_new(e->checks, c);
    }
}

/* A folder of ours: there (or to be made), our own, and closed to others. */
static void
check_folder(struct exam *e, const char *name, const char *path)
{
    struct stat st;
    char detail[512];
    if (stat(path, &st) != 0) {
        int code = errno;
        (void)snprintf(detail, sizeof detail, "%.300s: %s", path, strerror(code));
        note(e, name, code == ENOENT, detail,
             "make the folder readable, or set ERRAND_HOME");
        return;
    }
    bool owned = st.st_uid == geteuid();
    bool closed = (st.st_mode & (S_IWGRP | S_IWOTH)) == 0;
    (void)snprintf(detail, sizeof detail, "%.300s, mode %03o, uid %u", path,
                   (unsigned)(st.st_mode & 0777), (unsigned)st.st_uid);
    note(e, name, S_ISDIR(st.st_mode) && owned && closed, detail,
         owned ? "chmod 700 it" : "it belongs to somebody else: use another ERRAND_HOME");
}

static void
check_disk(struct exam *e, const char *path)
{
    struct statvfs fs;
    char detail[512];
    if (statvfs(path, &fs) != 0) {
        return; /* the folder's own check has said it */
    }
    uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
    (void)snprintf(
        detail, sizeof detail, "%" PRIu64 " MiB free at %.300s%s", left >> 20, path,
        fs.f_files > 0 && fs.f_favail == 0 ? ", but no more files can be made" : "");
    note(e, "disk-space", left >= DISK_LOW && (fs.f_files == 0 || fs.f_favail > 0),
         detail, "make room, or errand clean");
}

static void
check_program(struct exam *e, const char *name)
{
    struct er_err err;
    char *path;
    if (er_autostart_find(name, &path, &err)) {
        note(e, name, false, err.text, "install errand again (./dev install)");
        return;
    }
    note(e, name, true, path, NULL);
    er_free(path);
}

/* Lets errandd read the configuration, which is the one that can. */
static void
check_config(struct exam *e, const char *file)
{
    char *path;
    pid_t pid;
    int status = -1;
    if (access(file, F_OK) != 0) {
        note(e, "configuration", true, "no file; all settings have their defaults", NULL);
        return;
    }
    if (er_autostart_find("errandd", &path, NULL)) {
        return;
    }
    char print[] = "--print-config", check[] = "--check";
    char *copy = er_xstrdup(file);
    char *argv[] = {path, print, check, copy, NULL};
    posix_spawn_file_actions_t files;
    if (posix_spawn_file_actions_init(&files) == 0) {
        (void)posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
        if (posix_spawn(&pid, path, &files, NULL, argv, environ) == 0) {
            while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
            }
        }
        (void)posix_spawn_file_actions_destroy(&files);
    }
    note(e, "configuration", WIFEXITED(status) && WEXITSTATUS(status) == 0, file,
         "errand config --check FILE says what is wrong with it");
    er_free(copy);
    er_free(path);
}

/* What the daemon says of itself; its checks are added to ours. */
static void
check_inside(struct er_app *app, struct exam *e)
{
    struct er_err err;
    json_t *answer;
    size_t i;
    json_t *c;
    int rc = er_api_get(app, "/v1/doctor", &answer, &err);
    if (rc == ER_ENOTFOUND) {
        return; /* an older daemon */
    }
    if (rc) {
        note(e, "daemon's own checks", false, err.text, "see the daemon's log");
        return;
    }
    json_array_foreach(json_object_get(answer, "checks"), i, c)
    {
        e->bad += !er_json_bool(c, "ok");
        (void)json_array_append(e->checks, c);
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

/* Asks the daemon; *out_stats stays NULL when none answers. */
static int
check_daemon(struct er_app *app, struct exam *e, json_t **out_stats)
{
    struct er_err err;
    char detail[512];
    int rc = er_api_get(app, "/v1/stats", out_stats, &err);
    if (rc) {
        note(e, "daemon", false, err.text,
             "errand serve --foreground shows why it does not start");
        return rc;
    }
    const json_t *daemon = json_object_get(*out_stats, "daemon");
    const char *version = er_json_text(daemon, "version");
    bool same = version && strcmp(version, ER_VERSION) == 0;
    (void)snprintf(detail, sizeof detail, "pid %" PRId64 ", version %s, at %.300s",
                   er_json_int(daemon, "pid", 0), version ? version : "?", app->socket);
    note(e, "daemon", same, detail,
         "it is of another version than this command: errand shutdown, "
         "and the next command starts the new one");
    keep_connected(*out_stats);
    (void)snprintf(detail, sizeof detail, "%zu connected",
                   json_array_size(json_object_get(*out_stats, "workers")));
    note(e, "workers", true, detail, NULL);
    check_inside(app, e);
    return 0;
}

static void
examine(struct er_app *app, struct exam *e, json_t **out_stats, int *out_rc)
{
    const struct er_places *p = &app->places;
    char *slash;
    char *run_dir = er_xstrdup(p->socket);
    if ((slash = strrchr(run_dir, '/')) != NULL && slash > run_dir) {
        *slash = '\0';
    }
    check_program(e, "errandd");
    check_program(e, "errand-worker");
    check_config(e, p->config);
    *out_rc = check_daemon(app, e, out_stats);
    check_folder(e, "folder of the store", p->state_dir);
    check_folder(e, "folder of the socket", run_dir);
    if (*out_rc) { /* else the daemon has looked */
        check_disk(e, p->state_dir);
    }
    er_free(run_dir);
}

static int
print_json(const struct er_places *p, const struct exam *e, const json_t *stats)
{
    json_t *places = json_pack("{s:s, s:s, s:s, s:s}", "config", p->config, "socket",
                               p->socket, "store", p->store, "logs", p->logs);
    json_t *daemon = json_object_get(stats, "daemon");
    json_t *workers = json_object_get(stats, "workers");
    json_t *o = json_pack("{s:b, s:O, s:o, s:O?}", "ok", e->bad == 0, "checks", e->checks,
                          "places", places, "daemon", daemon);
    (void)json_object_set_new(o, "workers",
                              workers ? json_incref(workers) : json_array());
    int rc = er_show_json(o);
    json_decref(o);
    return rc;
}

static int
print_text(const struct exam *e)
{
    struct er_term t;
    struct er_buf b;
    size_t i;
    const json_t *c;
    er_term_init(&t, STDOUT_FILENO);
    er_buf_init(&b, 0);
    json_array_foreach(e->checks, i, c)
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
    struct exam e = {.checks = json_array()};
    json_t *stats = NULL;
    int daemon_rc = 0;
    (void)n;
    (void)args;
    int rc = er_api_places(app, &err);
    if (rc) {
        json_decref(e.checks);
        return er_app_fail(rc, &err);
    }
    examine(app, &e, &stats, &daemon_rc);
    rc = o->json ? print_json(&app->places, &e, stats) : print_text(&e);
    json_decref(stats);
    json_decref(e.checks);
    if (rc == 0 && e.bad > 0) {
        rc = daemon_rc ? er_error_exit(daemon_rc) : 1;
    }
    return rc;
}

const struct er_cmd er_cmd_doctor = {
    .name = "doctor",
    .operands = "",
    .summary = "look for what may be wrong",
    .opts = {doctor_opts},
    .data_size = sizeof(struct doctor),
    .exec = doctor_exec,
};
