/* SPDX-License-Identifier: MIT */
/* Two steps as of vfork: the caller waits while a middle process, which shares its memory,
 * starts the program and ends. The middle one has no exit signal, so that nobody but us (with
 * __WCLONE) can wait for it; the program, which exec gives SIGCHLD back, is by then an orphan.
 * A single process without an exit signal would not do: exec sets it to SIGCHLD.
 *
 * Between clone and exec only system calls are made, and both end by returning (clone then
 * exits): at an _exit a sanitizer would look at the stack, which is not the one it knows. All
 * signals are blocked in the caller meanwhile, so that no handler of the host runs in a process
 * that shares its memory. */
#include "base/orphan.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"

#define STACK ((size_t)64 << 10) /* of each of the two */

/* What runs on those stacks is never left in an orderly way, so a sanitizer must not mark
 * its frames: the memory is somebody else's afterwards. */
#define BARE __attribute__((no_sanitize("address", "thread", "undefined"), noinline))

struct birth {
    const struct er_orphan *o;
    char *const *envp;
    char *stack;
    int null_fd;
    pid_t pid;
    int pidfd;
    volatile int failed; /* errno of what failed; 0 = it runs */
};

/* The C library's own name: ThreadSanitizer has a `clone` that is for forks. */
extern int __clone(int (*fn)(void *arg), void *stack, int flags, void *arg, ...);

/* By system calls alone, like all that follows: the C library (or a sanitizer) may keep a
 * table of handlers, and its memory is the caller's. */
BARE static void
reset_signals(void)
{
    static const unsigned char plain[64]; /* a kernel's sigaction: SIG_DFL, no flags */
    static const unsigned char none[8];
    for (int i = 1; i < NSIG; i++) {
        (void)syscall(SYS_rt_sigaction, i, plain, NULL, sizeof none);
    }
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, none, NULL, sizeof none);
}

/* Puts the descriptors into their places: first out of each other's way, then down. */
BARE static int
place_fds(const struct birth *b)
{
    int high[4];
    for (int i = 0; i < 4; i++) {
        int fd = b->o->fds[i] >= 0 ? b->o->fds[i] : i < 3 ? b->null_fd : -1;
        high[i] = fd < 0 ? -1 : (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 10);
        if (fd >= 0 && high[i] < 0) {
            return -1;
        }
    }
    for (int i = 0; i < 4; i++) {
        if (high[i] >= 0 && syscall(SYS_dup3, high[i], i, 0) < 0) {
            return -1;
        }
    }
    unsigned from = high[3] >= 0 ? 4 : 3;
    (void)syscall(SYS_close_range, from, ~0U, 0U);
    return 0;
}

BARE static int
child_main(void *arg)
{
    struct birth *b = arg;
    reset_signals();
    if (syscall(SYS_setsid) < 0 || place_fds(b)) {
        b->failed = errno;
        return 127;
    }
    (void)syscall(SYS_execve, b->o->path, b->o->argv, b->envp);
    b->failed = errno;
    return 127;
}

BARE static int
middle_main(void *arg)
{
    struct birth *b = arg;
    int pid = __clone(child_main, b->stack + STACK,
                      CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, b, &b->pidfd);
    if (pid < 0) {
        b->failed = errno;
    } else {
        b->pid = pid;
    }
    return 0;
}

static int
give_birth(struct birth *b)
{
    sigset_t all, old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    int pid = __clone(middle_main, b->stack + 2 * STACK,
                      CLONE_VM | CLONE_VFORK | CLONE_FILES, b);
    int code = pid < 0 ? errno : 0;
    while (pid > 0 && waitpid(pid, NULL, (int)__WCLONE) < 0 && errno == EINTR) {
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return code ? code : b->failed;
}

int
er_orphan_start(const struct er_orphan *o, pid_t *out_pid, int *out_pidfd,
                struct er_err *err)
{
    extern char **environ;
    struct birth b = {.o = o, .envp = o->envp ? o->envp : environ, .pidfd = -1};
    b.null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    void *stacks = mmap(NULL, 2 * STACK, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    int code = b.null_fd < 0 || stacks == MAP_FAILED ? errno : 0;
    if (code == 0) {
        b.stack = stacks;
        code = give_birth(&b);
    }
    if (stacks != MAP_FAILED) {
        (void)munmap(stacks, 2 * STACK);
    }
    er_close(&b.null_fd);
    if (code || !out_pidfd) {
        er_close(&b.pidfd);
    }
    if (code) {
        return er_fail(err, er_error_from_errno(code), "cannot start %.300s: %s", o->path,
                       strerror(code));
    }
    *out_pid = b.pid;
    if (out_pidfd) {
        *out_pidfd = b.pidfd;
    }
    return 0;
}
