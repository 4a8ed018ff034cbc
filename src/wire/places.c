/* SPDX-License-Identifier: MIT */
/* How it works: the environment is read once and all paths are made from two or three
 * folders. The folders that hold the socket and the configuration are looked at when they
 * exist: a world-writable one is refused, since anybody could put a socket of his own
 * there.
 *
 * Failure modes: no HOME and no XDG folder (ER_EINVALID, said by name); a folder that
 * belongs to somebody else (ER_EAUTH, when making them). */
#include "wire/places.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

#define PID_DIGITS 12 /* of the name beside it under which a socket is made */
#define NAME_MOST  80

/* The value of a variable, or NULL when it is unset or empty. */
static const char *
get_env(const char *name)
{
    const char *v = getenv(name);
    return v && v[0] ? v : NULL;
}

/* dir + "/" + name, without doubling a slash. */
static char *
join(const char *dir, const char *name)
{
    size_t n = strlen(dir);
    return er_xasprintf("%s%s%s", dir, n > 0 && dir[n - 1] == '/' ? "" : "/", name);
}

/* An absolute form of a path the user gave: relative ones start at the working folder. */
static char *
absolute(const char *path)
{
    char cwd[PATH_MAX];
    char *out =
        path[0] == '/' || !getcwd(cwd, sizeof cwd) ? er_xstrdup(path) : join(cwd, path);
    for (size_t n = strlen(out); n > 1 && out[n - 1] == '/'; n--) {
        out[n - 1] = '\0';
    }
    return out;
}

/* The folder of a path: "/" and "." for those without one. The caller frees it. */
static char *
folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) {
        return er_xstrdup(".");
    }
    return er_xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
}

/* XDG base folders must be absolute; others are ignored, as their specification says. */
static char *
xdg(const char *variable, const char *below_home, const char *name, struct er_err *err)
{
    const char *v = get_env(variable);
    if (v && v[0] == '/') {
        return join(v, name);
    }
    const char *home = get_env("HOME");
    if (!home || home[0] != '/') {
        (void)er_fail(
            err, ER_EINVALID,
            "cannot tell where errand's files are: set HOME or ERRAND_HOME to an "
            "absolute path");
        return NULL;
    }
    char *base = join(home, below_home);
    char *out = join(base, name);
    er_free(base);
    return out;
}

/* The folder of the user's socket: XDG_RUNTIME_DIR, else the one that login makes, else
 * the folder of the state. */
static char *
runtime_folder(const char *state_dir)
{
    const char *v = get_env("XDG_RUNTIME_DIR");
    if (v && v[0] == '/') {
        return join(v, "errand");
    }
    char login[40];
    struct stat st;
    (void)snprintf(login, sizeof login, "/run/user/%u", (unsigned)geteuid());
    if (stat(login, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & 077) == 0) {
        return join(login, "errand");
    }
    return er_xstrdup(state_dir);
}

/* Refuses a folder that anybody may write to; one that is not there yet is fine. */
static int
check_folder(const char *dir, const char *what, struct er_err *err)
{
    struct stat st;
    if (stat(dir, &st) != 0) {
        return 0;
    }
    if (S_ISDIR(st.st_mode) && (st.st_mode & S_IWOTH)) {
        return er_fail(
            err, ER_EINVALID,
            "the folder of errand's %s, %s, is writable for everybody (mode %03o): "
            "use one of your own, or chmod o-w it",
            what, dir, (unsigned)(st.st_mode & 07777));
    }
    return 0;
}

/* Fills in what lies below the three folders. */
static void
set_paths(struct er_places *p, const char *config_dir, const char *run_dir,
          const char *state_dir)
{
    p->config = join(config_dir, "config.yml");
    p->types = join(config_dir, "types.d");
    p->socket = join(run_dir, "errand.sock");
    p->state_dir = er_xstrdup(state_dir);
    p->store = join(state_dir, "tasks.db");
    p->lock = join(state_dir, "tasks.db.lock");
    p->logs = join(state_dir, "logs");
    p->workers = join(state_dir, "workers");
    p->daemon_log = join(state_dir, "errandd.log");
}

static int
init_user(struct er_places *p, struct er_err *err)
{
    char *config_dir = xdg("XDG_CONFIG_HOME", ".config", "errand", err);
    char *state_dir =
        config_dir ? xdg("XDG_STATE_HOME", ".local/state", "errand", err) : NULL;
    int rc = state_dir ? 0 : ER_EINVALID;
    if (!rc) {
        char *run_dir = runtime_folder(state_dir);
        set_paths(p, config_dir, run_dir, state_dir);
        er_free(run_dir);
        rc = check_folder(config_dir, "configuration", err);
    }
    er_free(config_dir);
    er_free(state_dir);
    return rc;
}

int
er_places_init(struct er_places *p, bool system, struct er_err *err)
{
    *p = (struct er_places){0};
    const char *home = get_env("ERRAND_HOME");
    const char *socket_path = get_env("ERRAND_SOCKET");
    int rc = 0;
    if (system) {
        set_paths(p, "/etc/errand", "/run/errand", "/var/lib/errand");
    } else if (home) {
        char *dir = absolute(home);
        set_paths(p, dir, dir, dir);
        er_free(dir);
    } else {
        rc = init_user(p, err);
    }
    if (!rc && socket_path) {
        er_free(p->socket);
        p->socket = absolute(socket_path);
    }
    if (!rc) {
        char *dir = folder_of(p->socket);
        rc = check_folder(dir, "socket", err);
        er_free(dir);
    }
    if (rc) {
        er_places_fini(p);
    }
    return rc;
}

void
er_places_init_home(struct er_places *p, const char *home)
{
    *p = (struct er_places){0};
    set_paths(p, home, home, home);
}

void
er_places_fini(struct er_places *p)
{
    er_free(p->config);
    er_free(p->socket);
    er_free(p->state_dir);
    er_free(p->store);
    er_free(p->lock);
    er_free(p->logs);
    er_free(p->workers);
    er_free(p->types);
    er_free(p->daemon_log);
    *p = (struct er_places){0};
}

/* Makes one folder and looks whether it is ours alone to write. */
static int
make_folder(const char *dir, mode_t mode, struct er_err *err)
{
    bool is_new = access(dir, F_OK) != 0;
    int rc = er_mkdirs(dir, mode, err);
    if (rc) {
        return rc;
    }
    struct stat st;
    if ((is_new && chmod(dir, mode) != 0) /* whatever the umask takes away */ ||
        stat(dir, &st) != 0) {
        int code = errno;
        return er_fail(err, er_error_from_errno(code), "cannot look at folder '%s': %s",
                       dir, strerror(code));
    }
    if (!S_ISDIR(st.st_mode)) {
        return er_fail(err, ER_EINVALID, "'%s' is not a folder: remove or rename it",
                       dir);
    }
    if (st.st_uid != geteuid()) {
        return er_fail(
            err, ER_EAUTH,
            "folder '%s' belongs to uid %u, not to uid %u: use another ERRAND_HOME, "
            "or chown it",
            dir, (unsigned)st.st_uid, (unsigned)geteuid());
    }
    return check_folder(dir, "files", err);
}

int
er_places_make(const struct er_places *p, struct er_err *err)
{
    bool system = strcmp(p->state_dir, "/var/lib/errand") == 0;
    char *run_dir = folder_of(p->socket);
    int rc = make_folder(p->state_dir, 0700, err);
    if (!rc) {
        rc = make_folder(run_dir, system ? 0750 : 0700, err);
        if (rc && get_env("ERRAND_SOCKET")) {
            (void)er_fail_prefix(err, rc, "ERRAND_SOCKET points to %.200s", p->socket);
        }
    }
    if (!rc) {
        rc = make_folder(p->logs, 0700, err);
    }
    if (!rc) {
        rc = make_folder(p->workers, 0700, err);
    }
    er_free(run_dir);
    return rc;
}

/* Fills in the address of `name` in the folder behind `dir_fd`, or of `path` itself when
 * that is short enough; false when even the name alone is too long. */
static bool
fill_address(struct sockaddr_un *addr, const char *path, const char *name, int dir_fd)
{
    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = dir_fd < 0 ? snprintf(addr->sun_path, sizeof addr->sun_path, "%s", path)
                       : snprintf(addr->sun_path, sizeof addr->sun_path,
                                  "/proc/self/fd/%d/%s", dir_fd, name);
    return n >= 0 && (size_t)n < sizeof addr->sun_path;
}

/* Makes the address of a path of any length. *out_dir_fd is -1, or a descriptor of its
 * folder that must stay open until the address was used. */
static int
open_address(const char *path, struct sockaddr_un *addr, int *out_dir_fd,
             struct er_err *err)
{
    *out_dir_fd = -1;
    if (fill_address(addr, path, path, -1)) {
        return 0;
    }
    char *dir = folder_of(path);
    const char *slash = strrchr(path, '/');
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int code = errno;
    er_free(dir);
    if (fd < 0) {
        return er_fail(err, code == ENOENT ? ER_ENODAEMON : er_error_from_errno(code),
                       "cannot open the folder of socket '%.300s': %s", path,
                       strerror(code));
    }
    if (!fill_address(addr, path, slash ? slash + 1 : path, fd)) {
        er_close(&fd);
        return er_fail(
            err, ER_EINVALID,
            "the socket's name '%.300s' is too long: use one of at most 80 bytes",
            slash ? slash + 1 : path);
    }
    *out_dir_fd = fd;
    return 0;
}

static int
connect_error(const char *path, int code, struct er_err *err)
{
    switch (code) {
    case ENOENT:
    case ENOTDIR:
    case ECONNREFUSED:
    case EPROTOTYPE:
        return er_fail(err, ER_ENODAEMON, "no daemon answers at %.400s", path);
    case EACCES:
    case EPERM:
        return er_fail(err, ER_EAUTH, "not allowed to use the socket %.400s: %s", path,
                       strerror(code));
    case EAGAIN:
        return er_fail(err, ER_ETIMEOUT,
                       "the daemon at %.300s takes no connection: too many wait already "
                       "(has it been stopped by a signal?)",
                       path);
    default:
        return er_fail(err, ER_EIO, "cannot connect to %.400s: %s", path, strerror(code));
    }
}

int
er_places_check_socket(const char *path, struct er_err *err)
{
    struct stat st;
    const char *slash = strrchr(path, '/');
    size_t len = strlen(path), name_len = slash ? strlen(slash + 1) : len;
    if (len + PID_DIGITS >= PATH_MAX) {
        return er_fail(err, ER_EINVALID,
                       "the path of the socket has %zu bytes, more than a path can have: "
                       "set ERRAND_SOCKET to a shorter one",
                       len);
    }
    if (name_len > NAME_MOST && len + PID_DIGITS >= sizeof(struct sockaddr_un) - 2) {
        return er_fail(
            err, ER_EINVALID,
            "the socket's name '%.300s' is too long: use one of at most %d bytes",
            slash ? slash + 1 : path, NAME_MOST);
    }
    if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode)) {
        return er_fail(err, ER_EEXISTS,
                       "cannot listen on '%.300s': it is %s, not a socket: move it away, "
                       "or set ERRAND_SOCKET to another path",
                       path, S_ISDIR(st.st_mode) ? "a folder" : "a file");
    }
    return 0;
}

/* A connect that waits for room in the listener's queue, at most so long; 0 = not at
 * all. */
static int
connect_bounded(int fd, const struct sockaddr_un *addr, er_usec bound_for)
{
    er_usec until = er_clock_mono(er_clock_system()) + bound_for;
    int got;
    do {
        er_usec left = until - er_clock_mono(er_clock_system());
        left = left > 0 ? left : 1; /* 0 would be for ever */
        struct timeval t = {.tv_sec = left / ER_USEC_PER_SEC,
                            .tv_usec = left % ER_USEC_PER_SEC};
        got = setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
        got = got ? got : connect(fd, (const struct sockaddr *)addr, sizeof *addr);
    } while (got != 0 && errno == EINTR);
    struct timeval none = {0};
    return got ? got : setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none);
}

int
er_places_connect_within(const char *path, er_usec bound_for, struct er_err *err)
{
    struct sockaddr_un addr;
    int dir_fd;
    int rc = open_address(path, &addr, &dir_fd, err);
    if (rc) {
        return rc;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int got = fd < 0 ? -1 : connect_bounded(fd, &addr, bound_for);
    int code = errno;
    er_close(&dir_fd);
    if (got != 0) {
        er_close(&fd);
        return connect_error(path, code, err);
    }
    return fd;
}

int
er_places_connect(const char *path, struct er_err *err)
{
    return er_places_connect_within(path, ER_PLACES_CONNECT_FOR, err);
}

/* Which file lies at a path. */
static bool
identify(const char *path, struct er_places_file *out)
{
    struct stat st;
    if (lstat(path, &st) != 0) {
        return false;
    }
    *out = (struct er_places_file){st.st_dev, st.st_ino, st.st_mtim};
    return true;
}

/* Binds and listens at addr, then puts it in place of `path`. */
static int
bind_and_rename(int fd, const struct sockaddr_un *addr, const char *temp,
                const char *path, unsigned mode, struct er_places_file *out_file)
{
    (void)unlink(temp);
    /* the mode of the descriptor is that of the file: never more open than asked for */
    if (fchmod(fd, mode) != 0 ||
        bind(fd, (const struct sockaddr *)addr, sizeof *addr) != 0) {
        return -1;
    }
    if (chmod(temp, mode) != 0 || listen(fd, SOMAXCONN) != 0 ||
        !identify(temp, out_file) || rename(temp, path) != 0) {
        int code = errno;
        (void)unlink(temp);
        errno = code;
        return -1;
    }
    return 0;
}

int
er_places_listen(const char *path, unsigned mode, struct er_places_file *out_file,
                 struct er_err *err)
{
    struct sockaddr_un addr;
    struct er_places_file file = {0};
    int dir_fd;
    char *temp = er_xasprintf("%s.%d", path, (int)getpid());
    int rc = open_address(temp, &addr, &dir_fd, err);
    if (rc) {
        er_free(temp);
        return rc == ER_ENODAEMON ? ER_ENOTFOUND : rc;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind_and_rename(fd, &addr, temp, path, mode, &file) != 0) {
        int code = errno;
        er_close(&fd);
        rc = er_fail(err, er_error_from_errno(code), "cannot listen on '%.400s': %s",
                     path, strerror(code));
    }
    er_close(&dir_fd);
    er_free(temp);
    if (!rc && out_file) {
        *out_file = file;
    }
    return rc ? rc : fd;
}

void
er_places_unlisten(const char *path, const struct er_places_file *file)
{
    struct er_places_file now;
    if (identify(path, &now) && now.dev == file->dev && now.ino == file->ino &&
        now.at.tv_sec == file->at.tv_sec && now.at.tv_nsec == file->at.tv_nsec) {
        (void)unlink(path);
    }
}
