/* SPDX-License-Identifier: MIT */
/* Commands as a line of the shell, for people to read and to paste. Pure; any thread. */
#ifndef ER_MODEL_SHELL_WORDS_H
#define ER_MODEL_SHELL_WORDS_H

#include <stddef.h>

#include "base/buf.h"

/* Adds one word as a POSIX shell reads it back: as it is when nothing in it means
 * anything to a shell, else in single quotes. */
void er_shell_words_add(struct er_buf *b, const char *word);
/* Adds n words with blanks between them. A first word with '=' is quoted too, since it
 * would be an assignment. */
void er_shell_words_encode(struct er_buf *b, const char *const *argv, size_t n);

#define ER_SHELL_WORDS_NAME 60 /* characters of a name made of a command */
/* Adds the name of a task that was given none: its command on one line, credentials in
 * URLs masked, control bytes dropped, cut to ER_SHELL_WORDS_NAME characters with "…" as
 * the last. One argument is a shell line already and not quoted. */
void er_shell_words_name(struct er_buf *b, const char *const *argv, size_t n);

#endif
