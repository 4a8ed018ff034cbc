/* SPDX-License-Identifier: MIT */
/* Order matters: the last progress, then the exit frame in the log, then the report.
 * When the worker dies after the frame, the daemon reads the outcome there; when the
 * frame cannot be written that is logged, and the report alone carries it. */
#include "work/outcome.h"

#include <sys/wait.h>

#include "base/base64.h"
#include "model/duration.h"
#include "work/worker.h"

static const char *const why_words[] = {
    [ER_WHY_NONE] = NULL,
    [ER_WHY_CANCEL] = "cancel",
    [ER_WHY_REQUEUE] = "requeue",
    [ER_WHY_TIMEOUT] = "timeout",
    [ER_WHY_HEARTBEAT] = "heartbeat",
};

static void
add_time(struct er_buf *b, const char *name, er_usec at)
{
    char text[ER_RFC3339_SIZE];
    er_buf_addf(b, ",\"%s\":", name);
    if (at > 0) {
        er_time_format(at, text);
        er_buf_add_json_str(b, text);
    } else {
        er_buf_add_str(b, "null");
    }
}

static void
add_error(struct er_buf *b, const char *error_class, const char *code,
          const char *message, const char *action)
{
    er_buf_addf(b, "{\"class\":\"%s\",\"code\":\"%s\",\"message\":", error_class, code);
    er_buf_add_json_str(b, message ? message : "");
    if (action) {
        er_buf_add_str(b, ",\"suggested_action\":");
        er_buf_add_json_str(b, action);
    }
    er_buf_add_char(b, '}');
}

static void
add_timeout(const struct er_work_attempt *a, struct er_buf *b)
{
    struct er_buf message;
    er_buf_init(&message, 0);
    er_buf_add_str(&message, "ran longer than ");
    er_duration_encode(a->timeout_for, &message);
    add_error(b, "retryable", "timeout", message.data, NULL);
    er_buf_fini(&message);
}

/* Whether the command ended well by its own words. */
static bool
ends_well(const struct er_work_attempt *a)
{
    return a->leader_gone && WIFEXITED(a->status) && WEXITSTATUS(a->status) == 0 &&
           a->why == ER_WHY_NONE && !a->error_json && !a->fault.code;
}

/* It would have completed, but for a result that is too large to be kept. */
static bool
loses_result(const struct er_work_attempt *a)
{
    return a->result_lost && ends_well(a);
}

static bool
is_success(const struct er_work_attempt *a)
{
    return ends_well(a) && !a->result_lost;
}

/* What the worker found itself comes first, then what the command reported. */
static void
encode_error(const struct er_work_attempt *a, struct er_buf *b)
{
    er_buf_add_str(b, ",\"error\":");
    if (a->fault.code) {
        add_error(b, a->fault.error_class, a->fault.code, a->fault.message,
                  a->fault.action);
    } else if (a->why == ER_WHY_TIMEOUT) {
        add_timeout(a, b);
    } else if (a->why == ER_WHY_HEARTBEAT) {
        er_buf_add_str(b, "null"); /* the daemon has words for it */
    } else if (a->pid > 0 && !a->leader_gone) {
        add_error(b, "fatal", "unkillable", "its processes could not be killed", NULL);
    } else if (loses_result(a)) {
        add_error(b, "fatal", ER_RESULT_LOST_CODE, ER_RESULT_LOST_MESSAGE,
                  ER_RESULT_LOST_ACTION);
    } else {
        er_buf_add_str(b, a->error_json ? a->error_json : "null");
    }
}

static void
encode_exit(const struct er_work_attempt *a, struct er_buf *b)
{
    int code = a->pid > 0 ? -1 : a->fault.exit_code;
    int sig = 0;
    if (a->leader_gone && WIFEXITED(a->status)) {
        code = WEXITSTATUS(a->status);
    } else if (a->leader_gone && WIFSIGNALED(a->status)) {
        sig = WTERMSIG(a->status);
    }
    if (code >= 0) {
        er_buf_addf(b, ",\"exit_code\":%d,\"signal\":%d", code, sig);
    } else {
        er_buf_addf(b, ",\"exit_code\":null,\"signal\":%d", sig);
    }
}

static void
encode_result(const struct er_work_attempt *a, struct er_buf *b)
{
    er_buf_add_str(b, ",\"result\":");
    if (a->has_result) {
        er_buf_add_char(b, '"');
        er_base64_encode(b, a->result.data ? a->result.data : "", a->result.len);
        er_buf_add_char(b, '"');
    } else {
        er_buf_add_str(b, "null");
    }
}

static void
encode_progress(struct er_work_attempt *a, struct er_buf *b)
{
    er_usec now = er_clock_mono(a->worker->clock);
    er_buf_add_str(b, ",\"progress\":");
    if (er_sample_is_known(&a->progress)) {
        er_progress_finish(&a->progress, is_success(a), now);
        er_progress_encode(&a->progress, now, b);
    } else {
        er_buf_add_str(b, "null");
    }
    er_buf_add_str(b, ",\"checkpoint\":");
    er_buf_add_str(b, a->checkpoint_json ? a->checkpoint_json : "null");
}

static void
encode_usage(const struct er_work_attempt *a, struct er_buf *b)
{
    const struct rusage *u = &a->usage;
    if (a->leader_gone) {
        er_buf_addf(b, ",\"cpu_s\":%.6f,\"peak_rss_bytes\":%lld",
                    (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) +
                        (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1e6,
                    (long long)u->ru_maxrss * 1024);
    } else {
        er_buf_add_str(b, ",\"cpu_s\":null,\"peak_rss_bytes\":null");
    }
}

static void
encode_finished(struct er_work_attempt *a, er_usec now, struct er_buf *b)
{
    er_buf_addf(b, "{\"task\":%lld,\"attempt\":%d,\"spawned\":%s,\"why\":",
                (long long)a->task, a->attempt, a->pid > 0 ? "true" : "false");
    er_buf_add_json_str(b, why_words[a->why]);
    add_time(b, "started_at", a->started_at);
    add_time(b, "finished_at", now);
    encode_exit(a, b);
    encode_result(a, b);
    encode_error(a, b);
    if (a->retry_after_s >= 0.0) {
        er_buf_addf(b, ",\"retry_after_s\":%.3f", a->retry_after_s);
    } else {
        er_buf_add_str(b, ",\"retry_after_s\":null");
    }
    encode_progress(a, b);
    er_buf_add_str(b, ",\"warnings\":[");
    er_buf_add(b, a->warnings.data, a->warnings.len);
    er_buf_add_char(b, ']');
    encode_usage(a, b);
    er_buf_addf(b, ",\"output_bytes\":%llu}", (unsigned long long)a->log.bytes);
}

void
er_outcome_finish(struct er_work_attempt *a)
{
    er_usec now = er_clock_wall(a->worker->clock);
    struct er_buf json, lines;
    er_buf_init(&json, 0);
    er_buf_init(&lines, 0);
    if (a->log.failed) {
        er_attempt_warn(a,
                        "some of the output was lost: the log could not be written (%s)",
                        er_error_meaning(a->log.failed));
    }
    if (a->warnings_n > ER_ATTEMPT_WARNINGS) {
        er_buf_addf(&a->warnings, ",\"... and %d more\"",
                    a->warnings_n - ER_ATTEMPT_WARNINGS);
    }
    if (a->sample.has_progress) { /* the last progress arrives before the final event */
        a->sample.has_output = false;
        er_sample_encode(&a->sample, &lines);
    }
    encode_finished(a, now, &json);
    if (a->log.base && json.data &&
        er_outlog_note(&a->log, ER_OUTLOG_EXIT, now, json.data) != 0) {
        er_log(ER_LOG_WARN, "outcome",
               "task %lld attempt %d: the exit frame could not be written; if the worker "
               "dies before it has reported, the outcome is lost",
               (long long)a->task, a->attempt);
    }
    er_buf_add_str(&lines, "{\"finished\":");
    er_buf_add(&lines, json.data, json.len);
    er_buf_add_str(&lines, "}\n");
    er_buf_fini(&json);
    er_report_add_finished(&a->worker->report, a->task, a->attempt, &lines);
}
