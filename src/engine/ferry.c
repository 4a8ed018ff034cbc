/* SPDX-License-Identifier: MIT */
/* Happy path: post (loop) -> flush (loop) -> take all that waits (store thread) -> begin,
 * run each, and what has come meanwhile, commit -> one letter back -> effects, then each
 * done (loop).
 * Failure modes: begin or commit fails, or a verb reports a fault of disk or memory: the
 * transaction is rolled back and every operation of the crossing gets the code. */
#include "engine/ferry.h"

#include "base/mem.h"
#include "base/mutant.h"

/* One flush: a chain of operations. Comes back as a letter with several joined. */
struct cargo {
    struct er_letter letter;
    struct er_ferry *ferry;
    struct er_op *first, **last;
    struct cargo *more; /* further cargoes of the same crossing, to be freed */
    struct er_effects effects;
    int rc;
};

#define LATE_MAX 4 /* looks at what has come while a transaction runs */

struct er_ferry {
    struct er_loop *loop;
    struct er_store *store;
    const struct er_clock *clock;
    er_ferry_effects_fn *on_effects;
    void *ctx;
    bool is_inline;       /* no thread */
    bool stopped;         /* er_ferry_stop */
    struct er_crew *crew; /* NULL after er_ferry_stop */
    struct cargo *pier;   /* what the next flush takes; NULL = empty */
};

static void
deliver_cargo(struct cargo *c)
{
    struct er_ferry *f = c->ferry;
    int rc = c->rc; /* c is the first of the parts that are freed below */
    if (rc == 0) {
        f->on_effects(f->ctx, &c->effects);
    }
    for (struct cargo *part = c; part;) {
        struct er_op *op = part->first;
        while (op) {
            struct er_op *next = op->next;
            op->done(op, rc && !ER_MUTANT(10) ? rc : op->rc);
            op = next;
        }
        struct cargo *more = part->more;
        er_free(part);
        part = more;
    }
}

static void
deliver(struct er_letter *letter)
{
    deliver_cargo((struct cargo *)(void *)letter);
}

/* Whether a verb's failure spoils the transaction it stands in. */
static bool
spoils(int rc)
{
    return rc == ER_EDISKFULL || rc == ER_EIO || rc == ER_ECORRUPT || rc == ER_ENOMEM ||
           rc == ER_EBUSY;
}

static int
run_all(struct er_ferry *f, struct cargo *first, er_usec now)
{
    for (struct cargo *c = first; c; c = c->more) {
        for (struct er_op *op = c->first; op; op = op->next) {
            op->rc = op->run(op, f->store, now);
            if (spoils(op->rc)) {
                return op->rc;
            }
        }
    }
    return 0;
}

/* Mails that are cargoes, chained. */
static struct cargo *
chain(struct er_mail *mail)
{
    struct cargo *first = (struct cargo *)(void *)mail;
    for (struct cargo *c = first; c; c = c->more) {
        c->more = (struct cargo *)(void *)c->letter.mail.next;
    }
    return first;
}

/* What has come since the crossing began goes with it: who has an operation in every
 * other crossing, because its answer is just too late for the next, has one in each. */
static struct cargo *
take_late(struct er_ferry *f, struct cargo *first)
{
    struct cargo *late = f->is_inline ? NULL : chain(er_crew_take_more(f->crew));
    struct cargo *last = first;
    while (late && last->more) {
        last = last->more;
    }
    last->more = late ? late : last->more;
    return late;
}

static int
run_crossing(struct er_ferry *f, struct cargo *first)
{
    struct cargo *c = first;
    int rc = 0;
    for (int i = 0; rc == 0 && c && i <= LATE_MAX; i++) {
        rc = run_all(f, c, er_clock_wall(f->clock));
        c = rc == 0 && i < LATE_MAX ? take_late(f, first) : NULL;
    }
    return rc;
}

static void
transact(struct er_ferry *f, struct cargo *first)
{
    int rc = er_store_begin(f->store);
    if (rc == 0) {
        rc = run_crossing(f, first);
        if (rc == 0) {
            rc = er_store_commit(f->store, &first->effects);
        } else {
            er_store_rollback(f->store);
        }
    }
    first->rc = rc;
}

static void
take(void *ctx, struct er_mail *mail)
{
    struct er_ferry *f = ctx;
    struct cargo *first = chain(mail);
    transact(f, first);
    first->letter.deliver = deliver;
    er_loop_post(f->loop, &first->letter);
}

int
er_ferry_start(struct er_loop *loop, struct er_store *store, const struct er_clock *clock,
               er_ferry_effects_fn *on_effects, void *ctx, struct er_ferry **out)
{
    struct er_ferry *f = er_zalloc(sizeof *f);
    if (!f) {
        return ER_ENOMEM;
    }
    f->loop = loop;
    f->store = store;
    f->clock = clock;
    f->on_effects = on_effects;
    f->ctx = ctx;
    int rc = er_crew_start_taking(loop, take, f, &f->crew);
    if (rc) {
        er_free(f);
        return rc;
    }
    *out = f;
    return 0;
}

int
er_ferry_start_inline(struct er_store *store, const struct er_clock *clock,
                      er_ferry_effects_fn *on_effects, void *ctx, struct er_ferry **out)
{
    struct er_ferry *f = er_zalloc(sizeof *f);
    if (!f) {
        return ER_ENOMEM;
    }
    f->is_inline = true;
    f->store = store;
    f->clock = clock;
    f->on_effects = on_effects;
    f->ctx = ctx;
    *out = f;
    return 0;
}

bool
er_ferry_cross(struct er_ferry *f)
{
    struct cargo *c = f->pier;
    f->pier = NULL;
    if (c && f->stopped) {
        c->rc = ER_ECLOSED;
    } else if (c) {
        transact(f, c);
    }
    if (c) {
        deliver_cargo(c);
    }
    return c != NULL;
}

void
er_ferry_stop(struct er_ferry *f)
{
    if (f && f->is_inline) {
        (void)er_ferry_cross(f);
        f->stopped = true;
        while (er_ferry_cross(f)) {
            /* what that caused is told that it is too late */
        }
    } else if (f) {
        er_ferry_flush(f);
        er_crew_stop(f->crew);
        f->crew = NULL;
    }
}

void
er_ferry_free(struct er_ferry *f)
{
    er_free(f);
}

static struct cargo *
get_pier(struct er_ferry *f)
{
    if (!f->pier) {
        f->pier = er_xzalloc(sizeof *f->pier);
        f->pier->ferry = f;
        f->pier->last = &f->pier->first;
    }
    return f->pier;
}

void
er_ferry_post(struct er_ferry *f, struct er_op *op)
{
    struct cargo *pier = get_pier(f);
    op->next = NULL;
    op->rc = 0;
    *pier->last = op;
    pier->last = &op->next;
}

void
er_ferry_post_first(struct er_ferry *f, struct er_op *op)
{
    struct cargo *pier = get_pier(f);
    op->next = pier->first;
    op->rc = 0;
    if (!pier->first) {
        pier->last = &op->next;
    }
    pier->first = op;
}

void
er_ferry_flush(struct er_ferry *f)
{
    if (f->pier && !f->is_inline) {
        struct cargo *c = f->pier;
        f->pier = NULL;
        if (f->crew) {
            er_crew_post_mail(f->crew, &c->letter.mail);
        } else {
            c->rc = ER_ECLOSED; /* after er_ferry_stop: told so, from the loop as ever */
            c->letter.deliver = deliver;
            er_loop_post(f->loop, &c->letter);
        }
    }
}
