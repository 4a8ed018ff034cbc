/* SPDX-License-Identifier: MIT */
/* Writing, the happy path: frames go to the head with one writev each until `head_max`
 * payload bytes are in it; the frame that does not fit is split. Then tail0 is made,
 * begins with a segment frame, and is filled up to `tail_max`; then tail1, then tail0
 * anew. A tail is never emptied in place but unlinked and made again, so that a reader
 * that has it open goes on reading what it was, and never sees half of the old and half
 * of the new.
 *
 * Failure modes: a write that fails or is short (a full disk) is undone by truncating to
 * the last whole frame, so that an exit frame can still follow; the first error is kept
 * and output is dropped from then on. With nowhere to put output (`tail_max` 0, or no
 * tail could be made) it is dropped, and the exit frame goes to the file that is open.
 *
 * Reading: frames come out of one buffer that is filled with pread. At the end of a file
 * the reader looks for a newer one, and, when there is one, once more at the end of its
 * own before it moves: the writer never adds to a file after it made the next. A writer
 * that floods would be read for ever, and take the tails away meanwhile: er_outlog_hold
 * opens all there is at one moment and notes its sizes. */
#include "wire/outlog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

#define FRAME_MAGIC 0xE7
#define FRAME_MAX   (32u << 20) /* payload of one frame: an exit frame holds the result */
#define READ_AHEAD  (64u << 10)
#define MAKE_TRIES  3

/* ---- frames ---- */

static void
put_le(unsigned char *p, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        p[i] = (unsigned char)(v >> (8 * i));
    }
}

static uint64_t
get_le(const unsigned char *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--) {
        v = v << 8 | p[i];
    }
    return v;
}

static void
encode_header(unsigned char h[ER_OUTLOG_HEADER], enum er_outlog_kind kind, size_t len,
              er_usec at, uint64_t offset)
{
    memset(h, 0, ER_OUTLOG_HEADER);
    h[0] = (unsigned char)kind;
    h[1] = FRAME_MAGIC;
    put_le(h + 4, len, 4);
    put_le(h + 8, (uint64_t)at, 8);
    put_le(h + 16, offset, 8);
}

struct header {
    enum er_outlog_kind kind;
    uint32_t len;
    er_usec at;
    uint64_t offset;
};

/* 0, or ER_ECORRUPT for what is no header. */
static int
decode_header(const unsigned char *h, struct header *out)
{
    uint32_t len = (uint32_t)get_le(h + 4, 4);
    if (h[1] != FRAME_MAGIC || h[0] < ER_OUTLOG_STDOUT || h[0] > ER_OUTLOG_SEGMENT ||
        len > FRAME_MAX) {
        return ER_ECORRUPT;
    }
    *out = (struct header){.kind = (enum er_outlog_kind)h[0],
                           .len = len,
                           .at = (er_usec)get_le(h + 8, 8),
                           .offset = get_le(h + 16, 8)};
    return 0;
}

/* Path of an attempt's files without their ending. */
static char *
base_path(const char *logs, er_task_id task, int attempt)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_addf(&b, "%s/%lld/%lld-%d", logs, (long long)(task / 1000), (long long)task,
                attempt);
    return er_buf_take(&b);
}

static const char *const endings[] = {".tail0", ".tail1", ".log"};
enum { TAILS = 2, HEAD = 2, FILES = 3 };

static char *
file_path(const char *base, int which)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, base);
    er_buf_add_str(&b, endings[which]);
    return er_buf_take(&b);
}

/* ---- writing ---- */

/* Appends one frame to fd, or nothing: 0 or the error. */
static int
append(int fd, enum er_outlog_kind kind, er_usec at, uint64_t offset, const void *p,
       size_t n)
{
    unsigned char h[ER_OUTLOG_HEADER];
    encode_header(h, kind, n, at, offset);
    struct iovec iov[2] = {{h, sizeof h}, {(void *)(uintptr_t)p, n}};
    ssize_t done;
    do {
        done = writev(fd, iov, n > 0 ? 2 : 1);
    } while (done < 0 && errno == EINTR);
    if (done == (ssize_t)(sizeof h + n)) {
        return 0;
    }
    int code = done < 0 ? er_error_from_errno(errno) : ER_EDISKFULL;
    if (done > 0) {
        off_t end = lseek(fd, -(off_t)done, SEEK_CUR);
        if (end >= 0 && ftruncate(fd, end) != 0) {
            (void)0; /* readers ignore a frame that is cut short */
        }
    }
    return code;
}

/* Opens a file that must not exist; its folder is made when needed. */
static int
make_file(const char *path)
{
    for (int i = 0; i < MAKE_TRIES; i++) {
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd >= 0 || errno != ENOENT) {
            return fd;
        }
        const char *slash = strrchr(path, '/');
        char *dir = er_strndup(path, (size_t)(slash - path));
        if (!dir || er_mkdirs(dir, 0700, NULL) != 0) {
            int keep = errno;
            er_free(dir);
            errno = keep;
            return -1;
        }
        er_free(dir);
    }
    return -1;
}

int
er_outlog_create(struct er_outlog *log, const char *logs, er_task_id task, int attempt,
                 uint64_t head_max, uint64_t tail_max, struct er_err *err)
{
    char *base = base_path(logs, task, attempt);
    char *path = base ? file_path(base, HEAD) : NULL;
    if (!path) {
        er_free(base);
        return er_fail(err, ER_ENOMEM, "cannot make a log: out of memory");
    }
    int fd = make_file(path);
    if (fd < 0) {
        int code = errno;
        (void)er_fail(err, 0, "cannot make the log '%s': %s", path, strerror(code));
        er_free(path);
        er_free(base);
        return er_error_from_errno(code);
    }
    er_free(path);
    *log = (struct er_outlog){.base = base,
                              .head_fd = fd,
                              .tail_fd = -1,
                              .tail_no = 1,
                              .head_max = head_max,
                              .tail_max = tail_max};
    return 0;
}

/* Makes the next tail and goes over to it. */
static int
next_tail(struct er_outlog *log, er_usec at)
{
    int no = 1 - log->tail_no;
    char *path = file_path(log->base, no);
    if (!path) {
        return ER_ENOMEM;
    }
    (void)unlink(path);
    int fd = make_file(path);
    int rc = fd < 0 ? er_error_from_errno(errno) : 0;
    if (rc == 0) {
        rc = append(fd, ER_OUTLOG_SEGMENT, at, log->bytes, NULL, 0);
        if (rc) {
            er_close(&fd);
            (void)unlink(path);
        }
    }
    er_free(path);
    if (rc == 0) {
        er_close(&log->tail_fd);
        log->tail_fd = fd;
        log->tail_no = no;
        log->tail_bytes = 0;
    }
    return rc;
}

/* How many of n bytes fit into the file that is written, after going over to the next one
 * when it is full; 0 when there is no room anywhere. */
static size_t
room(struct er_outlog *log, er_usec at, size_t n)
{
    if (log->tail_fd < 0 && log->head_bytes < log->head_max) {
        uint64_t left = log->head_max - log->head_bytes;
        return n < left ? n : (size_t)left;
    }
    if (log->tail_max == 0) {
        return 0;
    }
    if (log->tail_fd < 0 || log->tail_bytes >= log->tail_max) {
        log->failed = next_tail(log, at);
        if (log->failed) {
            return 0;
        }
    }
    uint64_t left = log->tail_max - log->tail_bytes;
    return n < left ? n : (size_t)left;
}

void
er_outlog_write(struct er_outlog *log, enum er_outlog_kind kind, er_usec wall_at,
                const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        size_t part = log->failed || log->head_fd < 0 ? 0 : room(log, wall_at, n);
        if (part == 0) {
            log->bytes += n;
            return;
        }
        int fd = log->tail_fd >= 0 ? log->tail_fd : log->head_fd;
        log->failed = append(fd, kind, wall_at, log->bytes, at, part);
        if (log->tail_fd >= 0) {
            log->tail_bytes += part;
        } else {
            log->head_bytes += part;
        }
        log->bytes += part;
        at += part;
        n -= part;
    }
}

int
er_outlog_note(struct er_outlog *log, enum er_outlog_kind kind, er_usec wall_at,
               const char *json)
{
    int fd = log->tail_fd >= 0 ? log->tail_fd : log->head_fd;
    size_t n = strlen(json);
    if (fd < 0) {
        return ER_ECLOSED;
    }
    if (n > FRAME_MAX) {
        return ER_ETOOBIG;
    }
    return append(fd, kind, wall_at, log->bytes, json, n);
}

void
er_outlog_close(struct er_outlog *log)
{
    if (log->base) {
        er_close(&log->head_fd);
        er_close(&log->tail_fd);
        er_free(log->base);
        log->base = NULL;
    }
}

/* ---- reading ---- */

struct log_file {
    int fd;
    int which;           /* HEAD, 0 or 1 */
    uint64_t segment_at; /* offset of its segment frame; 0 for the head */
    off_t end;           /* its size when it was held */
};
struct er_outlog_reader {
    char *base;
    struct log_file now;          /* what is read */
    struct log_file later[TAILS]; /* what is held and comes next, oldest first */
    int n_later;
    bool bounded; /* reads what was held, and no more */
    off_t pos;    /* file position behind what is in buf */
    struct er_buf buf;
    size_t used; /* bytes of buf that were given out */
};

/* Reads more of the file into the buffer, for a frame of `want` bytes: how many came. */
static ssize_t
fill(struct er_outlog_reader *r, size_t want)
{
    if (r->used > 0) {
        er_buf_drop(&r->buf, r->used);
        r->used = 0;
    }
    size_t more = want > r->buf.len + READ_AHEAD ? want - r->buf.len : READ_AHEAD;
    if (r->bounded && r->now.end - r->pos < (off_t)more) {
        more = r->now.end > r->pos ? (size_t)(r->now.end - r->pos) : 0;
    }
    if (more == 0) {
        return 0;
    }
    if (er_buf_reserve(&r->buf, more)) {
        return ER_ENOMEM;
    }
    ssize_t n;
    do {
        n = pread(r->now.fd, r->buf.data + r->buf.len, more, r->pos);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return ER_EIO;
    }
    r->buf.len += (size_t)n;
    r->buf.data[r->buf.len] = '\0';
    r->pos += n;
    return n;
}

/* The next whole frame of this file, of any kind: 1, 0 at the end, or an error. */
static int
next_here(struct er_outlog_reader *r, struct er_outlog_frame *out)
{
    for (;;) {
        size_t have = r->buf.len - r->used;
        size_t want = ER_OUTLOG_HEADER;
        if (have >= want) {
            struct header h;
            const char *at = r->buf.data + r->used;
            int rc = decode_header((const unsigned char *)at, &h);
            if (rc) {
                return rc;
            }
            want += h.len;
            if (have >= want) {
                *out = (struct er_outlog_frame){.kind = h.kind,
                                                .at = h.at,
                                                .offset = h.offset,
                                                .data = at + ER_OUTLOG_HEADER,
                                                .len = h.len};
                r->used += want;
                return 1;
            }
        }
        ssize_t n = fill(r, want);
        if (n <= 0) {
            return (int)n;
        }
    }
}

/* What another look may find otherwise: ER_EBUSY or ER_ENOMEM; 0 = it is as it is. */
static int
passing(int errnum)
{
    return errnum == EMFILE || errnum == ENFILE ? ER_EBUSY
           : errnum == ENOMEM                   ? ER_ENOMEM
                                                : 0;
}

/* Opens a tail and reads its segment frame: the descriptor, or -1 when there is none, or
 * (out_rc: why) it cannot be opened now. */
static int
open_tail(const char *base, int which, uint64_t *out_segment_at, int *out_rc)
{
    char *path = file_path(base, which);
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    *out_rc = !path ? ER_ENOMEM : fd < 0 ? passing(errno) : 0;
    er_free(path);
    unsigned char raw[ER_OUTLOG_HEADER];
    struct header h = {0};
    if (fd >= 0 && (pread(fd, raw, sizeof raw, 0) != (ssize_t)sizeof raw ||
                    decode_header(raw, &h) != 0 || h.kind != ER_OUTLOG_SEGMENT)) {
        er_close(&fd);
    }
    if (fd >= 0) {
        *out_segment_at = h.offset;
    }
    return fd;
}

/* Finds the oldest tail that is newer than the file being read: its descriptor, or -1
 * when there is none, or (out_rc: why) one of them cannot be opened now. */
static int
find_newer(const struct er_outlog_reader *r, int *out_which, uint64_t *out_segment_at,
           int *out_rc)
{
    int best = -1;
    *out_rc = 0;
    for (int which = 0; *out_rc == 0 && which < TAILS; which++) {
        uint64_t at;
        int fd = open_tail(r->base, which, &at, out_rc);
        bool newer = fd >= 0 && (r->now.which == HEAD || at > r->now.segment_at);
        if (newer && (best < 0 || at < *out_segment_at)) {
            er_close(&best);
            best = fd;
            *out_which = which;
            *out_segment_at = at;
        } else {
            er_close(&fd);
        }
    }
    if (*out_rc) {
        er_close(&best);
    }
    return best;
}

/* Goes to the start of a file; the one that was read stays open. */
static void
read_from(struct er_outlog_reader *r, struct log_file file)
{
    r->now = file;
    r->pos = 0;
    r->used = 0;
    er_buf_clear(&r->buf);
}

/* Goes to the next file that is held. */
static void
next_held(struct er_outlog_reader *r)
{
    er_close(&r->now.fd);
    read_from(r, r->later[0]);
    r->later[0] = r->later[1];
    r->n_later--;
}

int
er_outlog_next(struct er_outlog_reader *r, struct er_outlog_frame *out)
{
    for (;;) {
        int rc = next_here(r, out);
        if (rc == 1 && out->kind == ER_OUTLOG_SEGMENT) {
            continue;
        }
        if (rc != 0) {
            return rc;
        }
        if (r->n_later > 0) {
            next_held(r);
            continue;
        }
        if (r->bounded) {
            return 0;
        }
        struct log_file next = {.fd = -1};
        next.fd = find_newer(r, &next.which, &next.segment_at, &rc);
        if (next.fd < 0) {
            return rc; /* 0: no more now */
        }
        rc = next_here(r, out); /* what was added before the newer file was made */
        if (rc != 0) {
            er_close(&next.fd);
            return rc;
        }
        er_close(&r->now.fd);
        read_from(r, next);
    }
}

/* Notes how long a file is. */
static int
note_end(struct log_file *file)
{
    struct stat st;
    if (fstat(file->fd, &st) != 0) {
        return ER_EIO;
    }
    file->end = st.st_size;
    return 0;
}

int
er_outlog_hold(struct er_outlog_reader *r, bool bounded)
{
    int rc = 0;
    for (int which = 0; rc == 0 && which < TAILS; which++) {
        struct log_file file = {.which = which};
        file.fd = open_tail(r->base, which, &file.segment_at, &rc);
        if (file.fd >= 0) {
            bool first = r->n_later == 1 && file.segment_at < r->later[0].segment_at;
            if (first) {
                r->later[1] = r->later[0];
            }
            r->later[first ? 0 : r->n_later] = file;
            r->n_later++;
        }
    }
    /* now only the newest of those that are open still grows */
    rc = rc ? rc : note_end(&r->now);
    for (int i = 0; rc == 0 && i < r->n_later; i++) {
        rc = note_end(&r->later[i]);
    }
    r->bounded = bounded;
    return rc;
}

struct tally {
    int64_t newlines;
    bool any, open; /* there is text at all; its last line has no newline */
};

static void
tally_text(struct tally *t, const char *p, size_t n)
{
    const char *end = p + n;
    t->any = true;
    t->open = end[-1] != '\n';
    while (p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL) {
        t->newlines++;
        p++;
    }
}

/* Counts the lines of a file as far as it is held: 0, or the error that ended it. */
static int
tally_file(struct er_outlog_reader *r, struct log_file file, enum er_outlog_kind only,
           struct tally *t)
{
    struct log_file now = r->now;
    bool bounded = r->bounded;
    struct er_outlog_frame f;
    int rc;
    *t = (struct tally){0};
    read_from(r, file);
    r->bounded = true;
    while ((rc = next_here(r, &f)) == 1) {
        bool text = f.kind == ER_OUTLOG_STDOUT || f.kind == ER_OUTLOG_STDERR;
        if (text && (only == 0 || only == f.kind) && f.len > 0) {
            tally_text(t, f.data, f.len);
        }
    }
    read_from(r, now);
    r->bounded = bounded;
    return rc;
}

int64_t
er_outlog_seek_lines(struct er_outlog_reader *r, enum er_outlog_kind only, int64_t n)
{
    int64_t lines = 0;
    bool any = false;
    for (int i = r->n_later; i >= 0; i--) {
        struct tally t;
        int rc = tally_file(r, i > 0 ? r->later[i - 1] : r->now, only, &t);
        if (rc < 0) { /* a reader does not get past it */
            lines = 0;
            any = false;
        }
        lines += t.newlines + (t.open && !any);
        any = any || t.any;
        if (lines > n) {
            while (i-- > 0) {
                next_held(r);
            }
            return lines - n;
        }
    }
    return 0;
}

static int
open_head(const char *logs, er_task_id task, int attempt, struct er_outlog_reader **out,
          int *out_errnum)
{
    *out_errnum = 0;
    struct er_outlog_reader *r = er_zalloc(sizeof *r);
    char *base = base_path(logs, task, attempt);
    char *path = base ? file_path(base, HEAD) : NULL;
    int rc = r && path ? 0 : ER_ENOMEM;
    int fd = rc ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (!rc && fd < 0) {
        *out_errnum = errno;
        rc = er_error_from_errno(errno);
    }
    er_free(path);
    if (rc) {
        er_free(base);
        er_free(r);
        return rc;
    }
    r->base = base;
    r->now = (struct log_file){.fd = fd, .which = HEAD};
    er_buf_init(&r->buf, FRAME_MAX + ER_OUTLOG_HEADER + READ_AHEAD);
    *out = r;
    return 0;
}

int
er_outlog_open(const char *logs, er_task_id task, int attempt,
               struct er_outlog_reader **out)
{
    int errnum;
    return open_head(logs, task, attempt, out, &errnum);
}

void
er_outlog_reader_close(struct er_outlog_reader *r)
{
    if (r) {
        er_close(&r->now.fd);
        while (r->n_later > 0) {
            er_close(&r->later[--r->n_later].fd);
        }
        er_buf_fini(&r->buf);
        er_free(r->base);
        er_free(r);
    }
}

/* Walks over the headers of a file that has just been opened, to its exit frame: 1 with
 * the JSON in b, or 0. */
static int
find_exit(struct er_outlog_reader *r, struct er_buf *b)
{
    struct er_outlog_frame f;
    int rc;
    while ((rc = next_here(r, &f)) == 1) {
        if (f.kind == ER_OUTLOG_EXIT) {
            er_buf_clear(b);
            er_buf_add(b, f.data, f.len);
            return b->failed ? b->failed : 1;
        }
    }
    return rc == ER_ECORRUPT ? 0 : rc;
}

static int
pid_of(const struct er_outlog_frame *start)
{
    static const char name[] = "\"pid\":";
    const char *p = memmem(start->data, start->len, name, sizeof name - 1);
    int pid = 0;
    if (p && sscanf(p + sizeof name - 1, "%d", &pid) != 1) {
        pid = 0;
    }
    return pid;
}

int
er_outlog_exit(const char *logs, er_task_id task, int attempt, struct er_buf *b,
               int *out_pid)
{
    struct er_outlog_reader *r;
    int errnum, rc = open_head(logs, task, attempt, &r, &errnum);
    if (rc) {
        return passing(errnum) ? passing(errnum) : rc;
    }
    struct er_outlog_frame f;
    if (out_pid) {
        rc = next_here(r, &f);
        *out_pid = rc == 1 && f.kind == ER_OUTLOG_START ? pid_of(&f) : 0;
        read_from(r, r->now);
    }
    rc = 0;
    for (int which = 0; rc == 0 && which < TAILS; which++) {
        struct log_file head = r->now, tail = {.which = which};
        tail.fd = open_tail(r->base, which, &tail.segment_at, &rc);
        if (tail.fd >= 0) {
            read_from(r, tail);
            rc = find_exit(r, b);
            er_close(&tail.fd);
            read_from(r, head);
        }
    }
    if (rc == 0) {
        rc = find_exit(r, b);
    }
    er_outlog_reader_close(r);
    return rc;
}

void
er_outlog_delete(const char *logs, er_task_id task, int attempt)
{
    char *base = base_path(logs, task, attempt);
    for (int i = 0; base && i < FILES; i++) {
        char *path = file_path(base, i);
        if (path) {
            (void)unlink(path);
        }
        er_free(path);
    }
    char *slash = base ? strrchr(base, '/') : NULL;
    if (slash) {
        *slash = '\0';
        (void)rmdir(base); /* only the last one's */
    }
    er_free(base);
}
