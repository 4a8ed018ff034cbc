/* SPDX-License-Identifier: MIT */
/* Happy path: walk once to know how much there is, then once more: each file is read
 * through SHA-256, its line goes to the output, its path is an item, and every now and
 * then a checkpoint says which file was the last and what the tree's hash is so far.
 *
 * A later attempt skips what comes before its checkpoint. Between the checkpoint and the
 * end of the attempt before some files may have been read already: they are read again,
 * since their hash is needed, but not told as items again.
 *
 * Failure modes: what cannot be read is a failed item with a line in the output, and left
 * out of the hash; the result counts it. A tree with such files leaves no checkpoint at
 * its end, so that a retry reads all of it. The path itself cannot be read: a person must
 * help. A path that is not UTF-8, or very long, cannot stand in a checkpoint: the one
 * before it counts; as an item it goes by the SHA-256 of its path. */
#include "types/file_hash.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "types/tree.h"

#define READ_SIZE      ((size_t)256 << 10)
#define CHECKPOINT_MS  200
#define CHECKPOINT_MAX 4000 /* bytes; a line of more would be dropped */
#define SHA256         32   /* bytes */
#define HEX_SIZE       (2 * SHA256 + 1)

/* Where it is, as a checkpoint has it. */
struct at {
    char *after; /* the path of the last file; NULL = none yet */
    int64_t files, bytes, failed;
    unsigned char hash[SHA256]; /* of the tree so far */
};

struct hashing {
    errand_attempt *a;
    EVP_MD_CTX *ctx;
    unsigned char *buffer;
    struct at now;  /* `after` is not used */
    struct at kept; /* the last that can be a checkpoint */
    char *resume;   /* paths up to this one are done; NULL = none */
    int64_t total;  /* bytes there are, as far as we saw */
    int64_t checkpoint_at;
    bool changed; /* kept is not said yet */
    int returned; /* what the handler is to return; 0 = go on */
};

static int64_t
now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void
to_hex(const unsigned char hash[SHA256], char out[HEX_SIZE])
{
    for (int i = 0; i < SHA256; i++) {
        (void)snprintf(out + 2 * i, 3, "%02x", hash[i]);
    }
}

static bool
from_hex(const char *hex, unsigned char out[SHA256])
{
    if (!hex || strlen(hex) != 2 * SHA256 ||
        strspn(hex, "0123456789abcdef") != 2 * SHA256) {
        return false;
    }
    for (int i = 0; i < SHA256; i++) {
        const char two[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        out[i] = (unsigned char)strtoul(two, NULL, 16);
    }
    return true;
}

/* ---- checkpoints ---- */

static void
say_checkpoint(struct hashing *h)
{
    char hex[HEX_SIZE];
    to_hex(h->kept.hash, hex);
    json_t *o = json_pack("{s:s, s:I, s:I, s:I, s:s}", "after", h->kept.after, "files",
                          (json_int_t)h->kept.files, "bytes", (json_int_t)h->kept.bytes,
                          "failed", (json_int_t)h->kept.failed, "hash", hex);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    if (text && strlen(text) < CHECKPOINT_MAX) {
        (void)errand_checkpoint(h->a, text);
    }
    free(text);
    json_decref(o);
    h->changed = false;
    h->checkpoint_at = now_ms();
}

/* All up to `path` is done. */
static void
keep(struct hashing *h, const char *path)
{
    json_t *text = json_string(path); /* NULL: not UTF-8 */
    if (!text) {
        return;
    }
    json_decref(text);
    char *copy = strdup(path);
    if (!copy) {
        return;
    }
    free(h->kept.after);
    h->kept = h->now;
    h->kept.after = copy;
    h->changed = true;
    if (now_ms() - h->checkpoint_at >= CHECKPOINT_MS) {
        say_checkpoint(h);
    }
}

/* Takes over where an earlier attempt was. What is not a checkpoint of ours is none. */
static void
resume(struct hashing *h)
{
    const char *text = errand_checkpoint_get(h->a);
    json_t *o = text ? json_loads(text, 0, NULL) : NULL;
    const char *after = json_string_value(json_object_get(o, "after"));
    if (after && from_hex(json_string_value(json_object_get(o, "hash")), h->now.hash)) {
        h->now.files = json_integer_value(json_object_get(o, "files"));
        h->now.bytes = json_integer_value(json_object_get(o, "bytes"));
        h->now.failed = json_integer_value(json_object_get(o, "failed"));
        h->resume = strdup(after);
    }
    json_decref(o);
}

static bool
is_done(const struct hashing *h, const char *path)
{
    return h->resume && strcmp(path, h->resume) <= 0;
}

/* ---- files ---- */

/* What of a path stands as an item's name. */
static void
tell_item(struct hashing *h, const char *path, bool failed)
{
    char name[7 + HEX_SIZE];
    unsigned char hash[SHA256];
    if (!failed && errand_item_is_done(h->a, path)) {
        return;
    }
    if (errand_item(h->a, path, failed) != ERRAND_EINVALID) {
        return;
    }
    (void)strcpy(name, "sha256:"); /* no name for an item: too long, or not UTF-8 */
    if (EVP_Digest(path, strlen(path), hash, NULL, EVP_sha256(), NULL) == 1) {
        to_hex(hash, name + 7);
        (void)errand_item(h->a, name, failed);
    }
}

static void
tell_progress(struct hashing *h, int64_t more, const char *path)
{
    struct errand_progress p = ERRAND_INIT(errand_progress);
    p.current = h->now.bytes + more;
    p.total = h->total > p.current ? h->total : p.current;
    p.unit = "bytes";
    p.item = path;
    errand_progress_report(h->a, &p);
}

static void
tell_bad(struct hashing *h, const char *path, int code)
{
    const char *name = path[0] ? path : "./"; /* the folder itself */
    h->now.failed++;
    (void)errand_outputf(h->a, "cannot read %s: %s\n", name, strerror(code));
    tell_item(h, name, true);
    keep(h, path);
}

/* The SHA-256 of what is in a file: 0 with its size, errno's code, or -1 when it is to
 * stop. */
static int
hash_file(struct hashing *h, int fd, const char *path, unsigned char hash[SHA256],
          int64_t *out_size)
{
    int64_t size = 0;
    if (EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) != 1) {
        return ENOMEM;
    }
    for (;;) {
        if (errand_should_stop(h->a)) {
            return -1;
        }
        ssize_t n = read(fd, h->buffer, READ_SIZE);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno;
        }
        if (n == 0) {
            break;
        }
        if (EVP_DigestUpdate(h->ctx, h->buffer, (size_t)n) != 1) {
            return ENOMEM;
        }
        size += n;
        tell_progress(h, size, path);
    }
    *out_size = size;
    return EVP_DigestFinal_ex(h->ctx, hash, NULL) == 1 ? 0 : ENOMEM;
}

/* The tree's hash with one file more. */
static bool
chain(struct hashing *h, const unsigned char hash[SHA256], const char *path)
{
    return EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) == 1 &&
           EVP_DigestUpdate(h->ctx, h->now.hash, SHA256) == 1 &&
           EVP_DigestUpdate(h->ctx, hash, SHA256) == 1 &&
           EVP_DigestUpdate(h->ctx, path, strlen(path) + 1) == 1 &&
           EVP_DigestFinal_ex(h->ctx, h->now.hash, NULL) == 1;
}

static int
open_file(int folder, const char *name, bool follow)
{
    int fd =
        openat(folder, name,
               O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (follow ? 0 : O_NOFOLLOW));
    struct stat st;
    if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))) {
        (void)close(fd); /* it was a file when the folder was read */
        errno = ESTALE;
        return -1;
    }
    if (fd >= 0) {
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    }
    return fd;
}

/* ---- a tree ---- */

struct tree {
    struct hashing *h;
    bool follow;
};

static bool
count_file(void *ctx, int fd, const char *name, const char *path, int64_t size)
{
    struct hashing *h = ((struct tree *)ctx)->h;
    (void)fd;
    (void)name;
    (void)path;
    h->total += size;
    return !errand_should_stop(h->a);
}

static bool
count_bad(void *ctx, const char *path, int code)
{
    (void)path;
    (void)code;
    return !errand_should_stop(((struct tree *)ctx)->h->a);
}

static bool
visit_file(void *ctx, int folder, const char *name, const char *path, int64_t size)
{
    struct tree *t = ctx;
    struct hashing *h = t->h;
    unsigned char hash[SHA256];
    char hex[HEX_SIZE];
    (void)size;
    if (is_done(h, path)) {
        return true;
    }
    int fd = open_file(folder, name, t->follow);
    int code = fd < 0 ? errno : hash_file(h, fd, path, hash, &size);
    if (fd >= 0) {
        (void)close(fd);
    }
    if (code < 0) {
        h->returned = ERRAND_STOPPED;
        return false;
    }
    if (code > 0) {
        tell_bad(h, path, code);
        return true;
    }
    if (!chain(h, hash, path)) {
        h->returned = errand_fail(h->a, ERRAND_RETRYABLE, "out-of-memory",
                                  "OpenSSL cannot compute SHA-256", NULL);
        return false;
    }
    h->now.files++;
    h->now.bytes += size;
    to_hex(hash, hex);
    (void)errand_outputf(h->a, "%s  %s\n", hex, path);
    tell_item(h, path, false);
    keep(h, path);
    return true;
}

static bool
visit_bad(void *ctx, const char *path, int code)
{
    struct hashing *h = ((struct tree *)ctx)->h;
    if (!is_done(h, path)) {
        tell_bad(h, path, code);
    }
    return !errand_should_stop(h->a);
}

/* Whether anything in that folder is still to be done. */
static bool
visit_enter(void *ctx, const char *path)
{
    const struct hashing *h = ((struct tree *)ctx)->h;
    return !is_done(h, path) || strncmp(path, h->resume, strlen(path)) == 0;
}

static int
say_result(struct hashing *h, const unsigned char hash[SHA256])
{
    char hex[HEX_SIZE], text[256];
    to_hex(hash, hex);
    int n = snprintf(text, sizeof text,
                     "{\"files\":%lld,\"bytes\":%lld,\"failed\":%lld,\"sha256\":\"%s\"}",
                     (long long)h->now.files, (long long)h->now.bytes,
                     (long long)h->now.failed, hex);
    return errand_result_set(h->a, text, (size_t)n);
}

static int
finish_tree(struct hashing *h, bool whole, int code)
{
    if (!whole && h->changed) {
        say_checkpoint(h);
    }
    if (h->returned != 0) {
        return h->returned;
    }
    if (code != 0) {
        return errand_fail(h->a, ERRAND_RETRYABLE, "out-of-memory",
                           "a folder has more names than there is memory for", NULL);
    }
    if (!whole) {
        return ERRAND_STOPPED;
    }
    if (h->now.failed > 0) {
        (void)errand_checkpoint(h->a, "null");
    }
    return say_result(h, h->now.hash) == 0 ? 0 : ERRAND_ENOMEM;
}

static int
hash_tree(struct hashing *h, int fd)
{
    struct tree t = {.h = h, .follow = errand_arg_boolean(h->a, "follow", 0) != 0};
    struct er_tree_visitor v = {
        .follow = t.follow,
        .hidden = errand_arg_boolean(h->a, "hidden", 1) != 0,
        .ctx = &t,
        .file = count_file,
        .bad = count_bad,
    };
    int code = 0;
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (again >= 0 && !er_tree_walk(again, &v, &code)) {
        (void)close(fd);
        return finish_tree(h, false, code);
    }
    resume(h);
    v.file = visit_file;
    v.bad = visit_bad;
    v.enter = visit_enter;
    bool whole = er_tree_walk(fd, &v, &code);
    return finish_tree(h, whole, code);
}

/* ---- one file, or a tree ---- */

static int
fail_path(errand_attempt *a, const char *path, int code)
{
    char message[400];
    (void)snprintf(message, sizeof message, "cannot read '%.300s': %s", path,
                   strerror(code));
    if (code == ENOENT || code == ENOTDIR) {
        return errand_fail(a, ERRAND_USER_ACTIONABLE, "not-found", message,
                           "check the path; one that is not absolute begins at the "
                           "task's working directory");
    }
    if (code == EACCES || code == EPERM) {
        return errand_fail(a, ERRAND_USER_ACTIONABLE, "unreadable", message,
                           "let this user read it, or name another");
    }
    return errand_fail(a, ERRAND_RETRYABLE, "io", message, NULL);
}

static int
hash_one(struct hashing *h, int fd, const char *path, int64_t size)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    unsigned char hash[SHA256];
    char hex[HEX_SIZE];
    h->total = size;
    int code = hash_file(h, fd, name, hash, &size);
    (void)close(fd);
    if (code != 0) {
        return code < 0 ? ERRAND_STOPPED : fail_path(h->a, path, code);
    }
    h->now.files = 1;
    h->now.bytes = size;
    to_hex(hash, hex);
    (void)errand_outputf(h->a, "%s  %s\n", hex, name);
    tell_item(h, name, false);
    return say_result(h, hash) == 0 ? 0 : ERRAND_ENOMEM;
}

static int
hash_path(struct hashing *h, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        int code = errno;
        (void)(fd < 0 ? 0 : close(fd));
        return fail_path(h->a, path, code);
    }
    if (S_ISDIR(st.st_mode)) {
        return hash_tree(h, fd);
    }
    if (S_ISREG(st.st_mode)) {
        return hash_one(h, fd, path, st.st_size);
    }
    (void)close(fd);
    return errand_fail(h->a, ERRAND_USER_ACTIONABLE, "no-file",
                       "the path is neither a file nor a folder", "name another");
}

static int
run(errand_attempt *a, void *ctx)
{
    struct hashing h = {.a = a, .ctx = EVP_MD_CTX_new(), .buffer = malloc(READ_SIZE)};
    (void)ctx;
    int rc = h.ctx && h.buffer ? hash_path(&h, errand_arg_text(a, "path"))
                               : errand_fail(a, ERRAND_RETRYABLE, "out-of-memory",
                                             "out of memory", NULL);
    EVP_MD_CTX_free(h.ctx);
    free(h.buffer);
    free(h.kept.after);
    free(h.resume);
    return rc;
}

void
er_file_hash_type(struct errand_type *t)
{
    static const struct errand_param params[] = {
        {.name = "path",
         .kind = ERRAND_PARAM_PATH,
         .required = 1,
         .help = "the file or folder"},
        {.name = "follow",
         .kind = ERRAND_PARAM_BOOLEAN,
         .def = "false",
         .help = "follow symbolic links"},
        {.name = "hidden",
         .kind = ERRAND_PARAM_BOOLEAN,
         .def = "true",
         .help = "also what begins with a dot"},
    };
    t->name = "file.hash";
    t->description = "SHA-256 of a file, or of each file of a folder";
    t->params = params;
    t->n_params = sizeof params / sizeof *params;
    t->handler = run;
    t->timeout_ms = -1;
    t->idempotent = 1;
}
