/* SPDX-License-Identifier: MIT */
/* The claim stream: connects, says hello, hands every line of the answer to orders.h, and
 * connects again when the daemon is gone and back. Loop thread. */
#ifndef ER_WORK_LINK_H
#define ER_WORK_LINK_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/clock.h"
#include "work/conn.h"
#include "work/path_watch.h"
#include "work/timer.h"

struct er_worker;

enum er_link_state {
    ER_LINK_OFF,   /* not wanted */
    ER_LINK_DOWN,  /* waits for the socket */
    ER_LINK_HELLO, /* connected, not welcome yet */
    ER_LINK_UP,
};

struct er_daemon_link {
    struct er_worker *worker;
    enum er_link_state state;
    struct er_conn conn;
    struct er_buf line; /* of a line that is not whole yet; or the words of a refusal */
    struct er_path_watch watcher; /* on while there is no connection */
    bool try_wanted;       /* something has changed there: er_link_run tries to connect */
    struct er_timer retry; /* only while the socket is there but refuses us */
    er_usec retry_for;
    bool said; /* the log has a line about this outage */
};

void er_link_init(struct er_daemon_link *l, struct er_worker *w);
/* Wants a connection from now on. */
void er_link_start(struct er_daemon_link *l);
/* Closes, and does not connect again. */
void er_link_stop(struct er_daemon_link *l);
/* Connects when something has changed; called before the loop goes to sleep. */
void er_link_run(struct er_daemon_link *l);
/* The welcome has come. */
void er_link_on_welcome(struct er_daemon_link *l);
static inline bool
er_link_is_up(const struct er_daemon_link *l)
{
    return l->state == ER_LINK_UP;
}

#endif
