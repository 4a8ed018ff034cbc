/* SPDX-License-Identifier: MIT */
/* A JSON document on its way to becoming a row of the store's submit, or a task's edit:
 * each member is checked by one function, which stands in one table with its name. On the
 * loop's thread. */
#ifndef ER_API_DRAFT_H
#define ER_API_DRAFT_H

#include "api/api.h"

struct er_draft {
    /* in */
    struct er_new_task *row;
    struct er_arena *arena; /* for all texts of the row */
    struct er_api *api;
    er_usec now;
    /* out */
    const char *ref;
    const char **after_refs;        /* names, parallel to row->after; NULL = an id */
    er_usec delay_for;              /* -1 = not given */
    const json_t *env, *env_set;    /* the document's; NULL = not given */
    const json_t *args, *args_text; /* likewise */
    bool has_on_lost;
    struct er_err err; /* with a failure: what is wrong, and where */
    char field[128];
};

/* Sets the row to what stands for "not given". */
void er_draft_init(struct er_draft *d);
/* Reads a document into the row, with the defaults of its type and of the configuration
 * for what it does not say. ER_EINVALID, ER_ETOOBIG, ER_ENOTFOUND (no such type) with
 * words and field. */
int er_draft_read(struct er_draft *d, const char *text, size_t len) ER_MUSTCHECK;
/* Reads one member that is not null. ER_EINVALID. */
int er_draft_member(struct er_draft *d, const char *name, const json_t *v) ER_MUSTCHECK;
/* Reads all members of an object; null stands for one that is not there. ER_EINVALID. */
int er_draft_read_members(struct er_draft *d, const json_t *o) ER_MUSTCHECK;
/* run_at from delay_s; ER_EINVALID when both are given. */
int er_draft_moment(struct er_draft *d) ER_MUSTCHECK;
/* Notes what is wrong; returns ER_EINVALID. */
int er_draft_bad(struct er_draft *d, const char *field, const char *fmt, ...)
    ER_PRINTF(3, 4);

/* The member that the document has its arguments in. */
const char *er_draft_args_member(const struct er_draft *d);

/* draft_type.c: the arguments as they are stored, and the name of a task without one.
 * ER_EINVALID: the field is the argument's name. */
int er_draft_read_args(struct er_draft *d, const struct er_type *t) ER_MUSTCHECK;
/* draft_shell.c: the arguments of the type `shell`, and the name of a task without
 * one. */
int er_draft_check_shell(struct er_draft *d, const json_t *args) ER_MUSTCHECK;
int er_draft_name_shell(struct er_draft *d, const json_t *args) ER_MUSTCHECK;

#endif
