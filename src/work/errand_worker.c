/* SPDX-License-Identifier: MIT */
/* errand-worker: executes attempts for a daemon. Started by the daemon, or by hand as
 * `errand worker`. Exit codes: 0 it ended as asked, 1 it can't work, 2 usage. */
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/number.h"
#include "model/duration.h"
#include "wire/places.h"
#include "work/worker.h"

#define SLOTS_MOST 10000

#define LINGER_FOR  (60 * ER_USEC_PER_SEC)
#define BACKLOG_FOR (100 * ER_USEC_PER_MS)

static const char usage[] =
    "usage: errand-worker [OPTIONS]\n"
    "Executes tasks for the errand daemon that listens on a socket.\n"
    "\n"
    "  --socket PATH   the daemon's socket (else ERRAND_SOCKET, else the usual place)\n"
    "  --system        the system instance's place\n"
    "  --slots N       commands at once that it offers (default: number of cores; the\n"
    "                  daemon decides)\n"
    "  --linger DUR    without a daemon it ends so long after its last task (default "
    "60s)\n"
    "  --give-back DUR tasks that wait so long for a slot go back to the queue (default\n"
    "                  100ms)\n"
    "  --owner-fd N    a pidfd: when that process is gone it ends what it runs, and "
    "itself\n"
    "  --owner-folder DIR  which it then takes away\n"
    "  --version, --help\n";

enum {
    OPT_SOCKET = 256,
    OPT_SYSTEM,
    OPT_SLOTS,
    OPT_LINGER,
    OPT_GIVE_BACK,
    OPT_OWNER_FD,
    OPT_OWNER_FOLDER,
    OPT_VERSION,
    OPT_HELP
};

static const struct option long_options[] = {
    {"socket", required_argument, NULL, OPT_SOCKET},
    {"system", no_argument, NULL, OPT_SYSTEM},
    {"slots", required_argument, NULL, OPT_SLOTS},
    {"linger", required_argument, NULL, OPT_LINGER},
    {"give-back", required_argument, NULL, OPT_GIVE_BACK},
    {"owner-fd", required_argument, NULL, OPT_OWNER_FD},
    {"owner-folder", required_argument, NULL, OPT_OWNER_FOLDER},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

struct arguments {
    struct er_worker_options options;
    char *socket_path;  /* of --socket; NULL = look for it */
    char *owner_folder; /* NULL = none */
    bool system;
};

_Noreturn static void
refuse(const char *what, const char *value)
{
    (void)fprintf(stderr, "errand-worker: %s '%s'\n%s", what, value, usage);
    exit(2);
}

static void
parse_option(struct arguments *args, int option)
{
    struct er_err err = {0};
    switch (option) {
    case OPT_SOCKET:
        args->socket_path = optarg;
        return;
    case OPT_SYSTEM:
        args->system = true;
        return;
    case OPT_SLOTS:
        if (er_int_parse(optarg, 1, SLOTS_MOST, &args->options.slots)) {
            refuse("--slots must be a number from 1 to 10000, not", optarg);
        }
        return;
    case OPT_LINGER:
        if (er_duration_parse(optarg, &args->options.linger_for, &err) != 0) {
            refuse("--linger must be a duration such as 60s, not", optarg);
        }
        return;
    case OPT_GIVE_BACK:
        if (er_duration_parse(optarg, &args->options.backlog_for, &err) != 0) {
            refuse("--give-back must be a duration such as 100ms, not", optarg);
        }
        return;
    case OPT_OWNER_FD:
        args->options.owner_fd = atoi(optarg);
        if (args->options.owner_fd < 3) {
            refuse("--owner-fd must be a descriptor from 3, not", optarg);
        }
        return;
    case OPT_OWNER_FOLDER:
        args->owner_folder = optarg;
        return;
    case OPT_VERSION:
        (void)puts("errand-worker " ER_VERSION);
        exit(0);
    case OPT_HELP:
        (void)fputs(usage, stdout);
        exit(0);
    default:
        (void)fputs(usage, stderr);
        exit(2);
    }
}

static void
parse_arguments(struct arguments *args, int argc, char **argv)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    args->options.slots = cores > 0 ? (int)cores : 1;
    args->options.linger_for = LINGER_FOR;
    args->options.backlog_for = BACKLOG_FOR;
    args->options.owner_fd = -1;
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        parse_option(args, option);
    }
    if (optind < argc) {
        refuse("what is this?", argv[optind]);
    }
}

/* An absolute path of the socket, which commands get as ERRAND_SOCKET; NULL with words.
 */
static char *
find_socket(const struct arguments *args, struct er_err *err)
{
    const char *path = args->socket_path;
    struct er_places places = {0};
    if (!path && er_places_init(&places, args->system, err) != 0) {
        return NULL;
    }
    char *found = NULL;
    if (path && path[0] != '/') {
        char *here = getcwd(NULL, 0);
        found = here ? er_xasprintf("%s/%s", here, path) : NULL;
        free(here);
    } else {
        found = er_xstrdup(path ? path : places.socket);
    }
    er_places_fini(&places);
    return found;
}

/* 0, 1 and 2 are open, whatever started us, and nothing else goes on to the commands. */
static void
guard_descriptors(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    er_close(&fd);
    (void)close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC);
}

/* What a program that was killed could not take away: the folder of its store in
 * memory. */
static void
clear_up(const char *folder, int owner_fd)
{
    struct pollfd p = {.fd = owner_fd, .events = POLLIN};
    if (folder && owner_fd >= 0 && poll(&p, 1, 0) == 1) {
        er_remove_tree(folder);
    }
}

int
main(int argc, char **argv)
{
    struct arguments args = {0};
    struct er_err err = {0};
    static struct er_worker worker;
    (void)mallopt(M_ARENA_MAX, 1); /* a few threads that hardly allocate */
    parse_arguments(&args, argc, argv);
    guard_descriptors();
    char *socket_path = find_socket(&args, &err);
    args.options.socket_path = socket_path;
    if (!socket_path || er_worker_init(&worker, &args.options, &err) != 0) {
        (void)fprintf(stderr, "errand-worker: %s\n", err.text);
        return 1;
    }
    er_free(socket_path);
    int exit_code = er_worker_run(&worker);
    clear_up(args.owner_folder, args.options.owner_fd);
    if (!er_worker_fini(&worker)) {
        _exit(exit_code);
    }
    return exit_code;
}
