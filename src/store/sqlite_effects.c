/* SPDX-License-Identifier: MIT */
/* The effects of a transaction: facts (also written to the table), tasks that may run
 * now, new lanes, the next moment. Everything is in the arena of the effects, which is
 * given away as a whole after the commit. */
#include "store/sqlite_priv.h"

#include <string.h>

/* The lane's names in the effects' arena, copied once a transaction. */
static int
copy_lane_names(struct er_store *s, struct er_lane_entry *lane)
{
    if (lane->fx_turn != s->turn) {
        lane->fx_queue = er_arena_strdup(&s->fx.arena, lane->queue);
        lane->fx_type = er_arena_strdup(&s->fx.arena, lane->type);
        if (!lane->fx_queue || !lane->fx_type) {
            return er_sqlite_no_memory(&s->c);
        }
        lane->fx_turn = s->turn;
    }
    return 0;
}

static int
store_fact(struct er_store *s, const struct er_fact *f, int64_t lane)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_EVENT_ADD);
    er_stmt_i64(&q, f->seq);
    er_stmt_i64(&q, f->event);
    er_stmt_i64(&q, f->at);
    er_stmt_i64(&q, f->task);
    er_stmt_i64(&q, f->run);
    er_stmt_i64(&q, f->attempt);
    er_stmt_i64(&q, lane);
    er_stmt_text(&q, f->correlation);
    er_stmt_text(&q, f->data_json);
    er_stmt_text(&q, f->topic);
    return er_stmt_run(&q);
}

/* Numbers a fact, stores it and puts it among the effects. Its texts live as long as
 * those (a correlation id of its own wins over the task's). */
static int
add_fact(struct er_store *s, struct er_fact fact, const struct er_brief *t, int attempt)
{
    struct er_fact *facts = er_sqlite_grow(&s->fx.arena, s->fx.facts, s->fx.n_facts,
                                           &s->facts_size, sizeof *facts);
    if (!facts || !fact.data_json) {
        return er_sqlite_no_memory(&s->c);
    }
    s->fx.facts = facts;
    struct er_fact *f = &facts[s->fx.n_facts];
    *f = fact;
    f->seq = s->last_seq + 1;
    if (t) {
        int rc = copy_lane_names(s, t->lane);
        if (rc) {
            return rc;
        }
        f->task = t->id;
        f->run = t->run;
        f->attempt = attempt;
        f->queue = t->lane->fx_queue;
        f->type = t->lane->fx_type;
        f->correlation = f->correlation ? f->correlation : t->correlation;
    }
    int rc = store_fact(s, f, t ? t->lane->id : 0);
    if (rc == 0) {
        s->fx.n_facts++;
        s->last_seq++;
    }
    return rc;
}

int
er_sqlite_fact(struct er_store *s, er_usec now, enum er_event event,
               const struct er_brief *t, int attempt, const char *data)
{
    return add_fact(s, (struct er_fact){.event = event, .at = now, .data_json = data}, t,
                    attempt);
}

int
er_sqlite_fact_topic(struct er_store *s, er_usec now, const struct er_topic *topic,
                     const struct er_brief *t)
{
    struct er_arena *arena = &s->fx.arena;
    struct er_fact f = {.event = ER_EVENT_TOPIC, .at = now};
    f.data_json = er_arena_strdup(arena, topic->data_json ? topic->data_json : "null");
    f.topic = er_arena_strdup(arena, topic->name);
    f.correlation = er_arena_strdup(arena, topic->correlation);
    if (!f.topic || (topic->correlation && !f.correlation)) {
        return er_sqlite_no_memory(&s->c);
    }
    return add_fact(s, f, t, t ? t->attempt : 0);
}

int
er_sqlite_fact_result(struct er_store *s, const void *result, size_t len)
{
    struct er_fact *f = &s->fx.facts[s->fx.n_facts - 1];
    f->result_len = result ? len : 0;
    if (result && len <= ER_FACT_RESULT) {
        f->result = er_arena_memdup(&s->fx.arena, result, len);
        return f->result ? 0 : er_sqlite_no_memory(&s->c);
    }
    return 0;
}

const char *
er_sqlite_data(struct er_store *s)
{
    return s->buf.failed ? NULL : er_arena_memdup(&s->fx.arena, s->buf.data, s->buf.len);
}

int
er_sqlite_ready(struct er_store *s, const struct er_brief *t)
{
    struct er_ready *ready = er_sqlite_grow(&s->fx.arena, s->fx.ready, s->fx.n_ready,
                                            &s->ready_size, sizeof *ready);
    if (!ready) {
        return er_sqlite_no_memory(&s->c);
    }
    s->fx.ready = ready;
    ready[s->fx.n_ready++] = (struct er_ready){.id = t->id,
                                               .lane = t->lane->id,
                                               .rank = t->rank,
                                               .cost = t->cost,
                                               .again = t->attempt > 0};
    return 0;
}

void
er_sqlite_not_ready(struct er_store *s, er_task_id id, int64_t lane)
{
    struct er_ready *ready = s->fx.ready;
    for (size_t i = s->fx.n_ready; i > 0; i--) { /* it is one of the last, mostly */
        if (ready[i - 1].id == id && ready[i - 1].lane == lane) {
            memmove(ready + i - 1, ready + i, (s->fx.n_ready - i) * sizeof *ready);
            s->fx.n_ready--;
            return;
        }
    }
}

size_t
er_store_fresh(const struct er_store *s, const struct er_ready **out, int64_t *out_total)
{
    *out = s->fx.ready;
    *out_total = s->ready_total + (int64_t)s->fx.n_ready;
    return s->fx.n_ready;
}

int
er_sqlite_new_lane(struct er_store *s, struct er_lane_entry *lane)
{
    struct er_lane *lanes = er_sqlite_grow(&s->fx.arena, s->fx.lanes, s->fx.n_lanes,
                                           &s->lanes_size, sizeof *lanes);
    char *limit_key = lanes ? er_arena_strdup(&s->fx.arena, lane->limit_key) : NULL;
    if (!limit_key || copy_lane_names(s, lane)) {
        return er_sqlite_no_memory(&s->c);
    }
    s->fx.lanes = lanes;
    lanes[s->fx.n_lanes++] = (struct er_lane){
        .id = lane->id,
        .queue = lane->fx_queue,
        .type = lane->fx_type,
        .limit_key = limit_key,
    };
    return 0;
}

void
er_sqlite_next_due(struct er_store *s, er_usec at)
{
    if (at < s->fx.next_due) {
        s->fx.next_due = at;
    }
}

/* "1.500"; null when < 0. */
static void
add_seconds(struct er_buf *b, er_usec span)
{
    if (span < 0) {
        er_buf_add_str(b, "null");
        return;
    }
    int ms = (int)(span / ER_USEC_PER_MS % 1000);
    char fraction[4] = {'.', (char)('0' + ms / 100), (char)('0' + ms / 10 % 10),
                        (char)('0' + ms % 10)};
    er_buf_add_i64(b, span / ER_USEC_PER_SEC);
    er_buf_add(b, fraction, sizeof fraction);
}

void
er_sqlite_add_moment(struct er_buf *b, er_usec at)
{
    if (at == ER_NEVER) {
        er_buf_add_str(b, "null");
        return;
    }
    char text[ER_RFC3339_SIZE];
    er_time_format(at, text);
    er_buf_add_char(b, '"');
    er_buf_add_str(b, text);
    er_buf_add_char(b, '"');
}

int
er_sqlite_fact_waits(struct er_store *s, er_usec now, const struct er_brief *t)
{
    er_usec expected;
    int rc = er_sqlite_expected(s, t->signature, &expected);
    if (rc) {
        return rc;
    }
    struct er_buf *b = &s->buf;
    er_buf_clear(b);
    er_buf_add_str(b, "{\"priority\":");
    er_buf_add_i64(b, t->priority);
    er_buf_add_str(b, ",\"estimated_s\":");
    add_seconds(b, expected > 0 ? expected : -1);
    er_buf_add_str(b, ",\"run_at\":");
    er_sqlite_add_moment(b, t->state == ER_TASK_QUEUED ? ER_NEVER : t->run_at);
    er_buf_add_str(b, ",\"waiting_for\":");
    er_buf_add_i64(b, t->waiting);
    er_buf_add_str(b, ",\"meta\":");
    er_buf_add_str(b, t->meta ? t->meta : "{}");
    er_buf_add_char(b, '}');
    return er_sqlite_fact(s, now, er_event_of_state(t->state), t, t->attempt,
                          er_sqlite_data(s));
}

int
er_sqlite_fact_cancelled(struct er_store *s, er_usec now, const struct er_brief *t,
                         const char *reason, er_task_id by_id, const char *by)
{
    struct er_buf *b = &s->buf;
    er_buf_clear(b);
    er_buf_add_str(b, "{\"reason\":");
    er_buf_add_json_str(b, reason);
    er_buf_add_str(b, ",\"by\":");
    if (by_id != 0) {
        er_buf_add_i64(b, by_id);
    } else {
        er_buf_add_json_str(b, by);
    }
    er_buf_add_char(b, '}');
    return er_sqlite_fact(s, now, ER_EVENT_TASK_CANCELLED, t, t->attempt,
                          er_sqlite_data(s));
}

int
er_sqlite_fact_pause(struct er_store *s, er_usec now, const struct er_brief *t,
                     bool paused, const char *reason)
{
    er_buf_clear(&s->buf);
    er_buf_add_str(&s->buf, "{\"reason\":");
    er_buf_add_json_str(&s->buf, reason);
    er_buf_add_str(&s->buf, ",\"resumes_at\":null}");
    return er_sqlite_fact(s, now, paused ? ER_EVENT_TASK_PAUSED : ER_EVENT_TASK_RESUMED,
                          t, t->attempt, er_sqlite_data(s));
}

int
er_sqlite_fact_held(struct er_store *s, er_usec now, const struct er_brief *t, bool held)
{
    return er_sqlite_fact_pause(s, now, t, held, "user");
}
