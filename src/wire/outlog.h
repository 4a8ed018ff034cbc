/* SPDX-License-Identifier: MIT */
/* The log of one attempt: what its command wrote, kept by the worker and read by the
 * daemon; and its end, which outlives the worker.
 *
 * Files (in the folder `logs`, S = task id / 1000):
 *   S/ID-ATTEMPT.log      the head: frames in order of reading, at most `head` payload
 *                         bytes
 *   S/ID-ATTEMPT.tail0    \ two segments that take turns when the head is full: each
 *   S/ID-ATTEMPT.tail1    / holds up to `tail` payload bytes; the older one is emptied
 *                           when the newer is full, so that at least the last `tail`
 *                           bytes are kept
 * The exit frame goes at the end of the newest file.
 *
 * A frame is a header of 24 bytes, little endian, and its payload:
 *   0  u8  kind: 1 stdout, 2 stderr, 3 start, 4 exit, 5 segment
 *   1  u8  magic 0xE7
 *   2  u16 zero
 *   4  u32 length of the payload
 *   8  i64 wall time of reading, microseconds
 *   16 u64 offset: output bytes of the attempt before this frame, both streams
 * start: payload = JSON {"pid","started_at"}, written right after the spawn.
 * segment: first frame of a tail file; offset tells what came before it.
 * exit: payload = the JSON of the report's `finished` object.
 * A frame that is cut short (the worker died, the disk was full) ends the file; readers
 * ignore it. No file is synced: a power cut loses output, never outcomes (the store has
 * them). */
#ifndef ER_WIRE_OUTLOG_H
#define ER_WIRE_OUTLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "model/task.h"

enum er_outlog_kind {
    ER_OUTLOG_STDOUT = 1,
    ER_OUTLOG_STDERR = 2,
    ER_OUTLOG_START = 3,
    ER_OUTLOG_EXIT = 4,
    ER_OUTLOG_SEGMENT = 5,
};
#define ER_OUTLOG_HEADER 24

/* ---- writing (the worker; one thread a log) ---------------------------------------- */

struct er_outlog {
    char *base;  /* path without its ending */
    int head_fd; /* -1 when closed */
    int tail_fd; /* -1 until the head is full */
    int tail_no; /* which of the two tails is written */
    uint64_t head_max, tail_max;
    uint64_t head_bytes, tail_bytes; /* payload bytes in the file being written */
    uint64_t bytes;                  /* output bytes in all, kept or not */
    int failed;                      /* first error of a write; output is then dropped */
};
/* Creates the head file (ER_EEXISTS when it is there) and its folder when needed. */
int er_outlog_create(struct er_outlog *log, const char *logs, er_task_id task,
                     int attempt, uint64_t head_max, uint64_t tail_max,
                     struct er_err *err) ER_MUSTCHECK;
/* Appends output. A failure (a full disk) is kept in `failed` and does not stop the
 * command; what could not be written is counted in `bytes` all the same. */
void er_outlog_write(struct er_outlog *log, enum er_outlog_kind kind, er_usec wall_at,
                     const void *p, size_t n);
/* Appends a start or exit frame: 0 or the error. */
int er_outlog_note(struct er_outlog *log, enum er_outlog_kind kind, er_usec wall_at,
                   const char *json) ER_MUSTCHECK;
void er_outlog_close(struct er_outlog *log); /* fine on a zeroed or closed one */

/* ---- reading (the daemon's log thread, tests) -------------------------------------- */

struct er_outlog_frame {
    enum er_outlog_kind kind;
    er_usec at;
    uint64_t offset;
    const char *data; /* borrowed until the next call */
    size_t len;
};
struct er_outlog_reader;
/* Opens an attempt's log from its start. ER_ENOTFOUND: never spawned, or removed. */
int er_outlog_open(const char *logs, er_task_id task, int attempt,
                   struct er_outlog_reader **out) ER_MUSTCHECK;
/* Reads the next whole frame: 1 = got one, 0 = no more now (call again when it grew; the
 * reader goes on where it was, also from the head to a tail that appeared), or an error.
 * Where output was dropped between two frames, the second one's offset is greater than
 * the first one's offset + len. Only frames of output, start and exit are given. */
int er_outlog_next(struct er_outlog_reader *r, struct er_outlog_frame *out) ER_MUSTCHECK;
/* Holds what there is now, right after the opening: whatever the writer does, it can be
 * read to its end. `bounded`: er_outlog_next gives that and nothing that came later.
 * ER_EBUSY (no descriptor is left), ER_ENOMEM, ER_EIO: only to be closed. */
int er_outlog_hold(struct er_outlog_reader *r, bool bounded) ER_MUSTCHECK;
/* Goes towards the last n lines of what is held (a last one without a newline counts):
 * how many newlines of the stream `only` (0 = both) are to be left out from there on. It
 * looks at the newest file first, and at an older one only where that has too few. What
 * is behind damage is not counted, for it cannot be read. */
int64_t er_outlog_seek_lines(struct er_outlog_reader *r, enum er_outlog_kind only,
                             int64_t n) ER_MUSTCHECK;
void er_outlog_reader_close(struct er_outlog_reader *r);

/* Reads the exit frame's JSON of an attempt into b. 1 = there, 0 = the log exists and has
 * none (it was spawned, or was about to be), ER_ENOTFOUND = no log: never spawned;
 * ER_EBUSY (no descriptor is left), ER_ENOMEM: it cannot be seen now. When out_pid is not
 * NULL it gets the pid of the start frame, or 0. */
int er_outlog_exit(const char *logs, er_task_id task, int attempt, struct er_buf *b,
                   int *out_pid) ER_MUSTCHECK;
/* Deletes an attempt's files; nothing there is fine. */
void er_outlog_delete(const char *logs, er_task_id task, int attempt);

#endif
