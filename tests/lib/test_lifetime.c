/* SPDX-License-Identifier: MIT */
/* The beginning and the end of what a program holds: who owns a store, whatever it is called;
 * what a refused open leaves behind; what is left of subscriptions when their handle is
 * closed. */
#include "lib_fixture.h"

#include <fcntl.h>
#include <pthread.h>

static errand *
open_at(const char *folder, const char *name, errand_error *error)
{
    char url[160];
    errand *e = NULL;
    (void)snprintf(url, sizeof url, "sqlite:%s/%s", folder, name);
    return errand_open(url, NULL, &e, error) == 0 ? e : NULL;
}

static void
path_of(char out[160], const struct home *h, const char *name)
{
    (void)snprintf(out, 160, "%s/%s", h->folder, name);
}

static bool
is_there(const struct home *h, const char *name)
{
    char path[160];
    struct stat st;
    path_of(path, h, name);
    return lstat(path, &st) == 0;
}

/* ---- one owner ---- */

static void
check_refused(const struct home *h, const char *name)
{
    errand_error error;
    char pid[32];
    (void)snprintf(pid, sizeof pid, "pid %d", (int)getpid());
    assert_null(open_at(h->folder, name, &error));
    assert_int_equal(error.code, ERRAND_EBUSY);
    assert_non_null(strstr(error.message, pid));
}

static void
lifetime__a_store_has_one_owner_by_any_name(void **state)
{
    const struct home *h = *state;
    char store[160], soft[160], hard[160], folder[160];
    errand_error error;
    path_of(store, h, "a.db");
    path_of(soft, h, "soft.db");
    path_of(hard, h, "hard.db");
    path_of(folder, h, "folder");
    assert_int_equal(symlink("a.db", soft), 0); /* to what does not exist yet */
    assert_int_equal(symlink(h->folder, folder), 0);
    errand *e = open_at(h->folder, "soft.db", &error);
    assert_non_null(e);
    assert_true(is_there(h, "a.db.lock"));
    assert_false(is_there(h, "soft.db.lock"));
    assert_int_equal(link(store, hard), 0);
    check_refused(h, "a.db");
    check_refused(h, "soft.db");
    check_refused(h, "folder/a.db");
    check_refused(h, "folder/soft.db");
    check_refused(h, "hard.db");
    assert_false(is_there(h, "hard.db.lock"));
    errand_close(e);
    e = open_at(h->folder, "hard.db", &error); /* it has none any more */
    assert_non_null(e);
    check_refused(h, "a.db");
    errand_close(e);
}

/* ---- what a refused open leaves ---- */

static void
write_file(const struct home *h, const char *name, const char *text)
{
    char path[160];
    path_of(path, h, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int
count_entries(const struct home *h)
{
    int n = 0;
    DIR *d = opendir(h->folder);
    assert_non_null(d);
    while (readdir(d)) {
        n++;
    }
    (void)closedir(d);
    return n;
}

static void
lifetime__a_refused_open_leaves_nothing(void **state)
{
    const struct home *h = *state;
    errand_error error;
    char words[2000];
    memset(words, 'x', sizeof words - 1);
    words[sizeof words - 1] = '\0';
    write_file(h, "foreign", words);
    int before = count_entries(h);
    assert_null(open_at(h->folder, "foreign", &error));
    assert_int_equal(error.code, ERRAND_ECORRUPT);
    assert_null(open_at(h->folder, "none/a.db", &error));
    assert_int_equal(error.code, ERRAND_ENOTFOUND);
    assert_null(open_at(h->folder, ".", &error));
    assert_int_equal(error.code, ERRAND_EINVALID);
    assert_int_equal(count_entries(h), before);
}

static void
lifetime__a_store_is_its_owners_alone(void **state)
{
    static const char *const names[] = {"a.db", "a.db-wal", "a.db-shm", "a.db.lock"};
    const struct home *h = *state;
    errand_error error;
    mode_t was = umask(0);
    errand *e = open_at(h->folder, "a.db", &error);
    (void)umask(was);
    assert_non_null(e);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[160];
        struct stat st;
        path_of(path, h, names[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    errand_close(e);
}

static void
lifetime__what_fails_gives_nothing(void **state)
{
    int here = 0;
    errand *e = (errand *)(void *)&here;
    errand_error error;
    (void)state;
    assert_int_equal(errand_open("bogus:", NULL, &e, &error), ERRAND_EINVALID);
    assert_null(e);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_home, teardown_home)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lifetime__a_store_has_one_owner_by_any_name),
        TEST(lifetime__a_refused_open_leaves_nothing),
        TEST(lifetime__a_store_is_its_owners_alone),
        TEST(lifetime__what_fails_gives_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
