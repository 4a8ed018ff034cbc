/* SPDX-License-Identifier: MIT */
/* Changes that read, merge and write, one at a time: what one has read is still true when
 * it writes, as far as all who write the same go through the same lane. Loop thread. */
#ifndef ER_API_SERIAL_H
#define ER_API_SERIAL_H

#include <stdbool.h>
#include <stddef.h>

struct er_serial_job {
    struct er_serial_job *next; /* private */
    void (*start)(struct er_serial_job *job);
};
struct er_serial {
    struct er_serial_job *first, **end; /* private; the first is under way */
};
void er_serial_init(struct er_serial *s);
/* Starts the job, now or when those before it have ended. */
void er_serial_post(struct er_serial *s, struct er_serial_job *job);
/* The job under way has ended (its memory may go afterwards): starts the next. */
void er_serial_next(struct er_serial *s);

#endif
