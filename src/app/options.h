/* SPDX-License-Identifier: MIT */
/* Options of a command from a table: each entry says what the value is and where in the
 * command's struct it goes, so that the parser, the help, the completions and the check
 * of the man page all read the same list. Pure; any thread.
 *
 * `--name VALUE`, `--name=VALUE`, `-n VALUE`, `-nVALUE`, flags together (`-fn5`); `--`
 * ends the options. A flag may be given twice. */
#ifndef ER_APP_OPTIONS_H
#define ER_APP_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"

enum er_opt_kind {
    ER_OPT_FLAG, /* bool */
    ER_OPT_TEXT, /* const char *, borrowed from the arguments; "" is refused, and more
                    than `max` bytes unless that is 0 */
    ER_OPT_WORD, /* const char *: one of `words` */
    ER_OPT_INT,  /* struct er_opt_int, from min to max */
    ER_OPT_SPAN, /* struct er_opt_span: a duration */
    ER_OPT_LIST, /* struct er_opt_list of TEXTs: may be given again and again */
};
struct er_opt_int {
    bool set;
    int64_t value;
};
struct er_opt_span {
    bool set;
    er_usec value;
};
struct er_opt_list {
    const char **v; /* the array is owned (er_free), the texts are borrowed */
    size_t n;
};

struct er_opt {
    char letter;      /* '\0' = none */
    const char *name; /* NULL ends the table */
    const char *arg;  /* what the value is called in help; NULL = a flag */
    enum er_opt_kind kind;
    size_t at; /* offset in the data */
    const char *help;
    int64_t min, max;  /* of an INT; max: bytes of a TEXT or in a LIST */
    const char *words; /* of a WORD, with blanks between; a hint for completions else */
};
#define ER_OPT_END                                                                       \
    {                                                                                    \
        0                                                                                \
    }

struct er_opt_target { /* a table and the struct it fills */
    const struct er_opt *opts;
    void *data;
};
/* Parses argv[0..argc) into the targets. Operands are moved to the front of argv, in
 * their order; returns how many there are, or ER_EINVALID with words. `what` names the
 * command in messages ("errand add"). stop_early: the first operand ends the options.
 * *out_rest (may be NULL) is how many operands stood before `--`; -1: there was none. */
int er_options_parse(const struct er_opt_target *targets, size_t n, const char *what,
                     bool stop_early, int argc, char **argv, int *out_rest,
                     struct er_err *err) ER_MUSTCHECK;
/* Frees the lists. */
void er_options_fini(const struct er_opt_target *targets, size_t n);

/* Reads a whole number with nothing around it: 0, or ER_EINVALID when it is none, or not
 * from min to max. */
int er_options_int(const char *text, int64_t min, int64_t max, int64_t *out) ER_MUSTCHECK;

#endif
