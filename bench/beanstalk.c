/* SPDX-License-Identifier: MIT */
/* A client of beanstalkd, to measure its acknowledged puts of 200-byte bodies.
 *
 * usage: beanstalk PORT CLIENTS JOBS [PIPELINE]
 *
 * CLIENTS threads with a blocking connection each put JOBS in all, PIPELINE (default 1)
 * at a time before they read the answers. Prints put_per_s. */
#include "bench.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>

enum { BODY = 200, COMMAND = BODY + 64 };

struct client {
    pthread_t thread;
    int port;
    long jobs, pipeline;
};

static int
dial(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((unsigned short)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        DIE("cannot connect to port %d: %s", port, strerror(errno));
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* Reads n answers "INSERTED id\r\n" in whatever pieces they come. */
static void
read_answers(int fd, long n)
{
    static __thread char buf[65536];
    static __thread size_t have;
    while (n > 0) {
        ssize_t k = read(fd, buf + have, sizeof buf - have);
        if (k <= 0) {
            DIE("beanstalkd closed the connection");
        }
        have += (size_t)k;
        char *at = buf, *end;
        while ((end = memchr(at, '\n', have - (size_t)(at - buf))) != NULL) {
            if (strncmp(at, "INSERTED ", 9) != 0) {
                DIE("put: %.40s", at);
            }
            at = end + 1;
            n--;
        }
        have -= (size_t)(at - buf);
        memmove(buf, at, have);
    }
}

static void *
run(void *arg)
{
    struct client *c = arg;
    int fd = dial(c->port);
    char body[BODY + 1], *many = malloc((size_t)c->pipeline * COMMAND);
    memset(body, 'x', BODY);
    body[BODY] = '\0';
    size_t len = 0;
    for (long i = 0; i < c->pipeline; i++) {
        len += (size_t)sprintf(many + len, "put 100 0 60 %d\r\n%s\r\n", BODY, body);
    }
    for (long done = 0; done < c->jobs; done += c->pipeline) {
        bench_write(fd, many, len);
        read_answers(fd, c->pipeline);
    }
    free(many);
    close(fd);
    return NULL;
}

int
main(int argc, char **argv)
{
    if (argc < 4) {
        DIE("usage: beanstalk PORT CLIENTS JOBS [PIPELINE]");
    }
    int n = atoi(argv[2]);
    long jobs = atol(argv[3]) / n, pipeline = argc > 4 ? atol(argv[4]) : 1;
    struct client *clients = calloc((size_t)n, sizeof *clients);
    double start = bench_now();
    for (int i = 0; i < n; i++) {
        clients[i] =
            (struct client){.port = atoi(argv[1]), .jobs = jobs, .pipeline = pipeline};
        pthread_create(&clients[i].thread, NULL, run, &clients[i]);
    }
    for (int i = 0; i < n; i++) {
        pthread_join(clients[i].thread, NULL);
    }
    printf("put_per_s\t%.0f\n", (double)(jobs * n) / (bench_now() - start));
    free(clients);
    return 0;
}
