/* SPDX-License-Identifier: MIT */
/* Text that comes from outside, made fit to be shown: cut between characters, without
 * bytes that would move a terminal's cursor. Pure; any thread. */
#ifndef ER_MODEL_TEXT_H
#define ER_MODEL_TEXT_H

#include <stddef.h>

/* How many of the n bytes at s may be kept so that at most `max` bytes stay and no UTF-8
 * character is cut in two. */
size_t er_text_fit(const char *s, size_t n, size_t max);
/* The same with at most `max` characters (a byte that is not UTF-8 counts as one). */
size_t er_text_fit_chars(const char *s, size_t n, size_t max);

/* Copies s (n bytes) into out as one clean line and ends it with a NUL: escape sequences
 * and control bytes (C0, DEL, C1) are dropped, but blanks of any kind become one space
 * and none stays at the ends; bytes that are not UTF-8 become '?'. What does not fit into
 * `size` bytes is cut between characters. Returns the length. */
size_t er_text_clean(char *out, size_t size, const char *s, size_t n);

#endif
