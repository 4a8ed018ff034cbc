/* SPDX-License-Identifier: MIT */
/* Happy path: the words become arguments, checked as the daemon would check them; the
 * handler runs here, says its progress on standard error, and its result comes on
 * standard output.
 *
 * Failure modes: arguments that do not fit (exit 2, with words); the handler fails (1,
 * with its error), is interrupted (143), or asks to come back later (75). */
#include "lib/main.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/rand.h"
#include "lib/types.h"
#include "model/duration.h"
#include "model/text.h"
#include "wire/json.h"
#include "wire/params.h"

struct trial {
    struct errand_attempt attempt; /* first: mouths get it */
    const char *program;
    struct er_main_sender sender;
    struct er_progress progress; /* the sender's */
};

static struct trial *
trial_of(struct errand_attempt *a)
{
    return (struct trial *)(void *)a;
}

/* ---- what it says ---- */

static void
say_line(const char *what, const char *text)
{
    (void)fprintf(stderr, "%s%s\n", what, text);
}

static int
say_item(struct errand_attempt *a, const char *name, bool failed)
{
    char clean[ER_PROGRESS_TEXT + 1];
    (void)a;
    (void)er_text_clean(clean, sizeof clean, name, strlen(name));
    say_line(failed ? "failed: " : "done: ", clean);
    return 0;
}

static int
say_checkpoint(struct errand_attempt *a, const char *json)
{
    (void)a;
    say_line("checkpoint: ", json);
    return 0;
}

static int
say_output(struct errand_attempt *a, const void *p, size_t n)
{
    (void)a;
    return er_write_all(STDERR_FILENO, p, n);
}

static void
add_left(const struct er_progress *p, er_usec now, struct er_buf *b)
{
    double rate, left;
    char text[ER_DURATION_SIZE];
    if (er_progress_rate(p, now, &rate) && p->has_current) {
        er_buf_addf(b, ", %.3g/s", rate);
    }
    if (er_progress_eta(p, now, &left) && left < 1e9) {
        er_duration_format((er_usec)(left * 1e6), text);
        er_buf_addf(b, ", %s left", text);
    }
}

static void
show(const struct er_progress *p, er_usec now)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    if (p->has_percent) {
        er_buf_addf(&b, "%.0f%%", p->percent);
    }
    if (p->has_current) {
        er_buf_addf(&b, "%s%lld", b.len ? " " : "", (long long)p->current);
    }
    if (p->has_total) {
        er_buf_addf(&b, "/%lld", (long long)p->total);
    }
    if (p->has_current && p->unit[0] != '\0') {
        er_buf_addf(&b, " %s", p->unit);
    }
    if (p->item[0] != '\0') {
        er_buf_addf(&b, "%s%s", b.len ? " " : "", p->item);
    }
    if (p->message[0] != '\0') {
        er_buf_addf(&b, "%s%s", b.len ? " " : "", p->message);
    }
    add_left(p, now, &b);
    say_line("", b.data ? b.data : "");
    er_buf_fini(&b);
}

static void
say_news(struct er_main_sender *v, const struct er_attempt_news *n)
{
    struct trial *t = trial_of(v->attempt);
    er_usec now = er_clock_mono(t->attempt.clock);
    struct er_progress_update u = er_attempt_update(n);
    if (er_progress_update(&t->progress, &u, now) == 1) {
        show(&t->progress, now);
    }
}

static void
say_there_is_news(struct errand_attempt *a)
{
    er_main_sender_wake(&trial_of(a)->sender);
}

/* ---- arguments ---- */

static json_t *
read_words(int n, char **words, bool *out_is_text, errand_error *error)
{
    json_t *o = json_object();
    *out_is_text = true;
    for (int i = 0; o && i < n; i++) {
        const char *eq = strchr(words[i], '=');
        if (n == 1 && words[i][0] == '{') {
            struct er_err err = {""};
            json_decref(o);
            *out_is_text = false;
            o = NULL;
            error->code = er_json_parse(words[i], strlen(words[i]), &o, &err);
            (void)snprintf(error->message, sizeof error->message, "%s", err.text);
            return o;
        }
        if (!eq || eq == words[i]) {
            error->code = ERRAND_EINVALID;
            (void)snprintf(error->message, sizeof error->message,
                           "arguments are KEY=VALUE, or one JSON object, not '%.100s'",
                           words[i]);
            json_decref(o);
            return NULL;
        }
        char *name = er_xstrndup(words[i], (size_t)(eq - words[i]));
        bool kept = json_object_set_new(o, name, json_string(eq + 1)) == 0;
        er_free(name);
        if (!kept) {
            error->code = ERRAND_EINVALID;
            (void)snprintf(error->message, sizeof error->message,
                           "argument %d is not UTF-8", i + 1);
            json_decref(o);
            return NULL;
        }
    }
    return o;
}

/* Checks them against the type's parameters; a new object, or NULL with words. */
static json_t *
read_args(const struct errand_type *type, int n, char **words, errand_error *error)
{
    struct er_arena arena = {0};
    struct er_params_fault fault = {.field = ""};
    struct er_param *params = NULL;
    size_t n_params = 0;
    bool is_text;
    json_t *definition = NULL, *args = NULL, *out = NULL;
    int rc = er_types_define(type, ER_TYPES_HANDLER, NULL, &definition, error);
    const json_t *declared = json_object_get(definition, "parameters");
    if (rc == 0) {
        args = read_words(n, words, &is_text, error);
        rc = args ? 0 : error->code;
    }
    if (rc == 0 && !declared) {
        out = json_incref(args); /* any object will do */
    } else if (rc == 0) {
        rc = er_params_read(declared, &arena, &params, &n_params, &fault);
        rc = rc        ? rc
             : is_text ? er_params_check_text(params, n_params, args, &out, &fault)
                       : er_params_check(params, n_params, args, &out, &fault);
        error->code = rc;
        (void)snprintf(error->message, sizeof error->message, "%s",
                       rc == 0 || fault.err.text[0] ? fault.err.text
                                                    : er_error_meaning(rc));
    }
    er_arena_free(&arena);
    json_decref(definition);
    json_decref(args);
    return rc == 0 ? out : NULL;
}

/* An order like errand-worker's. */
static json_t *
make_order(const struct errand_type *type, json_t *args)
{
    char correlation[ER_UUID_SIZE];
    er_uuid7(er_clock_wall(er_clock_system()), correlation);
    return json_pack("{s:i, s:i, s:i, s:s, s:o, s:s, s:n}", "task", 1, "attempt", 1,
                     "run", 1, "type", type->name, "args", args, "correlation_id",
                     correlation, "checkpoint");
}

/* ---- the end ---- */

static void
say_error(const struct trial *t, const struct er_buf *json)
{
    json_t *o = json_loadb(json->data ? json->data : "", json->len, 0, NULL);
    const char *action = json_string_value(json_object_get(o, "suggested_action"));
    const char *cls = json_string_value(json_object_get(o, "class"));
    const char *code = json_string_value(json_object_get(o, "code"));
    const char *message = json_string_value(json_object_get(o, "message"));
    (void)fprintf(stderr, "%s: failed (%s, %s): %s\n", t->program, cls ? cls : "",
                  code ? code : "", message ? message : "");
    if (action) {
        (void)fprintf(stderr, "%s: %s\n", t->program, action);
    }
    json_decref(o);
}

static int
say_result(const struct errand_attempt *a)
{
    const char *bytes = a->result;
    int rc = bytes ? er_write_all(STDOUT_FILENO, bytes, a->result_len) : 0;
    if (rc == 0 && bytes && isatty(STDOUT_FILENO) && a->result_len > 0 &&
        bytes[a->result_len - 1] != '\n') {
        rc = er_write_all(STDOUT_FILENO, "\n", 1);
    }
    return rc ? ER_MAIN_FAILED : 0;
}

static int
conclude(struct trial *t, int returned)
{
    struct er_buf error;
    er_buf_init(&error, 0);
    int exit_code = 0;
    (void)fflush(stdout);
    switch (er_attempt_judge(&t->attempt, returned, &error)) {
    case ER_ATTEMPT_COMPLETED:
        exit_code = say_result(&t->attempt);
        break;
    case ER_ATTEMPT_FAILED:
        say_error(t, &error);
        exit_code = ER_MAIN_FAILED;
        break;
    case ER_ATTEMPT_LIMITED:
        (void)fprintf(stderr, "%s: rate limited: it would go on in %.3g s\n", t->program,
                      (double)t->attempt.fault.retry_after_ms / 1000.0);
        exit_code = ER_MAIN_LIMITED;
        break;
    case ER_ATTEMPT_STOPPED:
        (void)fprintf(stderr, "%s: stopped\n", t->program);
        exit_code = ER_MAIN_STOPPED;
        break;
    }
    er_buf_fini(&error);
    return exit_code;
}

static int
execute(struct trial *t, const struct errand_type *type)
{
    struct er_handler handler = {.fn = type->handler, .ctx = type->ctx};
    struct er_main_listener listener = {
        .attempt = &t->attempt, .fd = -1, .on_signal = ERRAND_STOP_CANCEL};
    int exit_code = ER_MAIN_FAILED;
    er_progress_init(&t->progress, er_clock_mono(t->attempt.clock));
    if (er_main_catch_signals() && er_main_listener_open(&listener) == 0) {
        er_main_sender_open(&t->sender);
        int returned = er_attempt_run(&t->attempt, &handler);
        er_main_sender_close(&t->sender);
        exit_code = conclude(t, returned);
        er_main_listener_close(&listener);
    }
    return exit_code;
}

int
er_main_try(const char *program, const struct errand_type *type, int n_words,
            char **words)
{
    static const struct er_attempt_ops ops = {.item = say_item,
                                              .checkpoint = say_checkpoint,
                                              .output = say_output,
                                              .news = say_there_is_news};
    struct trial t = {.program = program, .sender = {.tell = say_news}};
    t.sender.attempt = &t.attempt;
    errand_error error = {0};
    json_t *args = read_args(type, n_words, words, &error);
    if (!args) {
        (void)fprintf(stderr, "%s: %s\n", program, error.message);
        return ER_MAIN_USAGE;
    }
    json_t *order = make_order(type, args);
    int exit_code = ER_MAIN_FAILED;
    if (er_attempt_open(&t.attempt, order, NULL, &ops, er_clock_system()) == 0) {
        exit_code = execute(&t, type);
        er_attempt_close(&t.attempt);
    }
    json_decref(order);
    return exit_code;
}
