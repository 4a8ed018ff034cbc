/* SPDX-License-Identifier: MIT */
/* The daemon: takes the store, opens the door, starts a worker, and lives until it is
 * told to end. Order at the start: places, configuration, the store's lock (one owner),
 * engine, socket, ready, worker. At the end the reverse; tasks that run stay with their
 * worker.
 *
 * Signals: docs/SEMANTICS.md, "Shutdown". SIGTERM and SIGINT end it when what runs has
 * ended or `drain` is over (a second one at once), SIGQUIT at once, SIGUSR2 without
 * ending what runs; SIGHUP reads the configuration again. What has not ended in time is
 * killed, and a store that does not let go is left alone: the daemon is gone within the
 * bound. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "api/builtin.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/number.h"
#include "serve/claim.h"
#include "serve/config.h"
#include "serve/fresh.h"
#include "serve/owner.h"
#include "serve/server.h"
#include "serve/signals.h"
#include "serve/types_d.h"

#define CONNECTIONS_MAX 4000
#define OLD_MAX         8
#define STORE_GONE      "the store's file was deleted, moved or replaced under the daemon"
#define KILL_AFTER      (2 * ER_USEC_PER_SEC) /* beyond the grace */
#define FINISH_S        10                    /* for the store's last words */

struct daemon {
    struct er_api api;
    struct er_http *http;
    struct er_places_file door; /* the socket that http made */
    struct er_supervisor *supervisor;
    struct er_places places;
    int lock_fd;
    bool is_new_lock; /* the lock's file was made by this daemon */
    int claim_fd;     /* the store's inode is taken by this; -1 = none */
    int ready_fd;     /* -1 = nobody waits */
    struct er_signals signals;
    uv_timer_t drain; /* how long what runs may still go on */
    int inotify;      /* on the socket's folder: it may be taken from us */
    uv_poll_t folder;
    uv_timer_t relisten;
    struct er_http *old[OLD_MAX]; /* servers whose socket was taken away */
    size_t n_old;
    bool ending, system;
    bool over; /* the loop is being left */
    enum er_shutdown how;
};

struct options {
    bool system, foreground, print_config, json;
    const char *check;
    int ready_fd;
};

/* ---- one owner ---- */

/* Before anything is made: whether one could listen at all. */
static int
take_lock(struct daemon *d, struct er_err *err)
{
    int rc = er_places_check_socket(d->places.socket, err);
    rc = rc ? rc : er_places_make(&d->places, err);
    return rc ? rc
              : er_owner_take(&d->places, d->places.socket, &d->lock_fd, &d->is_new_lock,
                              err);
}

/* By a program that has the same file under another name; before it is opened, and when
 * it was made by that. */
static int
claim_store(struct daemon *d, struct er_err *err)
{
    int pid = 0;
    int rc = er_claim_take(d->places.store, &d->claim_fd, &pid);
    return rc == ER_EBUSY ? er_owner_refuse(&d->places, pid, err)
           : rc           ? er_fail(err, rc, "the store '%.300s' cannot be claimed: %s",
                                    d->places.store, strerror(errno))
                          : 0;
}

static void
remember_store(struct daemon *d)
{
    struct stat st;
    if (stat(d->places.store, &st) == 0) {
        d->api.store_dev = st.st_dev;
        d->api.store_ino = st.st_ino;
    }
}

/* ---- the socket ---- */

/* A failure leaves no socket behind: it would look like a door, and be dead. */
static int
open_door(struct daemon *d, struct er_err *err)
{
    int fd = er_places_listen(d->places.socket, d->api.config.socket_mode, &d->door, err);
    if (fd < 0) {
        return fd;
    }
    int rc = er_http_start(er_loop_uv(d->api.loop), fd, !d->api.config.group_may_ask,
                           CONNECTIONS_MAX, er_routes_ops(), &d->api, &d->http, err);
    if (rc) {
        er_places_unlisten(d->places.socket, &d->door);
        er_close(&fd);
    }
    return rc;
}

static bool
socket_is_there(const struct daemon *d)
{
    struct stat st;
    return stat(d->places.socket, &st) == 0 && S_ISSOCK(st.st_mode);
}

static void watch_folder(struct daemon *d, const char *path);
static void end(struct er_api *api, enum er_shutdown how);

/* The socket or its folder was removed: make them again. Connections that are open
 * stay. */
static void
on_relisten(uv_timer_t *t)
{
    struct daemon *d = t->data;
    struct er_err err;
    if (d->ending || socket_is_there(d)) {
        return;
    }
    struct er_http *old = d->http;
    int rc = er_places_make(&d->places, &err);
    rc = rc ? rc : open_door(d, &err);
    if (rc) {
        er_log(ER_LOG_ERROR, "errandd", "%s", err.text);
        (void)uv_timer_start(t, on_relisten, 1000, 0);
        return;
    }
    er_log(ER_LOG_WARN, "errandd", "the socket '%s' was gone: made again",
           d->places.socket);
    /* what is open on the old one goes on */
    if (d->n_old == OLD_MAX) {
        er_http_stop(d->old[0]);
        memmove(d->old, d->old + 1, --d->n_old * sizeof d->old[0]);
    }
    d->old[d->n_old++] = old;
    watch_folder(d, d->places.socket);
}

static void
on_folder(uv_poll_t *h, int status, int events)
{
    (void)events;
    (void)status;
    struct daemon *d = h->data;
    char news[4096];
    while (read(d->inotify, news, sizeof news) > 0) {
        /* what happened shows in the folder itself */
    }
    if (!d->ending && !er_api_has_store(&d->api)) {
        /* what is written from now on nobody would ever find */
        er_log(ER_LOG_ERROR, "errandd", "%s: ending", STORE_GONE);
        d->api.closed_words = STORE_GONE "; this daemon ends";
        end(&d->api, ER_SHUTDOWN_NOW);
    } else if (!d->ending && !socket_is_there(d)) {
        (void)uv_timer_start(&d->relisten, on_relisten, 50, 0);
    }
}

/* Only what can take the socket or the store away: writes to them are none of ours. */
static void
watch_folder(struct daemon *d, const char *path)
{
    char *folder = er_xstrdup(path);
    *strrchr(folder, '/') = '\0';
    if (inotify_add_watch(d->inotify, folder[0] ? folder : "/",
                          IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF |
                              IN_MOVE_SELF) < 0) {
        er_log(ER_LOG_WARN, "errandd", "cannot watch '%s': %s", folder, strerror(errno));
    }
    er_free(folder);
}

/* ---- ready ---- */

static void
tell_ready(struct daemon *d, int code, const char *problem)
{
    if (d->ready_fd < 0) {
        return;
    }
    char *words =
        problem ? er_xasprintf("!%s\n%s", er_error_word(code), problem) : er_xstrdup("+");
    if (er_write_all(d->ready_fd, words, strlen(words))) {
        er_log(ER_LOG_DEBUG, "errandd", "who started us does not wait any more");
    }
    er_free(words);
    er_close(&d->ready_fd);
}

/* ---- the end ---- */

static void
on_workers_stopped(void *ctx)
{
    struct daemon *d = ctx;
    d->over = true;
    uv_stop(er_loop_uv(d->api.loop));
}

/* The longest grace of what runs decides how long a worker may take to put it back. */
struct grace_query {
    struct er_query q;
    struct daemon *daemon;
    er_usec longest;
};

static void
run_grace(struct er_query *q, struct er_store_reader *r)
{
    struct grace_query *g = (struct grace_query *)(void *)q;
    struct er_filter f = {.states = 1u << ER_TASK_RUNNING | 1u << ER_TASK_PAUSED,
                          .limit = 1000};
    bool more = true;
    while (q->rc == 0 && more) {
        struct er_arena arena = {0};
        struct er_task *tasks;
        size_t n = 0;
        q->rc = er_store_list(r, &f, &arena, &tasks, &n, &more);
        for (size_t i = 0; q->rc == 0 && i < n; i++) {
            bool live = tasks[i].session != 0;
            g->longest =
                live && tasks[i].grace_for > g->longest ? tasks[i].grace_for : g->longest;
            f.before = tasks[i].id;
        }
        er_arena_free(&arena);
    }
}

static void
stop_now(struct daemon *d, er_usec grace)
{
    er_supervisor_stop(d->supervisor, ER_SHUTDOWN_NOW, grace + KILL_AFTER,
                       on_workers_stopped, d);
}

static void
done_grace(struct er_query *q)
{
    struct grace_query *g = (struct grace_query *)(void *)q;
    struct daemon *d = g->daemon;
    if (!d->over) {
        stop_now(d, g->q.rc ? d->api.config.grace_for : g->longest);
    }
    er_arena_free(&q->arena);
    er_free(g);
}

static void
put_back(struct daemon *d)
{
    struct grace_query *g = er_xzalloc(sizeof *g);
    g->q.run = run_grace;
    g->q.done = done_grace;
    g->daemon = d;
    er_engine_query(d->api.engine, &g->q);
}

static void
on_drained(uv_timer_t *t)
{
    struct daemon *d = t->data;
    er_log(ER_LOG_INFO, "errandd",
           "the time to end by itself is over: putting back "
           "what still runs");
    end(&d->api, ER_SHUTDOWN_NOW);
}

static void
end(struct er_api *api, enum er_shutdown how)
{
    static const char *const words[] = {
        [ER_SHUTDOWN_KEEP] = "ending; what runs goes on under its worker",
        [ER_SHUTDOWN_DRAIN] = "ending when what runs has ended",
        [ER_SHUTDOWN_NOW] = "ending, putting back what runs",
    };
    struct daemon *d = (struct daemon *)(void *)api;
    if (d->ending && how <= d->how) {
        return;
    }
    er_log(ER_LOG_INFO, "errandd", "%s", words[how]);
    d->ending = true;
    d->how = how;
    api->stopping = true;
    er_engine_set_draining(api->engine);
    (void)uv_timer_stop(&d->drain);
    if (how == ER_SHUTDOWN_NOW) {
        put_back(d);
        return;
    }
    er_supervisor_stop(d->supervisor, how, 0, on_workers_stopped, d);
    if (how == ER_SHUTDOWN_DRAIN) {
        (void)uv_timer_start(&d->drain, on_drained,
                             (uint64_t)(api->config.drain_for / ER_USEC_PER_MS), 0);
    }
}

static void
on_signal(void *ctx, int signum)
{
    struct daemon *d = ctx;
    switch (signum) {
    case SIGTERM:
    case SIGINT:
        end(&d->api, d->ending ? ER_SHUTDOWN_NOW : ER_SHUTDOWN_DRAIN);
        break;
    case SIGQUIT:
        end(&d->api, ER_SHUTDOWN_NOW);
        break;
    case SIGUSR2:
        end(&d->api, ER_SHUTDOWN_KEEP);
        break;
    case SIGHUP:
        er_server_reload(&d->api, d->system);
        er_supervisor_set_slots(d->supervisor);
        break;
    case SIGCHLD:
        er_supervisor_reap(d->supervisor);
        break;
    default: /* SIGPIPE, SIGXFSZ: a write says so itself */
        break;
    }
}

static int
watch_signals(struct daemon *d, struct er_err *err)
{
    static const int all[] = {SIGTERM, SIGINT,  SIGQUIT, SIGUSR2,
                              SIGHUP,  SIGCHLD, SIGPIPE, SIGXFSZ};
    uv_loop_t *uv = er_loop_uv(d->api.loop);
    (void)uv_timer_init(uv, &d->drain);
    d->drain.data = d;
    return er_signals_watch(&d->signals, uv, all, sizeof all / sizeof all[0], on_signal,
                            d, err);
}

/* ---- the start ---- */

static int
open_engine(struct daemon *d, struct er_err *err)
{
    struct er_api *api = &d->api;
    struct er_engine_options o = {.loop = api->loop,
                                  .clock = er_clock_system(),
                                  .store_path = d->places.store,
                                  .logs = d->places.logs,
                                  .retention = api->config.retention,
                                  .max_losses = api->config.max_losses,
                                  .backoff_cap = api->config.backoff_cap,
                                  .ageing = api->config.ageing};
    return er_engine_open(&o, &api->engine, err);
}

static int
start(struct daemon *d, const struct options *o, struct er_err *err)
{
    struct er_api *api = &d->api;
    d->system = o->system;
    int rc = er_places_init(&d->places, o->system, err);
    if (rc == 0) {
        er_env_rules_init(&api->env_rules);
        rc = er_server_config_load(&api->config, &d->places, &api->env_rules, o->system,
                                   err);
    }
    if (rc == 0) {
        rc = take_lock(d, err);
    }
    if (rc == 0) {
        rc = claim_store(d, err);
    }
    if (rc == 0) {
        rc = er_fresh_make_way(&d->places, err);
    }
    if (rc == 0) {
        rc = er_loop_new(&api->loop, err);
    }
    if (rc == 0) {
        rc = watch_signals(d, err); /* before there are other threads */
    }
    if (rc == 0) {
        rc = open_engine(d, err);
    }
    if (rc == 0) {
        rc = claim_store(d, err);
    }
    if (rc == 0) {
        remember_store(d);
        er_builtin_load(api->engine);
        api->places = &d->places;
        api->default_env = er_server_default_env();
        api->started_at = er_clock_wall(er_clock_system());
        api->clock_offset = api->started_at - er_clock_boot(er_clock_system());
        er_serial_init(&api->settings);
        er_serial_init(&api->edits);
        api->on_shutdown = end;
        er_types_d_read(api);
        rc = er_supervisor_start(api, &d->supervisor, err);
    }
    return rc ? rc : open_door(d, err);
}

/* A start that was refused before it made a store leaves no lock either. */
static void
leave_nothing(struct daemon *d)
{
    if (d->is_new_lock && d->lock_fd >= 0 && access(d->places.store, F_OK) != 0) {
        er_owner_leave(&d->places);
    }
}

static void
watch_door(struct daemon *d)
{
    uv_loop_t *uv = er_loop_uv(d->api.loop);
    (void)uv_timer_init(uv, &d->relisten);
    d->relisten.data = d->folder.data = d;
    d->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (d->inotify >= 0 && uv_poll_init(uv, &d->folder, d->inotify) == 0) {
        (void)uv_poll_start(&d->folder, UV_READABLE, on_folder);
        watch_folder(d, d->places.socket);
        watch_folder(d, d->places.store);
    }
}

/* The store does not come back from a write or a sync. What it was given is there or not;
 * what was acknowledged is. */
static void
on_stuck(int signum)
{
    static const char words[] = "errandd: the store does not let go: ended without it\n";
    (void)signum;
    if (write(STDERR_FILENO, words, sizeof words - 1) < 0) {
        _exit(2);
    }
    _exit(1);
}

static void
finish(struct daemon *d)
{
    struct er_api *api = &d->api;
    (void)signal(SIGALRM, on_stuck);
    (void)alarm(FINISH_S);
    er_signals_end(&d->signals);
    er_places_unlisten(d->places.socket, &d->door);
    er_http_stop(d->http);
    for (size_t i = 0; i < d->n_old; i++) {
        er_http_stop(d->old[i]);
    }
    er_supervisor_free(d->supervisor);
    er_engine_stop(api->engine);
    /* what its threads have posted is told while there is an engine, and what that leads
     * to */
    for (int i = 0; i < 3; i++) {
        (void)uv_run(er_loop_uv(api->loop), UV_RUN_NOWAIT);
    }
    er_engine_free(api->engine); /* what the journal holds comes into the store's file */
    er_loop_free(api->loop);
}

static int
usage(FILE *to, int code)
{
    (void)fputs(
        "usage: errandd [--foreground] [--system] [--ready-fd N] [--SETTING VALUE]...\n"
        "       errandd --print-config [--json] [--check FILE]\n"
        "The daemon of errand; 'errand serve' starts it. See errand(1).\n"
        "--SETTING is any that errand config shows, as --concurrency 4.\n",
        to);
    return code;
}

#define SETTING 256 /* what getopt says for each of them */

static int
parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"foreground", no_argument, NULL, 'f'},
        {"system", no_argument, NULL, 's'},
        {"ready-fd", required_argument, NULL, 'r'},
        {"print-config", no_argument, NULL, 'p'},
        {"json", no_argument, NULL, 'j'},
        {"check", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
#define OPTION(name, key, ...) {key, required_argument, NULL, SETTING},
#include "model/options.def"
#undef OPTION
        {0},
    };
    int c, at;
    while ((c = getopt_long(argc, argv, "h", longs, &at)) != -1) {
        switch (c) {
        case SETTING:
            er_server_config_flag(longs[at].name, optarg);
            break;
        case 'f':
            o->foreground = true;
            break;
        case 's':
            o->system = true;
            break;
        case 'r':
            if (er_int_parse(optarg, 0, INT_MAX, &o->ready_fd)) {
                (void)fprintf(stderr,
                              "errandd: --ready-fd must be the number of a descriptor, "
                              "not '%s'\n",
                              optarg);
                return 2;
            }
            break;
        case 'p':
            o->print_config = true;
            break;
        case 'j':
            o->json = true;
            break;
        case 'c':
            o->check = optarg;
            break;
        case 'h':
            exit(usage(stdout, 0));
        case 'v':
            (void)printf("errandd %s\n", ER_VERSION);
            exit(0);
        default:
            return usage(stderr, 2);
        }
    }
    return optind < argc ? usage(stderr, 2) : 0;
}

int
main(int argc, char **argv)
{
    static struct daemon d = {.lock_fd = -1, .claim_fd = -1, .ready_fd = -1};
    struct options o = {.ready_fd = -1};
    struct er_err err = {""};
    int rc = parse(argc, argv, &o);
    if (rc) {
        return rc;
    }
    if (o.print_config || o.check) {
        return er_server_config_print(o.system, o.check, o.json);
    }
    d.ready_fd = o.ready_fd;
    if (d.ready_fd >= 0) {
        (void)fcntl(d.ready_fd, F_SETFD, FD_CLOEXEC);
    }
    (void)umask(077);
    (void)mallopt(M_ARENA_MAX, 2); /* few threads, little memory */
    er_store_own_process();
    er_local_worker_raise_fds();
    rc = start(&d, &o, &err);
    if (rc) {
        leave_nothing(&d);
        /* two clients may each start a daemon: who comes second is no trouble */
        er_log(rc == ER_EBUSY && d.ready_fd >= 0 ? ER_LOG_INFO : ER_LOG_ERROR, "errandd",
               "%s", err.text);
        if (o.foreground) {
            (void)fprintf(stderr, "errand: %s\n", err.text);
        }
        tell_ready(&d, rc, err.text);
        return er_error_exit(rc);
    }
    watch_door(&d);
    er_log(ER_LOG_INFO, "errandd", "version %s, pid %d, socket %s", ER_VERSION,
           (int)getpid(), d.places.socket);
    tell_ready(&d, 0, NULL);
    (void)uv_run(er_loop_uv(d.api.loop), UV_RUN_DEFAULT);
    finish(&d);
    er_log(ER_LOG_INFO, "errandd", "ended");
    return 0;
}
