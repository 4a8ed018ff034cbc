/* SPDX-License-Identifier: MIT */
/* Users: they submit tasks of all kinds, and ask for changes of what is there. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "check.h"

/* ---- which task ---- */

/* A task of the model, from a random place on the first that matches; NULL = none. */
static const struct mtask *
some_task(bool (*is)(const struct mtask *t))
{
    int from = (int)rnd((uint64_t)model.now.n);
    for (int i = 0; i < model.now.n; i++) {
        const struct mtask *t = &model.tasks[(from + i) % model.now.n];
        if (is(t)) {
            return t;
        }
    }
    return NULL;
}

static bool
is_any(const struct mtask *t)
{
    return !t->removed || wall() - t->removed_at < 30 * MIN;
}

static bool
is_open(const struct mtask *t)
{
    return !t->removed && !er_task_state_is_final(t->state);
}

static bool
is_final(const struct mtask *t)
{
    return !t->removed && er_task_state_is_final(t->state);
}

static bool
is_held(const struct mtask *t)
{
    return m_waits(t) && (t->held || t->state == ER_TASK_PAUSED);
}

static bool
is_running(const struct mtask *t)
{
    return !t->removed && t->session != 0;
}

/* ---- submits ---- */

struct submit {
    struct er_submit s;
    int64_t life;
};

static void
on_submitted(struct er_submit *s, int rc)
{
    struct submit *sub = (struct submit *)(void *)s;
    if (sub->life == sim.life && !sim.tearing && rc == 0) {
        for (size_t i = 0; i < s->n; i++) {
            if (s->rows[i].status == 0) {
                check_submitted(&s->rows[i]);
            }
        }
    }
    er_arena_free(&s->arena);
    free(sub);
}

static void
add_after(struct er_submit *s, struct er_new_task *row, size_t i, bool refs)
{
    struct er_new_after *after = er_arena_alloc(&s->arena, MAX_AFTER * sizeof *after);
    ER_ASSERT(after);
    row->after = after;
    for (uint64_t k = 1 + rnd(MAX_AFTER); k > 0; k--) {
        struct er_new_after a = {.ref = -1};
        a.when = one_in(2) ? ER_AFTER_OK : (enum er_after_when)rnd(3);
        if (refs && i > 0) {
            a.ref = (int)rnd(i);
        } else {
            const struct mtask *t = some_task(one_in(4) ? is_any : is_open);
            a.id = t ? t->id : 0;
        }
        bool skip = a.id == 0 && a.ref < 0;
        for (size_t j = 0; j < row->n_after; j++) {
            skip = skip || (after[j].id == a.id && after[j].ref == a.ref);
        }
        if (!skip) {
            after[row->n_after++] = a;
        }
    }
}

static struct er_new_task
new_task(void)
{
    struct er_new_task row = {
        .type = type_name(one_in(2) ? 0 : (int)rnd(N_TYPES)),
        .queue = queue_name(one_in(2) ? 0 : (int)rnd(N_QUEUES)),
        .limit_key = key_name(one_in(2) ? 0 : (int)rnd(N_KEYS)),
        .name = "t",
        .args_json = "{}",
        .correlation = "c",
        .signature = rnd(4),
        .body_hash = rnd(2),
        .priority = one_in(3) ? (int)rnd(7) - 3 : 0,
        .retries = (int)rnd(4),
        .backoff_for = one_in(10) ? 45 * SEC : (er_usec)rnd(10 * SEC),
        .grace_for = 5 * SEC,
        .run_at = chance(15) ? wall() + rnd_span(10 * MIN) : ER_NEVER,
        .run_at_fixed = one_in(3),
        .expires_at = chance(10) ? wall() + rnd_span(10 * MIN) : ER_NEVER,
        .on_lost = one_in(2) ? ER_ON_LOST_RUN : (enum er_on_lost)rnd(3),
        .held = chance(3),
    };
    return row;
}

void
users_submit(void)
{
    struct submit *sub = calloc(1, sizeof *sub);
    struct er_submit *s = &sub->s;
    size_t n = one_in(5) ? 1 + rnd(8) : 1;
    bool refs = n > 1 && one_in(2);
    s->atomic = refs || one_in(3);
    s->rows = er_arena_alloc(&s->arena, n * sizeof *s->rows);
    ER_ASSERT(s->rows);
    s->n = n;
    for (size_t i = 0; i < n; i++) {
        s->rows[i] = new_task();
        if (one_in(10) && !refs) {
            char key[24];
            (void)snprintf(key, sizeof key, "k%d", 1 + (int)rnd(50));
            s->rows[i].key = er_arena_strdup(&s->arena, key);
        }
        if (chance(refs ? 70 : 20)) {
            add_after(s, &s->rows[i], i, refs);
        }
    }
    sub->life = sim.life;
    s->done = on_submitted;
    sim.n.submits++;
    sim_note("submit %zu%s", n, s->atomic ? " atomic" : "");
    er_engine_submit(sim.e, s);
}

/* ---- changes ---- */

struct change {
    struct er_change_request c;
    struct er_change row;
    int64_t life;
};

static void
on_changed(struct er_change_request *c, int rc)
{
    struct change *ch = (struct change *)(void *)c;
    bool here = ch->life == sim.life && !sim.tearing && rc == 0;
    if (here && c->kind == ER_CHANGE_REQUEUE && ch->row.status == 0) {
        check_asked_requeue(ch->row.id, ch->row.attempt, c->hold);
    }
    er_arena_free(&c->arena);
    free(ch);
}

static void
plan_edit(struct er_edit *e)
{
    e->has_priority = one_in(2);
    e->priority = (int)rnd(7) - 3;
    e->has_retries = one_in(4);
    e->retries = (int)rnd(4);
    e->queue = one_in(3) ? queue_name((int)rnd(N_QUEUES)) : NULL;
    e->limit_key = one_in(4) ? key_name(1 + (int)rnd(N_KEYS - 1)) : NULL;
    e->has_run_at = one_in(3);
    e->run_at = one_in(3) ? ER_NEVER : wall() + rnd_span(5 * MIN);
    e->run_at_fixed = one_in(2);
}

static void
post_change(enum er_change_kind kind, const struct mtask *t)
{
    if (!t) {
        return;
    }
    struct change *ch = calloc(1, sizeof *ch);
    ch->row.id = one_in(200) ? model.now.last + 1000 : t->id;
    ch->life = sim.life;
    ch->c.kind = kind;
    ch->c.rows = &ch->row;
    ch->c.n = 1;
    ch->c.reason = "asked";
    ch->c.by = "someone";
    ch->c.hold = one_in(4);
    ch->c.done = on_changed;
    if (kind == ER_CHANGE_EDIT) {
        plan_edit(&ch->c.edit);
    }
    sim_note("change %d of task %lld", (int)kind, (long long)ch->row.id);
    er_engine_change(sim.e, &ch->c);
}

struct queue_put {
    struct er_op op;
    struct er_queue queue;
    int64_t life;
    bool remove;
};

static int
run_queue_put(struct er_op *op, struct er_store *s, er_usec now)
{
    struct queue_put *p = (struct queue_put *)(void *)op;
    return p->remove ? er_store_queue_remove(s, now, p->queue.name)
                     : er_store_queue_put(s, now, &p->queue);
}

static void
done_queue_put(struct er_op *op, int rc)
{
    struct queue_put *p = (struct queue_put *)(void *)op;
    if (p->life == sim.life && !sim.tearing && rc == 0) {
        for (int q = 0; q < N_QUEUES; q++) {
            if (strcmp(queue_name(q), p->queue.name) == 0) {
                check_told_queue(q, p->queue.concurrency, p->queue.paused);
            }
        }
        if (p->remove) {
            er_engine_queue_removed(sim.e, p->queue.name);
        } else {
            er_engine_queue_changed(sim.e, &p->queue);
        }
    }
    free(p);
}

static void
change_queue(void)
{
    struct queue_put *p = calloc(1, sizeof *p);
    p->op.run = run_queue_put;
    p->op.done = done_queue_put;
    p->life = sim.life;
    p->queue.name = queue_name((int)rnd(N_QUEUES));
    p->remove = one_in(8);
    if (!p->remove) {
        p->queue.concurrency = one_in(3) ? 0 : 1 + (int)rnd(3);
        p->queue.size = one_in(4) ? 5 + (int64_t)rnd(20) : 0;
        p->queue.paused = one_in(5);
    }
    sim_note("queue %s %d %lld %d", p->queue.name, p->queue.concurrency,
             (long long)p->queue.size, p->queue.paused);
    er_engine_post(sim.e, &p->op);
}

void
users_change(void)
{
    uint64_t dice = rnd(100);
    if (dice < 16) {
        post_change(ER_CHANGE_CANCEL, some_task(one_in(10) ? is_any : is_open));
    } else if (dice < 26) {
        post_change(ER_CHANGE_PAUSE, some_task(one_in(10) ? is_any : m_waits));
    } else if (dice < 44) {
        post_change(ER_CHANGE_RESUME, some_task(one_in(5) ? is_any : is_held));
    } else if (dice < 56) {
        post_change(ER_CHANGE_RETRY, some_task(one_in(10) ? is_any : is_final));
    } else if (dice < 62) {
        post_change(ER_CHANGE_REMOVE, some_task(one_in(10) ? is_any : is_final));
    } else if (dice < 78) {
        post_change(ER_CHANGE_EDIT, some_task(one_in(10) ? is_any : m_waits));
    } else if (dice < 90) {
        post_change(ER_CHANGE_REQUEUE, some_task(one_in(10) ? is_any : is_running));
    } else {
        change_queue();
    }
}
