/* SPDX-License-Identifier: MIT */
/* One query on the reader's thread: counters, queues, limits. Then `done` adds them to
 * an answer on the loop. When the store cannot be read the request is answered with
 * that, and the caller is not called back. */
#include "api/counts.h"

#include "api/settings.h"
#include "base/mem.h"

static void
run_counts(struct er_query *q, struct er_store_reader *r)
{
    struct er_counts *c = (struct er_counts *)(void *)q;
    q->rc = er_store_counters(r, &q->arena, &c->counters, &c->n);
    if (q->rc == 0) {
        q->rc = er_store_queues(r, &q->arena, &c->queues, &c->n_queues);
    }
    if (q->rc == 0) {
        q->rc = er_store_limits(r, &q->arena, &c->limits, &c->n_limits);
    }
    if (q->rc == 0 && c->call->name) {
        struct er_waiters_of of = {.queue = c->call->name};
        q->rc = er_store_waiters(r, &of, ER_WAITERS_SHOWN, &q->arena, &c->waiters);
    }
}

static void
done_counts(struct er_query *q)
{
    struct er_counts *c = (struct er_counts *)(void *)q;
    struct er_call *call = c->call;
    struct er_buf b;
    er_buf_init(&b, 0);
    if (q->rc) {
        er_call_problem(call, q->rc, NULL, "cannot read the counters: %s",
                        er_error_meaning(q->rc));
    } else if (call->req && !call->answered) {
        c->answer(c, &b);
        if (!call->answered) {
            call->answered = true;
            er_request_reply(call->req, 200, c->type, &b);
        }
    }
    er_buf_fini(&b);
    er_call_release(call);
    er_arena_free(&q->arena);
    er_free(c);
}

void
er_counts_query(struct er_call *call, const char *type,
                void (*answer)(struct er_counts *c, struct er_buf *b))
{
    struct er_counts *c = er_xzalloc(sizeof *c);
    c->q.run = run_counts;
    c->q.done = done_counts;
    c->call = call;
    c->answer = answer;
    c->type = type;
    er_call_hold(call);
    er_engine_query(call->api->engine, &c->q);
}

void
er_counts_add_states(struct er_buf *b, const int64_t *n)
{
    for (int st = 0; st < ER_TASK_STATES; st++) {
        er_buf_addf(b, "%s\"%s\":%lld", st ? "," : "{",
                    er_task_state_word((enum er_task_state)st), (long long)n[st]);
    }
    er_buf_add_char(b, '}');
}

void
er_counts_add_sum(struct er_buf *b, const struct er_counter *counters, size_t n)
{
    int64_t sum[ER_TASK_STATES] = {0};
    for (size_t i = 0; i < n; i++) {
        for (int st = 0; st < ER_TASK_STATES; st++) {
            sum[st] += counters[i].n[st];
        }
    }
    er_counts_add_states(b, sum);
}
