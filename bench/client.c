/* SPDX-License-Identifier: MIT */
/* A client of the daemon, to measure it: plain HTTP on the unix socket, blocking.
 *
 * usage: client SOCKET submit CLIENTS N QUEUE   acknowledged submits, one a request
 *        client SOCKET bulk N BATCH QUEUE       the same as NDJSON, BATCH a request
 *        client SOCKET drain N QUEUE            resumes a paused queue of N tasks and
 * waits for the last one's end client SOCKET latency N STAMP FIFO     acknowledged submit
 * to started process client SOCKET follow N STAMP           started process to output at
 * a follower client SOCKET claim N SLOTS            a worker that does nothing: claims N
 * tasks and reports them done
 *
 * STAMP is the program of stamp.c. Every request must be answered 2xx, or it ends with 1.
 */
#include "bench.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { BODY = 200 };

struct http {
    int fd;
    char *buf; /* what was read and not used yet */
    size_t have, size;
    bool chunked;    /* a stream: the chunks' frames are taken out as it is read */
    size_t left;     /* of the chunk that is being read */
    size_t announce; /* size of the next chunk, as far as it was read */
};

static const char *socket_path;

static void
http_open(struct http *h)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(socket_path) >= sizeof to.sun_path) {
        DIE("the socket's path is too long for this client: %s", socket_path);
    }
    strcpy(to.sun_path, socket_path);
    *h = (struct http){.fd = socket(AF_UNIX, SOCK_STREAM, 0), .size = 1 << 16};
    h->buf = malloc(h->size + 1);
    if (h->fd < 0 || connect(h->fd, (struct sockaddr *)&to, sizeof to) != 0) {
        DIE("cannot connect to %s: %s", socket_path, strerror(errno));
    }
}

static void
http_close(struct http *h)
{
    close(h->fd);
    free(h->buf);
}

/* Takes the frames of chunks out of n bytes in place (size CR LF data CR LF ...); returns
 * how many are left. */
static size_t
dechunk(struct http *h, char *p, size_t n)
{
    size_t out = 0;
    for (size_t i = 0; i < n; i++) {
        if (h->left > 0) {
            size_t k = n - i < h->left ? n - i : h->left;
            memmove(p + out, p + i, k);
            out += k;
            h->left -= k;
            i += k - 1;
        } else if (p[i] == '\n') { /* the end of a size, or the empty end of a chunk */
            h->left = h->announce;
            h->announce = 0;
        } else if (p[i] != '\r') {
            unsigned c = (unsigned char)p[i];
            h->announce = h->announce * 16 + (c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
        }
    }
    return out;
}

static void
http_fill(struct http *h)
{
    if (h->have == h->size) {
        h->size *= 2;
        h->buf = realloc(h->buf, h->size + 1);
    }
    /* As the command waits: who blocks in read() on a unix socket is also woken when the
     * daemon takes what was sent. */
    struct pollfd readable = {.fd = h->fd, .events = POLLIN};
    (void)poll(&readable, 1, -1);
    ssize_t k = read(h->fd, h->buf + h->have, h->size - h->have);
    if (k <= 0) {
        DIE("the daemon closed the connection");
    }
    h->have += h->chunked ? dechunk(h, h->buf + h->have, (size_t)k) : (size_t)k;
    h->buf[h->have] = '\0';
}

static void
http_eat(struct http *h, size_t n)
{
    memmove(h->buf, h->buf + n, h->have - n);
    h->have -= n;
    h->buf[h->have] = '\0';
}

static void
http_send(struct http *h, const char *method, const char *target, const char *headers,
          const char *body, size_t len)
{
    char head[1024];
    int n = snprintf(head, sizeof head,
                     "%s %s HTTP/1.1\r\nHost: errand\r\n%sContent-Length: %zu\r\n\r\n",
                     method, target, headers, len);
    if (len < 4096) { /* one write, one packet */
        char all[1024 + 4096];
        memcpy(all, head, (size_t)n);
        memcpy(all + n, body, len);
        bench_write(h->fd, all, (size_t)n + len);
        return;
    }
    bench_write(h->fd, head, (size_t)n);
    bench_write(h->fd, body, len);
}

/* Reads the head of the answer; it must say 2xx. Returns the length of the body, or -1
 * when it is chunked. */
static long
http_head(struct http *h)
{
    char *end;
    h->buf[h->have] = '\0';
    while ((end = strstr(h->buf, "\r\n\r\n")) == NULL) {
        http_fill(h);
    }
    if (strncmp(h->buf, "HTTP/1.1 2", 10) != 0) {
        DIE("answer: %.400s", h->buf);
    }
    *end = '\0';
    char *length = strcasestr(h->buf, "\r\nContent-Length:");
    long n = length != NULL ? atol(length + 17) : -1;
    bool chunked = strcasestr(h->buf, "\r\nTransfer-Encoding: chunked") != NULL;
    http_eat(h, (size_t)(end + 4 - h->buf));
    if (chunked) {
        h->chunked = true;
        h->have = dechunk(h, h->buf, h->have);
        h->buf[h->have] = '\0';
    }
    return n;
}

/* The whole answer of Content-Length; its body stands at h->buf until http_eat(h, n). */
static size_t
http_answer(struct http *h)
{
    long n = http_head(h);
    if (n < 0) {
        DIE("an answer without Content-Length");
    }
    while (h->have < (size_t)n) {
        http_fill(h);
    }
    return (size_t)n;
}

static void
http_post(struct http *h, const char *target, const char *headers, const char *body,
          size_t len)
{
    http_send(h, "POST", target, headers, body, len);
    http_eat(h, http_answer(h));
}

/* One task as JSON of 200 bytes. */
static void
make_task(char *out, const char *queue)
{
    int n =
        snprintf(out, BODY + 1,
                 "{\"args\":{\"argv\":[\"true\"]},\"queue\":\"%s\",\"name\":\"", queue);
    memset(out + n, 'x', (size_t)(BODY - 2 - n));
    strcpy(out + BODY - 2, "\"}");
}

/* ---- submit, bulk ------------------------------------------------------------------ */

struct submitter {
    pthread_t thread;
    long n;
    const char *queue;
};

static void *
submit_many(void *arg)
{
    struct submitter *s = arg;
    struct http h;
    char task[BODY + 1];
    http_open(&h);
    make_task(task, s->queue);
    for (long i = 0; i < s->n; i++) {
        http_post(&h, "/v1/tasks?brief=1", "", task, BODY);
    }
    http_close(&h);
    return NULL;
}

static void
submit(int clients, long n, const char *queue)
{
    struct submitter *all = calloc((size_t)clients, sizeof *all);
    double start = bench_now();
    for (int i = 0; i < clients; i++) {
        all[i] = (struct submitter){.n = n / clients, .queue = queue};
        pthread_create(&all[i].thread, NULL, submit_many, &all[i]);
    }
    for (int i = 0; i < clients; i++) {
        pthread_join(all[i].thread, NULL);
    }
    printf("submits_per_s\t%.0f\n",
           (double)(n / clients * clients) / (bench_now() - start));
    free(all);
}

static void
bulk(long n, long batch, const char *queue)
{
    struct http h;
    char *lines = malloc((size_t)batch * (BODY + 1) + 1);
    for (long i = 0; i < batch; i++) {
        make_task(lines + i * (BODY + 1), queue);
        lines[(i + 1) * (BODY + 1) - 1] = '\n';
    }
    http_open(&h);
    double start = bench_now();
    for (long done = 0; done < n; done += batch) {
        http_post(&h, "/v1/tasks?brief=1", "Content-Type: application/x-ndjson\r\n",
                  lines, (size_t)(batch * (BODY + 1)));
    }
    printf("submits_per_s\t%.0f\n", (double)n / (bench_now() - start));
    http_close(&h);
    free(lines);
}

/* ---- drain ---------------------------------------------------------------------------
 */

static void
put_queue(const char *queue, const char *settings)
{
    struct http h;
    char target[256];
    snprintf(target, sizeof target, "/v1/queues/%s", queue);
    http_open(&h);
    http_send(&h, "PUT", target, "", settings, strlen(settings));
    http_eat(&h, http_answer(&h));
    http_close(&h);
}

static void
drain(long n, const char *queue)
{
    static const char mark[] = "event: task-completed";
    struct http h;
    http_open(&h);
    http_send(&h, "GET", "/v1/events?event=task-completed", "", "", 0);
    http_head(&h);
    double start = bench_now();
    put_queue(queue, "{\"paused\":false}");
    while (n > 0) {
        http_fill(&h);
        char *at = h.buf, *found;
        while (n > 0 && (found = strstr(at, mark)) != NULL) {
            at = found + sizeof mark - 1;
            n--;
        }
        size_t used = (size_t)(at - h.buf),
               keep = sizeof mark; /* a mark may be cut in two */
        http_eat(&h, h.have - used > keep ? h.have - keep : used);
    }
    printf("seconds\t%.4f\n", bench_now() - start);
    http_close(&h);
}

/* ---- latency, follow --------------------------------------------------------------- */

static double
read_stamp(int fd)
{
    char text[33] = "";
    for (size_t have = 0; have < 32;) {
        ssize_t k = read(fd, text + have, 32 - have);
        if (k <= 0) {
            DIE("no time from the task");
        }
        have += (size_t)k;
    }
    return atof(text);
}

static void
latency(size_t n, const char *stamp, const char *fifo)
{
    struct http h;
    char task[8192];
    double *took = calloc(n, sizeof *took);
    int len =
        snprintf(task, sizeof task, "{\"args\":{\"argv\":[\"%s\",\"%s\"]}}", stamp, fifo);
    http_open(&h);
    int fd = open(fifo, O_RDWR); /* both ends: no end-of-file between two tasks */
    if (fd < 0) {
        DIE("cannot open %s: %s", fifo, strerror(errno));
    }
    for (size_t i = 0; i < n; i++) {
        http_send(&h, "POST", "/v1/tasks?brief=1", "", task, (size_t)len);
        size_t answer = http_answer(&h);
        double acknowledged = bench_now();
        http_eat(&h, answer);
        took[i] = read_stamp(fd) - acknowledged;
        struct timespec pause = {0,
                                 20000000}; /* idle again: what is measured begins idle */
        nanosleep(&pause, NULL);
    }
    bench_quantiles("ms", took, n, 1e3);
    http_close(&h);
    free(took);
}

/* Submits a held task and returns its id. */
static long
submit_held(struct http *h, const char *stamp)
{
    char task[8192];
    int len = snprintf(task, sizeof task,
                       "{\"args\":{\"argv\":[\"%s\",\"-\"]},\"held\":true}", stamp);
    http_send(h, "POST", "/v1/tasks?brief=1", "", task, (size_t)len);
    size_t n = http_answer(h);
    char *at = strstr(h->buf, "\"id\":");
    long id = at != NULL ? atol(at + 5) : 0;
    http_eat(h, n);
    return id;
}

static void
follow(size_t n, const char *stamp)
{
    double *took = calloc(n, sizeof *took);
    struct http h;
    http_open(&h);
    for (size_t i = 0; i < n; i++) {
        char target[128];
        struct http f;
        long id = submit_held(&h, stamp);
        http_open(&f);
        snprintf(target, sizeof target, "/v1/tasks/%ld/log?follow=1", id);
        http_send(&f, "GET", target, "", "", 0);
        http_head(&f);
        snprintf(target, sizeof target, "/v1/tasks/%ld/resume", id);
        http_post(&h, target, "", "", 0);
        char *at;
        while ((at = strchr(f.buf, '.')) == NULL || strlen(at) < 11) {
            http_fill(&f);
        }
        double seen = bench_now();
        while (at > f.buf && at[-1] >= '0' && at[-1] <= '9') {
            at--;
        }
        took[i] = seen - atof(at);
        http_close(&f);
    }
    bench_quantiles("ms", took, n, 1e3);
    http_close(&h);
    free(took);
}

/* ---- claim ---------------------------------------------------------------------------
 */

/* Copies the text of a member of a JSON line ("name":"text") that has no escapes. */
static void
member(const char *line, const char *name, char *out, size_t size)
{
    char mark[64];
    snprintf(mark, sizeof mark, "\"%s\":", name);
    const char *at = strstr(line, mark);
    if (at == NULL) {
        DIE("no %s in %.300s", name, line);
    }
    at += strlen(mark);
    at += strspn(at, " \"");
    size_t n = strcspn(at, "\",}");
    snprintf(out, size, "%.*s", (int)n, at);
}

/* Waits for a whole line of the stream that has the mark; lines before it are dropped.
 * Chunk sizes stand on lines of their own, which no mark is in. */
static char *
wait_line(struct http *h, const char *mark, char **out_end)
{
    for (;;) {
        char *end;
        while ((end = memchr(h->buf, '\n', h->have)) != NULL) {
            *end = '\0';
            char *at = strstr(h->buf, mark);
            if (at != NULL) {
                *out_end = end;
                return h->buf;
            }
            http_eat(h, (size_t)(end + 1 - h->buf));
        }
        http_fill(h);
    }
}

/* Says hello as a worker on h and takes the lock; the headers of its reports. */
static void
hello(struct http *h, int slots, char *headers, size_t size)
{
    char body[256], version[64], session[32], token[64], lock[4096], *end;
    http_send(h, "GET", "/healthz", "", "", 0);
    size_t n = http_answer(h);
    member(h->buf, "version", version, sizeof version); /* of another: gets no work */
    http_eat(h, n);
    int len = snprintf(body, sizeof body,
                       "{\"protocol\":1,\"version\":\"%s\",\"pid\":%d,\"slots\":%d,"
                       "\"session\":null,\"token\":null,\"held\":[],\"owed\":[]}",
                       version, (int)getpid(), slots);
    http_send(h, "POST", "/v1/work/claim", "", body, (size_t)len);
    http_head(h);
    char *line = wait_line(h, "\"welcome\"", &end);
    member(line, "session", session, sizeof session);
    member(line, "token", token, sizeof token);
    member(line, "lock", lock, sizeof lock);
    http_eat(h, (size_t)(end + 1 - h->buf));
    int fd = open(lock, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        DIE("cannot lock %s: %s", lock, strerror(errno));
    }
    snprintf(headers, size, "X-Errand-Session: %s\r\nX-Errand-Token: %s\r\n", session,
             token);
}

/* Takes the next order and adds its end to the report; the one that is called KEEP runs
 * for ever. Returns how many ends were added. */
static long
take_order(struct http *h, char *report, size_t *size)
{
    char task[32], attempt[32], *end;
    char *line = strstr(wait_line(h, "\"run\":{", &end), "\"run\":{");
    bool keep = strstr(line, "\"name\":\"KEEP\"") != NULL;
    member(line, "task", task, sizeof task);
    member(line, "attempt", attempt, sizeof attempt);
    http_eat(h, (size_t)(end + 1 - h->buf));
    if (!keep) {
        *size += (size_t)sprintf(
            report + *size,
            "{\"finished\":{\"task\":%s,\"attempt\":%s,\"spawned\":true,"
            "\"exit_code\":0,\"signal\":0,\"cpu_s\":0,\"output_bytes\":0}}\n",
            task, attempt);
    }
    return keep ? 0 : 1;
}

static void
claim(long n, int slots)
{
    struct http h, r;
    char headers[256];
    long most = slots * 4L; /* orders that are answered together */
    char *report = malloc((size_t)most * 400);
    double start = 0;
    http_open(&h);
    http_open(&r);
    hello(&h, slots, headers, sizeof headers);
    for (long done = 0; done < n;) {
        long got = 0;
        size_t size = 0;
        while (got == 0 || (got < most && strstr(h.buf, "\"run\":{") != NULL)) {
            got += take_order(&h, report, &size);
            start = start == 0 ? bench_now() : start;
        }
        http_post(&r, "/v1/work/report", headers, report, size);
        done += got;
    }
    printf("us_per_task\t%.2f\n", (bench_now() - start) / (double)n * 1e6);
    free(report);
}

int
main(int argc, char **argv)
{
    const char *what = argc > 3 ? argv[2] : "";
    socket_path = argv[1];
    if (strcmp(what, "submit") == 0 && argc == 6) {
        submit(atoi(argv[3]), atol(argv[4]), argv[5]);
    } else if (strcmp(what, "bulk") == 0 && argc == 6) {
        bulk(atol(argv[3]), atol(argv[4]), argv[5]);
    } else if (strcmp(what, "drain") == 0 && argc == 5) {
        drain(atol(argv[3]), argv[4]);
    } else if (strcmp(what, "latency") == 0 && argc == 6) {
        latency((size_t)atol(argv[3]), argv[4], argv[5]);
    } else if (strcmp(what, "follow") == 0 && argc == 5) {
        follow((size_t)atol(argv[3]), argv[4]);
    } else if (strcmp(what, "claim") == 0 && argc == 5) {
        claim(atol(argv[3]), atoi(argv[4]));
    } else {
        DIE("usage: client SOCKET submit|bulk|drain|latency|follow|claim ... (see the "
            "head)");
    }
    return 0;
}
