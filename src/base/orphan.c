/* SPDX-License-Identifier: MIT */
/* Two steps as of vfork: the caller waits while a middle process, which shares its
 * memory, starts the program and ends. The middle one has no exit signal, so that nobody
 * but us (with __WCLONE) can wait for it; the program, which exec gives SIGCHLD back, is
 * by then an orphan. A single process without an exit signal would not do: exec sets it
 * to SIGCHLD.
 *
 * What comes of it is told by descriptors, not by memory: the program's process writes
 * into a pipe of the middle one's why it cannot exec; the middle one sends that, the pid
 * and a pidfd (SCM_RIGHTS) to the caller. So it works as well where both are copies as of
 * fork, which is what valgrind makes of a vfork (it knows few sets of flags, and none
 * with CLONE_FILES). The middle one sees that it is one, for what its child writes does
 * not come to it; it then has itself killed, since at its exit valgrind would report the
 * host's memory as lost, whose threads the copy has not.
 *
 * Between clone and exec only system calls are made, and both end by returning (clone
 * then exits): at an _exit a sanitizer would look at the stack, which is not the one it
 * knows. All signals are blocked in the caller meanwhile, so that no handler of the host
 * runs in a process that shares its memory. */
#include "base/orphan.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"

#define STACK ((size_t)64 << 10) /* of each of the two */

/* What runs on those stacks is never left in an orderly way, so a sanitizer must not mark
 * its frames: the memory is somebody else's afterwards. */
#define BARE __attribute__((no_sanitize("address", "thread", "undefined"), noinline))

struct answer {
    pid_t pid;
    int failed; /* errno of what failed; 0 = it runs */
};

struct birth {
    const struct er_orphan *o;
    char *const *envp;
    char *stack;
    int null_fd;
    int ends[2];   /* a socket pair: the caller's, the middle one's */
    int failed[2]; /* a pipe, of the middle one's table: closed by the exec */
    int pidfd;     /* of the middle one's table */
    int is_shared; /* set by the program's process */
};

/* The C library's own name: ThreadSanitizer has a `clone` that is for forks. */
extern int __clone(int (*fn)(void *arg), void *stack, int flags, void *arg, ...);

/* By system calls alone, like all that follows: the C library (or a sanitizer) may keep a
 * table of handlers, and its memory is the caller's. */
BARE static void
reset_signals(void)
{
    static const uintptr_t plain[8]; /* a kernel's sigaction: SIG_DFL, no flags */
    static const unsigned char none[8];
    uintptr_t now[8] = {0};
    for (int i = 1; i < NSIG; i++) {
        /* those that are plain are left alone: some belong to the kernel, or to
         * valgrind */
        if (syscall(SYS_rt_sigaction, i, NULL, now, sizeof none) == 0 && now[0] != 0) {
            (void)syscall(SYS_rt_sigaction, i, plain, NULL, sizeof none);
        }
    }
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, none, NULL, sizeof none);
}

/* Puts the descriptors into their places: first out of each other's way, then down. What
 * says why the exec failed comes behind them, and goes with the exec. Returns it, or
 * -1. */
BARE static int
place_fds(const struct birth *b)
{
    int high[5];
    for (int i = 0; i < 5; i++) {
        int fd = i == 4              ? b->failed[1]
                 : b->o->fds[i] >= 0 ? b->o->fds[i]
                 : i < 3             ? b->null_fd
                                     : -1;
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
    int said = high[3] >= 0 ? 4 : 3;
    if (syscall(SYS_dup3, high[4], said, O_CLOEXEC) < 0) {
        return -1;
    }
    (void)syscall(SYS_close_range, (unsigned)said + 1, ~0U, 0U);
    return said;
}

BARE static int
child_main(void *arg)
{
    struct birth *b = arg;
    int said = -1;
    b->is_shared = 1;
    reset_signals();
    if (syscall(SYS_setsid) >= 0 && (said = place_fds(b)) >= 0) {
        (void)syscall(SYS_execve, b->o->path, b->o->argv, b->envp);
    }
    int failed = errno;
    (void)syscall(SYS_write, said >= 0 ? said : b->failed[1], &failed, sizeof failed);
    return 127;
}

/* The answer, and the pidfd if there is one. */
BARE static void
send_answer(const struct birth *b, const struct answer *answer)
{
    struct iovec part = {(void *)(uintptr_t)answer, sizeof *answer};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } with = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
                       .cmsg_level = SOL_SOCKET,
                       .cmsg_type = SCM_RIGHTS}};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    if (b->pidfd >= 0) {
        *(int *)(void *)CMSG_DATA(&with.head) = b->pidfd;
        m.msg_control = &with;
        m.msg_controllen = sizeof with.room;
    }
    (void)syscall(SYS_sendmsg, b->ends[1], &m, MSG_NOSIGNAL);
}

/* A SIGKILL by this call comes from the kernel; of kill, and of an exit, valgrind makes
 * an end with a report. */
BARE static void
end_quietly(void)
{
    siginfo_t info = {.si_signo = SIGKILL, .si_code = SI_QUEUE};
    (void)syscall(SYS_rt_sigqueueinfo, syscall(SYS_getpid), SIGKILL, &info);
}

BARE static int
middle_main(void *arg)
{
    struct birth *b = arg;
    struct answer answer = {0};
    if (syscall(SYS_pipe2, b->failed, O_CLOEXEC) < 0) {
        answer.failed = errno;
    } else {
        int pid = __clone(child_main, b->stack + STACK,
                          CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, b, &b->pidfd);
        answer.pid = pid;
        answer.failed = pid < 0 ? errno : 0;
        (void)syscall(SYS_close, b->failed[1]);
        if (pid > 0) { /* until it is the program, or is gone */
            (void)syscall(SYS_read, b->failed[0], &answer.failed, sizeof answer.failed);
        }
    }
    send_answer(b, &answer);
    if (answer.pid > 0 && !b->is_shared) {
        end_quietly();
    }
    return 0;
}

/* What the middle one has said, which is gone. errno of what failed, or 0. */
static int
take_answer(int fd, struct answer *answer, int *out_pidfd)
{
    struct iovec part = {answer, sizeof *answer};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } with;
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = &with,
                       .msg_controllen = sizeof with.room};
    ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n != (ssize_t)sizeof *answer) {
        return n < 0 && errno != EAGAIN ? errno : ECHILD; /* somebody has killed it */
    }
    const struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
        *out_pidfd = *(const int *)(const void *)CMSG_DATA(c);
    }
    return answer->failed;
}

static int
give_birth(struct birth *b, struct answer *answer, int *out_pidfd)
{
    sigset_t all, old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    int pid = __clone(middle_main, b->stack + 2 * STACK, CLONE_VM | CLONE_VFORK, b);
    int code = pid < 0 ? errno : 0;
    while (pid > 0 && waitpid(pid, NULL, (int)__WCLONE) < 0 && errno == EINTR) {
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return code ? code : take_answer(b->ends[0], answer, out_pidfd);
}

/* The stacks of the two; NULL = there is no memory. */
static char *
make_stacks(void)
{
    void *at = mmap(NULL, 2 * STACK, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

int
er_orphan_start(const struct er_orphan *o, pid_t *out_pid, int *out_pidfd,
                struct er_err *err)
{
    extern char **environ;
    struct birth b = {
        .o = o, .envp = o->envp ? o->envp : environ, .ends = {-1, -1}, .pidfd = -1};
    struct answer answer = {0};
    int code = 0, pidfd = -1;
    b.null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    b.stack = make_stacks();
    if (b.null_fd < 0 || !b.stack ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, b.ends)) {
        code = errno;
    } else {
        code = give_birth(&b, &answer, &pidfd);
    }
    if (b.stack) {
        (void)munmap(b.stack, 2 * STACK);
    }
    er_close(&b.ends[0]);
    er_close(&b.ends[1]);
    er_close(&b.null_fd);
    if (code || !out_pidfd) {
        er_close(&pidfd);
    }
    if (code) {
        return er_fail(err, er_error_from_errno(code), "cannot start %.300s: %s", o->path,
                       strerror(code));
    }
    *out_pid = answer.pid;
    if (out_pidfd) {
        *out_pidfd = pidfd;
    }
    return 0;
}
