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
    return is_open(t) && (t->held || t->state == ER_TASK_PAUSED);
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
        .cost = one_in(4) ? 1 + (int64_t)rnd(USERS_MAX_COST) : 0,
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
    const struct mtask *t = m_there(ch->row.id);
    bool put_back = c->kind == ER_CHANGE_REQUEUE || c->free_slot ||
                    (c->kind == ER_CHANGE_PAUSE && t && t->type == HANDLED);
    if (here && ch->row.status == 0 && ch->row.attempt > 0) {
        judge_asked(ch->row.id, ch->row.attempt, put_back);
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
    e->has_cost = one_in(5);
    e->cost = 1 + (int64_t)rnd(USERS_MAX_COST);
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
    ch->row.id = one_in(200) && !sim.calm ? model.now.last + 1000 : t->id;
    ch->life = sim.life;
    ch->c.kind = kind;
    ch->c.rows = &ch->row;
    ch->c.n = 1;
    ch->c.reason = "asked";
    ch->c.by = "someone";
    ch->c.hold = one_in(4);
    ch->c.free_slot = kind == ER_CHANGE_PAUSE && one_in(3);
    ch->c.done = on_changed;
    if (kind == ER_CHANGE_EDIT) {
        plan_edit(&ch->c.edit);
    }
    sim_note("change %d of task %lld", (int)kind, (long long)ch->row.id);
    er_engine_change(sim.e, &ch->c);
}

/* ---- settings ---- */

static const struct er_rate rates[] = {
    {.n = 60, .per_for = MIN, .burst = 1},
    {.n = 3, .per_for = 10 * SEC, .burst = 1, .starts = true},
    {.n = 20, .per_for = MIN, .burst = 5},
    {.n = 5, .per_for = SEC, .burst = 5, .starts = true},
};

/* A put or removal of the settings of one gate. */
struct put {
    struct er_op op;
    int64_t life;
    int gate; /* see gate_queue */
    bool remove, paused;
    int concurrency;
    int64_t size;
    struct er_rate rates[ER_MAX_RATES];
    size_t n_rates;
    char json[80];
};

static struct er_queue
queue_of(const struct put *p)
{
    struct er_queue q = {.name = queue_name(p->gate),
                         .concurrency = p->concurrency,
                         .size = p->size,
                         .paused = p->paused,
                         .n_rates = p->n_rates};
    memcpy(q.rates, p->rates, sizeof q.rates);
    return q;
}

static struct er_limit
limit_of(const struct put *p)
{
    struct er_limit l = {.key = key_name(p->gate - gate_key(0)),
                         .concurrency = p->concurrency,
                         .n_rates = p->n_rates};
    memcpy(l.rates, p->rates, sizeof l.rates);
    return l;
}

static int
run_put(struct er_op *op, struct er_store *s, er_usec now)
{
    const struct put *p = (const struct put *)(const void *)op;
    if (p->gate < gate_type(0)) {
        struct er_queue q = queue_of(p);
        return p->remove ? er_store_queue_remove(s, now, q.name)
                         : er_store_queue_put(s, now, &q);
    }
    if (p->gate < gate_key(0)) {
        struct er_type_row row = {type_name(p->gate - gate_type(0)), p->json};
        return er_store_type_put(s, now, &row);
    }
    struct er_limit l = limit_of(p);
    return p->remove ? er_store_limit_remove(s, now, l.key)
                     : er_store_limit_put(s, now, &l);
}

static void
tell_engine(const struct put *p)
{
    if (p->gate < gate_type(0)) {
        struct er_queue q = queue_of(p);
        if (p->remove) {
            er_engine_queue_removed(sim.e, q.name);
        } else {
            er_engine_queue_changed(sim.e, &q);
        }
    } else if (p->gate < gate_key(0)) {
        struct er_type t;
        er_type_init(&t, type_name(p->gate - gate_type(0)));
        const char *command[] = {"true"};
        t.concurrency = p->concurrency;
        t.handler = p->gate == gate_type(HANDLED);
        t.command = command;
        t.n_command = p->gate == gate_type(1) ? 1 : 0;
        er_engine_type_changed(sim.e, &t);
    } else if (p->remove) {
        er_engine_limit_removed(sim.e, key_name(p->gate - gate_key(0)));
    } else {
        struct er_limit l = limit_of(p);
        er_engine_limit_changed(sim.e, &l);
    }
}

static void
done_put(struct er_op *op, int rc)
{
    struct put *p = (struct put *)(void *)op;
    if (p->life == sim.life && !sim.tearing && rc == 0) {
        limits_told(p->gate, p->concurrency, p->paused);
        limits_told_rates(p->gate, p->rates, p->n_rates);
        tell_engine(p);
    }
    free(p);
}

static void
write_type(struct put *p)
{
    static const char *const how[N_TYPES] = {"", "\"command\":[\"true\"]",
                                             "\"handler\":true"};
    char limit[32] = "";
    if (p->concurrency > 0) {
        (void)snprintf(limit, sizeof limit, "\"concurrency\":%d", p->concurrency);
    }
    bool type = p->gate >= gate_type(0) && p->gate < gate_key(0);
    const char *more = type ? how[p->gate - gate_type(0)] : "";
    (void)snprintf(p->json, sizeof p->json, "{%s%s%s}", limit, *limit && *more ? "," : "",
                   more);
}

void
users_define(void)
{
    for (int i = 1; i < N_TYPES; i++) {
        if (!er_engine_has_type(sim.e, type_name(i))) {
            struct put *p = calloc(1, sizeof *p);
            p->op.run = run_put;
            p->op.done = done_put;
            p->life = sim.life;
            p->gate = gate_type(i);
            write_type(p);
            er_engine_post(sim.e, &p->op);
        }
    }
}

static void
change_settings(void)
{
    struct put *p = calloc(1, sizeof *p);
    p->op.run = run_put;
    p->op.done = done_put;
    p->life = sim.life;
    do {
        p->gate = (int)rnd(N_GATES);
    } while (p->gate == gate_key(0)); /* no key */
    bool type = p->gate >= gate_type(0) && p->gate < gate_key(0);
    p->remove = !type && one_in(6);
    if (!p->remove) {
        p->concurrency = one_in(3) ? 0 : 1 + (int)rnd(3);
        p->size = p->gate < gate_type(0) && one_in(4) ? 5 + (int64_t)rnd(20) : 0;
        p->paused = p->gate < gate_type(0) && one_in(6);
        p->n_rates = !type && one_in(3) ? 1 + rnd(2) : 0;
        for (size_t i = 0; i < p->n_rates; i++) {
            p->rates[i] = rates[rnd(sizeof rates / sizeof *rates)];
        }
    }
    write_type(p);
    sim_note("settings of %d: %d %lld %d %zu%s", p->gate, p->concurrency,
             (long long)p->size, p->paused, p->n_rates, p->remove ? " gone" : "");
    er_engine_post(sim.e, &p->op);
}

/* ---- switches ---- */

struct toggle {
    struct er_pause_request p;
    int64_t life;
    int queue; /* -1 = everything */
};

static void
on_toggled(struct er_pause_request *p, int rc)
{
    struct toggle *s = (struct toggle *)(void *)p;
    if (s->life == sim.life && !sim.tearing && rc == 0) {
        for (int i = 0; i < model.now.n && p->paused; i++) {
            const struct mtask *t = &model.tasks[i];
            if (t->session != 0 && (p->free_slot || t->type == HANDLED) &&
                (s->queue < 0 || s->queue == t->queue)) {
                judge_asked(t->id, t->attempt, true);
            }
        }
    }
    free(s);
}

static void
toggle(int queue, bool paused, bool free_slot)
{
    struct toggle *s = calloc(1, sizeof *s);
    s->life = sim.life;
    s->queue = queue;
    s->p.queue = queue < 0 ? NULL : queue_name(queue);
    s->p.paused = paused;
    s->p.free_slot = free_slot;
    s->p.done = on_toggled;
    sim_note("%s %d%s", paused ? "pause" : "resume", queue, free_slot ? " freely" : "");
    er_engine_pause(sim.e, &s->p);
}

static void
change_switch(void)
{
    int queue = one_in(3) ? -1 : (int)rnd(N_QUEUES);
    bool is = queue < 0 ? model.now.all_paused : model.now.gates[queue].paused;
    toggle(queue, one_in(8) ? is : !is && one_in(2), one_in(3));
}

void
users_heal(void)
{
    users_define();
    workers_heal();
    for (int i = 0; i < model.now.n; i++) {
        const struct mtask *t = &model.tasks[i];
        if (is_open(t) && (t->held || t->state == ER_TASK_PAUSED)) {
            post_change(ER_CHANGE_RESUME, t);
        }
    }
    for (int q = -1; q < N_QUEUES; q++) {
        if (q < 0 ? model.now.all_paused : model.now.gates[q].paused) {
            toggle(q, false, false);
        }
    }
}

void
users_change(void)
{
    uint64_t dice = rnd(100);
    if (dice < 14) {
        post_change(ER_CHANGE_CANCEL, some_task(one_in(10) ? is_any : is_open));
    } else if (dice < 26) {
        post_change(ER_CHANGE_PAUSE, some_task(one_in(10)  ? is_any
                                               : one_in(2) ? m_waits
                                                           : is_running));
    } else if (dice < 44) {
        post_change(ER_CHANGE_RESUME, some_task(one_in(5) ? is_any : is_held));
    } else if (dice < 56) {
        post_change(ER_CHANGE_RETRY, some_task(one_in(10) ? is_any : is_final));
    } else if (dice < 62) {
        post_change(ER_CHANGE_REMOVE, some_task(one_in(10) ? is_any : is_final));
    } else if (dice < 76) {
        for (uint64_t n = one_in(3) ? 8 : 1; n > 0; n--) { /* all that wait, one by one */
            post_change(ER_CHANGE_EDIT, some_task(one_in(10)  ? is_any
                                                  : one_in(4) ? m_waits
                                                              : m_claimable));
        }
    } else if (dice < 82) {
        post_change(ER_CHANGE_REQUEUE, some_task(one_in(10) ? is_any : is_running));
    } else if (dice < 88) {
        change_switch();
    } else {
        change_settings();
    }
}
