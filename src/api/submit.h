/* SPDX-License-Identifier: MIT */
/* A submit's lines on their way to the store, shared by submit.c (requests, groups,
 * answers) and submit_refs.c (names for each other). On the loop's thread. */
#ifndef ER_API_SUBMIT_H
#define ER_API_SUBMIT_H

#include "api/draft.h"
#include "base/hash.h"

#define ER_SUBMIT_WORDS 512 /* room for the words of a refusal */

/* One line's outcome, for the answer. */
struct er_result {
    int status;
    struct er_err err;   /* only kept when status is set */
    char *field, *extra; /* extra: further members of the problem, as raw JSON */
    er_task_id id;
    enum er_task_state state;
    bool existing;
};
struct er_ref {
    const char *name; /* in the group's arena */
    size_t index;     /* in the group */
    UT_hash_handle hh;
};
/* Rows that go to the store as one operation. */
struct er_submit_group {
    struct er_submit *submit;
    size_t size;              /* allocated rows */
    size_t *lines;            /* result of each row */
    const char ***after_refs; /* of each row */
    struct er_ref *refs;
    bool named; /* a ref was seen */
};
struct er_submission {
    struct er_call *call;
    bool many, atomic, brief;
    struct er_result *results;
    size_t n, size;
    size_t bytes;                  /* of the lines so far */
    size_t beyond;                 /* lines behind those that a request may have */
    struct er_submit_group *group; /* being filled; NULL = none */
    int under_way;                 /* groups at the store */
    bool complete;                 /* the whole request is here */
    int failed;                    /* code of the store as a whole */
    er_usec now;
};

/* Why the store has refused a row (its status is not 0), in words; returns the member
 * that is wrong, or NULL. */
const char *er_submit_refusal(const struct er_call *call, const struct er_new_task *row,
                              char *words, size_t size);
/* The words for a submit that failed as a whole: in `words`, which it returns. */
const char *er_submit_words(const struct er_call *call, int code, char *words,
                            size_t size);
/* Notes what is wrong with a line. */
void er_submit_fail(struct er_result *r, int status, const char *field,
                    const char *words);
/* The row to come has a name. ER_EINVALID: another one has it, too. */
int er_submit_add_ref(struct er_submit_group *g, struct er_draft *d) ER_MUSTCHECK;
/* Names become places. Rows that wait for each other in a circle stay out, and those that
 * name a task which is not there or stays out; of an atomic submission all. */
void er_submit_resolve(struct er_submission *s, struct er_submit_group *g);

#endif
