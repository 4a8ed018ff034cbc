/* SPDX-License-Identifier: MIT */
/* The checks of errand doctor: each is noted with its name, whether all is well, what was
 * seen, and what to do where it is not. */
#ifndef ER_APP_DOCTOR_H
#define ER_APP_DOCTOR_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "wire/places.h"

struct er_doctor {
    json_t *checks; /* array of {name, ok, detail, advice} */
    int bad;
    int daemon;     /* pid of the daemon that answers; 0 = none does */
    bool may_start; /* the next command starts a daemon when none answers */
    bool hangs;     /* it takes connections, and does not answer */
    bool fails;     /* it answers, but with an error */
};
#define ER_DOCTOR_HANGS                                                                  \
    "it hangs, or is stopped: kill -CONT lets a stopped one go on; else look into its "  \
    "log, and kill -9 it if it stays so: the next command starts another one, and no "   \
    "task is lost"

/* Notes one check; the advice (NULL = none) only where it is not ok. One that was noted
 * by that name already (the daemon knows better) is noted again only when it is not
 * ok. */
void er_doctor_note(struct er_doctor *d, const char *name, bool ok, const char *advice,
                    const char *fmt, ...) ER_PRINTF(5, 6);

/* How the daemon's last start ended, from its log; false when it did not fail, or that is
 * not known. */
bool er_doctor_start(struct er_doctor *d, const struct er_places *p);
/* Whether no command can start a daemon, since something of the wrong kind lies at a
 * path of this instance, which er_doctor_files names. */
bool er_doctor_is_blocked(const struct er_places *p);
/* What the files say, also without a daemon: folders, room on the disk, the store, its
 * lock, the socket, locks of workers, the daemon's log. */
void er_doctor_files(struct er_doctor *d, const struct er_places *p);
/* The machine: clocks, limits on open files, processes and inotify. */
void er_doctor_machine(struct er_doctor *d, const struct er_places *p);

#endif
