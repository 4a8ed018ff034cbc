/* SPDX-License-Identifier: MIT */
/* GET /v1/doctor: what can only be looked at from inside. Each check says whether it is
 * well, what was found, and what to do if not. The slow ones (the store, the logs'
 * folder) run on the reader's thread. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "api/hint.h"
#include "api/why.h"
#include "base/mem.h"

#define DISK_LOW    (UINT64_C(64) << 20)
#define FILE_LOW    ((rlim_t)1 << 30) /* a store may grow beyond it */
#define YEAR_2024   (INT64_C(1704067200) * ER_USEC_PER_SEC)
#define FDS_OF_TASK 6 /* descriptors that the worker needs for one */
#define FDS_BESIDE  64
#define WORKER_FOR  (30 * ER_USEC_PER_SEC) /* since the daemon's start */
#define LOGS_LOOKED 1000000                /* files; what is beyond is not counted */

struct doctor {
    struct er_query q;
    struct er_call *call;
    struct er_err store;
    int store_rc;
    int64_t store_bytes; /* with its journal */
    struct statvfs disk;
    int disk_rc; /* errno; 0 = it is known */
    int64_t log_bytes, log_files;
};

/* ---- the reader's thread ---- */

/* nftw has no context; one doctor looks at a time, all on the reader's thread. */
static int64_t walk_bytes, walk_files;

static int
on_file(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)path;
    (void)ftw;
    if (kind == FTW_F) {
        walk_bytes += (int64_t)st->st_blocks * 512;
        walk_files++;
    }
    return walk_files >= LOGS_LOOKED;
}

static int64_t
size_of(const char *path, const char *suffix)
{
    struct stat st;
    char *name = er_xasprintf("%s%s", path, suffix);
    int rc = stat(name, &st);
    er_free(name);
    return rc == 0 ? (int64_t)st.st_size : -1;
}

static void
run_doctor(struct er_query *q, struct er_store_reader *r)
{
    struct doctor *d = (struct doctor *)(void *)q;
    const struct er_places *p = d->call->api->places;
    d->store_rc = er_store_check(r, &d->store);
    d->disk_rc = statvfs(p->state_dir, &d->disk) == 0 ? 0 : errno;
    int64_t bytes = size_of(p->store, ""), wal = size_of(p->store, "-wal");
    d->store_bytes = (bytes > 0 ? bytes : 0) + (wal > 0 ? wal : 0);
    if (!er_api_has_store(d->call->api)) {
        d->store_rc = er_fail(&d->store, ER_ENOTFOUND,
                              "'%.300s' is not the file that is open: it was deleted, "
                              "moved or replaced",
                              p->store);
    }
    walk_bytes = walk_files = 0;
    (void)nftw(p->logs, on_file, 16, FTW_PHYS);
    d->log_bytes = walk_bytes;
    d->log_files = walk_files;
}

/* ---- checks ---- */

static void
add_check(struct er_buf *b, const char *name, bool ok, const char *detail,
          const char *advice)
{
    er_buf_add_str(b, b->data[b->len - 1] == '[' ? "{\"name\":" : ",{\"name\":");
    er_buf_add_json_str(b, name);
    er_buf_addf(b, ",\"ok\":%s,\"detail\":", ok ? "true" : "false");
    er_buf_add_json_str(b, detail);
    er_buf_add_str(b, ",\"advice\":");
    er_buf_add_json_str(b, ok ? NULL : advice);
    er_buf_add_char(b, '}');
}

static void
check_store(const struct doctor *d, struct er_buf *b)
{
    const struct er_api *s = d->call->api;
    struct er_engine_stats st;
    char text[600], advice[120];
    er_engine_stats(s->engine, &st);
    (void)snprintf(text, sizeof text, "whole, %lld KiB: %.400s",
                   (long long)(d->store_bytes >> 10), s->places->store);
    (void)snprintf(advice, sizeof advice,
                   "stop %s, keep a copy of the store, restore the last backup",
                   er_hint_host(s));
    add_check(b, "store", d->store_rc == 0, d->store_rc ? d->store.text : text, advice);
    add_check(b, "store-writes", !st.sick,
              st.sick ? er_error_meaning(st.sick_code) : "accepted",
              "free disk space or mend the disk; it is tried again every second");
}

static void
check_disk(const struct doctor *d, struct er_buf *b)
{
    const struct er_api *s = d->call->api;
    uint64_t left = d->disk_rc ? 0 : (uint64_t)d->disk.f_bavail * d->disk.f_frsize;
    int64_t bound = s->config.retention.log_bytes;
    char text[600];
    if (d->disk_rc == ENOENT && !s->on_shutdown) {
        return; /* a store in memory that has no folder yet */
    }
    (void)snprintf(text, sizeof text, "%llu MiB free for %.400s",
                   (unsigned long long)(left >> 20), s->places->state_dir);
    if (d->disk_rc) {
        (void)snprintf(text, sizeof text, "'%.400s' cannot be looked at: %s",
                       s->places->state_dir, strerror(d->disk_rc));
    }
    struct er_buf advice;
    er_buf_init(&advice, 0);
    er_buf_add_str(&advice, "free disk space: ");
    er_hint_add(d->call, ER_HINT_CLEAN, NULL, &advice);
    er_buf_add_str(&advice, " removes finished tasks and their output");
    add_check(b, "disk-space", left >= DISK_LOW, text, advice.data);
    er_buf_fini(&advice);
    bool fits = d->disk_rc || bound == 0 || bound <= d->log_bytes ||
                (uint64_t)(bound - d->log_bytes) <= left;
    (void)snprintf(
        text, sizeof text, "%lld MiB in %lld files, bound (logs_max) %lld MiB%s",
        (long long)(d->log_bytes >> 20), (long long)d->log_files,
        (long long)(bound >> 20), fits ? "" : ", which is more than the disk has left");
    add_check(b, "logs", true, text, NULL);
}

/* The wall clock against the one that nobody sets. */
static void
check_clock(const struct doctor *d, struct er_buf *b)
{
    const struct er_api *s = d->call->api;
    const struct er_clock *c = er_engine_clock(s->engine);
    er_usec wall = er_clock_wall(c);
    er_usec jump = wall - er_clock_boot(c) - s->clock_offset;
    char at[ER_RFC3339_SIZE], text[200];
    er_time_format(wall, at);
    if (jump > ER_USEC_PER_SEC || jump < -ER_USEC_PER_SEC) {
        (void)snprintf(text, sizeof text,
                       "%s; it was set by %+.1f s since the start (delays and "
                       "backoffs moved with it)",
                       at, (double)jump / 1e6);
    } else {
        (void)snprintf(text, sizeof text, "%s, and it was not set since the start", at);
    }
    add_check(b, "clock", wall >= YEAR_2024, text,
              "set the clock (timedatectl set-ntp true): times of tasks are wrong");
}

static void
check_limits(const struct doctor *d, struct er_buf *b)
{
    int slots = d->call->api->config.concurrency;
    struct rlimit fds, procs;
    char text[200];
    rlim_t need = (rlim_t)slots * FDS_OF_TASK + FDS_BESIDE;
    if (getrlimit(RLIMIT_NOFILE, &fds) == 0) {
        (void)snprintf(text, sizeof text,
                       "%llu open files (at most %llu); %d tasks at once need %llu",
                       (unsigned long long)fds.rlim_cur, (unsigned long long)fds.rlim_max,
                       slots, (unsigned long long)need);
        add_check(
            b, "open-files", fds.rlim_max >= need, text,
            "raise the hard limit (ulimit -Hn, LimitNOFILE=), or lower concurrency");
    }
    if (getrlimit(RLIMIT_NPROC, &procs) == 0) {
        bool none = procs.rlim_cur == RLIM_INFINITY;
        if (none) {
            (void)snprintf(text, sizeof text, "no limit");
        } else {
            (void)snprintf(text, sizeof text, "%llu processes of this user",
                           (unsigned long long)procs.rlim_cur);
        }
        add_check(b, "processes", none || procs.rlim_cur >= (rlim_t)slots * 4 + 32, text,
                  "raise the limit (ulimit -u, TasksMax=), or lower concurrency");
    }
}

/* A write beyond it fails, of the store as of a task's output. */
static void
check_file_size(struct er_buf *b)
{
    struct rlimit r;
    char text[200];
    if (getrlimit(RLIMIT_FSIZE, &r) != 0) {
        return;
    }
    if (r.rlim_cur == RLIM_INFINITY) {
        (void)snprintf(text, sizeof text, "no limit");
    } else {
        (void)snprintf(text, sizeof text,
                       "%llu KiB at most: the store and the output of a task do not grow "
                       "beyond it",
                       (unsigned long long)(r.rlim_cur >> 10));
    }
    add_check(b, "file-size", r.rlim_cur >= FILE_LOW, text,
              "raise the limit (ulimit -f unlimited, LimitFSIZE=infinity), and start it "
              "again");
}

static void
check_socket(const struct doctor *d, struct er_buf *b)
{
    const struct er_api *s = d->call->api;
    struct stat st;
    char text[600];
    if (stat(s->places->socket, &st) != 0) {
        if (!s->on_shutdown) { /* inside a program there need not be one */
            return;
        }
        add_check(b, "socket", false, "it is gone",
                  "the daemon makes it again; see its log");
        return;
    }
    unsigned mode = (unsigned)(st.st_mode & 0777);
    (void)snprintf(text, sizeof text, "%.400s, mode %03o", s->places->socket, mode);
    add_check(b, "socket", (mode & ~s->config.socket_mode) == 0, text,
              "chmod 600 it: others may do everything with your tasks");
}

/* The types that come from files. */
static void
check_types(const struct doctor *d, struct er_buf *b)
{
    const struct er_api *s = d->call->api;
    const struct er_types_files *found = &s->types_files;
    struct er_buf text, advice;
    if (!s->places->types) {
        return;
    }
    er_buf_init(&text, 0);
    er_buf_init(&advice, 0);
    er_buf_addf(&text, "%zu type%s from %.400s", found->types,
                found->types == 1 ? "" : "s", s->places->types);
    if (found->wrong > 0) {
        er_buf_addf(&text, "; %zu file%s wrong, such as %.500s", found->wrong,
                    found->wrong == 1 ? " is" : "s are", found->fault);
    }
    if (s->on_shutdown) {
        er_buf_addf(&advice,
                    "mend it (errand config --check FILE), then kill -HUP %d has the "
                    "folder read again",
                    (int)getpid());
    } else {
        er_buf_add_str(&advice, "mend it: it is read when the store is opened");
    }
    add_check(b, "types.d", found->wrong == 0, text.data, advice.data);
    er_buf_fini(&text);
    er_buf_fini(&advice);
}

struct views {
    const struct er_api *api;
    struct er_buf text;
    bool other; /* one of another version */
};

static void
on_view(void *ctx, const struct er_session_view *v)
{
    struct views *vs = ctx;
    const char *version = vs->api->keeper->version(vs->api->keeper, v->id);
    if (v->connected) {
        er_buf_addf(&vs->text, "%s%s (pid %d, version %s)", vs->text.len ? ", " : "",
                    v->worker, v->pid, version ? version : "?");
        vs->other = vs->other || (version && strcmp(version, ER_VERSION) != 0);
    }
}

/* One that is being started is nothing wrong. */
static void
check_workers(const struct doctor *d, struct er_buf *b)
{
    const struct er_api *s = d->call->api;
    struct er_engine_stats st;
    struct views vs = {.api = s};
    er_engine_stats(s->engine, &st);
    er_buf_init(&vs.text, 0);
    er_engine_sessions(s->engine, on_view, &vs);
    if (vs.other) {
        er_buf_addf(&vs.text,
                    "; what is not of version %s takes no more work and ends "
                    "with its last task",
                    ER_VERSION);
    }
    const char *trouble = s->keeper->trouble(s->keeper);
    if (!st.has_worker && trouble) {
        er_buf_addf(&vs.text, "%s%s",
                    vs.text.len ? "; " : "none is connected: ", trouble);
        er_why_add_restart(s, &vs.text);
    }
    bool silent = false;
    struct er_buf silence;
    er_buf_init(&silence, 0);
    if (er_engine_silent(s->engine, 0, &silence)) {
        silent = true;
        er_buf_addf(&vs.text, "; %s", silence.data);
    }
    er_buf_fini(&silence);
    bool inside = !s->on_shutdown && !trouble;
    bool young = er_api_now(s) - s->started_at < WORKER_FOR && !trouble;
    add_check(b, "worker", !silent && (st.has_worker || s->stopping || young || inside),
              vs.text.len   ? vs.text.data
              : s->stopping ? "it is being ended"
              : inside      ? "none is connected: it is started with the first command"
              : young       ? "it is being started"
                            : "none is connected",
              silent ? "let it go on with kill -CONT, or have another one take over with "
                       "kill -KILL"
              : s->on_shutdown
                  ? "look into the daemon's log for why the worker does not start"
                  : "options.log is told why the worker does not start");
    er_buf_fini(&vs.text);
}

static void
done_doctor(struct er_query *q)
{
    struct doctor *d = (struct doctor *)(void *)q;
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, "{\"checks\":[");
    check_store(d, &b);
    check_disk(d, &b);
    check_workers(d, &b);
    check_clock(d, &b);
    check_limits(d, &b);
    check_file_size(&b);
    check_socket(d, &b);
    check_types(d, &b);
    er_buf_add_str(&b, "]}");
    er_call_json(d->call, 200, &b);
    er_call_release(d->call);
    er_arena_free(&q->arena);
    er_free(d);
}

void
er_api_doctor(struct er_call *call)
{
    struct doctor *d = er_xzalloc(sizeof *d);
    d->q.run = run_doctor;
    d->q.done = done_doctor;
    d->call = call;
    er_call_hold(call);
    er_engine_query(call->api->engine, &d->q);
}
