/* SPDX-License-Identifier: MIT */
/* Happy path: made from an order, asked by the handler, judged by what it returned,
 * closed.
 *
 * The lock is held for moments, never over a call of an operation: an item that has to
 * wait there holds up only the thread that reports it. */
#include "lib/attempt.h"

#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "model/text.h"
#include "wire/json_text.h"

#define RETURN_FAIL    1001 /* what errand_fail returns, beside ERRAND_STOPPED */
#define RETURN_LIMITED 1002
#define RETRY_AFTER_MS 60000 /* of a rate limit without a time */
#define NUMBER_GROWS   8     /* how much longer 0.1 may become, and more */
#define LOOK_MS        20    /* without a descriptor: how often a sleeper looks */

/* ---- life ---- */

int
er_attempt_open(struct errand_attempt *a, json_t *order, char *done,
                const struct er_attempt_ops *ops, const struct er_clock *clock)
{
    const json_t *left = json_object_get(order, "checkpoint");
    *a = (struct errand_attempt){.ops = ops, .clock = clock, .stop_fd = -1};
    a->task = json_integer_value(json_object_get(order, "task"));
    a->number = (int)json_integer_value(json_object_get(order, "attempt"));
    a->type = json_string_value(json_object_get(order, "type"));
    a->correlation = json_string_value(json_object_get(order, "correlation_id"));
    a->correlation = a->correlation ? a->correlation : "";
    a->args = json_object_get(order, "args");
    a->left = left && !json_is_null(left) ? left : NULL;
    if (a->task <= 0 || a->number <= 0 || !a->type) {
        return ER_EINVALID;
    }
    a->order = json_incref(order);
    a->done = done;
    er_lock_init(&a->lock);
    er_count_set(&a->alive_at, er_clock_mono(clock));
    return 0;
}

void
er_attempt_close(struct errand_attempt *a)
{
    er_close(&a->stop_fd);
    er_lock_fini(&a->lock);
    er_free(a->args_json);
    er_free(a->left_json);
    er_free(a->done);
    er_free(a->names);
    er_free(a->result);
    er_free(a->fault.code);
    er_free(a->fault.message);
    er_free(a->fault.action);
    json_decref(a->order);
}

static void
alive(struct errand_attempt *a)
{
    er_count_set(&a->alive_at, er_clock_mono(a->clock));
}

/* ---- what it is about ---- */

int64_t
errand_attempt_task(const errand_attempt *a)
{
    return a->task;
}

int
errand_attempt_number(const errand_attempt *a)
{
    return a->number;
}

const char *
errand_attempt_type(const errand_attempt *a)
{
    return a->type;
}

const char *
errand_attempt_correlation(const errand_attempt *a)
{
    return a->correlation;
}

errand *
errand_attempt_handle(errand_attempt *a)
{
    return a->ops->handle ? a->ops->handle(a) : NULL;
}

/* ---- arguments ---- */

/* The text of a value, made once. */
static const char *
text_once(const errand_attempt *borrowed, const json_t *v, size_t place)
{
    errand_attempt *a = (errand_attempt *)(uintptr_t)borrowed;
    char **text = (char **)(void *)((char *)a + place);
    er_lock_take(&a->lock);
    if (!*text && v) {
        char *dump = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
        *text = er_strdup(dump);
        free(dump);
    }
    const char *out = *text;
    er_lock_give(&a->lock);
    return out;
}

const char *
errand_attempt_args(const errand_attempt *a)
{
    if (!a->args) {
        return "{}";
    }
    return text_once(a, a->args, offsetof(struct errand_attempt, args_json));
}

const char *
errand_checkpoint_get(const errand_attempt *a)
{
    return text_once(a, a->left, offsetof(struct errand_attempt, left_json));
}

char *
er_attempt_after_trim(char *text)
{
    size_t n = text ? strlen(text) : 0;
    if (n > 0 && text[n - 1] == '\n') {
        text[n - 1] = '\0';
    }
    return text;
}

const char *
errand_after_results(errand_attempt *a)
{
    return a->ops->after ? a->ops->after(a) : "{}";
}

static const json_t *
find_arg(const errand_attempt *a, const char *name)
{
    return name ? json_object_get(a->args, name) : NULL;
}

const char *
errand_arg_text(const errand_attempt *a, const char *name)
{
    return json_string_value(find_arg(a, name));
}

int64_t
errand_arg_integer(const errand_attempt *a, const char *name, int64_t absent)
{
    const json_t *v = find_arg(a, name);
    if (json_is_integer(v)) {
        return json_integer_value(v);
    }
    double d = json_number_value(v);
    return json_is_real(v) && fabs(d) < 9e15 ? (int64_t)d : absent;
}

double
errand_arg_number(const errand_attempt *a, const char *name, double absent)
{
    const json_t *v = find_arg(a, name);
    return json_is_number(v) ? json_number_value(v) : absent;
}

int
errand_arg_boolean(const errand_attempt *a, const char *name, int absent)
{
    const json_t *v = find_arg(a, name);
    return json_is_boolean(v) ? json_is_true(v) : absent;
}

const char *
errand_arg_item(const errand_attempt *a, const char *name, size_t n)
{
    return json_string_value(json_array_get(find_arg(a, name), n));
}

/* ---- stopping ---- */

void
er_attempt_ask_stop(struct errand_attempt *a, enum errand_stop why)
{
    er_lock_take(&a->lock);
    if (er_count_get(&a->stop) == 0 || why == ERRAND_STOP_LOST) {
        er_count_set(&a->stop, (int)why);
    }
    if (a->stop_fd >= 0) {
        (void)eventfd_write(a->stop_fd, 1);
    }
    er_lock_give(&a->lock);
}

int
errand_should_stop(const errand_attempt *a)
{
    return (int)er_count_get(&a->stop);
}

int
errand_stop_fd(errand_attempt *a)
{
    er_lock_take(&a->lock);
    if (a->stop_fd < 0) {
        unsigned first = er_count_get(&a->stop) ? 1 : 0;
        a->stop_fd = eventfd(first, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    int fd = a->stop_fd;
    er_lock_give(&a->lock);
    return fd;
}

/* Without a descriptor nobody can wake a sleeper. */
static void
sleep_looking(errand_attempt *a, er_usec until)
{
    while (!errand_should_stop(a) && er_clock_mono(er_clock_system()) < until) {
        (void)poll(NULL, 0, LOOK_MS);
    }
}

static void
sleep_here(errand_attempt *a, int64_t ms)
{
    const struct er_clock *clock = er_clock_system();
    er_usec left, now = er_clock_mono(clock);
    er_usec until = ms < INT64_MAX / 2000 ? now + ms * ER_USEC_PER_MS : ER_NEVER;
    struct pollfd p = {.fd = errand_stop_fd(a), .events = POLLIN};
    if (p.fd < 0) {
        sleep_looking(a, until);
        return;
    }
    while (!errand_should_stop(a) && (left = until - er_clock_mono(clock)) > 0) {
        er_usec wait_ms = (left + ER_USEC_PER_MS - 1) / ER_USEC_PER_MS;
        (void)poll(&p, 1, wait_ms < 1000000 ? (int)wait_ms : 1000000);
    }
}

int
errand_sleep(errand_attempt *a, int64_t ms)
{
    if (ms > 0 && !errand_should_stop(a)) {
        (a->ops->sleep ? a->ops->sleep : sleep_here)(a, ms);
    }
    return errand_should_stop(a);
}

/* ---- progress ---- */

static void
keep_text(char *to, size_t size, bool *has, const char *text)
{
    if (text) {
        size_t n = er_text_fit(text, strnlen(text, size), size - 1);
        memcpy(to, text, n);
        to[n] = '\0';
        *has = true;
    }
}

static void
keep_texts(struct er_attempt_news *n, const struct errand_progress *p)
{
    keep_text(n->unit, sizeof n->unit, &n->has_unit, p->unit);
    keep_text(n->item, sizeof n->item, &n->has_item, p->item);
    keep_text(n->message, sizeof n->message, &n->has_message, p->message);
}

/* With the lock taken until `news_end`. */
static struct er_attempt_news *
news_begin(errand_attempt *a, bool *was_any)
{
    er_lock_take(&a->lock);
    *was_any = a->news.any;
    a->news.any = true;
    return &a->news;
}

static void
news_end(errand_attempt *a, bool was_any)
{
    er_lock_give(&a->lock);
    alive(a);
    if (!was_any) {
        a->ops->news(a);
    }
}

/* A percent that was said before, and not taken, is not what holds now. */
static void
keep_counts(struct er_attempt_news *n, int64_t current, int64_t total)
{
    n->has_percent = false;
    n->has_current = n->has_total = true;
    n->current = current;
    n->total = total > 0 ? total : 0;
}

void
errand_progress_to(errand_attempt *a, int64_t current, int64_t total, const char *item)
{
    bool was_any;
    struct er_attempt_news *n = news_begin(a, &was_any);
    keep_counts(n, current, total);
    keep_text(n->item, sizeof n->item, &n->has_item, item);
    news_end(a, was_any);
}

void
errand_progress_report(errand_attempt *a, const struct errand_progress *given)
{
    struct errand_progress p = {0};
    bool was_any;
    if (!given || given->size < sizeof given->size) {
        return;
    }
    memcpy(&p, given, given->size < sizeof p ? given->size : sizeof p);
    struct er_attempt_news *n = news_begin(a, &was_any);
    if (p.current != 0 || p.total > 0) {
        keep_counts(n, p.current, p.total);
    }
    if (p.has_percent && isfinite(p.percent)) {
        n->has_percent = true;
        n->percent = p.percent;
    }
    keep_texts(n, &p);
    news_end(a, was_any);
}

bool
er_attempt_take_news(struct errand_attempt *a, struct er_attempt_news *out)
{
    er_lock_take(&a->lock);
    bool any = a->news.any;
    if (any) {
        *out = a->news;
        a->news.any = false;
        a->news.has_percent = a->news.has_current = a->news.has_total = false;
        a->news.has_unit = a->news.has_item = a->news.has_message = false;
    }
    er_lock_give(&a->lock);
    return any;
}

struct er_progress_update
er_attempt_update(const struct er_attempt_news *n)
{
    return (struct er_progress_update){
        .source = ER_PROGRESS_REPORTED,
        .has_percent = n->has_percent,
        .has_current = n->has_current,
        .has_total = n->has_total,
        .percent = n->percent,
        .current = n->current,
        .total = n->total,
        .unit = n->has_unit ? n->unit : NULL,
        .item = n->has_item ? n->item : NULL,
        .message = n->has_message ? n->message : NULL,
    };
}

/* ---- items, checkpoint, output ---- */

int
errand_item(errand_attempt *a, const char *name, int failed)
{
    size_t n = name ? strnlen(name, ER_MAX_NAME + 1) : 0;
    if (n == 0 || n > ER_MAX_NAME || !er_utf8_is_valid(name, n)) {
        return ERRAND_EINVALID;
    }
    alive(a);
    return a->ops->item(a, name, failed != 0);
}

static int
compare_names(const void *x, const void *y)
{
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

/* Cuts the text into its lines, in order. */
static void
make_names(errand_attempt *a)
{
    size_t n = 0;
    for (const char *s = a->done; (s = strchr(s, '\n')) != NULL; s++) {
        n++;
    }
    a->names = er_alloc((n + 1) * sizeof *a->names);
    if (!a->names) {
        return;
    }
    for (char *s = a->done; *s != '\0';) {
        char *end = s + strcspn(s, "\n");
        bool last = *end == '\0';
        *end = '\0';
        if (*s != '\0') {
            a->names[a->n_names++] = s;
        }
        s = last ? end : end + 1;
    }
    qsort(a->names, a->n_names, sizeof *a->names, compare_names);
    a->names_made = true;
}

int
errand_item_is_done(errand_attempt *a, const char *name)
{
    if (!a->done || !name) {
        return 0;
    }
    er_lock_take(&a->lock);
    if (!a->names_made) {
        make_names(a);
    }
    bool found = a->names_made && bsearch(&name, a->names, a->n_names, sizeof *a->names,
                                          compare_names) != NULL;
    er_lock_give(&a->lock);
    return found;
}

/* The store writes numbers with a fraction with up to 17 digits: a text that has many
 * short ones may become longer than a checkpoint can be. */
static int
check_numbers(const struct er_buf *b)
{
    if (b->len <= ER_MAX_CHECKPOINT / NUMBER_GROWS) {
        return 0;
    }
    json_t *v = json_loadb(b->data, b->len, JSON_DECODE_ANY, NULL);
    size_t n = v ? json_dumpb(v, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY) : 0;
    json_decref(v);
    return !v || n == 0 ? ERRAND_ENOMEM : n > ER_MAX_CHECKPOINT ? ERRAND_ETOOBIG : 0;
}

int
errand_checkpoint(errand_attempt *a, const char *json)
{
    struct er_buf b;
    if (!json) {
        return ERRAND_EINVALID;
    }
    alive(a);
    er_buf_init(&b, ER_MAX_CHECKPOINT);
    int rc = er_json_text_compact(&b, json, strlen(json));
    if (rc == 0) {
        rc = check_numbers(&b);
    }
    if (rc == 0) {
        rc = a->ops->checkpoint(a, b.data);
    }
    er_buf_fini(&b);
    return rc;
}

int
errand_output(errand_attempt *a, const void *bytes, size_t len)
{
    if (!bytes && len > 0) {
        return ERRAND_EINVALID;
    }
    alive(a);
    return len > 0 ? a->ops->output(a, bytes, len) : 0;
}

int
errand_outputf(errand_attempt *a, const char *fmt, ...)
{
    char small[256];
    va_list args, again;
    if (!fmt) {
        return ERRAND_EINVALID;
    }
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(small, sizeof small, fmt, args);
    int rc = n < 0 ? ERRAND_EINVALID : 0;
    char *text = small;
    if (rc == 0 && (size_t)n >= sizeof small) {
        text = er_alloc((size_t)n + 1);
        rc = text ? 0 : ERRAND_ENOMEM;
        if (text) {
            (void)vsnprintf(text, (size_t)n + 1, fmt, again);
        }
    }
    va_end(again);
    va_end(args);
    rc = rc ? rc : errand_output(a, text, (size_t)n);
    if (text != small) {
        er_free(text);
    }
    return rc;
}

/* ---- the end ---- */

int
errand_result_set(errand_attempt *a, const void *bytes, size_t len)
{
    if (!bytes && len > 0) {
        return ERRAND_EINVALID;
    }
    if (len > ER_MAX_RESULT) {
        er_lock_take(&a->lock);
        a->result_lost = true;
        er_lock_give(&a->lock);
        return ERRAND_ETOOBIG;
    }
    void *copy = er_memdup(bytes ? bytes : "", len);
    if (!copy) {
        return ERRAND_ENOMEM;
    }
    er_lock_take(&a->lock);
    void *old = a->result;
    a->result = copy;
    a->result_len = len;
    a->result_lost = false;
    er_lock_give(&a->lock);
    er_free(old);
    return 0;
}

static char *
copy_cut(const char *text, size_t max)
{
    return text ? er_strndup(text, er_text_fit(text, strnlen(text, max + 4), max)) : NULL;
}

static void
set_fault(errand_attempt *a, struct er_attempt_fault fault)
{
    er_lock_take(&a->lock);
    struct er_attempt_fault old = a->fault;
    a->fault = fault;
    er_lock_give(&a->lock);
    er_free(old.code);
    er_free(old.message);
    er_free(old.action);
}

int
errand_fail(errand_attempt *a, enum errand_class cls, const char *code,
            const char *message, const char *action)
{
    bool known =
        cls == ERRAND_RETRYABLE || cls == ERRAND_FATAL || cls == ERRAND_USER_ACTIONABLE;
    if (!known && (!message || !message[0])) {
        message = "errand_fail was given a class that is none of enum errand_class";
    }
    set_fault(a, (struct er_attempt_fault){
                     .returned = RETURN_FAIL,
                     .cls = known ? (int)cls : ERRAND_FATAL,
                     .code = copy_cut(known ? code : "bad-class", ER_ATTEMPT_CODE),
                     .message = copy_cut(message, ER_ATTEMPT_MESSAGE),
                     .action = copy_cut(action, ER_ATTEMPT_MESSAGE),
                 });
    return RETURN_FAIL;
}

int
errand_rate_limited(errand_attempt *a, int64_t retry_after_ms)
{
    int64_t most = INT64_C(1000) * 1000 * 1000 * 1000; /* some 30 years */
    int64_t ms = retry_after_ms < 0      ? RETRY_AFTER_MS
                 : retry_after_ms == 0   ? 1
                 : retry_after_ms > most ? most
                                         : retry_after_ms;
    set_fault(
        a, (struct er_attempt_fault){.returned = RETURN_LIMITED, .retry_after_ms = ms});
    return RETURN_LIMITED;
}

static void
add_error(struct er_buf *b, const char *cls, const char *code, const char *message,
          const char *action)
{
    er_buf_addf(b, "{\"class\":\"%s\",\"code\":", cls);
    er_buf_add_json_str(b, code && *code ? code : "failed");
    er_buf_add_str(b, ",\"message\":");
    er_buf_add_json_str(b, message ? message : "");
    if (action) {
        er_buf_add_str(b, ",\"suggested_action\":");
        er_buf_add_json_str(b, action);
    }
    er_buf_add_char(b, '}');
}

static void
add_fault(const struct er_attempt_fault *f, struct er_buf *b)
{
    static const char *const words[] = {
        [0] = "retryable",
        [ERRAND_RETRYABLE] = "retryable",
        [ERRAND_FATAL] = "fatal",
        [ERRAND_USER_ACTIONABLE] = "user-actionable",
    };
    add_error(b, words[f->cls], f->code, f->message, f->action);
}

/* Codes by the names that errand.h gives them; but -1 is what any function returns. */
static const char *
code_name(int code)
{
    static const char *const names[] = {
#define ER_ERROR(name, number, word, http, exit, meaning) [number] = "ERRAND_E" #name,
#include "base/errors.def"
#undef ER_ERROR
    };
    int n = (int)(sizeof names / sizeof *names);
    return code < -1 && code > -n ? names[-code] : NULL;
}

/* What was returned, in words. */
static void
say_return(char *out, size_t size, int returned)
{
    const char *name = code_name(returned);
    if (name) {
        (void)snprintf(out, size, "the handler returned %d (%s)", returned, name);
    } else {
        (void)snprintf(out, size, "the handler returned %d", returned);
    }
}

static void
add_odd_return(int returned, struct er_buf *b)
{
    char message[100];
    bool has_stopped = returned == ERRAND_STOPPED;
    if (has_stopped) {
        (void)snprintf(
            message, sizeof message,
            "the handler returned ERRAND_STOPPED (%d), but nobody had asked it "
            "to stop",
            returned);
    } else {
        say_return(message, sizeof message, returned);
    }
    add_error(b, "retryable", has_stopped ? "stopped" : "handler", message, NULL);
}

enum er_attempt_end
er_attempt_judge(const struct errand_attempt *a, int returned, struct er_buf *error)
{
    const struct er_attempt_fault *f = &a->fault;
    if (a->result_lost && (returned == 0 || returned == ERRAND_ETOOBIG)) {
        if (error) {
            add_error(error, "fatal", ER_RESULT_LOST_CODE, ER_RESULT_LOST_MESSAGE,
                      ER_RESULT_LOST_ACTION);
        }
        return ER_ATTEMPT_FAILED;
    }
    if (returned == 0) {
        return ER_ATTEMPT_COMPLETED;
    }
    if (returned == ERRAND_STOPPED && errand_should_stop(a)) {
        return ER_ATTEMPT_STOPPED;
    }
    if (returned == RETURN_LIMITED && f->returned == returned) {
        return ER_ATTEMPT_LIMITED;
    }
    if (error && returned == RETURN_FAIL && f->returned == returned) {
        add_fault(f, error);
    } else if (error) {
        add_odd_return(returned, error);
    }
    return ER_ATTEMPT_FAILED;
}

static int
run_blocking(struct errand_attempt *a, errand_blocking_fn *fn)
{
    char *reply = NULL;
    const char *args = errand_attempt_args(a);
    if (!args) {
        return errand_fail(a, ERRAND_RETRYABLE, "out-of-memory", "out of memory", NULL);
    }
    int rc = fn(args, &reply);
    int returned = 0;
    if (rc != 0) {
        char said[100];
        say_return(said, sizeof said, rc);
        returned = errand_fail(a, ERRAND_FATAL, "handler", reply ? reply : said, NULL);
    } else if (reply) {
        int kept = errand_result_set(a, reply, strlen(reply));
        if (kept == ERRAND_ETOOBIG) {
            returned = kept; /* er_attempt_judge has words for it */
        } else if (kept) {
            returned = errand_fail(a, ERRAND_RETRYABLE, "out-of-memory",
                                   "no memory for the reply", NULL);
        }
    }
    free(reply);
    return returned;
}

/* The attempt whose handler runs on this thread; handlers may run inside each other
 * (ERRAND_TEST_INLINE). */
static _Thread_local const struct errand_attempt *current;

int
er_attempt_run(struct errand_attempt *a, const struct er_handler *h)
{
    const struct errand_attempt *outer = current;
    current = a;
    int returned = h->fn ? h->fn(a, h->ctx) : run_blocking(a, h->blocking);
    current = outer;
    return returned;
}

const char *
er_attempt_correlation_here(int64_t task)
{
    bool is_its = current && (task == 0 || task == current->task);
    return is_its && *current->correlation ? current->correlation : NULL;
}
