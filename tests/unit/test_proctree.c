/* SPDX-License-Identifier: MIT */
#include "base/proctree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka.h needs the four above */
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char cookie[64]; /* of this case: "ptNNN.CASE.1" */
static int case_no;
static pid_t without; /* a process of this case that has no cookie; 0 = none */

/* Starts a shell line in a session of its own, with the cookie in its environment, and
 * waits until it says that it is ready by closing (or writing to) its descriptor 9. */
static pid_t
start(const char *line)
{
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    assert_int_equal(posix_spawn_file_actions_init(&fa), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&fa, ready[1], 9), 0);
    assert_int_equal(posix_spawn_file_actions_addclose(&fa, ready[0]), 0);
    assert_int_equal(posix_spawn_file_actions_addclose(&fa, ready[1]), 0);
    assert_int_equal(posix_spawnattr_init(&attr), 0);
    assert_int_equal(posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID), 0);
    char var[96];
    (void)snprintf(var, sizeof var, "ERRAND_COOKIE=%s", cookie);
    char sh[] = "sh", dash_c[] = "-c", text[512];
    (void)snprintf(text, sizeof text, "%s", line);
    char *argv[] = {sh, dash_c, text, NULL};
    char path[] = "PATH=/usr/bin:/bin";
    char *envp[] = {path, var, NULL};
    pid_t pid;
    assert_int_equal(posix_spawn(&pid, "/bin/sh", &fa, &attr, argv, envp), 0);
    (void)posix_spawn_file_actions_destroy(&fa);
    (void)posix_spawnattr_destroy(&attr);
    (void)close(ready[1]);
    char c;
    assert_int_equal(read(ready[0], &c, 1), 1);
    (void)close(ready[0]);
    return pid;
}

static void
reap_all(void)
{
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {
    }
}

static int
setup(void **state)
{
    (void)state;
    (void)snprintf(cookie, sizeof cookie, "pt%d.%d.1", (int)getpid(), ++case_no);
    return 0;
}

/* Whatever a case left is ended; nothing may stay behind. */
static int
teardown(void **state)
{
    (void)state;
    if (er_proctree_kill(cookie, 0, 20, NULL) != 0 ||
        (without > 0 && er_proctree_kill(NULL, without, 20, NULL) != 0)) {
        return -1;
    }
    without = 0;
    reap_all();
    return 0;
}

static void
proctree__finds_children_and_what_left_the_session(void **state)
{
    (void)state;
    pid_t pid = start("setsid sleep 1000 & sleep 1000 & "
                      "while ! grep -qz '^sleep' /proc/$!/cmdline; do :; done; "
                      "echo >&9; wait");
    struct er_proctree t = {0};
    assert_int_equal(er_proctree_find(&t, cookie, 0), 0);
    assert_int_equal(t.n, 3);
    bool found = false;
    for (size_t i = 0; i < t.n; i++) {
        found = found || t.pids[i] == pid;
        assert_int_not_equal(t.pids[i], getpid());
        assert_true(i == 0 || t.pids[i - 1] < t.pids[i]);
    }
    assert_true(found);
    assert_int_equal(er_proctree_kill(cookie, 0, 20, NULL), 0);
    assert_int_equal(er_proctree_find(&t, cookie, 0), 0);
    assert_int_equal(t.n, 0);
    er_proctree_fini(&t);
}

static void
proctree__finds_by_session_what_dropped_its_environment(void **state)
{
    (void)state;
    /* the leader is gone; what is left has no cookie and our reaper as parent */
    pid_t pid = start("env -i sh -c 'echo >&9; exec sleep 1000' & "
                      "read x < /proc/$!/comm; exit 0");
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    struct er_proctree t = {0};
    assert_int_equal(er_proctree_find(&t, NULL, -pid), 0);
    assert_int_equal(t.n, 1);
    er_proctree_fini(&t);
    assert_int_equal(er_proctree_kill(NULL, -pid, 20, NULL), 0);
}

static void
proctree__a_reaped_leaders_pid_is_not_taken_for_it(void **state)
{
    (void)state;
    pid_t pid = start("echo >&9; exec sleep 1000");
    struct er_proctree t = {0};
    assert_int_equal(er_proctree_find(&t, NULL, -pid), 0);
    assert_int_equal(t.n, 0);
    assert_int_equal(er_proctree_find(&t, NULL, pid), 0);
    assert_int_equal(t.n, 1);
    er_proctree_fini(&t);
}

static void
proctree__a_prefix_ends_at_a_border(void **state)
{
    (void)state;
    (void)start("echo >&9; exec sleep 1000");
    char prefix[80];
    struct er_proctree t = {0};
    (void)snprintf(prefix, sizeof prefix, "pt%d.", (int)getpid());
    assert_int_equal(er_proctree_find(&t, prefix, 0), 0);
    assert_int_equal(t.n, 1);
    (void)snprintf(prefix, sizeof prefix, "pt%d.%d", (int)getpid(), case_no);
    assert_int_equal(er_proctree_find(&t, prefix, 0), 0);
    assert_int_equal(t.n, 1);
    (void)snprintf(prefix, sizeof prefix, "pt%d", (int)getpid() / 10);
    assert_int_equal(er_proctree_find(&t, prefix, 0), 0);
    assert_int_equal(t.n, 0);
    (void)snprintf(prefix, sizeof prefix, "%s1", cookie);
    assert_int_equal(er_proctree_find(&t, prefix, 0), 0);
    assert_int_equal(t.n, 0);
    er_proctree_fini(&t);
}

static void
proctree__signals_reach_each_of_them(void **state)
{
    (void)state;
    pid_t pid = start("trap 'exit 7' USR1; echo >&9; while :; do sleep 0.01; done");
    struct er_proctree t = {0};
    assert_int_equal(er_proctree_find(&t, cookie, pid), 0);
    assert_true(t.n >= 1);
    for (size_t i = 0; i < t.n; i++) {
        if (t.pids[i] == pid) {
            t.pids[0] = t.pids[i];
            t.starts[0] = t.starts[i];
        }
    }
    t.n = 1;
    er_proctree_signal(&t, SIGUSR1);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    er_proctree_fini(&t);
}

static void
proctree__does_not_signal_a_pid_that_was_used_again(void **state)
{
    (void)state;
    pid_t pid = start("echo >&9; exec sleep 1000");
    struct er_proctree t = {0};
    assert_int_equal(er_proctree_find(&t, cookie, 0), 0);
    assert_int_equal(t.n, 1);
    t.starts[0]--; /* as if another process had had this pid */
    er_proctree_signal(&t, SIGKILL);
    assert_int_equal(kill(pid, 0), 0);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    er_proctree_fini(&t);
}

static void
proctree__kills_what_keeps_forking(void **state)
{
    (void)state;
    (void)start("hop() { (setsid sh -c \"$1\" x \"$1\" &) ; }; "
                "hop 'trap \"\" TERM; sleep 0.01; (setsid sh -c \"$1\" x \"$1\" &)'; "
                "echo >&9; exec sleep 1000");
    assert_int_equal(er_proctree_kill(cookie, 0, 1000, NULL), 0);
    struct er_proctree t = {0};
    assert_int_equal(er_proctree_find(&t, cookie, 0), 0);
    assert_int_equal(t.n, 0);
    er_proctree_fini(&t);
}

/* The state letter of a process, '?' when it is gone. */
static char
state_of(pid_t pid)
{
    char path[64], line[512] = "";
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    const char *got = f ? fgets(line, sizeof line, f) : NULL;
    if (f) {
        (void)fclose(f);
    }
    const char *p = got ? strrchr(line, ')') : NULL;
    return p ? p[2] : '?';
}

/* Waits until a process is in one of these states. */
static void
wait_state(pid_t pid, const char *states)
{
    for (int i = 0; i < 30000 && !strchr(states, state_of(pid)); i++) {
        (void)poll(NULL, 0, 1);
    }
    assert_non_null(strchr(states, state_of(pid)));
}

static void
proctree__stops_all_of_them_and_lets_them_go_on(void **state)
{
    (void)state;
    pid_t pid = start("setsid sh -c 'while :; do :; done' & sleep 1000 & "
                      "while ! grep -qz '^while' /proc/$!/cmdline && "
                      "! grep -qz '^sleep' /proc/$!/cmdline; do :; done; "
                      "echo >&9; while :; do :; done");
    struct er_proctree t = {0};
    assert_int_equal(er_proctree_stop(cookie, pid, 1000, &t), 0);
    assert_int_equal(t.n, 3);
    for (size_t i = 0; i < t.n; i++) {
        assert_true(t.stopped[i]);
        assert_int_equal(state_of(t.pids[i]), 'T');
    }
    er_proctree_signal(&t, SIGCONT);
    for (size_t i = 0; i < t.n; i++) {
        wait_state(t.pids[i], "RS");
    }
    assert_int_equal(er_proctree_find(&t, cookie, pid), 0);
    assert_int_equal(t.n, 3);
    assert_false(t.stopped[0] || t.stopped[1] || t.stopped[2]);
    er_proctree_fini(&t);
}

static void
proctree__stops_what_keeps_forking(void **state)
{
    (void)state;
    (void)start("hop='sleep 0.02; (setsid sh -c \"$1\" x \"$1\" &) ; sleep 0.02'; "
                "for i in 1 2 3; do setsid sh -c \"$hop\" x \"$hop\" & done; "
                "echo >&9; while :; do sleep 0.01; done");
    struct er_proctree t = {0}, again = {0};
    assert_int_equal(er_proctree_stop(cookie, 0, 1000, &t), 0);
    assert_true(t.n >= 1);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(er_proctree_find(&again, cookie, 0), 0);
        assert_int_equal(again.n, t.n);
        assert_memory_equal(again.pids, t.pids, t.n * sizeof *t.pids);
    }
    er_proctree_fini(&t);
    er_proctree_fini(&again);
}

/* A process that is in vfork sleeps in the kernel until its child has executed something;
 * a child that is stopped before that keeps it there. */
static void
proctree__one_that_sleeps_in_the_kernel_counts_when_it_was_told(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)setsid();
        pid_t child = (pid_t)syscall(SYS_vfork);
        if (child == 0) {
            for (;;) {
                (void)syscall(SYS_pause);
            }
        }
        _exit(0);
    }
    without = pid;
    wait_state(pid, "D");
    struct er_proctree t = {0};
    assert_int_equal(er_proctree_find(&t, NULL, pid), 0);
    assert_int_equal(t.n, 2);
    assert_false(t.stopped[0] || t.stopped[1]);
    assert_int_equal(er_proctree_stop(NULL, pid, 1000, &t), 0);
    assert_int_equal(t.n, 2);
    assert_true(t.stopped[0] && t.stopped[1]);
    assert_int_equal(er_proctree_kill(NULL, pid, 1000, NULL), 0);
    er_proctree_fini(&t);
}

static void *
run_for_ever(void *arg)
{
    (void)arg;
    for (;;) {
        (void)poll(NULL, 0, 1);
    }
    return NULL;
}

/* A process whose first thread has ended looks dead, but is not. */
static void
proctree__one_whose_first_thread_has_ended_is_found_and_stopped(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        pthread_t thread;
        (void)setsid();
        if (pthread_create(&thread, NULL, run_for_ever, NULL) != 0) {
            _exit(1);
        }
        (void)syscall(SYS_exit, 0); /* of this thread only */
    }
    without = pid;
    wait_state(pid, "Z");
    struct er_proctree t = {0};
    assert_int_equal(er_proctree_find(&t, NULL, pid), 0);
    assert_int_equal(t.n, 1);
    assert_false(t.stopped[0]);
    assert_int_equal(er_proctree_stop(NULL, pid, 1000, &t), 0);
    assert_true(t.n == 1 && t.stopped[0]);
    assert_int_equal(er_proctree_kill(NULL, pid, 1000, NULL), 0);
    er_proctree_fini(&t);
}

static void
proctree__stopping_nobody_is_a_success(void **state)
{
    (void)state;
    struct er_proctree t = {0};
    assert_int_equal(er_proctree_stop(cookie, 0, 3, &t), 0);
    assert_int_equal(t.n, 0);
    er_proctree_fini(&t);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(proctree__finds_children_and_what_left_the_session),
        T(proctree__finds_by_session_what_dropped_its_environment),
        T(proctree__a_reaped_leaders_pid_is_not_taken_for_it),
        T(proctree__a_prefix_ends_at_a_border),
        T(proctree__signals_reach_each_of_them),
        T(proctree__does_not_signal_a_pid_that_was_used_again),
        T(proctree__kills_what_keeps_forking),
        T(proctree__stops_all_of_them_and_lets_them_go_on),
        T(proctree__stops_what_keeps_forking),
        T(proctree__one_that_sleeps_in_the_kernel_counts_when_it_was_told),
        T(proctree__one_whose_first_thread_has_ended_is_found_and_stopped),
        T(proctree__stopping_nobody_is_a_success),
    };
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
