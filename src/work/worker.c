/* SPDX-License-Identifier: MIT */
/* Happy path: the link connects and says hello, `welcome` brings session, token and
 * folders, the lock is taken. Orders add attempts, which wait for a slot in the order in
 * which they came; on_prepare, before the loop sleeps, reaps, reports, starts what
 * waits, and looks whether it is time to end. Without a daemon it goes on with what it
 * has and ends `linger_for` after the last task.
 *
 * Failure modes: a lock that another has, or folders that cannot be used: it ends with
 * 1. A lost session: everything is killed and it begins anew, with the next hello. What
 * waits for a slot that does not come is given back. SIGTERM, or the end of its owner:
 * what it has is put back, then it ends. */
#include "work/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/io.h"

#define SLOTS_MAX        10000
#define FDS_PER_SLOT     6
#define FDS_BESIDE       64
#define OUTPUT_DEFAULT   ((uint64_t)8 << 20)
#define PROGRESS_DEFAULT (100 * ER_USEC_PER_MS)

/* ---- the session ---- */

/* Takes the lock whose being held tells the daemon that we live. */
static int
take_lock(struct er_worker *w, const char *path)
{
    char pid[16];
    er_close(&w->lock_fd);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0) {
        er_log(ER_LOG_ERROR, "worker", "cannot lock %s: %s", path,
               errno == EWOULDBLOCK ? "another worker has it" : strerror(errno));
        er_close(&fd);
        return ER_EBUSY;
    }
    int n = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || er_write_all(fd, pid, (size_t)n) != 0) {
        er_log(ER_LOG_WARN, "worker", "cannot write the pid to %s: %s", path,
               strerror(errno));
    }
    w->lock_fd = fd;
    return 0;
}

static uint64_t
size_of(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    return json_is_integer(v) && json_integer_value(v) >= 0
               ? (uint64_t)json_integer_value(v)
               : OUTPUT_DEFAULT;
}

static void
quit(struct er_worker *w, int exit_code)
{
    w->exit_code = exit_code;
    uv_stop(&w->loop);
}

/* A session we did not have yet: 0, or an error when its folders can't be used. */
static int
begin_session(struct er_worker *w, int64_t session, const json_t *welcome)
{
    const char *token = json_string_value(json_object_get(welcome, "token"));
    const char *logs = json_string_value(json_object_get(welcome, "logs"));
    const char *lock = json_string_value(json_object_get(welcome, "lock"));
    if (session <= 0 || !token || strlen(token) >= sizeof w->token || !logs || !lock) {
        er_log(ER_LOG_ERROR, "worker",
               "the welcome lacks one of session, token, logs and lock");
        return ER_EINVALID;
    }
    int rc = take_lock(w, lock);
    if (rc) {
        return rc;
    }
    w->session = session;
    (void)strcpy(w->token, token);
    er_free(w->logs);
    w->logs = er_xstrdup(logs);
    er_given_begin(&w->given, lock);
    return 0;
}

static void forget_envs(struct er_worker *w);

void
er_worker_on_welcome(struct er_worker *w, const json_t *welcome)
{
    int64_t session = json_integer_value(json_object_get(welcome, "session"));
    if (w->session > 0 && session != w->session) {
        er_worker_on_lost(w, "the daemon gave us another session");
        return;
    }
    if (w->session == 0 && begin_session(w, session, welcome) != 0) {
        er_link_stop(&w->link);
        quit(w, 1);
        return;
    }
    double interval = json_number_value(json_object_get(welcome, "progress_interval_ms"));
    w->progress_interval =
        interval >= 1.0 ? (er_usec)(interval * 1000.0) : PROGRESS_DEFAULT;
    w->output_head = size_of(welcome, "output_head");
    w->output_tail = size_of(welcome, "output_tail");
    er_worker_set_slots(w, json_integer_value(json_object_get(welcome, "slots")));
    forget_envs(w);
    er_link_on_welcome(&w->link);
}

static void
free_envs(struct er_worker *w)
{
    while (w->envs) {
        struct er_env *next = w->envs->next;
        er_env_free(w->envs);
        w->envs = next;
    }
    w->n_forgotten = 0;
}

static void
drop_all(struct er_worker *w)
{
    struct er_work_attempt *a, *next;
    for (a = TAILQ_FIRST(&w->attempts); a; a = next) {
        next = TAILQ_NEXT(a, link);
        er_attempt_drop(a);
    }
}

void
er_worker_on_lost(struct er_worker *w, const char *why)
{
    if (w->phase == ER_WORKER_LOST) {
        return;
    }
    er_log(ER_LOG_WARN, "worker", "session %lld is lost (%.300s): killing what it ran",
           (long long)w->session, why);
    w->stop_after_loss = w->phase != ER_WORKER_WORKING;
    w->phase = ER_WORKER_LOST;
    er_link_stop(&w->link);
    er_report_clear(&w->report);
    drop_all(w);
}

/* Everything of the lost session is gone. */
static void
begin_anew(struct er_worker *w)
{
    w->session = 0;
    w->token[0] = '\0';
    er_given_end(&w->given);
    er_close(&w->lock_fd);
    free_envs(w);
    w->phase = ER_WORKER_WORKING;
    er_link_start(&w->link);
}

/* ---- environments ---- */

static bool
is_used(const struct er_worker *w, int64_t env)
{
    const struct er_work_attempt *a;
    TAILQ_FOREACH (a, &w->attempts, link) {
        if (json_integer_value(json_object_get(a->order, "env")) == env) {
            return true;
        }
    }
    return false;
}

/* Frees those that were forgotten, but for what attempts of ours need. */
static void
sweep_envs(struct er_worker *w)
{
    for (struct er_env **at = &w->envs; w->n_forgotten > 0 && *at;) {
        struct er_env *env = *at;
        if (env->forgotten && !is_used(w, env->id)) {
            *at = env->next;
            er_env_free(env);
            w->n_forgotten--;
        } else {
            at = &env->next;
        }
    }
}

static void
forget_env(struct er_worker *w, int64_t id)
{
    for (struct er_env *env = w->envs; env; env = env->next) {
        if (env->id == id && !env->forgotten) {
            env->forgotten = true;
            w->n_forgotten++;
        }
    }
    sweep_envs(w);
}

/* On a new stream all are told anew. */
static void
forget_envs(struct er_worker *w)
{
    for (struct er_env *env = w->envs; env; env = env->next) {
        w->n_forgotten += !env->forgotten;
        env->forgotten = true;
    }
    sweep_envs(w);
}

void
er_worker_add_env(struct er_worker *w, const json_t *id, const json_t *vars)
{
    struct er_env *env =
        json_is_integer(id) ? er_env_new(json_integer_value(id), vars) : NULL;
    if (!env) {
        er_log(ER_LOG_ERROR, "worker", "an environment is not an object of strings");
        return;
    }
    forget_env(w, env->id); /* told anew */
    env->next = w->envs;
    w->envs = env;
}

void
er_worker_forget_env(struct er_worker *w, const json_t *id)
{
    if (json_is_integer(id)) {
        forget_env(w, json_integer_value(id));
    }
}

const struct er_env *
er_worker_find_env(struct er_worker *w, const json_t *id)
{
    if (!json_is_integer(id)) {
        return NULL;
    }
    for (struct er_env **at = &w->envs; *at; at = &(*at)->next) {
        struct er_env *env = *at;
        if (env->id == json_integer_value(id)) {
            *at = env->next;
            env->next = w->envs;
            w->envs = env;
            return env;
        }
    }
    return NULL;
}

/* ---- attempts ---- */

struct er_work_attempt *
er_worker_find(struct er_worker *w, er_task_id task, int attempt)
{
    struct er_work_attempt *a;
    TAILQ_FOREACH (a, &w->attempts, link) {
        if (a->task == task && a->attempt == attempt) {
            return a;
        }
    }
    return NULL;
}

void
er_worker_add(struct er_worker *w, json_t *run)
{
    struct er_work_attempt *a = er_attempt_new(w, run);
    if (!a) {
        er_log(ER_LOG_ERROR, "worker", "a run order has no task and attempt");
        return;
    }
    bool known = er_worker_find(w, a->task, a->attempt) ||
                 er_report_owes(&w->report, a->task, a->attempt);
    a->given = er_given_take(&w->given, a->task, a->attempt);
    TAILQ_INSERT_TAIL(&w->attempts, a, link);
    if (known) { /* told twice: we have it, or had it */
        er_attempt_drop(a);
    } else if (w->phase == ER_WORKER_STOPPING) {
        er_attempt_end(a, ER_WHY_REQUEUE, 0);
    }
}

void
er_worker_drop(struct er_worker *w, er_task_id task, int attempt)
{
    struct er_work_attempt *a = er_worker_find(w, task, attempt);
    if (a) {
        er_attempt_drop(a);
    }
}

void
er_worker_on_done(struct er_worker *w, struct er_work_attempt *a)
{
    TAILQ_REMOVE(&w->attempts, a, link);
    if (a->has_slot) {
        w->running--;
    }
    sweep_envs(w);
}

/* Starts what waits, in order, while there are slots. */
static void
start_waiting(struct er_worker *w)
{
    if (w->phase == ER_WORKER_STOPPING || w->phase == ER_WORKER_LOST) {
        return;
    }
    struct er_work_attempt *a, *next;
    for (a = TAILQ_FIRST(&w->attempts); a && w->running < w->slots; a = next) {
        next = TAILQ_NEXT(a, link);
        if (a->state == ER_ATTEMPT_WAITING) {
            w->running++;
            a->has_slot = true;
            er_attempt_start(a);
        }
    }
}

/* ---- work given ahead ---- */

static struct er_work_attempt *
first_waiting(const struct er_worker *w)
{
    struct er_work_attempt *a;
    TAILQ_FOREACH (a, &w->attempts, link) {
        if (a->state == ER_ATTEMPT_WAITING) {
            return a;
        }
    }
    return NULL;
}

bool
er_worker_has_backlog(const struct er_worker *w)
{
    const struct er_work_attempt *a;
    int waiting = 0;
    TAILQ_FOREACH (a, &w->attempts, link) {
        waiting += a->state == ER_ATTEMPT_WAITING;
    }
    return waiting > w->slots;
}

/* What was given ahead has not moved for `backlog_for`: the daemon may have better use
 * for it (another worker, a more urgent task), and it does not run, whatever its state
 * says.
 */
static void
on_backlog(struct er_timer *t)
{
    struct er_worker *w = ER_CONTAINER(t, struct er_worker, backlog);
    struct er_work_attempt *a, *next;
    if (first_waiting(w) != w->backlogged) {
        return; /* it moves: look_at_backlog sets the timer again */
    }
    for (a = TAILQ_FIRST(&w->attempts); a; a = next) {
        next = TAILQ_NEXT(a, link);
        if (a->state == ER_ATTEMPT_WAITING) {
            er_attempt_end(a, ER_WHY_REQUEUE, 0);
        }
    }
}

static void
look_at_backlog(struct er_worker *w)
{
    struct er_work_attempt *first =
        w->phase == ER_WORKER_WORKING ? first_waiting(w) : NULL;
    if (!first) {
        er_timer_stop(&w->timers, &w->backlog);
    } else if (!er_timer_is_on(&w->backlog)) {
        w->backlogged = first;
        er_timer_start(&w->timers, &w->backlog, er_clock_mono(w->clock) + w->backlog_for,
                       on_backlog);
    }
}

/* ---- slots and ends ---- */

/* Lets the process have the descriptors that so many commands at once need. Only then:
 * the commands inherit the limit. */
static void
raise_fd_limit(int slots)
{
    struct rlimit limit;
    rlim_t need = (rlim_t)slots * FDS_PER_SLOT + FDS_BESIDE;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < need) {
        limit.rlim_cur = need < limit.rlim_max ? need : limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

void
er_worker_set_slots(struct er_worker *w, int64_t slots)
{
    if (slots < 0 || slots > SLOTS_MAX) {
        er_log(ER_LOG_ERROR, "worker", "%lld slots are not possible (0 to %d)",
               (long long)slots, SLOTS_MAX);
        return;
    }
    w->slots = (int)slots;
    raise_fd_limit(w->slots);
}

void
er_worker_drain(struct er_worker *w)
{
    if (w->phase == ER_WORKER_WORKING) {
        w->phase = ER_WORKER_DRAINING;
    }
}

void
er_worker_stop(struct er_worker *w)
{
    if (w->phase == ER_WORKER_LOST) {
        w->stop_after_loss = true;
        return;
    }
    w->phase = ER_WORKER_STOPPING;
    struct er_work_attempt *a, *next;
    for (a = TAILQ_FIRST(&w->attempts); a; a = next) {
        next = TAILQ_NEXT(a, link);
        er_attempt_end(a, ER_WHY_REQUEUE, a->grace_for);
    }
}

/* Nobody can ask for the results any more, nor give new work. */
static void
on_owner_gone(struct er_fd_watch *watch, uint32_t events)
{
    struct er_worker *w = ER_CONTAINER(watch, struct er_worker, owner);
    (void)events;
    er_watch_stop(&w->watches, watch);
    er_log(ER_LOG_INFO, "worker", "the program that it works for is gone: ending");
    er_worker_stop(w);
}

static void
on_linger_over(struct er_timer *t)
{
    struct er_worker *w = ER_CONTAINER(t, struct er_worker, linger);
    er_log(ER_LOG_INFO, "worker", "no daemon came: ending");
    quit(w, 0);
}

/* Whether it is time to end, to begin anew, or to count the time without a daemon. */
static void
look_at_life(struct er_worker *w)
{
    bool idle = TAILQ_EMPTY(&w->attempts);
    bool reported = er_report_is_empty(&w->report);
    bool up = er_link_is_up(&w->link);
    if (idle && w->phase == ER_WORKER_LOST) {
        if (w->stop_after_loss) {
            quit(w, 0);
        } else {
            begin_anew(w);
        }
    } else if (idle && ((w->phase == ER_WORKER_STOPPING && (reported || !up)) ||
                        (w->phase == ER_WORKER_DRAINING && reported))) {
        quit(w, 0);
    }
    if (!idle || up) {
        er_timer_stop(&w->timers, &w->linger);
    } else if (!er_timer_is_on(&w->linger)) {
        er_timer_start(&w->timers, &w->linger, er_clock_mono(w->clock) + w->linger_for,
                       on_linger_over);
    }
}

/* Draws the consequences of what happened, before the loop sleeps. The report goes first:
 * the daemon then works on it while the next commands are spawned. */
static void
on_prepare(uv_prepare_t *p)
{
    struct er_worker *w = p->data;
    er_reap_run(&w->reap);
    er_report_flush(&w->report);
    start_waiting(w);
    er_report_flush(&w->report);
    look_at_backlog(w);
    look_at_life(w);
    er_link_run(&w->link);
    er_timers_arm(&w->timers);
}

/* ---- the whole ---- */

/* The folder of this program, as PATH has it; in a build folder also where the built-in
 * programs are built. NULL when it can't be had, or has a colon in it. */
static char *
find_beside(void)
{
    static const char built[] = "/src/work";
    char *path = realpath("/proc/self/exe", NULL);
    char *slash = path ? strrchr(path, '/') : NULL;
    if (!slash || slash == path || strchr(path, ':')) {
        free(path);
        return NULL;
    }
    *slash = '\0';
    size_t n = strlen(path), m = sizeof built - 1;
    bool in_build = n > m && strcmp(path + n - m, built) == 0;
    char *beside = in_build ? er_xasprintf("%s:%.*s/src/types", path, (int)(n - m), path)
                            : er_xstrdup(path);
    free(path);
    return beside;
}

int
er_worker_init(struct er_worker *w, const struct er_worker_options *options,
               struct er_err *err)
{
    w->clock = er_clock_system();
    w->null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    w->lock_fd = -1;
    w->owner_fd = options->owner_fd;
    w->linger_for = options->linger_for;
    w->backlog_for = options->backlog_for;
    w->slots = options->slots;
    w->socket_path = er_xstrdup(options->socket_path);
    w->beside = find_beside();
    w->progress_interval = PROGRESS_DEFAULT;
    TAILQ_INIT(&w->attempts);
    if (w->null_fd < 0) {
        return er_fail(err, ER_EIO, "cannot open /dev/null: %s", strerror(errno));
    }
    int rc = uv_loop_init(&w->loop);
    if (rc != 0) {
        return er_fail(err, ER_EIO, "cannot make an event loop: %s", uv_strerror(rc));
    }
    rc = er_watches_init(&w->watches, &w->loop, err);
    if (rc == 0 && w->owner_fd >= 0 &&
        er_watch_start(&w->watches, &w->owner, w->owner_fd, EPOLLIN, on_owner_gone)) {
        rc = er_fail(err, ER_EINVALID, "descriptor %d tells of no process", w->owner_fd);
    }
    if (rc == 0) {
        rc = er_reap_init(&w->reap, w, err);
    }
    if (rc == 0 && (er_timers_init(&w->timers, &w->loop, w->clock) != 0 ||
                    er_helpers_init(&w->helpers, &w->loop) != 0 ||
                    uv_prepare_init(&w->loop, &w->prepare) != 0)) {
        rc = er_fail(err, ER_EIO, "cannot set up the event loop");
    }
    er_local_fs_init(&w->local_fs, &w->watches);
    er_link_init(&w->link, w);
    er_report_init(&w->report, w);
    return rc;
}

int
er_worker_run(struct er_worker *w)
{
    w->prepare.data = w;
    (void)uv_prepare_start(&w->prepare, on_prepare);
    er_link_start(&w->link);
    (void)uv_run(&w->loop, UV_RUN_DEFAULT);
    return w->exit_code;
}

bool
er_worker_fini(struct er_worker *w)
{
    if (!TAILQ_EMPTY(&w->attempts) || !er_helpers_fini(&w->helpers)) {
        return false;
    }
    er_link_stop(&w->link);
    er_report_fini(&w->report);
    er_reap_fini(&w->reap);
    er_local_fs_fini(&w->local_fs);
    er_watch_stop(&w->watches, &w->owner);
    er_close(&w->owner_fd);
    er_watches_fini(&w->watches);
    er_timer_stop(&w->timers, &w->backlog);
    er_timers_fini(&w->timers);
    uv_close((uv_handle_t *)&w->prepare, NULL);
    (void)uv_run(&w->loop, UV_RUN_NOWAIT);
    (void)uv_loop_close(&w->loop);
    free_envs(w);
    er_given_end(&w->given);
    er_free(w->socket_path);
    er_free(w->beside);
    er_free(w->logs);
    er_close(&w->lock_fd);
    er_close(&w->null_fd);
    return true;
}
