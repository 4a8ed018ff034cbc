/* SPDX-License-Identifier: MIT */
/* Each option is refused by its name, before anything is made. */
#include "lib/options.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/heap.h"
#include "base/mem.h"
#include "lib/handle.h"
#include "wire/config.h"

#define CONNECT_MS 10000

static int
check_types_dir(const char *path, errand_error *error)
{
    char within[PATH_MAX];
    if (!path) {
        return 0;
    }
    (void)snprintf(within, sizeof within, "%s/.", path);
    return access(within, R_OK | X_OK) == 0
               ? 0
               : er_handle_fail(error, errno == ENOENT ? ER_ENOTFOUND : ER_EINVALID,
                                "types_dir",
                                "types_dir: the folder '%.200s' cannot be read: %s", path,
                                strerror(errno));
}

/* As in a daemon's configuration; where that may be 0, -1 says so. */
static int
check_retention(const struct errand_options *o, errand_error *error)
{
    static const struct {
        int64_t least, most;
    } bounds[] = {
#define OPTION(id, name, kind, def, min, max, env, help) [ER_CONFIG_##id] = {min, max},
#include "model/options.def"
#undef OPTION
    };
    const struct {
        const char *name;
        enum er_config_option option;
        int64_t value, unit;
    } all[] = {
        {"keep_finished", ER_CONFIG_KEEP_FINISHED, o->keep_finished, 1},
        {"keep_finished_for_ms", ER_CONFIG_KEEP_FINISHED_FOR, o->keep_finished_for_ms,
         ER_USEC_PER_MS},
        {"tombstones_for_ms", ER_CONFIG_TOMBSTONES_FOR, o->tombstones_for_ms,
         ER_USEC_PER_MS},
        {"facts_max", ER_CONFIG_FACTS_MAX, o->facts_max, 1},
        {"facts_for_ms", ER_CONFIG_FACTS_FOR, o->facts_for_ms, ER_USEC_PER_MS},
        {"logs_max", ER_CONFIG_LOGS_MAX, o->logs_max, 1},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        int64_t least = bounds[all[i].option].least / all[i].unit;
        int64_t most = bounds[all[i].option].most / all[i].unit;
        int64_t value = all[i].value;
        if (value > most || (value < least && value != 0 && (least > 0 || value != -1))) {
            return er_handle_fail(error, ER_EINVALID, all[i].name,
                                  "%s %lld (%lld to %lld; 0 = the default%s)",
                                  all[i].name, (long long)value,
                                  (long long)(least > 0 ? least : 1), (long long)most,
                                  least > 0 ? "" : ", -1 = none");
        }
    }
    return 0;
}

int
er_options_read(struct errand_options *o, const struct errand_options *given,
                errand_error *error)
{
    int rc = er_handle_read(o, sizeof *o, given, error);
    if (rc) {
        return rc;
    }
    const char *worker = o->worker, *path = o->socket, *types = o->types_dir;
    o->worker = er_strdup(worker);
    o->socket = er_strdup(path);
    o->types_dir = er_strdup(types);
    if ((worker && !o->worker) || (path && !o->socket) || (types && !o->types_dir)) {
        return er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
    }
    if (o->threading != ERRAND_THREAD && o->threading != ERRAND_TURN) {
        return er_handle_fail(error, ER_EINVALID, "threading",
                              "threading %d is neither ERRAND_THREAD nor ERRAND_TURN",
                              o->threading);
    }
    if (o->handler_threads < 0 || o->handler_threads > 1000) {
        return er_handle_fail(error, ER_EINVALID, "handler_threads",
                              "handler_threads %d (1 to 1000; 0 = the number of cores)",
                              o->handler_threads);
    }
    if (o->concurrency < 0 || o->concurrency > 10000) {
        return er_handle_fail(error, ER_EINVALID, "concurrency",
                              "concurrency %d (1 to 10000; 0 = the number of cores)",
                              o->concurrency);
    }
    if (worker && access(worker, X_OK) != 0) {
        return er_handle_fail(error, ER_EINVALID, "worker",
                              "worker: '%.200s' cannot be executed: %s", worker,
                              strerror(errno));
    }
    rc = check_retention(o, error);
    rc = rc ? rc : check_types_dir(types, error);
    if (rc) {
        return rc;
    }
    if (o->connect_ms < 0) {
        return er_handle_fail(error, ER_EINVALID, "connect_ms", "connect_ms is negative");
    }
    int cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    cores = cores > 0 ? cores : 1;
    o->handler_threads = o->handler_threads ? o->handler_threads : cores;
    o->concurrency = o->concurrency ? o->concurrency : cores;
    o->connect_ms = o->connect_ms ? o->connect_ms : CONNECT_MS;
    return 0;
}

void
er_options_fini(struct errand_options *o)
{
    er_free((char *)(uintptr_t)o->worker);
    er_free((char *)(uintptr_t)o->socket);
    er_free((char *)(uintptr_t)o->types_dir);
}

static int
check_test(int test, errand_error *error)
{
    const int known = ERRAND_TEST_CLOCK | ERRAND_TEST_INLINE | ERRAND_TEST_HOLD;
    if (test & ~known) {
        return er_handle_fail(error, ER_EINVALID, "test",
                              "test %#x has bits that are no enum errand_test_mode",
                              (unsigned)test);
    }
    if ((test & ERRAND_TEST_HOLD) && (test & ERRAND_TEST_INLINE)) {
        return er_handle_fail(error, ER_EINVALID, "test",
                              "ERRAND_TEST_HOLD runs nothing, ERRAND_TEST_INLINE runs at "
                              "once: one or the other");
    }
    return 0;
}

int
er_options_check(const char *url, const struct errand_options *o, errand_error *error)
{
    bool is_memory = url && strcmp(url, "memory:") == 0;
    if (url && strncmp(url, "unix:", 5) == 0 && (url[5] != '/' || url[6] == '/')) {
        return er_handle_fail(error, ER_EINVALID, "url",
                              "'%.200s': a socket is named by its whole path, with one / "
                              "at its beginning: unix:/PATH",
                              url);
    }
    if (url && !is_memory && strncmp(url, "unix:", 5) != 0 &&
        (strncmp(url, "sqlite:", 7) != 0 || !url[7] ||
         strncmp(url, "sqlite://", 9) == 0)) {
        return er_handle_fail(
            error, ER_EINVALID, "url",
            "'%.200s' is none of unix:/PATH, sqlite:PATH (no //), memory: (NULL "
            "= the user's daemon)",
            url);
    }
    if (o->types_dir && (!url || strncmp(url, "unix:", 5) == 0)) {
        return er_handle_fail(error, ER_EINVALID, "types_dir",
                              "types_dir is for sqlite: and memory: only: a daemon has a "
                              "types.d of its own");
    }
    if ((o->keep_finished || o->keep_finished_for_ms || o->tombstones_for_ms ||
         o->facts_max || o->facts_for_ms || o->logs_max) &&
        (!url || strncmp(url, "unix:", 5) == 0)) {
        return er_handle_fail(error, ER_EINVALID, "keep_finished",
                              "what is kept is for sqlite: and memory: only: a daemon's "
                              "is said in its configuration");
    }
    if (o->test && !is_memory) {
        return er_handle_fail(error, ER_EINVALID, "test",
                              "test modes are for memory: only");
    }
    return check_test(o->test, error);
}
