/* SPDX-License-Identifier: MIT */
/* A list of jobs, of which the first is under way; who has ended calls er_serial_next,
 * also after a failure, or all behind it wait for ever. */
#include "api/serial.h"

void
er_serial_init(struct er_serial *s)
{
    s->first = NULL;
    s->end = &s->first;
}

void
er_serial_post(struct er_serial *s, struct er_serial_job *job)
{
    bool idle = !s->first;
    job->next = NULL;
    *s->end = job;
    s->end = &job->next;
    if (idle) {
        job->start(job);
    }
}

void
er_serial_next(struct er_serial *s)
{
    s->first = s->first->next;
    if (!s->first) {
        s->end = &s->first;
    } else {
        s->first->start(s->first);
    }
}
