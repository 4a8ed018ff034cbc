/* SPDX-License-Identifier: MIT */
/* errand call: a task whose answer is waited for, up to a budget.
 *
 * Happy path: the task is submitted as any other, its end is asked for with the rest of
 * the budget, and then its result, or what a command wrote, is fetched: all on one
 * connection. It is a submit and not POST /v1/call, so that all options of a task are
 * there, a handler works in the caller's folder and environment, and the id is known from
 * the start: a caller that goes away in the middle of it (Ctrl-C) can still say which
 * task goes on.
 *
 * Failure modes: what is over the budget, or known to take longer (errand types), goes on
 * in the background: the id on standard output, exit code 6. The same when the caller is
 * ended by a signal. A daemon that is gone is waited for; if it does not come back, the
 * id is printed all the same. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/args.h"
#include "app/await.h"
#include "app/await_end.h"
#include "app/cmd.h"
#include "app/daemon.h"
#include "app/output.h"
#include "app/show.h"
#include "model/duration.h"

#define BUDGET          (2 * ER_USEC_PER_SEC)
#define EXIT_BACKGROUND 6
#define OUTPUT_KEPT_MIN 8192 /* of an output that is shorter nothing is ever left out */

struct call {
    struct er_submission task; /* first: the shared table fills it */
    struct er_opt_span budget;
    bool background, wait_anyway;
};

#define AT(field) offsetof(struct call, field)
static const struct er_opt call_opts[] = {
    {0, "budget", "DUR", ER_OPT_SPAN, AT(budget),
     "how long to wait for the answer, in the queue included (2s)", 0, 0, NULL},
    {0, "background", NULL, ER_OPT_FLAG, AT(background), "wait for nothing: only its id",
     0, 0, NULL},
    {0, "wait-anyway", NULL, ER_OPT_FLAG, AT(wait_anyway),
     "wait, also when it is known to take longer than the budget", 0, 0, NULL},
    ER_OPT_END,
};
#undef AT

/* A call that is under way. */
struct calling {
    struct er_app *app;
    const struct call *o;
    const char *type;  /* NULL: a command */
    json_t *known;     /* what the daemon says of the type; NULL of a command */
    bool shows_output; /* the answer is what it writes, if it has no result */
    er_task_id id;
    er_usec deadline; /* er_clock_mono; ER_NEVER */
};

static er_usec
now_mono(void)
{
    return er_clock_mono(er_clock_system());
}

/* ---- when the caller is ended ---- */

static char farewell_out[64], farewell_err[160];
static volatile sig_atomic_t is_stored, is_interrupted;

/* Before the id is known the first signal waits for it, which is soon; a second one ends
 * it as usual. */
static void
on_signal(int number)
{
    if (is_stored) {
        (void)!write(STDOUT_FILENO, farewell_out, strlen(farewell_out));
        (void)!write(STDERR_FILENO, farewell_err, strlen(farewell_err));
        _exit(EXIT_BACKGROUND);
    }
    if (is_interrupted) {
        (void)signal(number, SIG_DFL);
        (void)raise(number);
    }
    is_interrupted = 1;
}

static const int signals[] = {SIGINT, SIGTERM};
#define N_SIGNALS (sizeof signals / sizeof signals[0])

/* From now on SIGINT and SIGTERM end the call with the id of what goes on. */
static void
watch_signals(void)
{
    /* without SA_RESTART: who reads goes on by itself, and ThreadSanitizer, which keeps
     * signals back while a call is under way, gets to deliver them */
    struct sigaction act = {.sa_handler = on_signal};
    struct sigaction was;
    for (size_t i = 0; i < N_SIGNALS; i++) {
        if (sigaction(signals[i], NULL, &was) == 0 && was.sa_handler != SIG_IGN) {
            (void)sigaction(signals[i], &act, NULL);
        }
    }
}

/* The task is on disk: prepares what is said if a signal comes. */
static void
set_farewell(er_task_id id, bool json)
{
    (void)snprintf(farewell_out, sizeof farewell_out,
                   json ? "{\"id\":%" PRId64 "}\n" : "%" PRId64 "\n", id);
    (void)snprintf(farewell_err, sizeof farewell_err,
                   "errand: task %" PRId64
                   " goes on in the background (errand wait %" PRId64
                   "; errand cancel %" PRId64 ")\n",
                   id, id, id);
    is_stored = 1;
    if (is_interrupted) {
        on_signal(SIGINT);
    }
}

/* From now on signals do what they did before: there is an answer to be printed. */
static void
unwatch_signals(void)
{
    struct sigaction was;
    for (size_t i = 0; i < N_SIGNALS; i++) {
        if (sigaction(signals[i], NULL, &was) == 0 && was.sa_handler == on_signal) {
            (void)signal(signals[i], SIG_DFL);
        }
    }
}

/* ---- the answer ---- */

/* Says when the middle of a long output was not kept. */
static void
note_omitted(const struct calling *c, uint64_t written)
{
    char target[64];
    struct er_err err;
    json_t *all = NULL;
    (void)snprintf(target, sizeof target, "/v1/tasks/%" PRId64 "/attempts", c->id);
    if (written >= OUTPUT_KEPT_MIN && er_daemon_get(c->app, target, &all, &err) == 0) {
        const json_t *attempts = json_object_get(all, "attempts");
        size_t n = json_array_size(attempts);
        const json_t *last = n > 0 ? json_array_get(attempts, n - 1) : NULL;
        int64_t bytes = er_json_int(last, "output_bytes", 0);
        if (bytes > (int64_t)written) {
            er_app_note("%" PRId64 " bytes in the middle of its output were not kept "
                        "(errand config: output_head, output_tail)",
                        bytes - (int64_t)written);
        }
    }
    json_decref(all);
}

/* What it wrote, each stream on its own. One that never ran has written nothing. */
static int
print_output(const struct calling *c)
{
    struct er_err err;
    uint64_t written = 0;
    struct er_output_options o = {.split = true, .tail = -1, .written = &written};
    int rc = er_output_run(c->app, c->id, &o, &err);
    if (rc && rc != ER_ENOTFOUND) {
        return er_app_fail(rc, &err);
    }
    note_omitted(c, written);
    return 0;
}

/* The bytes of the result; *found is false when there is none. */
static int
print_result(const struct calling *c, bool *found)
{
    char target[64];
    struct er_err err;
    struct er_response r;
    (void)snprintf(target, sizeof target, "/v1/tasks/%" PRId64 "/result", c->id);
    struct er_daemon_request request = {.target = target};
    int rc = er_daemon_call(c->app, &request, &r, &err);
    *found = rc == 0;
    if (rc) {
        return rc == ER_ENOTFOUND ? 0 : er_app_fail(rc, &err);
    }
    rc = er_app_out(&r.body);
    er_response_fini(&r);
    return rc;
}

/* A task that is final: its answer, and the exit code. */
static int
print_end(const struct calling *c, const json_t *task)
{
    bool completed = er_json_state(task) == ER_TASK_COMPLETED;
    bool found = false;
    int failed = 0;
    if (c->o->task.json) {
        failed = er_show_json(task);
    } else {
        failed = c->type && completed ? print_result(c, &found) : 0;
        failed = failed || found || !c->shows_output ? failed : print_output(c);
    }
    if (failed) {
        return failed;
    }
    if (c->shows_output) {
        return er_await_end(task);
    }
    if (!completed) {
        er_await_complain(task);
    }
    return completed ? 0 : 1;
}

/* ---- in the background ---- */

/* How long the type takes, in seconds; below zero = unknown. Of commands and scripts
 * nothing is known: no two of them are alike. */
static double
expected(const struct calling *c)
{
    static const char *const any[] = {"shell", "sh", "bash"};
    for (size_t i = 0; i < sizeof any / sizeof any[0]; i++) {
        if (!c->type || strcmp(c->type, any[i]) == 0) {
            return -1.0;
        }
    }
    double takes = er_json_number(c->known, "takes_s", -1.0);
    return takes >= 0.0 ? takes : er_json_number(c->known, "expected_s", -1.0);
}

/* Whether it is known that the budget will not do. */
static bool
is_too_long(const struct calling *c)
{
    return !c->o->wait_anyway && c->deadline != ER_NEVER &&
           expected(c) * 1e6 > (double)(c->deadline - now_mono());
}

/* Says that it goes on, and where to find it. */
static void
note_background(const struct calling *c, bool known)
{
    char takes[ER_DURATION_SIZE];
    const char *where = c->shows_output ? "log" : "result";
    er_duration_format((er_usec)(expected(c) * 1e6), takes);
    if (known) {
        er_app_note("task %" PRId64 " goes on in the background: %.100s takes about %s "
                    "(errand wait %" PRId64
                    "; --wait-anyway uses the budget all the same)",
                    c->id, c->type, takes, c->id);
    } else {
        er_app_note("task %" PRId64 " goes on in the background (errand wait %" PRId64
                    " && errand %s %" PRId64 ")",
                    c->id, c->id, where, c->id);
    }
}

/* Prints the id, or with --json the task (of which there may be the submit's answer
 * only). */
static int
leave(const struct calling *c, const struct er_response *submitted, const json_t *task,
      bool known)
{
    int rc = !c->o->task.json ? er_submit_print_id(c->id)
             : task           ? er_show_json(task)
                              : er_submit_print_answer(c->id, &submitted->body);
    note_background(c, known);
    return rc ? rc : EXIT_BACKGROUND;
}

/* Waits for the end, or until the budget is used up. */
static int
wait_for_end(const struct calling *c, const struct er_response *submitted)
{
    struct er_err err;
    json_t *task = NULL;
    int rc =
        er_await_task(c->app, c->id, c->o->task.json ? ER_AWAIT_WHOLE : ER_AWAIT_FINAL,
                      c->deadline, &task, &err);
    unwatch_signals();
    if (rc == ER_ETIMEOUT) {
        rc = leave(c, submitted, task, false);
    } else if (rc) {
        (void)!er_submit_print_id(c->id); /* it is on disk, whatever is wrong now */
        rc = er_app_fail(rc, &err);
    } else {
        rc = print_end(c, task);
    }
    json_decref(task);
    return rc;
}

static int
go_on(const struct calling *c, const struct er_response *submitted)
{
    const struct er_submission *s = &c->o->task;
    bool too_long = is_too_long(c);
    set_farewell(c->id, s->json);
    if (c->o->background || too_long || s->follow) {
        unwatch_signals();
    }
    if (c->o->background || (too_long && !s->follow)) {
        return leave(c, submitted, NULL, too_long && !c->o->background);
    }
    if (s->follow) {
        er_app_note("task %" PRId64, c->id);
        return er_await_command(c->app, c->id, true, s->json);
    }
    return wait_for_end(c, submitted);
}

/* ---- submitting ---- */

/* Whether the type's answer is what it writes: it is a command, `shell` or one that a
 * definition makes. */
static bool
is_command(const struct calling *c)
{
    return strcmp(c->type, "shell") == 0 ||
           json_array_size(json_object_get(c->known, "command")) > 0;
}

/* Makes the task's document. */
static int
build(struct calling *c, int n, char **args, struct er_buf *b, struct er_err *err)
{
    int rc = c->type ? er_args_type(c->app, c->type, &c->known, err) : 0;
    if (rc == ER_ENOTFOUND && !strstr(err->text, "did you mean")) {
        struct er_err why = *err;
        return er_fail(err, rc,
                       "%s (errand types lists them; a command: errand call -- %.60s)",
                       why.text, c->type);
    }
    if (rc) {
        return rc;
    }
    c->shows_output = !c->type || is_command(c);
    er_buf_add_str(b, "{\"type\":");
    er_buf_add_json_str(b, c->type ? c->type : "shell");
    er_buf_add_char(b, ',');
    rc = c->type ? er_args_add(c->app, c->type, &c->known, n, args, b, err)
                 : er_submit_command_args(&c->o->task, n, args, b, err);
    rc = rc ? rc : er_submit_members(c->app, &c->o->task, b, err);
    er_buf_add_char(b, '}');
    return rc;
}

/* What cannot be meant together. */
static int
check(const struct call *o, bool command, const char *first, struct er_err *err)
{
    int rc = er_submit_check(&o->task, err);
    bool waits = o->task.wait || o->task.follow;
    if (!rc && o->background && (o->budget.set || o->wait_anyway)) {
        rc = er_fail(err, ER_EINVALID,
                     "--background waits for nothing: it goes with no budget");
    }
    if (!rc && waits && (o->background || o->budget.set || o->wait_anyway)) {
        rc = er_fail(
            err, ER_EINVALID,
            "--%s waits for the end however long it takes: it goes with no budget",
            o->task.wait ? "wait" : "follow");
    }
    if (!rc && !command && (o->task.standard_input || o->task.input)) {
        rc = er_fail(
            err, ER_EINVALID,
            "--stdin and --input are for commands: here they are arguments (errand "
            "types %.60s)",
            first);
    }
    return rc;
}

static int
call_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct call *o = data;
    bool command = app->rest == 0;
    struct calling c = {.app = app, .o = o, .type = command ? NULL : args[0]};
    struct er_response submitted;
    struct er_err err;
    struct er_buf b;
    int rc = check(o, command, args[0], &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    c.deadline =
        o->task.wait ? ER_NEVER : now_mono() + (o->budget.set ? o->budget.value : BUDGET);
    er_buf_init(&b, 0);
    watch_signals();
    rc = build(&c, command ? n : n - 1, command ? args : args + 1, &b, &err);
    rc = rc ? rc : er_submit_store(app, &o->task, &b, &c.id, &submitted, &err);
    er_buf_fini(&b);
    if (rc) {
        rc = er_app_fail(rc, &err);
    } else {
        rc = go_on(&c, &submitted);
        er_response_fini(&submitted);
    }
    json_decref(c.known);
    return rc;
}

const struct er_cmd er_cmd_call = {
    .name = "call",
    .operands = "TYPE [KEY=VALUE...|JSON] | -- COMMAND [ARG...]",
    .summary = "the answer of a task within a budget, else its id",
    .text = "Prints the result of a task of that type (arguments as for errand submit), "
            "or the\n"
            "output of a command, whose exit code it then has. What takes longer than "
            "the budget\n"
            "goes on in the background: only the id is printed, and the exit code is 6. "
            "So it is\n"
            "at once when it is known that the type takes longer, and when it is "
            "interrupted.",
    .opts = {call_opts, er_submit_change_opts, er_submit_opts},
    .data_size = sizeof(struct call),
    .min = 1,
    .max = -1,
    .exec = call_exec,
};
