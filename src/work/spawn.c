/* SPDX-License-Identifier: MIT */
/* Happy path: open the directory (O_PATH), look the program up with faccessat relative to
 * it, posix_spawn with fchdir and four dup2s. glibc's posix_spawn shares the memory until
 * the exec (CLONE_VM | CLONE_VFORK): its cost does not grow with ours, and exec's error
 * comes back as its result.
 *
 * Failure modes are told apart because a shell would: the directory is gone (126, code
 * no-cwd), the command is not found (127), it is not executable (126), its interpreter is
 * missing (127): a person must do something about these, and is told what. And what is
 * the system's fault and may pass: no memory, no process or descriptor left (no exit
 * code, class retryable). A file without a #! line that is executable is given to
 * /bin/sh, as shells do. */
#include "work/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "work/local_fs.h"

static const char CODE_CWD[] = "no-cwd";
static const char CODE_NOT_FOUND[] = "not-found";
static const char CODE_DENIED[] = "not-executable";
static const char CODE_STDIN[] = "stdin-missing";
static const char CODE_SYSTEM[] = "spawn-failed";

static const char ACTION_NAME[] =
    "check the name, or the PATH that the task was submitted with";
static const char ACTION_PATH[] =
    "check the path; one that is not absolute begins at the task's working directory";
static const char ACTION_INTERPRETER[] =
    "install the interpreter that its first line names, or mend that line";
static const char ACTION_MODE[] = "make it executable (chmod +x), or name another";
static const char ACTION_FOLDER[] = "name a program, not a directory";
static const char ACTION_FORMAT[] =
    "check that it is a program for this machine and its arguments are not too long";
static const char ACTION_CWD[] =
    "make the directory, or submit the task with another one (--cwd DIR)";
static const char ACTION_CWD_MODE[] =
    "let this user enter the directory, or submit the task with another one (--cwd DIR)";
static const char ACTION_STDIN[] = "check the file that --stdin names";

static void failed(struct er_spawn_result *r, const char *code, int exit_code,
                   const char *action, const char *fmt, ...) ER_PRINTF(5, 6);

/* `action` NULL: nobody needs to do anything, it may pass by itself. */
static void
failed(struct er_spawn_result *r, const char *code, int exit_code, const char *action,
       const char *fmt, ...)
{
    r->pid = 0;
    r->code = code;
    r->error_class = action ? "user-actionable" : "retryable";
    r->action = action;
    r->exit_code = exit_code;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(r->message, sizeof r->message, fmt, ap);
    va_end(ap);
}

static bool
is_executable(int cwd_fd, const char *path)
{
    struct stat st;
    return faccessat(cwd_fd, path, X_OK, AT_EACCESS) == 0 &&
           fstatat(cwd_fd, path, &st, 0) == 0 && S_ISREG(st.st_mode);
}

/* Finds a program without a slash in its name: true with its path in out. */
static bool
search(int cwd_fd, const char *search, const char *name, char out[PATH_MAX],
       bool *out_denied)
{
    *out_denied = false;
    for (const char *p = search;; p++) {
        size_t n = strcspn(p, ":");
        int len = n == 0 ? snprintf(out, PATH_MAX, "./%s", name)
                         : snprintf(out, PATH_MAX, "%.*s/%s", (int)n, p, name);
        if (len > 0 && len < PATH_MAX) {
            if (is_executable(cwd_fd, out)) {
                return true;
            }
            struct stat st;
            *out_denied =
                *out_denied || (errno == EACCES && fstatat(cwd_fd, out, &st, 0) == 0 &&
                                S_ISREG(st.st_mode));
        }
        p += n;
        if (*p == '\0') {
            return false;
        }
    }
}

/* Works out the path to execute: true, or false with the reason in r. */
static bool
find_program(const struct er_command *c, int cwd_fd, char out[PATH_MAX],
             struct er_spawn_result *r)
{
    const char *name = c->argv[0];
    if (strchr(name, '/')) {
        if (strlen(name) >= PATH_MAX) {
            failed(r, CODE_NOT_FOUND, 127, ACTION_PATH,
                   "command not found: its name is too long");
            return false;
        }
        (void)strcpy(out, name);
        return true;
    }
    bool denied;
    if (search(cwd_fd, c->search, name, out, &denied)) {
        return true;
    }
    if (denied) {
        failed(r, CODE_DENIED, 126, ACTION_MODE,
               "permission denied: '%.200s' is in PATH but not executable", name);
    } else {
        failed(r, CODE_NOT_FOUND, 127, ACTION_NAME,
               "command not found: '%.200s' (searched PATH=%.300s)", name, c->search);
    }
    return false;
}

/* The words for an error of posix_spawn. */
static void
spawn_failed(const struct er_command *c, int cwd_fd, const char *path, int code,
             struct er_spawn_result *r)
{
    struct stat st;
    bool there = fstatat(cwd_fd, path, &st, 0) == 0;
    switch (code) {
    case ENOENT:
    case ENOTDIR:
        if (there) {
            failed(r, CODE_NOT_FOUND, 127, ACTION_INTERPRETER,
                   "cannot run '%.200s': the interpreter or loader it names is missing",
                   path);
        } else {
            failed(r, CODE_NOT_FOUND, 127, ACTION_PATH,
                   "command not found: '%.300s' (in '%.200s')", c->argv[0], c->cwd);
        }
        return;
    case EACCES:
    case EPERM:
    case EISDIR:
        if (faccessat(cwd_fd, ".", X_OK, AT_EACCESS) != 0) {
            failed(r, CODE_CWD, 126, ACTION_CWD_MODE,
                   "working directory '%.300s' may not be entered: %s", c->cwd,
                   strerror(EACCES));
        } else if (there && S_ISDIR(st.st_mode)) {
            failed(r, CODE_DENIED, 126, ACTION_FOLDER,
                   "permission denied: '%.300s' is a directory", path);
        } else {
            failed(r, CODE_DENIED, 126, ACTION_MODE,
                   "permission denied: '%.300s' is not executable", path);
        }
        return;
    case ELOOP:
    case ENAMETOOLONG:
    case E2BIG:
    case EINVAL:
    case ELIBBAD:
        failed(r, CODE_DENIED, 126, ACTION_FORMAT, "cannot run '%.300s': %s", path,
               strerror(code));
        return;
    default:
        failed(r, CODE_SYSTEM, -1, NULL, "cannot start '%.300s' now: %s", path,
               strerror(code));
    }
}

/* Flags and signal sets: in the child all signals have their defaults and none is
 * blocked. The worker gave all of them their defaults when it began, but for those it
 * ignores (and the child makes one system call for each that is named here). */
static int
make_attr(posix_spawnattr_t *attr)
{
    sigset_t none, all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int rc = posix_spawnattr_init(attr);
    if (rc == 0) {
        (void)posix_spawnattr_setsigmask(attr, &none);
        (void)posix_spawnattr_setsigdefault(attr, &all);
        (void)posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
                                                 POSIX_SPAWN_SETSIGDEF);
    }
    return rc;
}

/* All sources are above 2 (the worker's own 0, 1 and 2 are open), and the one that may be
 * 3 itself is moved last. */
static int
make_actions(posix_spawn_file_actions_t *fa, const struct er_spawn_fds *fds, int in,
             int cwd_fd)
{
    int rc = posix_spawn_file_actions_init(fa);
    if (rc) {
        return rc;
    }
    rc = posix_spawn_file_actions_addfchdir_np(fa, cwd_fd);
    rc = rc ? rc : posix_spawn_file_actions_adddup2(fa, in, STDIN_FILENO);
    rc = rc ? rc : posix_spawn_file_actions_adddup2(fa, fds->out, STDOUT_FILENO);
    rc = rc ? rc : posix_spawn_file_actions_adddup2(fa, fds->err, STDERR_FILENO);
    rc = rc ? rc
            : posix_spawn_file_actions_adddup2(fa, fds->progress, ER_PROGRESS_CHILD_FD);
    if (rc) {
        (void)posix_spawn_file_actions_destroy(fa);
    }
    return rc;
}

/* Spawns a file that the kernel does not know how to execute with /bin/sh. */
static int
spawn_script(pid_t *pid, const struct er_command *c, char *path,
             const posix_spawn_file_actions_t *fa, const posix_spawnattr_t *attr)
{
    size_t n = 0;
    while (c->argv[n]) {
        n++;
    }
    char sh[] = "/bin/sh";
    char **argv = er_realloc_array(NULL, n + 2, sizeof(char *));
    if (!argv) {
        return ENOMEM;
    }
    argv[0] = sh;
    argv[1] = path;
    memcpy(argv + 2, c->argv + 1, n * sizeof(char *)); /* with the NULL */
    int rc = posix_spawn(pid, sh, fa, attr, argv, c->envp);
    er_free(argv);
    return rc;
}

/* Whether the directory, the program and each folder that was searched before it was
 * found are on file systems of this machine. */
static bool
all_local(const struct er_command *c, int cwd_fd, const char *program)
{
    if (!er_local_fs_has(cwd_fd, ".") || !er_local_fs_has(cwd_fd, program)) {
        return false;
    }
    size_t program_folder = strlen(program) - strlen(c->argv[0]);
    for (const char *p = c->search; !strchr(c->argv[0], '/'); p++) {
        char folder[PATH_MAX];
        size_t n = strcspn(p, ":");
        if (n + 1 == program_folder && strncmp(p, program, n) == 0) {
            break;
        }
        int len = snprintf(folder, sizeof folder, "%.*s", (int)n, p);
        struct stat st;
        if (n > 0 && len < PATH_MAX && fstatat(cwd_fd, folder, &st, 0) == 0 &&
            !er_local_fs_has(cwd_fd, folder)) {
            return false;
        }
        p += n;
        if (*p == '\0') {
            break;
        }
    }
    return true;
}

static void
spawn_in(const struct er_command *c, const struct er_spawn_fds *fds, int in, int cwd_fd,
         bool look, struct er_spawn_result *r)
{
    char path[PATH_MAX];
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t fa;
    if (!find_program(c, cwd_fd, path, r)) {
        return;
    }
    int rc = make_attr(&attr);
    if (rc == 0) {
        rc = make_actions(&fa, fds, in, cwd_fd);
        if (rc == 0) {
            rc = posix_spawn(&r->pid, path, &fa, &attr, c->argv, c->envp);
            if (rc == ENOEXEC) {
                rc = spawn_script(&r->pid, c, path, &fa, &attr);
            }
            (void)posix_spawn_file_actions_destroy(&fa);
        }
        (void)posix_spawnattr_destroy(&attr);
    }
    if (rc != 0) {
        spawn_failed(c, cwd_fd, path, rc, r);
    }
    r->local = rc == 0 && look && all_local(c, cwd_fd, path);
}

/* Opens the file for standard input, without waiting for a FIFO's writer. */
static int
open_stdin(const struct er_command *c, int cwd_fd, struct er_spawn_result *r)
{
    int fd = openat(cwd_fd, c->stdin_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    int code = fd < 0 ? errno : 0;
    if (fd >= 0 && (fstat(fd, &st) != 0 || S_ISDIR(st.st_mode))) {
        code = EISDIR;
    } else if (fd >= 0 && !S_ISREG(st.st_mode) && fcntl(fd, F_SETFL, 0) != 0) {
        code = errno;
    }
    if (code != 0) {
        er_close(&fd);
        failed(r, CODE_STDIN, 126, ACTION_STDIN,
               "cannot read standard input from '%.300s': %s", c->stdin_path,
               strerror(code));
    }
    return fd;
}

void
er_spawn_start(const struct er_command *c, const struct er_spawn_fds *fds, bool look,
               struct er_spawn_result *out)
{
    out->pid = 0;
    out->local = false;
    int cwd_fd = open(c->cwd, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (cwd_fd < 0) {
        int code = errno;
        failed(out, CODE_CWD, 126, code == EACCES ? ACTION_CWD_MODE : ACTION_CWD,
               "working directory '%.300s' is %s", c->cwd,
               code == ENOENT    ? "gone"
               : code == ENOTDIR ? "not a directory"
                                 : strerror(code));
        return;
    }
    int in = fds->in;
    if (c->stdin_kind == ER_STDIN_FILE) {
        in = open_stdin(c, cwd_fd, out);
    }
    if (in >= 0) {
        spawn_in(c, fds, in, cwd_fd, look, out);
    }
    if (in != fds->in) {
        er_close(&in);
    }
    er_close(&cwd_fd);
}
