/* SPDX-License-Identifier: MIT */
/* Each member of the object goes to its function in the table `members`, which hands what
 * it has read to the listener, or adds it to the update of the progress that is told
 * last. A member that is unknown or of a wrong kind, a result or checkpoint that is too
 * large, parts out of order are dropped, each with a warning that says what would be
 * right. */
#include "wire/said.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "model/task.h"
#include "wire/json_dump.h"

struct reading {
    struct er_progress_update u;
    struct er_said_parts *parts;
    const struct er_said_sink *sink;
    void *ctx;
};

static void warn(struct reading *r, const char *fmt, ...) ER_PRINTF(2, 3);

static void
warn(struct reading *r, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    r->sink->warn(r->ctx, text);
}

/* ---- members ---- */

/* Each reader gets the value of its member: NULL when it took it, else what would be
 * right. */

typedef const char *read_member_fn(struct reading *r, const json_t *v);

static const char *
read_percent(struct reading *r, const json_t *v)
{
    r->u.has_percent = json_is_number(v) && isfinite(json_number_value(v));
    r->u.percent = r->u.has_percent ? json_number_value(v) : 0.0;
    return r->u.has_percent ? NULL : "a number";
}

static const char *
read_count(const json_t *v, bool *out_has, int64_t *out)
{
    double d = json_number_value(v);
    if (!json_is_number(v) || !isfinite(d) || fabs(d) > 9e15) {
        return "a number";
    }
    *out_has = true;
    *out = json_is_integer(v) ? json_integer_value(v) : (int64_t)d;
    return NULL;
}

static const char *
read_current(struct reading *r, const json_t *v)
{
    return read_count(v, &r->u.has_current, &r->u.current);
}

static const char *
read_total(struct reading *r, const json_t *v)
{
    return read_count(v, &r->u.has_total, &r->u.total);
}

static const char *
read_unit(struct reading *r, const json_t *v)
{
    r->u.unit = json_string_value(v);
    return r->u.unit ? NULL : "a string";
}

static const char *
read_item(struct reading *r, const json_t *v)
{
    r->u.item = json_string_value(v);
    return r->u.item ? NULL : "a string";
}

static const char *
read_message(struct reading *r, const json_t *v)
{
    r->u.message = json_string_value(v);
    return r->u.message ? NULL : "a string";
}

static const char *
add_item(struct reading *r, const json_t *v, bool is_failed)
{
    if (!json_is_string(v) || json_string_length(v) == 0 ||
        json_string_length(v) > ER_MAX_NAME) {
        return "a string of 1 to 1000 bytes: the item's name";
    }
    r->sink->item(r->ctx, json_string_value(v), is_failed);
    return NULL;
}

static const char *
read_item_completed(struct reading *r, const json_t *v)
{
    return add_item(r, v, false);
}

static const char *
read_item_failed(struct reading *r, const json_t *v)
{
    return add_item(r, v, true);
}

static void
set_checkpoint(struct reading *r, const char *json, size_t n)
{
    if (n > ER_MAX_CHECKPOINT) {
        warn(r, "the checkpoint was dropped: it is larger than %d bytes",
             ER_MAX_CHECKPOINT);
    } else {
        r->sink->checkpoint(r->ctx, json, n);
    }
}

static const char *
read_checkpoint(struct reading *r, const json_t *v)
{
    char *text = er_json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text) {
        set_checkpoint(r, text, strlen(text));
    }
    free(text);
    return NULL;
}

static const char *
read_retry_after(struct reading *r, const json_t *v)
{
    double s = json_number_value(v);
    if (!json_is_number(v) || !(s >= 0.0 && s <= 1e9)) {
        return "a number of seconds";
    }
    r->sink->retry_after(r->ctx, s);
    return NULL;
}

static const char *
read_error(struct reading *r, const json_t *v)
{
    const char *class = json_string_value(json_object_get(v, "class"));
    if (!json_is_string(json_object_get(v, "message"))) {
        return "an object with a `message`";
    }
    if (class && strcmp(class, "retryable") != 0 && strcmp(class, "fatal") != 0 &&
        strcmp(class, "user-actionable") != 0) {
        return "an object whose `class` is retryable, fatal or user-actionable";
    }
    char *text = er_json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text) {
        r->sink->error(r->ctx, text);
    }
    free(text);
    return NULL;
}

static void
set_result(struct reading *r, const char *p, size_t n)
{
    if (n > ER_MAX_RESULT) {
        warn(r, "the result was dropped: it is larger than %d bytes", ER_MAX_RESULT);
        r->sink->result_lost(r->ctx);
    } else {
        r->sink->result(r->ctx, p, n);
    }
}

static const char *
read_result(struct reading *r, const json_t *v)
{
    char *text = er_json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text) {
        set_result(r, text, strlen(text));
    }
    free(text);
    return NULL;
}

/* One part of a text of at most `max` bytes: part number 0 begins a new one. *out_whole
 * when it was the last. */
static const char *
read_part(struct er_said_part *p, size_t max, const json_t *v, bool *out_whole)
{
    static const char want[] = "{\"id\", \"n\", \"last\", \"base64\"}, in order of n";
    const char *id = json_string_value(json_object_get(v, "id"));
    const json_t *n = json_object_get(v, "n"), *data = json_object_get(v, "base64");
    *out_whole = false;
    if (!id || id[0] == '\0' || strlen(id) >= sizeof p->id || !json_is_integer(n) ||
        !json_is_string(data)) {
        return want;
    }
    if (json_integer_value(n) == 0) {
        (void)strcpy(p->id, id);
        p->next = 0;
        er_buf_fini(&p->text);
        er_buf_init(&p->text, max + 4);
    }
    if (strcmp(id, p->id) != 0 || json_integer_value(n) != p->next) {
        return want;
    }
    p->next++;
    if (er_base64_decode(&p->text, json_string_value(data), json_string_length(data)) ==
        ER_EINVALID) {
        return "base64";
    }
    *out_whole = json_is_true(json_object_get(v, "last"));
    return NULL;
}

static void
forget_part(struct er_said_part *p)
{
    er_buf_fini(&p->text);
    p->id[0] = '\0';
}

static const char *
read_result_part(struct reading *r, const json_t *v)
{
    struct er_said_part *p = &r->parts->result;
    bool whole;
    const char *want = read_part(p, ER_MAX_RESULT, v, &whole);
    if (whole) {
        set_result(r, p->text.data ? p->text.data : "",
                   p->text.failed ? (size_t)ER_MAX_RESULT + 1 : p->text.len);
        forget_part(p);
    }
    return want;
}

static const char *
read_checkpoint_part(struct reading *r, const json_t *v)
{
    struct er_said_part *p = &r->parts->checkpoint;
    bool whole;
    const char *want = read_part(p, ER_MAX_CHECKPOINT, v, &whole);
    if (!whole) {
        return want;
    }
    if (p->text.failed) {
        set_checkpoint(r, "", (size_t)ER_MAX_CHECKPOINT + 1);
    } else {
        json_t *o = json_loadb(p->text.data ? p->text.data : "", p->text.len,
                               JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
        want = o ? read_checkpoint(r, o) : "JSON in parts";
        json_decref(o);
    }
    forget_part(p);
    return want;
}

static const struct {
    const char *name;
    read_member_fn *read;
} members[] = {
    {"percent", read_percent},
    {"current", read_current},
    {"total", read_total},
    {"unit", read_unit},
    {"item", read_item},
    {"message", read_message},
    {"item_completed", read_item_completed},
    {"item_failed", read_item_failed},
    {"checkpoint", read_checkpoint},
    {"retry_after_s", read_retry_after},
    {"error", read_error},
    {"result", read_result},
    {"result_part", read_result_part},
    {"checkpoint_part", read_checkpoint_part},
};
#define MEMBERS (sizeof members / sizeof *members)

static void
take_member(struct reading *r, const char *name, const json_t *v)
{
    for (size_t i = 0; i < MEMBERS; i++) {
        if (strcmp(members[i].name, name) == 0) {
            const char *want = members[i].read(r, v);
            if (want) {
                warn(r, "progress line: `%s` must be %s", name, want);
            }
            return;
        }
    }
    warn(r, "progress line: there is no member `%.40s`", name);
}

struct er_progress_update
er_said_take(const json_t *line, struct er_said_parts *parts,
             const struct er_said_sink *sink, void *ctx)
{
    struct reading r = {.parts = parts, .sink = sink, .ctx = ctx};
    const char *name;
    json_t *v;
    r.u.source = ER_PROGRESS_REPORTED;
    json_object_foreach((json_t *)(uintptr_t)line, name, v)
    {
        take_member(&r, name, v);
    }
    return r.u;
}

void
er_said_parts_fini(struct er_said_parts *p)
{
    forget_part(&p->result);
    forget_part(&p->checkpoint);
}
