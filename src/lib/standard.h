/* SPDX-License-Identifier: MIT */
/* Descriptors 0 to 2 while handles are open. In a program that has closed one of them the
 * next thing that is opened would get its number: what such a program "prints" would go
 * to the store or the daemon, and libuv ends a process that lets it close one of them. So
 * a place holder lies there meanwhile. It is one that can neither be read nor written
 * (O_PATH), and is closed at exec: for the program and its children the descriptor is as
 * closed as before (EBADF). Any thread. */
#ifndef ER_LIB_STANDARD_H
#define ER_LIB_STANDARD_H

/* Counted: for each hold one release. */
void er_standard_hold(void);
void er_standard_release(void);

#endif
