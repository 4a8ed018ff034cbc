/* SPDX-License-Identifier: MIT */
/* Happy path: make the folders, open the daemon's log, start errandd as nobody's child
 * with one end of a pipe, read one byte from the other: it accepts.
 *
 * Failure modes: the program is not there; the daemon ends before it accepts, and has
 * written '!', the error's word, a newline and its reason into the pipe, or nothing at
 * all (then its log may tell). */
#include "wire/autostart.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/orphan.h"

#define READY_FD 3
#define PAUSE    (10 * ER_USEC_PER_MS)
#define OTHERS   10 /* looks for a daemon that somebody else has started */

/* ---- programs ---- */

/* The folder of the running program, without a slash at the end; NULL when unknown. */
static char *
own_folder(void)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0) {
        return NULL;
    }
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    return slash ? er_xstrndup(path, (size_t)(slash - path)) : NULL;
}

static bool
look_from(const char *folder, const char *program, char **out)
{
    /* installed: bin or lib (of an architecture, perhaps) beside libexec; else a build
     * folder: src/app, src/lib or tests/... beside src/serve */
    static const char *const folders[] = {".",
                                          "../libexec/errand",
                                          "../libexec",
                                          "../../libexec/errand",
                                          "../../libexec",
                                          "../serve",
                                          "../work",
                                          "../src/serve",
                                          "../src/work",
                                          "../../src/serve",
                                          "../../src/work"};
    for (size_t i = 0; folder && i < sizeof folders / sizeof folders[0]; i++) {
        char *path = er_xasprintf("%s/%s/%s", folder, folders[i], program);
        if (access(path, X_OK) == 0) {
            *out = path;
            return true;
        }
        er_free(path);
    }
    return false;
}

/* The folder of the `errand` that a shell would find, links followed; NULL = there is
 * none. */
static char *
folder_of_errand(void)
{
    const char *path = getenv("PATH");
    char real[PATH_MAX];
    for (size_t n; path && *path; path += n + (path[n] == ':')) {
        n = strcspn(path, ":");
        char *at = path[0] == '/' ? er_xasprintf("%.*s/errand", (int)n, path) : NULL;
        bool is_it = at && access(at, X_OK) == 0 && realpath(at, real);
        er_free(at);
        if (is_it) {
            return er_xstrndup(real, (size_t)(strrchr(real, '/') - real));
        }
    }
    return NULL;
}

static int
refuse_program(const char *program, const char *own, const char *beside,
               const char *in_path, struct er_err *err)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_addf(&b, "%.80s", own ? own : "(the folder of this program is not known)");
    if (beside) {
        er_buf_addf(&b, ", %.80s", beside);
    }
    er_buf_addf(&b, ", %.80s, ", ER_LIBEXEC);
    if (in_path) {
        er_buf_addf(&b, "%.80s", in_path);
    } else {
        er_buf_add_str(&b, "beside errand, which is not in PATH");
    }
    int rc = er_fail(err, ER_ENOTFOUND,
                     "cannot find the program %s; looked in %s; from each also in "
                     "../libexec/errand and ../libexec",
                     program, b.data);
    er_buf_fini(&b);
    return rc;
}

int
er_autostart_find(const char *program, const char *beside, char **out, struct er_err *err)
{
    char *own = own_folder(), *in_path = NULL;
    bool is_found = look_from(own, program, out) || look_from(beside, program, out) ||
                    look_from(ER_LIBEXEC, program, out);
    if (!is_found) {
        in_path = folder_of_errand();
        is_found = look_from(in_path, program, out);
    }
    int rc = is_found ? 0 : refuse_program(program, own, beside, in_path, err);
    er_free(in_path);
    er_free(own);
    return rc;
}

/* ---- starting ---- */

int
er_autostart_owner(const struct er_places *places, int *out_pid, char **out_socket)
{
    struct er_buf b;
    er_buf_init(&b, 16384);
    int rc = er_read_file(places->lock, &b, NULL);
    if (rc || b.len == 0) {
        er_buf_fini(&b);
        return ER_ENOTFOUND;
    }
    char *second = strchr(b.data, '\n');
    *out_pid = atoi(b.data);
    *out_socket = NULL;
    if (second && second[1] == '/') {
        *out_socket = er_xstrndup(second + 1, strcspn(second + 1, "\n"));
    }
    er_buf_fini(&b);
    return 0;
}

/* How long one waits for a daemon, and what ends that early. */
struct patience {
    er_usec until;  /* mono; ER_NEVER = for ever */
    int quit_fd;    /* readable = it is over; -1 = none */
    er_usec waited; /* for what is said */
};

/* Waits until `fd` (-1 = none) is readable, or for `most` at the longest. 0: that is so;
 * ER_ECLOSED, ER_ETIMEOUT. */
static int
wait_for(const struct patience *p, int fd, er_usec most)
{
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN},
                            {.fd = p->quit_fd, .events = POLLIN}};
    er_usec end = p->until, now = er_clock_mono(er_clock_system());
    end = most < end - now ? now + most : end;
    int n;
    do {
        er_usec left = end - er_clock_mono(er_clock_system());
        left = left > ER_USEC_PER_SEC ? ER_USEC_PER_SEC : left > 0 ? left : 0;
        n = poll(fds, 2, (int)((left + ER_USEC_PER_MS - 1) / ER_USEC_PER_MS));
    } while ((n == 0 && er_clock_mono(er_clock_system()) < end) ||
             (n < 0 && errno == EINTR));
    return fds[1].revents ? ER_ECLOSED : n > 0 ? 0 : ER_ETIMEOUT;
}

/* What it says when it cannot start: a line with the word of the error, and its reason.
 * Only that the store has an owner already is worth another look. */
static int
read_refusal(char *text, struct er_err *err)
{
    size_t len = strlen(text), first = strcspn(text, "\n");
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' ')) {
        text[--len] = '\0';
    }
    int code = 0;
    if (first < len) {
        text[first] = '\0';
        code = er_error_find(text);
        text[first] = code ? '\0' : '\n';
        text += code ? first + 1 : 0;
    }
    return er_fail(err, code == ER_EBUSY ? ER_EBUSY : ER_ENODAEMON,
                   "cannot start the daemon: %.400s", *text ? text : "it gave no reason");
}

/* Waits for the daemon's word: a byte, or '!' and its reason, or the end. */
static int
await_ready(int fd, const struct patience *p, const char *log, struct er_err *err)
{
    struct er_buf b;
    char chunk[512];
    ssize_t n = -1;
    er_buf_init(&b, 4096);
    int rc = wait_for(p, fd, ER_NEVER);
    while (rc == 0 &&
           ((n = read(fd, chunk, sizeof chunk)) > 0 || (n < 0 && errno == EINTR))) {
        if (n > 0) {
            er_buf_add(&b, chunk, (size_t)n);
            if (b.len > 0 && b.data[0] != '!') {
                break;
            }
        }
        rc = wait_for(p, fd, ER_NEVER);
    }
    if (rc == ER_ECLOSED) {
        rc = er_fail(err, rc, "the start of the daemon is not waited for any more");
    } else if (rc) {
        rc = er_fail(err, rc,
                     "the daemon that was started is not ready after %lld s, and is not "
                     "waited for any more: see %.300s",
                     (long long)(p->waited / ER_USEC_PER_SEC), log);
    } else if (b.len == 0) {
        rc = er_fail(err, ER_ENODAEMON,
                     "the daemon ended before it was ready: see %.300s", log);
    } else if (b.data[0] == '!') {
        rc = read_refusal(b.data + 1, err);
    }
    er_buf_fini(&b);
    return rc;
}

/* This process's environment with another ERRAND_HOME, and no ERRAND_SOCKET. The array
 * and its last entry are the caller's. */
static char **
make_env(const char *home)
{
    size_t n = 0, k = 0;
    while (environ[n]) {
        n++;
    }
    char **env = er_xrealloc_array(NULL, n + 2, sizeof *env);
    for (size_t i = 0; i < n; i++) {
        if (strncmp(environ[i], "ERRAND_HOME=", 12) != 0 &&
            strncmp(environ[i], "ERRAND_SOCKET=", 14) != 0) {
            env[k++] = environ[i];
        }
    }
    env[k++] = er_xasprintf("ERRAND_HOME=%s", home);
    env[k] = NULL;
    return env;
}

static int
start(const char *program, const char *home, int log_fd, int ready_fd, struct er_err *err)
{
    char number[] = {'0' + READY_FD, '\0'};
    char *path = er_xstrdup(program);
    char ready[] = "--ready-fd";
    char *argv[] = {path, ready, number, NULL};
    char **env = home ? make_env(home) : NULL;
    struct er_orphan o = {path, argv, env, {-1, log_fd, log_fd, ready_fd}};
    pid_t pid;
    int rc = er_orphan_start(&o, &pid, NULL, err) ? ER_ENODAEMON : 0;
    for (size_t i = 0; env && env[i]; i++) {
        if (!env[i + 1]) {
            er_free(env[i]);
        }
    }
    er_free(env);
    er_free(path);
    return rc;
}

/* Starts errandd, as nobody's child, and waits until it accepts. home: its ERRAND_HOME
 * (NULL = as in the environment). ER_EBUSY when the store has an owner already;
 * ER_ENODAEMON, with what the daemon said; ER_ETIMEOUT and ER_ECLOSED, and it may come to
 * be ready later. */
static int
run_at(const struct er_places *places, const char *home, const char *beside,
       const struct patience *p, struct er_err *err)
{
    char *program;
    int ends[2] = {-1, -1};
    int rc = er_places_make(places, err);
    if (rc) {
        return rc;
    }
    rc = er_autostart_find("errandd", beside, &program, err);
    if (rc) {
        return rc == ER_ENOTFOUND ? ER_ENODAEMON : rc;
    }
    int log_fd =
        open(places->daemon_log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (log_fd < 0) {
        int code = errno;
        rc = er_fail(err, er_error_from_errno(code), "cannot open %.400s: %s",
                     places->daemon_log, strerror(code));
    } else if (pipe2(ends, O_CLOEXEC) != 0) {
        rc = er_fail(err, ER_EIO, "cannot make a pipe: %s", strerror(errno));
    } else {
        rc = start(program, home, log_fd, ends[1], err);
        er_close(&ends[1]);
        rc = rc ? rc : await_ready(ends[0], p, places->daemon_log, err);
    }
    er_close(&ends[0]);
    er_close(&ends[1]);
    er_close(&log_fd);
    er_free(program);
    return rc;
}

int
er_autostart_run(const struct er_places *places, struct er_err *err)
{
    const struct patience for_ever = {.until = ER_NEVER, .quit_fd = -1};
    return run_at(places, NULL, NULL, &for_ever, err);
}

/* ---- reaching ---- */

struct reaching {
    const struct er_reach *r;
    struct er_places places;
    char *home; /* of a daemon that is not the user's own; NULL = it is */
    bool may_start;
    bool is_nowhere; /* home: there is no such folder */
};

/* Connects at the place, or (the user's own) at the one that the owner says. */
static int
connect_any(const struct reaching *g, struct er_err *err)
{
    const char *at = g->r->socket_path ? g->r->socket_path : g->places.socket;
    int pid, fd = er_places_connect(at, err);
    char *other = NULL;
    if (fd != ER_ENODAEMON || g->r->socket_path || getenv("ERRAND_SOCKET") ||
        er_autostart_owner(&g->places, &pid, &other)) {
        return fd;
    }
    if (other && strcmp(other, at) != 0) {
        int second = er_places_connect(other, NULL);
        fd = second >= 0 ? second : fd;
    }
    er_free(other);
    return fd;
}

/* Works out whose daemon that path would be. */
static int
find_places(struct reaching *g, struct er_err *err)
{
    const char *path = g->r->socket_path;
    int rc = er_places_init(&g->places, false, path ? NULL : err);
    g->may_start = g->r->may_start && rc == 0;
    if (!path || (rc == 0 && strcmp(path, g->places.socket) == 0)) {
        return path ? 0 : rc;
    }
    const char *slash = strrchr(path, '/');
    g->may_start = g->r->may_start && slash && strcmp(slash, "/errand.sock") == 0;
    if (g->may_start) {
        er_places_fini(&g->places);
        g->home = er_xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
        er_places_init_home(&g->places, g->home);
    }
    struct stat st; /* a folder that is not there may be a slip of the pen */
    g->is_nowhere = g->may_start && stat(g->home, &st) != 0 && errno == ENOENT;
    g->may_start = g->may_start && !g->is_nowhere;
    return 0;
}

/* Starts one, and connects. When the store has an owner (somebody else was faster, or a
 * daemon that was killed is not quite gone) that one is tried, then a start again. */
static int
start_and_connect(const struct reaching *g, const struct patience *p, struct er_err *err)
{
    for (;;) {
        struct er_err why = {""};
        int rc = run_at(&g->places, g->home, g->r->beside, p, &why);
        int fd = rc == 0 || rc == ER_EBUSY ? connect_any(g, err) : ER_ENODAEMON;
        for (int i = 0; i < OTHERS && rc == ER_EBUSY && fd == ER_ENODAEMON; i++) {
            if (wait_for(p, -1, PAUSE) == ER_ECLOSED) {
                return er_fail(err, ER_ECLOSED, "the daemon is not waited for any more");
            }
            fd = connect_any(g, err);
        }
        if (fd != ER_ENODAEMON) {
            return fd;
        }
        if (rc != ER_EBUSY || er_clock_mono(er_clock_system()) > p->until) {
            rc = rc == ER_EBUSY ? ER_ENODAEMON : rc;
            return rc ? er_fail(err, rc, "%s", why.text) : fd;
        }
    }
}

/* Why nobody answers there, as far as can be seen. */
static int
explain(const struct reaching *g, struct er_err *err)
{
    const char *path = g->r->socket_path ? g->r->socket_path : g->places.socket;
    const char *slash = strrchr(path, '/');
    struct stat st;
    if (g->may_start) {
        return er_fail(
            err, ER_ENODAEMON,
            "no daemon answers at %.300s, and none is started from inside a task", path);
    }
    if (g->is_nowhere) {
        return er_fail(
            err, ER_ENODAEMON,
            "no daemon answers at %.300s, and none is started there: there is no "
            "folder '%.150s' (make it first)",
            path, g->home);
    }
    if (stat(path, &st) == 0 && !S_ISSOCK(st.st_mode)) {
        return er_fail(err, ER_ENODAEMON,
                       "no daemon answers at %.300s: that is not a socket", path);
    }
    bool is_named = slash && strcmp(slash, "/errand.sock") == 0;
    return er_fail(
        err, ER_ENODAEMON, "no daemon answers at %.300s%s", path,
        !g->r->may_start || is_named
            ? ", and none is to be started"
            : ", and one is started only where the socket is called errand.sock");
}

int
er_autostart_reach(const struct er_reach *r, struct er_err *err)
{
    struct reaching g = {.r = r};
    const struct patience p = {er_clock_mono(er_clock_system()) + r->patience, r->quit_fd,
                               r->patience};
    int fd = find_places(&g, err);
    if (fd == 0) {
        fd = connect_any(&g, err);
        bool may_start = g.may_start && !getenv("ERRAND_TASK_ID");
        if (fd == ER_ENODAEMON) {
            fd = may_start ? start_and_connect(&g, &p, err) : explain(&g, err);
        }
    }
    er_places_fini(&g.places);
    er_free(g.home);
    return fd;
}
