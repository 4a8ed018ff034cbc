/* SPDX-License-Identifier: MIT */
/* What all commands of `errand` share: the table entry that describes one, and the state
 * of the running one. Each cmd_*.c defines one or a few entries; main.c lists them; help,
 * the completions and the check of the man page are made from that list. One thread. */
#ifndef ER_APP_APP_H
#define ER_APP_APP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "app/options.h"
#include "base/buf.h"
#include "base/error.h"
#include "wire/client.h"
#include "wire/places.h"

struct er_app {
    struct er_places places; /* filled in by er_daemon_places */
    bool has_places;
    char *socket; /* where the daemon was found; NULL = places.socket */
    bool no_autostart;
    bool elsewhere;   /* --socket names another place than the instance's own */
    er_usec until;    /* mono; when answers are not waited for any more; 0 = never */
    er_usec each;     /* no answer may take longer than this; 0 = any time */
    int daemon;       /* the pid of whom we are connected to, or were; 0 = unknown */
    bool told_slow;   /* that the daemon does not answer: once a command */
    bool told_silent; /* the same of a worker */
    er_usec
        silent_until; /* mono; the wait for a worker that is silent now ends; 0 = none */
    bool connected_once;      /* so that a broken connection is worth a second try */
    struct er_client *client; /* NULL = not connected */
    json_t *problem;          /* the last answer that was an error, or NULL */
    const struct er_cmd *cmd;
    int rest; /* operands of the command before `--`; -1 = there was none */
};

#define ER_CMD_TABLES 3 /* option tables of one command, for the same data */
struct er_cmd {
    const char *name;
    const char *operands; /* for the usage line: "ID..." */
    const char *summary;  /* one line, without a full stop */
    const char *text;     /* more for `errand help NAME`, or NULL */
    const char *group;    /* its heading in `errand help`; NULL = as the one before */
    const struct er_opt
        *opts[ER_CMD_TABLES]; /* each ends with a zeroed entry; the rest NULL */
    size_t data_size;         /* of the struct the options are put into */
    int min, max;             /* operands; max -1 = any number */
    bool stop_early;          /* options end at the first operand */
    /* Runs it with the cleared and filled data: the exit code. */
    int (*exec)(struct er_app *app, void *data, int n, char **args);
};

/* All of them, in the order of help; NULL at the end. */
extern const struct er_cmd *const er_commands[];
const struct er_cmd *er_command_find(const char *name);

/* Options that every command takes. */
struct er_common {
    bool help, no_autostart;
    const char *socket; /* NULL = where the places say */
};
extern const struct er_opt er_common_opts[];

/* Prints "errand: TEXT" on standard error (credentials masked, control bytes dropped) and
 * returns the exit code of the error. */
int er_app_fail(int code, const struct er_err *err);
/* The same with words of one's own. */
int er_app_failf(int code, const char *fmt, ...) ER_PRINTF(2, 3);
/* A note on standard error: "errand: ...". */
void er_app_note(const char *fmt, ...) ER_PRINTF(1, 2);
/* Writes a buffer to standard output; 0, or the exit code when that fails (a full disk).
 */
int er_app_out(const struct er_buf *b);
/* The value of an ERRAND_* variable that says yes or no; false when unset, empty, 0, no,
 * false or off. */
bool er_app_env_flag(const char *name);

#endif
