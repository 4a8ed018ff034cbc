/* SPDX-License-Identifier: MIT */
/* A clock that stands still until it is moved. wall, mono and boot move together. */
#include "lib/testing.h"

#include "base/count.h"
#include "base/mem.h"
#include "lib/handle.h"

struct er_testing {
    struct errand *e;
    struct er_clock clock;
    struct er_count now; /* wall */
    er_usec mono_offset;
};

static er_usec
read_wall(void *ctx)
{
    const struct er_testing *t = ctx;
    return er_count_see(&t->now);
}

static er_usec
read_mono(void *ctx)
{
    const struct er_testing *t = ctx;
    return er_count_see(&t->now) - t->mono_offset;
}

struct er_testing *
er_testing_new(struct errand *e)
{
    struct er_testing *t = er_zalloc(sizeof *t);
    if (t) {
        er_usec now = er_clock_wall(er_clock_system());
        t->e = e;
        t->mono_offset = now - ER_USEC_PER_SEC;
        er_count_set(&t->now, now);
        t->clock = (struct er_clock){read_wall, read_mono, read_mono, t};
    }
    return t;
}

void
er_testing_free(struct er_testing *t)
{
    er_free(t);
}

const struct er_clock *
er_testing_clock(const struct er_testing *t)
{
    return &t->clock;
}
