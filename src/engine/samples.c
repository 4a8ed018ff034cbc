/* SPDX-License-Identifier: MIT */
/* A list in the order of arrival. A sample of a task replaces the one of the same kind
 * that waits; a program's own replace each other by name once the subscriber is slow.
 * Beyond the bounds the oldest go: nobody waits for anybody. */
#include "engine/samples.h"

#include <string.h>

#include "engine/engine_priv.h"

#include "base/mem.h"

#define SAMPLES_MAX 1024u             /* that wait for one subscriber */
#define BYTES_MAX   ((size_t)1 << 20) /* of their frames, but for the latest one */
/* From so many on a subscriber counts as slow, and a program's own replace each other. */
#define SLOW_N     256u
#define SLOW_BYTES (BYTES_MAX / 4)

struct er_sample {
    struct er_frame *frame;
    bool is_latest; /* stands in the hash */
    TAILQ_ENTRY(er_sample) in_list;
    UT_hash_handle hh;
    size_t key_len;
    char key[]; /* task, event, name of the topic */
};

struct er_frame *
er_frame_new(const char *text, size_t len)
{
    struct er_frame *frame = er_xalloc(sizeof *frame + len);
    frame->refs = 1;
    frame->len = len;
    memcpy(frame->text, text, len);
    return frame;
}

void
er_frame_drop(struct er_frame *frame)
{
    if (frame && --frame->refs == 0) {
        er_free(frame);
    }
}

void
er_samples_init(struct er_samples *s)
{
    *s = (struct er_samples){.latest = NULL};
    TAILQ_INIT(&s->list);
}

static struct er_sample *
make(er_task_id task, enum er_event event, const char *topic)
{
    int64_t head[2] = {task, event};
    size_t topic_len = topic ? strlen(topic) : 0;
    struct er_sample *p = er_xalloc(sizeof *p + sizeof head + topic_len);
    memset(p, 0, sizeof *p);
    p->key_len = sizeof head + topic_len;
    memcpy(p->key, head, sizeof head);
    if (topic) {
        memcpy(p->key + sizeof head, topic, topic_len);
    }
    return p;
}

static void
take_off(struct er_samples *s, struct er_sample *p)
{
    TAILQ_REMOVE(&s->list, p, in_list);
    if (p->is_latest) {
        HASH_DEL(s->latest, p);
    }
    s->n--;
    s->bytes -= p->frame->len;
    er_frame_drop(p->frame);
    er_free(p);
}

static void
append(struct er_samples *s, struct er_sample *p, struct er_sample *before)
{
    if (before) {
        HASH_DEL(s->latest, before);
        before->is_latest = false;
    }
    HASH_ADD_KEYPTR(hh, s->latest, p->key, p->key_len, p);
    p->is_latest = true;
    TAILQ_INSERT_TAIL(&s->list, p, in_list);
    s->n++;
    s->bytes += p->frame->len;
}

void
er_samples_put(struct er_samples *s, er_task_id task, enum er_event event,
               const char *topic, struct er_frame *frame)
{
    struct er_sample *p = make(task, event, topic), *before;
    bool replace = !topic || s->n >= SLOW_N || s->bytes >= SLOW_BYTES;
    frame->refs++;
    HASH_FIND(hh, s->latest, p->key, p->key_len, before);
    if (before && replace) {
        s->bytes += frame->len - before->frame->len;
        er_frame_drop(before->frame);
        before->frame = frame;
        er_free(p);
    } else {
        p->frame = frame;
        append(s, p, before);
    }
    while (s->n > SAMPLES_MAX || (s->bytes > BYTES_MAX && s->n > 1)) {
        take_off(s, TAILQ_FIRST(&s->list));
    }
}

void
er_samples_pull(struct er_samples *s, struct er_buf *out)
{
    struct er_sample *p;
    while ((p = TAILQ_FIRST(&s->list)) != NULL) {
        er_buf_add(out, p->frame->text, p->frame->len);
        take_off(s, p);
    }
}

void
er_samples_fini(struct er_samples *s)
{
    while (!TAILQ_EMPTY(&s->list)) {
        take_off(s, TAILQ_FIRST(&s->list));
    }
}
