/* SPDX-License-Identifier: MIT */
/* Where an instance has its things, sockets with paths of any length, and where programs
 * are looked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"
#include "wire/autostart.h"
#include "wire/places.h"

static char dir[64];

static int
setup(void **state)
{
    (void)state;
    static const char *const names[] = {
        "ERRAND_HOME",     "ERRAND_SOCKET",   "HOME",
        "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        unsetenv(names[i]);
    }
    (void)snprintf(dir, sizeof dir, "/tmp/errand-places-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int
teardown(void **state)
{
    (void)state;
    char *command = er_xasprintf("rm -rf %s", dir);
    int rc = system(command);
    er_free(command);
    return rc;
}

static void
set(const char *name, const char *below)
{
    char *value = er_xasprintf("%s%s", dir, below);
    setenv(name, value, 1);
    er_free(value);
}

static void
expect_path(const char *got, const char *below)
{
    char *want = er_xasprintf("%s%s", dir, below);
    assert_string_equal(got, want);
    er_free(want);
}

static void
places__are_all_in_errand_home(void **state)
{
    (void)state;
    struct er_places p;
    set("ERRAND_HOME", "/");
    setenv("HOME", "/nowhere", 1);
    assert_int_equal(er_places_init(&p, false, NULL), 0);
    expect_path(p.config, "/config.yml");
    expect_path(p.socket, "/errand.sock");
    expect_path(p.state_dir, "");
    expect_path(p.store, "/tasks.db");
    expect_path(p.lock, "/tasks.db.lock");
    expect_path(p.logs, "/logs");
    expect_path(p.workers, "/workers");
    expect_path(p.types, "/types.d");
    er_places_fini(&p);
}

static void
places__follow_the_xdg_folders(void **state)
{
    (void)state;
    struct er_places p;
    set("HOME", "/h");
    set("XDG_RUNTIME_DIR", "/run");
    assert_int_equal(er_places_init(&p, false, NULL), 0);
    expect_path(p.config, "/h/.config/errand/config.yml");
    expect_path(p.socket, "/run/errand/errand.sock");
    expect_path(p.store, "/h/.local/state/errand/tasks.db");
    er_places_fini(&p);
    set("XDG_CONFIG_HOME", "/c");
    set("XDG_STATE_HOME", "/s");
    setenv("XDG_RUNTIME_DIR", "relative", 1);
    assert_int_equal(er_places_init(&p, false, NULL), 0);
    expect_path(p.config, "/c/errand/config.yml");
    expect_path(p.store, "/s/errand/tasks.db");
    assert_int_equal(p.socket[0], '/');
    er_places_fini(&p);
}

static void
places__of_the_system_and_of_a_given_socket(void **state)
{
    (void)state;
    struct er_places p;
    set("ERRAND_HOME", "");
    set("ERRAND_SOCKET", "/other.sock");
    assert_int_equal(er_places_init(&p, false, NULL), 0);
    expect_path(p.socket, "/other.sock");
    expect_path(p.store, "/tasks.db");
    er_places_fini(&p);
    unsetenv("ERRAND_SOCKET");
    assert_int_equal(er_places_init(&p, true, NULL), 0);
    assert_string_equal(p.config, "/etc/errand/config.yml");
    assert_string_equal(p.socket, "/run/errand/errand.sock");
    assert_string_equal(p.store, "/var/lib/errand/tasks.db");
    er_places_fini(&p);
}

static void
places__without_a_home_are_refused(void **state)
{
    (void)state;
    struct er_places p;
    struct er_err err;
    assert_int_equal(er_places_init(&p, false, &err), ER_EINVALID);
    assert_non_null(strstr(err.text, "ERRAND_HOME"));
}

static void
places__writable_for_everybody_are_refused(void **state)
{
    (void)state;
    struct er_places p;
    struct er_err err;
    set("ERRAND_HOME", "");
    assert_int_equal(chmod(dir, 01777), 0);
    assert_int_equal(er_places_init(&p, false, &err), ER_EINVALID);
    assert_non_null(strstr(err.text, dir));
    assert_int_equal(chmod(dir, 0700), 0);
    assert_int_equal(er_places_init(&p, false, &err), 0);
    er_places_fini(&p);
}

static void
places__are_made_for_the_owner_alone(void **state)
{
    (void)state;
    struct er_places p;
    struct er_err err;
    struct stat st;
    set("ERRAND_HOME", "/a/b");
    assert_int_equal(er_places_init(&p, false, NULL), 0);
    assert_int_equal(er_places_make(&p, &err), 0);
    assert_int_equal(stat(p.workers, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(p.state_dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(rmdir(p.logs), 0);
    FILE *f = fopen(p.logs, "w");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(er_places_make(&p, &err), ER_EINVALID);
    assert_non_null(strstr(err.text, "not a folder"));
    er_places_fini(&p);
}

/* Connects to a socket that `fd` listens on, and says a byte through it. */
static void
expect_talk(int fd, const char *path)
{
    struct er_err err = {""};
    char byte = 0;
    int client = er_places_connect(path, &err);
    assert_string_equal(err.text, "");
    assert_true(client >= 0);
    int server = accept(fd, NULL, NULL);
    assert_true(server >= 0);
    assert_int_equal(er_write_all(client, "x", 1), 0);
    assert_int_equal(recv(server, &byte, 1, 0), 1);
    assert_int_equal(byte, 'x');
    er_close(&client);
    er_close(&server);
}

static void
sockets__have_paths_of_any_length(void **state)
{
    (void)state;
    char *deep = er_xasprintf("%s/%0150d/%0150d", dir, 1, 2);
    char *path = er_xasprintf("%s/errand.sock", deep);
    struct stat st;
    assert_int_equal(er_mkdirs(deep, 0700, NULL), 0);
    assert_int_equal(er_places_connect(path, NULL), ER_ENODAEMON);
    int fd = er_places_listen(path, 0600, NULL, NULL);
    assert_true(fd >= 0);
    expect_talk(fd, path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    er_close(&fd);
    er_free(path);
    er_free(deep);
}

static void
sockets__that_are_stale_are_replaced(void **state)
{
    (void)state;
    char *path = er_xasprintf("%s/errand.sock", dir);
    int fd = er_places_listen(path, 0660, NULL, NULL);
    assert_true(fd >= 0);
    er_close(&fd);
    struct er_err err;
    assert_int_equal(er_places_connect(path, &err), ER_ENODAEMON);
    assert_non_null(strstr(err.text, path));
    fd = er_places_listen(path, 0660, NULL, NULL);
    assert_true(fd >= 0);
    expect_talk(fd, path);
    er_close(&fd);
    er_free(path);
}

static void
sockets__are_taken_away_only_by_who_made_them(void **state)
{
    (void)state;
    struct er_places_file mine, others;
    char *path = er_xasprintf("%s/errand.sock", dir);
    int fd = er_places_listen(path, 0600, &mine, NULL);
    int other = er_places_listen(path, 0600, &others, NULL);
    assert_true(fd >= 0 && other >= 0);
    er_places_unlisten(path, &mine);
    expect_talk(other, path);
    er_places_unlisten(path, &others);
    assert_int_equal(access(path, F_OK), -1);
    er_places_unlisten(path, &others); /* gone already */
    er_close(&fd);
    er_close(&other);
    er_free(path);
}

/* ---- programs ---- */

static void
make_program(const char *below)
{
    char *path = er_xasprintf("%s%s", dir, below);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    (void)fclose(f);
    assert_int_equal(chmod(path, 0700), 0);
    er_free(path);
}

/* A program that lies anywhere (linked statically, say) finds what was installed with the
 * `errand` in PATH, which may be a link. */
static void
programs__are_looked_for_beside_the_errand_in_path(void **state)
{
    static const char *const folders[] = {"", "/app", "/app/bin", "/app/libexec",
                                          "/links"};
    char *path = NULL, *was = er_xstrdup(getenv("PATH")), *link, *to;
    struct er_err err = {""};
    (void)state;
    for (size_t i = 1; i < sizeof folders / sizeof folders[0]; i++) {
        char *folder = er_xasprintf("%s%s", dir, folders[i]);
        assert_int_equal(mkdir(folder, 0700), 0);
        er_free(folder);
    }
    set("PATH", "/links:relative::/nowhere");
    assert_int_equal(er_autostart_find("errand-of-a-test", dir, &path, &err),
                     ER_ENOTFOUND);
    assert_non_null(strstr(err.text, "errand-of-a-test"));
    assert_non_null(strstr(err.text, dir));
    assert_non_null(strstr(err.text, ", beside errand, which is not in PATH;"));
    make_program("/app/bin/errand");
    link = er_xasprintf("%s/links/errand", dir);
    to = er_xasprintf("%s/app/bin/errand", dir);
    assert_int_equal(symlink(to, link), 0);
    assert_int_equal(er_autostart_find("errand-of-a-test", NULL, &path, &err),
                     ER_ENOTFOUND);
    assert_non_null(strstr(err.text, "/app/bin; from each also in "));
    make_program("/app/libexec/errand-of-a-test");
    assert_int_equal(er_autostart_find("errand-of-a-test", NULL, &path, &err), 0);
    expect_path(path, "/app/bin/../libexec/errand-of-a-test");
    er_free(path);
    make_program("/app/bin/errand-of-a-test");
    assert_int_equal(er_autostart_find("errand-of-a-test", NULL, &path, &err), 0);
    expect_path(path, "/app/bin/./errand-of-a-test");
    er_free(path);
    assert_int_equal(setenv("PATH", was, 1), 0);
    er_free(was);
    er_free(link);
    er_free(to);
}

/* As of a daemon that somebody has stopped, and that many have asked since. */
static void
sockets__with_a_full_queue_are_not_waited_for(void **state)
{
    char path[100];
    int waiting[8], n = 0, rc;
    struct er_err err = {""};
    struct timeval t = {.tv_sec = 1};
    socklen_t size = sizeof t;
    (void)state;
    (void)snprintf(path, sizeof path, "%s/s", dir);
    int fd = er_places_listen(path, 0600, NULL, NULL);
    assert_true(fd >= 0);
    assert_int_equal(listen(fd, 1), 0);
    while ((rc = er_places_connect_within(path, 0, &err)) >= 0) {
        assert_true(n < 8);
        waiting[n++] = rc;
    }
    assert_int_equal(rc, ER_ETIMEOUT);
    assert_non_null(strstr(err.text, "too many wait"));
    assert_int_equal(er_places_connect_within(path, 20 * ER_USEC_PER_MS, NULL),
                     ER_ETIMEOUT);
    int taken = accept(fd, NULL, NULL);
    rc = er_places_connect(path, NULL);
    assert_true(taken >= 0 && rc >= 0);
    assert_int_equal(getsockopt(rc, SOL_SOCKET, SO_SNDTIMEO, &t, &size), 0);
    assert_true(t.tv_sec == 0 && t.tv_usec == 0); /* the bound was the connect's alone */
    er_close(&rc);
    er_close(&taken);
    while (n > 0) {
        er_close(&waiting[--n]);
    }
    er_close(&fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(places__are_all_in_errand_home, setup, teardown),
        cmocka_unit_test_setup_teardown(places__follow_the_xdg_folders, setup, teardown),
        cmocka_unit_test_setup_teardown(places__of_the_system_and_of_a_given_socket,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(places__without_a_home_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(places__writable_for_everybody_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(places__are_made_for_the_owner_alone, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(sockets__have_paths_of_any_length, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(sockets__with_a_full_queue_are_not_waited_for,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(sockets__that_are_stale_are_replaced, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(sockets__are_taken_away_only_by_who_made_them,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            programs__are_looked_for_beside_the_errand_in_path, setup, teardown),
    };
    return cmocka_run_group_tests_name("places", tests, NULL, NULL);
}
