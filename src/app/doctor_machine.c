/* SPDX-License-Identifier: MIT */
/* What the machine gives: of limits those count that the daemon has, when one runs; else
 * those that one started from here would get. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <unistd.h>

#include "app/doctor.h"
#include "base/clock.h"
#include "base/io.h"
#include "model/duration.h"

#define FILES_LOW  256
#define SPARE_LOW  32 /* processes that must be possible besides */
#define YEAR_2024  (INT64_C(1704067200) * ER_USEC_PER_SEC)
#define CLOCK_SLIP (60 * ER_USEC_PER_SEC)

/* The first whole number in a file; -1 = none (`max`, or no such file). */
static int64_t
read_number(const char *path)
{
    char text[64] = "";
    FILE *f = fopen(path, "re");
    if (!f) {
        return -1;
    }
    const char *line = fgets(text, sizeof text, f);
    (void)fclose(f);
    return line && text[0] >= '0' && text[0] <= '9' ? strtoll(text, NULL, 10) : -1;
}

/* ---- clocks ---- */

/* How far ahead of the clock the store was written; 0 = not at all. */
static er_usec
written_ahead(const struct er_places *p, er_usec now)
{
    struct stat st;
    if (stat(p->store, &st) != 0) {
        return 0;
    }
    er_usec at = (er_usec)st.st_mtim.tv_sec * ER_USEC_PER_SEC;
    return at > now ? at - now : 0;
}

static void
check_clocks(struct er_doctor *d, const struct er_places *p)
{
    char now_text[ER_RFC3339_SIZE], ahead_text[ER_DURATION_SIZE];
    struct timex t = {0};
    er_usec now = er_clock_wall(er_clock_system());
    er_usec ahead = written_ahead(p, now);
    er_time_format(now, now_text);
    er_duration_format(ahead, ahead_text);
    if (now < YEAR_2024) {
        er_doctor_note(d, "clock", false, "set it: delays and ages are told by it",
                       "it says %s, which cannot be", now_text);
    } else if (ahead > CLOCK_SLIP) {
        er_doctor_note(
            d, "clock", false,
            "see whether it is right now: --at and ages are told by it (delays go "
            "on as they were)",
            "it was set back: the store was written %s ahead of %s", ahead_text,
            now_text);
    } else {
        bool synced = adjtimex(&t) != TIME_ERROR && (t.status & STA_UNSYNC) == 0;
        er_doctor_note(d, "clock", true, NULL, "%s, %s", now_text,
                       synced ? "synchronized" : "not known to be synchronized");
    }
}

/* ---- limits ---- */

/* How many open files process `pid` may have, and has (-1 = unknown). */
static void
count_files(int pid, int64_t *out_limit, int64_t *out_used)
{
    char path[64], line[256];
    (void)snprintf(path, sizeof path, "/proc/%d/limits", pid);
    *out_limit = *out_used = -1;
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, "Max open files", 14) == 0) {
            *out_limit = strtoll(line + 14, NULL, 10);
        }
    }
    if (f) {
        (void)fclose(f);
    }
    (void)snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *dir = opendir(path);
    if (dir) {
        *out_used = -2; /* "." and ".." */
        while (readdir(dir)) {
            (*out_used)++;
        }
        (void)closedir(dir);
    }
}

static void
check_files(struct er_doctor *d)
{
    int64_t limit, used;
    count_files(d->daemon > 0 ? d->daemon : (int)getpid(), &limit, &used);
    if (limit < 0) {
        return; /* no limit, or it belongs to somebody else */
    }
    bool ok = limit >= FILES_LOW && (d->daemon == 0 || used < limit - limit / 5);
    const char *advice =
        "raise it: ulimit -n 4096 before errand serve, or LimitNOFILE= in "
        "its unit";
    if (d->daemon > 0) {
        er_doctor_note(d, "open-files", ok, advice,
                       "the daemon has %" PRId64 " of %" PRId64, used, limit);
    } else {
        er_doctor_note(d, "open-files", ok, advice, "at most %" PRId64, limit);
    }
}

/* How many processes and threads of ours there are. */
static int64_t
count_processes(void)
{
    int64_t n = 0;
    DIR *dir = opendir("/proc");
    const struct dirent *e;
    while (dir && (e = readdir(dir)) != NULL) {
        struct stat st;
        if (e->d_name[0] >= '1' && e->d_name[0] <= '9' &&
            fstatat(dirfd(dir), e->d_name, &st, 0) == 0 && st.st_uid == geteuid()) {
            n += st.st_nlink > 0;
        }
    }
    if (dir) {
        (void)closedir(dir);
    }
    return n;
}

/* The bound of the control group that we are in; -1 = none. */
static int64_t
group_bound(int64_t *out_used)
{
    char line[1024], path[1200];
    int64_t bound = -1;
    FILE *f = fopen("/proc/self/cgroup", "re");
    while (f && bound < 0 && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "0::", 3) == 0) {
            (void)snprintf(path, sizeof path, "/sys/fs/cgroup%s/pids.max", line + 3);
            bound = read_number(path);
            (void)snprintf(path, sizeof path, "/sys/fs/cgroup%s/pids.current", line + 3);
            *out_used = read_number(path);
        }
    }
    if (f) {
        (void)fclose(f);
    }
    return bound;
}

static void
check_processes(struct er_doctor *d)
{
    struct rlimit r;
    int64_t used = 0;
    int64_t bound = group_bound(&used);
    if (bound >= 0) {
        er_doctor_note(d, "processes", bound - used >= SPARE_LOW,
                       "raise pids.max of the control group (TasksMax= in its unit)",
                       "%" PRId64 " of %" PRId64 " in this control group", used, bound);
        return;
    }
    if (getrlimit(RLIMIT_NPROC, &r) != 0 || r.rlim_cur == RLIM_INFINITY ||
        geteuid() == 0) {
        er_doctor_note(d, "processes", true, NULL, "no limit for this user");
        return;
    }
    used = count_processes();
    er_doctor_note(d, "processes", (int64_t)r.rlim_cur - used >= SPARE_LOW,
                   "raise it (ulimit -u), or end some: tasks could not be started",
                   "%" PRId64 " of %" PRId64 " for this user", used, (int64_t)r.rlim_cur);
}

/* A worker waits for its daemon by inotify: one more instance and watch must be
 * possible. */
static void
check_inotify(struct er_doctor *d)
{
    int64_t instances = read_number("/proc/sys/fs/inotify/max_user_instances");
    int64_t watches = read_number("/proc/sys/fs/inotify/max_user_watches");
    int fd = inotify_init1(IN_CLOEXEC);
    int code = fd < 0 || inotify_add_watch(fd, "/", IN_DELETE_SELF) < 0 ? errno : 0;
    er_close(&fd);
    er_doctor_note(
        d, "inotify", code == 0,
        "raise fs.inotify.max_user_instances or max_user_watches with sysctl, or end "
        "what uses them",
        "%" PRId64 " instances and %" PRId64 " watches for a user%s%s", instances,
        watches, code ? ", none is left: " : "", code ? strerror(code) : "");
}

void
er_doctor_machine(struct er_doctor *d, const struct er_places *p)
{
    check_clocks(d, p);
    check_files(d);
    check_processes(d);
    check_inotify(d);
}
