/* SPDX-License-Identifier: MIT */
/* What an attempt executes, worked out of the `run` order: arguments, environment,
 * working directory, and where standard input comes from. By the order's `how` that is a
 * command of the daemon's making, or a program that gets the order itself on its standard
 * input (docs/PROTOCOL.md, "What a handler's process sees"); without it `shell`'s own
 * rules hold. Nothing is opened here. Loop thread. */
#ifndef ER_WORK_COMMAND_H
#define ER_WORK_COMMAND_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mem.h"
#include "model/task.h"

struct er_given;

/* An environment the daemon has sent: "NAME=value" each, without the names that we set.
 */
struct er_env {
    int64_t id;
    char **vars;
    size_t n;
    const char *path; /* value of PATH, within vars; NULL = none */
    struct er_arena arena;
    bool forgotten; /* freed when no attempt needs it any more */
    struct er_env *next;
};
/* Reads an object of strings: NULL when it is not, or memory is out. */
struct er_env *er_env_new(int64_t id, const json_t *vars);
void er_env_free(struct er_env *env);

enum er_stdin_kind {
    ER_STDIN_NULL,  /* /dev/null */
    ER_STDIN_DATA,  /* bytes that came with the task */
    ER_STDIN_FILE,  /* a file, by its path */
    ER_STDIN_INPUT, /* a pipe that `errand send` feeds */
    ER_STDIN_ORDER, /* a pipe that begins with the order */
};

/* All memory is an arena's; the environment must outlive it. */
struct er_command {
    char **argv; /* ends with NULL; the command as it was named is argv[0] */
    char **envp; /* ends with NULL */
    const char *cwd;
    const char *search; /* the folders to search, as in PATH */
    enum er_stdin_kind stdin_kind;
    const char *stdin_path;
    const char *stdin_data; /* DATA and ORDER */
    size_t stdin_len;
};

struct er_command_order {
    json_t *run;              /* the whole `run` object */
    const struct er_env *env; /* NULL = empty */
    er_task_id task;
    int attempt;
    const char *socket_path;
    const char *beside;           /* folders that come before PATH for a program */
    const char *token;            /* of the session, for the cookie */
    const char *checkpoint;       /* JSON; NULL = none */
    const struct er_given *given; /* files it finds under variables; NULL = none */
};
/* Whether the order is for a program with the handlers' protocol. */
bool er_command_is_program(const json_t *run);
/* 0, or ER_EINVALID / ER_ENOTFOUND (the type) / ER_ENOMEM with words for a person. */
int er_command_make(struct er_command *out, struct er_arena *arena,
                    const struct er_command_order *order,
                    struct er_err *err) ER_MUSTCHECK;

/* Whether a variable is one that er_command_make sets. */
bool er_command_sets(const char *name);

#define ER_COOKIE_SIZE 128
/* "TOKEN.TASK.ATTEMPT" */
void er_cookie_format(char out[ER_COOKIE_SIZE], const char *token, er_task_id task,
                      int attempt);

/* The number of the child's end of the progress pipe. */
#define ER_PROGRESS_CHILD_FD 3

#endif
