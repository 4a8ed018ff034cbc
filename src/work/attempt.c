/* SPDX-License-Identifier: MIT */
/* Happy path: start makes the log (its absence proves "never spawned"), the pipes and the
 * command; it is spawned at once (local_fs.h) or on the spawner's thread; the start frame
 * is written and `started` reported; output and progress come by their watches; the
 * leader is reaped; nothing of its tree is left (reap.h has the cheap test); the pipes
 * are read to what is there, the outcome becomes the exit frame and the report, and the
 * slot is free.
 *
 * Failure modes: what fails before the spawn ends the attempt with `spawned` false and an
 * error. A leader that leaves processes behind, a cancel and a timeout all take the same
 * way: TERM to the whole tree, the grace, KILL until it is verified gone, for at most 5
 * s. What can't be killed is named in a warning. A program that is asked to stop and does
 * not has the grace for it, and its tree a second more (TERM_FOR). A sweep of a pause
 * that is under way is waited for (a fifth of a second at most) before one that ends the
 * tree begins.
 *
 * Freeing: a done attempt stays in memory until its jobs on other threads are back. */
#include "work/attempt.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "wire/json_dump.h"
#include "work/outcome.h"
#include "work/worker.h"

#define GIVE_UP_FOR (5 * ER_USEC_PER_SEC)
#define REST_FOR    (100 * ER_USEC_PER_MS)
#define GRACE       (5 * ER_USEC_PER_SEC)
#define TERM_FOR    ER_USEC_PER_SEC /* TERM to KILL of what had its grace before */

static er_usec
mono(const struct er_work_attempt *a)
{
    return er_clock_mono(a->worker->clock);
}

void
er_attempt_warn(struct er_work_attempt *a, const char *fmt, ...)
{
    if (a->warnings_n++ >= ER_ATTEMPT_WARNINGS) {
        return;
    }
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (a->warnings.len > 0) {
        er_buf_add_char(&a->warnings, ',');
    }
    er_buf_add_json_str(&a->warnings, text);
}

/* ---- the order ---- */

/* Seconds of a member as microseconds; `otherwise` when it is null or missing. */
static er_usec
span_of(const json_t *o, const char *name, er_usec otherwise)
{
    const json_t *v = json_object_get(o, name);
    double s = json_number_value(v);
    return json_is_number(v) && s >= 0.0 && s < 1e9 ? (er_usec)(s * 1e6) : otherwise;
}

struct er_work_attempt *
er_attempt_new(struct er_worker *w, json_t *run)
{
    const json_t *task = json_object_get(run, "task");
    const json_t *attempt = json_object_get(run, "attempt");
    if (!json_is_integer(task) || !json_is_integer(attempt)) {
        return NULL;
    }
    struct er_work_attempt *a = er_xzalloc(sizeof *a);
    a->worker = w;
    a->task = json_integer_value(task);
    a->attempt = (int)json_integer_value(attempt);
    a->order = json_incref(run);
    a->timeout_for = span_of(run, "timeout_s", 0);
    a->heartbeat_for = span_of(run, "heartbeat_s", 0);
    a->grace_for = span_of(run, "grace_s", GRACE);
    a->expected_for = span_of(run, "expected_s", 0);
    a->child_fds = (struct er_spawn_fds){-1, -1, -1, -1};
    a->out.fd = a->err.fd = a->progress_fd.fd = a->input.fd = -1;
    a->log.head_fd = a->log.tail_fd = -1;
    a->sample.attempt = a;
    a->input.attempt = a;
    a->is_program = er_command_is_program(run);
    a->input.wanted =
        !json_object_get(run, "how") &&
        json_is_true(json_object_get(json_object_get(run, "args"), "input"));
    er_progress_init(&a->progress, er_clock_mono(w->clock));
    a->retry_after_s = -1.0;
    a->fault.exit_code = -1;
    er_buf_init(&a->input.queue, a->is_program ? 0 : 2 * ER_INPUT_MAX);
    er_buf_init(&a->result, ER_MAX_RESULT);
    er_buf_init(&a->warnings, 0);
    return a;
}

static void
free_attempt(struct er_work_attempt *a)
{
    json_decref(a->order);
    er_arena_free(&a->arena);
    er_given_free(&a->given);
    er_kill_fini(a);
    er_buf_fini(&a->result);
    er_buf_fini(&a->warnings);
    er_buf_fini(&a->input.queue);
    er_free(a->fault.message);
    er_free(a->error_json);
    er_free(a->checkpoint_json);
    er_free(a);
}

static void
set_fault(struct er_work_attempt *a, const char *error_class, const char *code,
          int exit_code, const char *message)
{
    er_free(a->fault.message);
    a->fault = (struct er_work_fault){.code = code,
                                      .error_class = error_class,
                                      .exit_code = exit_code,
                                      .message = er_strdup(message)};
}

/* ---- done ---- */

static void
close_child_fds(struct er_work_attempt *a)
{
    er_stdin_close_child(a, &a->child_fds.in);
    er_close(&a->child_fds.out);
    er_close(&a->child_fds.err);
    er_close(&a->child_fds.progress);
}

/* Everything is over: the outcome goes to the log and into the report. */
static void
finish(struct er_work_attempt *a)
{
    struct er_worker *w = a->worker;
    er_clocks_end(a);
    er_timer_stop(&w->timers, &a->end_timer);
    close_child_fds(a);
    er_progress_fd_finish(&a->progress_fd);
    er_output_finish(&a->out);
    er_output_finish(&a->err);
    er_stdin_close(a);
    er_sample_stop(a);
    if (!a->dropped) {
        er_outcome_finish(a);
    }
    er_report_forget_sample(&w->report, &a->sample);
    er_report_forget_notes(a);
    er_given_free(&a->given);
    er_outlog_close(&a->log);
    a->state = ER_ATTEMPT_DONE;
    er_worker_on_done(w, a);
}

/* ---- starting ---- */

static void
on_grace_over(struct er_timer *t)
{
    struct er_work_attempt *a = ER_CONTAINER(t, struct er_work_attempt, end_timer);
    a->grace_over = true;
    er_attempt_advance(a);
}

static void
on_rest_over(struct er_timer *t)
{
    struct er_work_attempt *a = ER_CONTAINER(t, struct er_work_attempt, end_timer);
    a->rest_over = true;
    er_attempt_advance(a);
}

static void
on_spawn_run(struct er_helper_job *job)
{
    struct er_work_attempt *a = ER_CONTAINER(job, struct er_work_attempt, spawn_job);
    er_spawn_start(&a->command, &a->child_fds, true, &a->spawned);
}

static void
on_spawn_done(struct er_helper_job *job)
{
    struct er_work_attempt *a = ER_CONTAINER(job, struct er_work_attempt, spawn_job);
    a->spawn_answered = true;
    if (a->spawned.local) {
        er_local_fs_learn(&a->worker->local_fs, &a->command);
    }
    er_attempt_advance(a);
}

/* The process exists. */
static void
begin_running(struct er_work_attempt *a)
{
    struct er_worker *w = a->worker;
    char at[ER_RFC3339_SIZE], json[96];
    close_child_fds(a);
    a->pid = a->spawned.pid;
    a->started_at = er_clock_wall(w->clock);
    a->state = ER_ATTEMPT_RUNNING;
    er_clocks_start(a);
    if (!er_sample_is_known(&a->progress)) { /* else somebody has told of it by now */
        er_progress_init(&a->progress, a->clocks.begin_at);
    }
    er_time_format(a->started_at, at);
    (void)snprintf(json, sizeof json, "{\"pid\":%d,\"started_at\":\"%s\"}", (int)a->pid,
                   at);
    if (er_outlog_note(&a->log, ER_OUTLOG_START, a->started_at, json) != 0) {
        er_attempt_warn(
            a, "the log could not be written (a full disk?): its start is missing");
    }
    if (er_output_start(&a->out) != 0 || er_output_start(&a->err) != 0 ||
        er_progress_fd_start(&a->progress_fd) != 0) {
        set_fault(a, "retryable", "spawn-failed", -1, "cannot watch the command's pipes");
        a->kill_wanted = true;
    }
    er_report_add_started(&w->report, a);
    er_sample_start(a);
    er_reap_claim(&w->reap, a); /* it may have been reaped before we knew it */
}

static void
spawn_failed(struct er_work_attempt *a)
{
    set_fault(a, a->spawned.error_class, a->spawned.code, a->spawned.exit_code,
              a->spawned.message);
    a->fault.action = a->spawned.action;
}

/* The checkpoint of the order as JSON; NULL when there is none, or it is too large. */
static char *
dump_checkpoint(struct er_work_attempt *a)
{
    const json_t *v = json_object_get(a->order, "checkpoint");
    char *text =
        v && !json_is_null(v) ? er_json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    if (text && strlen(text) > ER_MAX_CHECKPOINT) {
        er_attempt_warn(a, "ERRAND_CHECKPOINT was left out: it is larger than %d bytes",
                        ER_MAX_CHECKPOINT);
        free(text);
        return NULL;
    }
    return text;
}

/* Makes what the command needs: true, or false with the fault set. */
static bool
prepare(struct er_work_attempt *a)
{
    struct er_worker *w = a->worker;
    struct er_err err = {0};
    const json_t *env_id = json_object_get(a->order, "env");
    const struct er_env *env = er_worker_find_env(w, env_id);
    if (!env && json_integer_value(env_id) != 0) {
        (void)er_fail(&err, ER_ENOTFOUND,
                      "its environment (%lld) was not told, or could not be read",
                      (long long)json_integer_value(env_id));
        set_fault(a, "retryable", "env-missing", -1, err.text);
        return false;
    }
    char *checkpoint = dump_checkpoint(a);
    const struct er_command_order order = {
        .run = a->order,
        .env = env,
        .task = a->task,
        .attempt = a->attempt,
        .socket_path = w->socket_path,
        .beside = w->beside,
        .token = w->token,
        .checkpoint = checkpoint,
        .given = a->given,
    };
    int rc = er_command_make(&a->command, &a->arena, &order, &err);
    free(checkpoint);
    if (rc) {
        set_fault(a, rc == ER_ENOMEM ? "retryable" : "fatal",
                  rc == ER_ENOTFOUND ? "unknown-type" : er_error_word(rc), -1, err.text);
        return false;
    }
    rc = er_given_check(a->given, &err);
    if (rc) {
        set_fault(a, "retryable", er_error_word(rc), -1, err.text);
        return false;
    }
    rc = er_outlog_create(&a->log, w->logs, a->task, a->attempt, w->output_head,
                          w->output_tail, &err);
    if (rc) {
        set_fault(a, rc == ER_EEXISTS ? "fatal" : "retryable", er_error_word(rc), -1,
                  err.text);
        return false;
    }
    if (er_output_open(&a->out, a, ER_OUTLOG_STDOUT, &a->child_fds.out) != 0 ||
        er_output_open(&a->err, a, ER_OUTLOG_STDERR, &a->child_fds.err) != 0 ||
        er_progress_fd_open(&a->progress_fd, a, &a->child_fds.progress) != 0 ||
        er_stdin_open(a, &a->child_fds.in) != 0) {
        (void)er_fail(&err, 0, "cannot make the pipes of the command: %s",
                      strerror(errno));
        set_fault(a, "retryable", "spawn-failed", -1, err.text);
        return false;
    }
    return true;
}

void
er_attempt_start(struct er_work_attempt *a)
{
    ER_ASSERT(a->state == ER_ATTEMPT_WAITING);
    a->state = ER_ATTEMPT_SPAWNING;
    a->spawn_no = ++a->worker->reap.spawns; /* before it can have any orphan */
    if (!prepare(a)) {
        finish(a);
        er_attempt_advance(a);
        return;
    }
    if (er_local_fs_knows(&a->worker->local_fs, &a->command)) {
        er_spawn_start(&a->command, &a->child_fds, false, &a->spawned);
        a->spawn_answered = true;
        er_attempt_advance(a);
        return;
    }
    a->spawn_job.run = on_spawn_run;
    a->spawn_job.done = on_spawn_done;
    er_helper_post(&a->worker->helpers, ER_HELPER_SPAWN, &a->spawn_job);
}

/* ---- ending ---- */

void
er_attempt_end(struct er_work_attempt *a, enum er_attempt_why why, er_usec grace_for)
{
    if (a->state == ER_ATTEMPT_DONE || a->end_wanted) {
        return;
    }
    if (!a->leader_gone) { /* else it ended by itself, and its outcome stands */
        a->why = why;
    }
    a->end_wanted = true;
    a->grace_for = grace_for;
    er_attempt_advance(a);
}

void
er_attempt_drop(struct er_work_attempt *a)
{
    if (a->state != ER_ATTEMPT_DONE) {
        a->dropped = true;
        a->kill_wanted = true;
        er_attempt_advance(a);
    }
}

void
er_attempt_on_exit(struct er_work_attempt *a, int status, const struct rusage *usage)
{
    a->leader_gone = true;
    a->look_again = true;
    a->status = status;
    a->usage = *usage;
    if (a->state == ER_ATTEMPT_ASKED && a->why == ER_WHY_REQUEUE && WIFEXITED(status) &&
        WEXITSTATUS(status) == 0) {
        a->why =
            ER_WHY_NONE; /* it has done its work rather than stop: not to be repeated */
    }
    er_clocks_end(a);
}

static void
begin_ending(struct er_work_attempt *a, er_usec grace_for)
{
    a->state = ER_ATTEMPT_ENDING;
    a->look_again = false;
    a->grace_over = false;
    er_kill_sweep(a, ER_SWEEP_TERM);
    er_timer_start(&a->worker->timers, &a->end_timer, mono(a) + grace_for, on_grace_over);
}

static const char *
stop_word(const struct er_work_attempt *a)
{
    switch (a->why) {
    case ER_WHY_NONE:
    case ER_WHY_CANCEL:
        break;
    case ER_WHY_REQUEUE:
        return a->to_pause ? "pause" : "requeue";
    case ER_WHY_TIMEOUT:
        return "timeout";
    case ER_WHY_HEARTBEAT:
        return "heartbeat";
    }
    return "cancel";
}

/* Only the leader is told: what it has started is its own business as long as it has its
 * grace. One that is stopped (a pause of before) goes on, to be able to hear it. */
static void
begin_asking(struct er_work_attempt *a)
{
    char line[80];
    int n = snprintf(line, sizeof line, "{\"stop\":{\"why\":\"%s\",\"grace_s\":%.6g}}",
                     stop_word(a), (double)a->grace_for / 1e6);
    a->state = ER_ATTEMPT_ASKED;
    er_stdin_tell(a, line, (size_t)n);
    (void)kill(a->pid, SIGTERM);
    if (a->pause.state == ER_PAUSE_GOING) {
        (void)kill(a->pid, SIGCONT);
    } else {
        er_kill_sweep(a, ER_SWEEP_CONT);
    }
    er_timer_start(&a->worker->timers, &a->end_timer, mono(a) + a->grace_for,
                   on_grace_over);
}

static void
begin_killing(struct er_work_attempt *a)
{
    a->state = ER_ATTEMPT_KILLING;
    a->give_up_at = mono(a) + GIVE_UP_FOR;
    a->sweep.answered = false;
    er_timer_stop(&a->worker->timers, &a->end_timer);
    if (!a->sweep.busy) {
        er_kill_sweep(a, ER_SWEEP_KILL);
    }
}

/* Says which processes the command left behind when it ended by itself. */
static void
warn_left_behind(struct er_work_attempt *a)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_kill_encode_pids(&a->sweep, &b);
    er_attempt_warn(
        a,
        "processes it left behind were stopped: %s (a task ends with all of its "
        "processes)",
        b.data ? b.data : "");
    er_buf_fini(&b);
}

static void
warn_unkillable(struct er_work_attempt *a)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_kill_encode_pids(&a->sweep, &b);
    er_attempt_warn(a, "could not be killed within %d s of SIGKILL: pid %s",
                    (int)(GIVE_UP_FOR / ER_USEC_PER_SEC), b.data ? b.data : "?");
    er_buf_fini(&b);
}

/* ---- the states ---- */

/* Each returns true when the state has changed and the next is to be looked at. */

static bool
advance_waiting(struct er_work_attempt *a)
{
    if (a->end_wanted || a->kill_wanted) {
        finish(a);
        return true;
    }
    return false;
}

static bool
advance_spawning(struct er_work_attempt *a)
{
    if (!a->spawn_answered) {
        return false;
    }
    json_decref(a->order);
    a->order = NULL;
    if (a->spawned.pid <= 0) {
        spawn_failed(a);
        finish(a);
        return true;
    }
    begin_running(a);
    er_arena_free(&a->arena);
    return true;
}

static bool
advance_running(struct er_work_attempt *a)
{
    if (a->leader_gone && er_reap_is_alone(&a->worker->reap, a)) {
        finish(a);
    } else if (a->kill_wanted) {
        begin_killing(a);
    } else if (a->leader_gone || a->end_wanted) {
        if (a->sweep.busy) {
            return false; /* one of a pause */
        }
        if (a->is_program && !a->leader_gone) {
            begin_asking(a);
        } else {
            begin_ending(a, a->grace_for);
        }
    } else {
        er_pause_advance(a);
        return false;
    }
    return true;
}

static bool
advance_asked(struct er_work_attempt *a)
{
    if (a->leader_gone && er_reap_is_alone(&a->worker->reap, a)) {
        finish(a);
    } else if (a->kill_wanted) {
        begin_killing(a);
    } else if ((a->leader_gone || a->grace_over) && !a->sweep.busy) {
        bool had_grace = !a->leader_gone && a->grace_for > TERM_FOR;
        begin_ending(a, had_grace ? TERM_FOR : a->grace_for);
    } else {
        return false;
    }
    return true;
}

static bool
advance_ending(struct er_work_attempt *a)
{
    if (a->kill_wanted || a->grace_over) {
        begin_killing(a);
        return true;
    }
    if (a->sweep.answered) {
        a->sweep.answered = false;
        if (a->sweep.kind == ER_SWEEP_TERM && !a->end_wanted && a->sweep.left > 0) {
            warn_left_behind(a);
        }
        if (a->leader_gone && a->sweep.left == 0) {
            finish(a);
            return true;
        }
    }
    if (a->look_again && !a->sweep.busy) {
        a->look_again = false;
        if (er_reap_is_alone(&a->worker->reap, a)) {
            finish(a);
            return true;
        }
        er_kill_sweep(a, ER_SWEEP_LOOK);
    }
    return false;
}

static bool
advance_killing(struct er_work_attempt *a)
{
    if (a->sweep.busy) {
        return false;
    }
    bool gone = a->sweep.answered && a->sweep.kind == ER_SWEEP_KILL && a->sweep.left == 0;
    if (gone && a->leader_gone) {
        finish(a);
        return true;
    }
    if (gone && a->pid > 0 && mono(a) < a->give_up_at) {
        return false; /* the leader's end comes by SIGCHLD */
    }
    if (mono(a) >= a->give_up_at) {
        warn_unkillable(a);
        finish(a);
        return true;
    }
    if (a->sweep.answered && a->sweep.left < 0 &&
        !a->rest_over) { /* /proc can't be read */
        er_timer_start(&a->worker->timers, &a->end_timer, mono(a) + REST_FOR,
                       on_rest_over);
        return false;
    }
    a->rest_over = false;
    er_kill_sweep(a, ER_SWEEP_KILL);
    return false;
}

static bool
advance_once(struct er_work_attempt *a)
{
    switch (a->state) {
    case ER_ATTEMPT_WAITING:
        return advance_waiting(a);
    case ER_ATTEMPT_SPAWNING:
        return advance_spawning(a);
    case ER_ATTEMPT_RUNNING:
        return advance_running(a);
    case ER_ATTEMPT_ASKED:
        return advance_asked(a);
    case ER_ATTEMPT_ENDING:
        return advance_ending(a);
    case ER_ATTEMPT_KILLING:
        return advance_killing(a);
    case ER_ATTEMPT_DONE:
        break;
    }
    return false;
}

void
er_attempt_advance(struct er_work_attempt *a)
{
    if (a->advancing) {
        return;
    }
    a->advancing = true;
    while (advance_once(a)) {
    }
    a->advancing = false;
    if (a->state == ER_ATTEMPT_DONE && !a->sweep.busy && !a->probe.busy) {
        free_attempt(a);
    }
}
