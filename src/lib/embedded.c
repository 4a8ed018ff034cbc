/* SPDX-License-Identifier: MIT */
/* Order at the start: places, the store's lock (one owner), engine, API, the keeper of
 * workers; the door for workers and the worker itself only when a task wants them. At the
 * end the reverse.
 *
 * The host's handlers hold a session like any worker's, but its process is this one: such
 * a session is never watched, nor killed; when its link goes, it is over. */
#include "lib/embedded.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "api/api.h"
#include "api/builtin.h"
#include "base/heap.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/rand.h"
#include "lib/handle.h"
#include "lib/inside.h"
#include "serve/claim.h"
#include "serve/defaults.h"
#include "serve/fresh.h"
#include "serve/owner.h"
#include "serve/server.h"
#include "serve/types_d.h"

#define CONNECTIONS_MAX 1000
#define STOP_FOR        (7 * ER_USEC_PER_SEC) /* for commands to be ended and put back */
#define LINKS_MAX       40                    /* symbolic links in a row */
#define ROUNDS          1000 /* of the loop, for what the engine has still to say */

struct er_embedded {
    struct er_api api; /* first */
    struct errand *e;
    struct er_inside *in;
    struct er_places places;
    char *folder; /* of a store in memory; NULL = beside the store */
    bool has_folders;
    int lock_fd;
    int claim_fd; /* its inode is taken by this; -1 = none */
    bool is_new_store;
    bool is_new_lock;           /* the lock's file was made by this handle */
    struct er_http *http;       /* NULL = closed */
    struct er_places_file door; /* the socket's, that was made */
    bool is_wanted;             /* a worker was asked for */
    struct er_supervisor *supervisor;
    struct er_keeper keeper; /* over the supervisor's, for sessions of this process */
    struct er_keeper *below;
    int64_t own;     /* session of this process's handlers; 0 = none */
    const char *bad; /* er_embedded_open fails: what was wrong */
    void (*stopped)(void *ctx);
    void *stopped_ctx;
};

struct er_api *
er_embedded_api(struct er_embedded *h)
{
    return &h->api;
}

struct er_inside *
er_embedded_inside(struct er_embedded *h)
{
    return h->in;
}

/* ---- places ---- */

static char *
join(const char *folder, size_t len, const char *name)
{
    return er_xasprintf("%.*s/%s", (int)len, folder, name);
}

/* The file that a path means, which need not exist yet: through symbolic links, so that
 * its lock is one whatever it was called. What cannot be found stays as it is: opening it
 * says what is wrong. */
static char *
find_real(const char *path)
{
    char real[PATH_MAX], link[PATH_MAX];
    char *at = er_xstrdup(path);
    for (int i = 0; i < LINKS_MAX; i++) {
        const char *slash = strrchr(at, '/');
        char *next;
        if (realpath(at, real)) {
            next = er_xstrdup(real);
            er_free(at);
            return next;
        }
        ssize_t n = readlink(at, link, sizeof link - 1);
        link[n > 0 ? n : 0] = '\0';
        if (n > 0) { /* to what does not exist yet */
            next = link[0] == '/' || !slash ? er_xstrdup(link)
                                            : join(at, (size_t)(slash - at), link);
        } else {
            char *folder = slash ? join(at, (size_t)(slash - at), ".") : er_xstrdup(".");
            const char *base = slash ? slash + 1 : at;
            bool is_there = realpath(folder, real) != NULL;
            er_free(folder);
            next = is_there ? join(strcmp(real, "/") ? real : "", strlen(real), base)
                            : er_xstrdup(path);
            er_free(at);
            return next;
        }
        er_free(at);
        at = next;
    }
    er_free(at);
    return er_xstrdup(path);
}

static void
set_places(struct er_embedded *h, const char *given)
{
    struct er_places *p = &h->places;
    char *path = given ? find_real(given) : NULL;
    const char *base = path;
    if (!path) {
        uint64_t r[2];
        const char *tmp = getenv("TMPDIR");
        er_rand_bytes(r, sizeof r);
        h->folder = er_xasprintf("%s/errand-%016llx%016llx", tmp && *tmp ? tmp : "/tmp",
                                 (unsigned long long)r[0], (unsigned long long)r[1]);
        base = h->folder;
    }
    p->store = er_xstrdup(path ? path : ":memory:");
    p->state_dir = er_xstrdup(path ? path : h->folder);
    char *slash = path ? strrchr(p->state_dir, '/') : NULL;
    if (slash) {
        slash[slash == p->state_dir] = '\0';
    } else if (path) {
        er_free(p->state_dir);
        p->state_dir = er_xstrdup(".");
    }
    p->types = er_xstrdup(h->e->options.types_dir);
    p->lock = er_xasprintf("%s.lock", base);
    p->logs = er_xasprintf("%s%s", base, path ? ".logs" : "/logs");
    p->workers = er_xasprintf("%s%s", base, path ? ".workers" : "/workers");
    p->socket = h->e->options.socket ? er_xstrdup(h->e->options.socket)
                                     : er_xasprintf("%s/door.sock", p->workers);
    er_free(path);
}

static int
make_folders(struct er_embedded *h, struct er_err *err)
{
    if (h->has_folders) {
        return 0;
    }
    int rc = h->folder ? er_mkdirs(h->folder, 0700, err) : 0;
    rc = rc ? rc : er_mkdirs(h->places.logs, 0700, err);
    rc = rc ? rc : er_mkdirs(h->places.workers, 0700, err);
    h->has_folders = rc == 0;
    return rc;
}

const char *
er_embedded_logs(struct er_embedded *h)
{
    struct er_err err = {""};
    if (make_folders(h, &err)) {
        er_handle_log(h->e, ERRAND_LOG_ERROR, "%s", err.text);
        return NULL;
    }
    return h->places.logs;
}

/* ---- the worker for commands ---- */

/* The folder of a file that is to be made. */
static int
check_folder(const char *path, struct er_err *err)
{
    const char *slash = strrchr(path, '/');
    char *folder =
        slash ? er_xasprintf("%.*s/", (int)(slash - path), path) : er_xstrdup(".");
    int rc = access(folder, W_OK | X_OK) == 0 ? 0 : er_error_from_errno(errno);
    if (rc) {
        (void)er_fail(err, rc, "cannot listen on '%.300s': %s", path, strerror(errno));
    }
    er_free(folder);
    return rc;
}

/* What lies at options.socket is replaced only when it is a socket where nobody
 * answers. */
static int
check_socket(const struct er_embedded *h, struct er_err *err)
{
    struct stat st;
    struct er_err none = {""};
    const char *path = h->e->options.socket;
    if (!path) {
        return 0;
    }
    if (lstat(path, &st) != 0) {
        return check_folder(path, err);
    }
    if (!S_ISSOCK(st.st_mode)) {
        return er_fail(err, ER_EBUSY, "cannot listen on '%.300s': it is no socket", path);
    }
    int fd = er_places_connect(path, &none);
    if (fd < 0 && fd != ER_ETIMEOUT) { /* that is somebody, though frozen */
        return 0;
    }
    er_close(&fd);
    return er_fail(err, ER_EBUSY, "cannot listen on '%.300s': somebody answers there",
                   path);
}

static int
open_door(struct er_embedded *h, struct er_err *err)
{
    if (h->http) {
        return 0;
    }
    int rc = check_socket(h, err);
    rc = rc ? rc : make_folders(h, err);
    int fd = rc ? rc : er_places_listen(h->places.socket, 0600, &h->door, err);
    if (fd < 0) {
        return fd;
    }
    rc = er_http_start(er_loop_uv(h->e->loop), fd, true, CONNECTIONS_MAX, er_routes_ops(),
                       &h->api, &h->http, err);
    if (rc) {
        er_places_unlisten(h->places.socket, &h->door);
        er_close(&fd);
    }
    return rc;
}

/* Whether tasks of that type are executed by processes. */
static bool
is_command(struct er_embedded *h, const char *name)
{
    const struct er_type *t = er_engine_type(h->api.engine, name);
    return t && !t->handler && (er_type_is_executed(t) || strcmp(name, "shell") == 0);
}

static void
on_unserved(void *ctx, const char *type)
{
    struct er_embedded *h = ctx;
    struct er_err err = {""};
    if (h->api.stopping || !is_command(h, type)) {
        return;
    }
    if (h->e->options.no_commands) {
        er_handle_log(
            h->e, ERRAND_LOG_WARN,
            "tasks of type '%.100s' wait: they are commands, and this handle was "
            "opened with the option no_commands",
            type);
        return;
    }
    if (open_door(h, &err)) {
        er_handle_log(h->e, ERRAND_LOG_ERROR, "no command can run: %s", err.text);
        return;
    }
    h->is_wanted = true;
    er_supervisor_want(h->supervisor);
}

struct look {
    const struct er_embedded *h;
    bool has_worker;
};

static void
on_session(void *ctx, const struct er_session_view *view)
{
    struct look *l = ctx;
    l->has_worker = l->has_worker || (view->id != l->h->own && view->connected);
}

bool
er_embedded_is_quiet(struct er_embedded *h)
{
    struct look l = {h, false};
    int64_t restarts;
    bool is_waiting;
    er_engine_sessions(h->api.engine, on_session, &l);
    h->below->stats(h->below, &restarts, &is_waiting);
    return !h->is_wanted || l.has_worker || h->api.stopping || restarts > 1;
}

/* ---- the keeper ---- */

static struct er_embedded *
of_keeper(const struct er_keeper *k)
{
    return ER_CONTAINER((struct er_keeper *)(uintptr_t)k, struct er_embedded, keeper);
}

static void
keeper_attached(struct er_keeper *k, int64_t session, int pid, const char *version,
                bool inside)
{
    struct er_embedded *h = of_keeper(k);
    if (inside) { /* not whoever has our pid: another handle may ask through the socket */
        h->own = session;
    } else {
        h->below->attached(h->below, session, pid, version, inside);
    }
}

static void
keeper_detached(struct er_keeper *k, int64_t session)
{
    struct er_embedded *h = of_keeper(k);
    if (session == h->own) {
        h->own = 0;
        bool is_lost = er_count_get(&h->e->closing) == 0;
        er_engine_session_dead(h->api.engine, session, is_lost);
    } else {
        h->below->detached(h->below, session);
    }
}

static const char *
keeper_version(const struct er_keeper *k, int64_t session)
{
    const struct er_embedded *h = of_keeper(k);
    return session == h->own ? ER_VERSION : h->below->version(h->below, session);
}

static int
keeper_slots(struct er_keeper *k)
{
    struct er_embedded *h = of_keeper(k);
    return h->below->slots(h->below);
}

static void
keeper_stats(const struct er_keeper *k, int64_t *out_restarts, bool *out_waiting)
{
    const struct er_embedded *h = of_keeper(k);
    h->below->stats(h->below, out_restarts, out_waiting);
}

static const char *
keeper_trouble(const struct er_keeper *k)
{
    const struct er_embedded *h = of_keeper(k);
    return h->below->trouble(h->below);
}

static er_usec
keeper_starts_after(const struct er_keeper *k)
{
    const struct er_embedded *h = of_keeper(k);
    return h->below->starts_after(h->below);
}

static const struct er_keeper keeper = {
    .attached = keeper_attached,
    .detached = keeper_detached,
    .version = keeper_version,
    .slots = keeper_slots,
    .stats = keeper_stats,
    .trouble = keeper_trouble,
    .starts_after = keeper_starts_after,
};

/* ---- opening ---- */

static int64_t
chosen(int64_t given, int64_t absent, int64_t unit)
{
    return given == 0 ? absent : given < 0 ? 0 : given * unit;
}

static void
set_retention(const struct errand_options *o, struct er_retention *keep)
{
    keep->keep = chosen(o->keep_finished, keep->keep, 1);
    keep->keep_for = chosen(o->keep_finished_for_ms, keep->keep_for, ER_USEC_PER_MS);
    keep->tombstone_for =
        chosen(o->tombstones_for_ms, keep->tombstone_for, ER_USEC_PER_MS);
    keep->facts = chosen(o->facts_max, keep->facts, 1);
    keep->facts_for = chosen(o->facts_for_ms, keep->facts_for, ER_USEC_PER_MS);
    keep->log_bytes = chosen(o->logs_max, keep->log_bytes, 1);
}

/* The defaults of a daemon. A store in memory keeps less: what it keeps is the host's. */
static void
set_config(struct er_embedded *h)
{
    struct er_api_config *c = &h->api.config;
    er_defaults_set(c);
    c->concurrency = h->e->options.concurrency;
    if (h->folder) {
        c->retention.keep = 10000;
        c->retention.keep_for = 0;
        c->retention.tombstone_for = 60 * ER_USEC_PER_SEC;
        c->retention.facts = 10000;
    }
    set_retention(&h->e->options, &c->retention);
}

static int
open_engine(struct er_embedded *h, struct er_err *err)
{
    const struct er_api_config *c = &h->api.config;
    struct er_engine_options o = {.loop = h->e->loop,
                                  .clock = er_handle_clock(h->e),
                                  .store_path = h->places.store,
                                  .logs = h->places.logs,
                                  .retention = c->retention,
                                  .max_losses = c->max_losses,
                                  .backoff_cap = c->backoff_cap,
                                  .ageing = c->ageing,
                                  .inline_store = h->folder != NULL,
                                  .is_idle = (h->e->options.test & ERRAND_TEST_HOLD) != 0,
                                  .is_steady =
                                      (h->e->options.test & ERRAND_TEST_CLOCK) != 0,
                                  .on_unserved = on_unserved,
                                  .unserved_ctx = h};
    return er_engine_open(&o, &h->api.engine, err);
}

static int
open_api(struct er_embedded *h, struct er_err *err)
{
    struct er_api *api = &h->api;
    er_builtin_load(api->engine);
    api->places = &h->places;
    api->default_env = er_server_default_env();
    api->started_at = er_clock_wall(er_handle_clock(h->e));
    api->clock_offset = api->started_at - er_clock_boot(er_handle_clock(h->e));
    er_serial_init(&api->settings);
    er_serial_init(&api->edits);
    if (h->places.types) {
        er_types_d_read(api);
    }
    char folder[4096];
    er_supervisor_start_hidden(api, h->e->options.worker,
                               er_handle_folder(folder, sizeof folder), h->folder,
                               &h->supervisor);
    h->below = api->keeper;
    h->keeper = keeper;
    api->keeper = &h->keeper;
    if (!h->folder) { /* time has passed, or what is kept is said otherwise */
        er_engine_clean(api->engine, &api->config.retention, NULL, NULL);
    }
    h->bad = "socket";
    return h->e->options.socket ? open_door(h, err) : 0;
}

/* A store that is made now is its owner's alone, whatever the umask says; SQLite gives
 * its log the same mode. */
static int
make_private(struct er_embedded *h, struct er_err *err)
{
    int fd = open(h->places.store, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    h->is_new_store = fd >= 0;
    if (fd < 0 && errno != EEXIST) {
        return er_fail(err, er_error_from_errno(errno), "cannot make '%.300s': %s",
                       h->places.store, strerror(errno));
    }
    er_close(&fd);
    return 0;
}

static int
take_store(struct er_embedded *h, struct er_err *err)
{
    struct stat st;
    if (stat(h->places.store, &st) == 0 && !S_ISREG(st.st_mode)) {
        return er_fail(err, ER_EINVALID, "'%.300s' is not a file", h->places.store);
    }
    int rc = er_owner_take(&h->places, h->e->options.socket, &h->lock_fd, &h->is_new_lock,
                           err);
    if (rc == 0) { /* before anything is made */
        rc = check_socket(h, err);
        h->bad = rc ? "socket" : h->bad;
    }
    rc = rc ? rc : er_fresh_make_way(&h->places, err);
    rc = rc ? rc : make_private(h, err);
    if (rc) {
        return rc;
    }
    int pid = 0;
    rc = er_claim_take(h->places.store, &h->claim_fd, &pid);
    return rc == ER_EBUSY ? er_owner_refuse(&h->places, pid, err)
           : rc           ? er_fail(err, rc, "the store '%.300s' cannot be claimed: %s",
                                    h->places.store, strerror(errno))
                          : 0;
}

/* It was refused: what was made for it goes, while the lock is ours. */
static void
leave_nothing(struct er_embedded *h)
{
    struct stat st;
    if (h->is_new_store && stat(h->places.store, &st) == 0 && st.st_size == 0) {
        (void)unlink(h->places.store);
    }
    if (h->is_new_lock && h->lock_fd >= 0) {
        er_owner_leave(&h->places);
    }
}

int
er_embedded_open(struct errand *e, const char *path, struct er_embedded **out,
                 const char **out_field, struct er_err *err)
{
    struct er_embedded *h = er_xzalloc(sizeof *h);
    h->e = e;
    h->lock_fd = h->claim_fd = -1;
    h->bad = "url";
    h->api.loop = e->loop;
    *out = h; /* also when it fails: the handle's closing clears up */
    h->in = er_inside_new(e);
    set_places(h, path);
    set_config(h);
    er_env_rules_init(&h->api.env_rules);
    int rc = h->in ? 0 : er_fail(err, ER_ENOMEM, "out of memory");
    rc = rc || !path ? rc : take_store(h, err);
    rc = rc ? rc : open_engine(h, err);
    if (rc) {
        leave_nothing(h);
    }
    rc = rc ? rc : open_api(h, err);
    *out_field = h->bad;
    return rc;
}

/* ---- the end ---- */

static void
on_stopped(void *ctx)
{
    struct er_embedded *h = ctx;
    if (h->http) {
        er_places_unlisten(h->places.socket, &h->door);
        er_http_stop(h->http);
        h->http = NULL;
    }
    h->stopped(h->stopped_ctx);
}

void
er_embedded_stop(struct er_embedded *h, void (*done)(void *ctx), void *ctx)
{
    h->stopped = done;
    h->stopped_ctx = ctx;
    h->api.stopping = true;
    h->api.closed_words = "the program closes the store";
    if (!h->supervisor) { /* it never came to that */
        on_stopped(h);
        return;
    }
    er_engine_set_draining(h->api.engine);
    er_supervisor_stop(h->supervisor, ER_SHUTDOWN_NOW, STOP_FOR, on_stopped, h);
}

static void
remove_folder(struct er_embedded *h)
{
    if (h->folder && h->has_folders) {
        er_remove_tree(h->folder);
    }
}

void
er_embedded_free(struct er_embedded *h)
{
    uv_loop_t *uv = er_loop_uv(h->e->loop);
    if (h->api.engine) {
        er_engine_stop(h->api.engine);
    }
    /* what the engine's threads have posted comes as letters, which may lead to others */
    for (int i = 0; i < 3 || (i < ROUNDS && uv_backend_timeout(uv) == 0); i++) {
        (void)uv_run(uv, UV_RUN_NOWAIT);
    }
    er_supervisor_free(h->supervisor);
    if (h->api.engine) {
        er_engine_free(h->api.engine);
    }
    h->e->embedded = NULL;
    er_inside_free(h->in);
    remove_folder(h);
    er_close(&h->claim_fd);
    er_close(&h->lock_fd);
    er_types_d_fini(&h->api.types_files);
    er_places_fini(&h->places);
    er_env_rules_fini(&h->api.env_rules);
    er_free(h->api.default_env);
    er_free(h->folder);
    er_free(h);
}
