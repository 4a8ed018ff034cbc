/* SPDX-License-Identifier: MIT */
/* What cannot be meant is refused, by the name of the member, and not passed over. */
#include "lib_fixture.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

static errand *e;
static errand_error error;

static int
setup(void **state)
{
    (void)setup_home(state);
    e = open_with("memory:", ERRAND_THREAD);
    return 0;
}

static int
teardown(void **state)
{
    errand_close(e);
    return teardown_home(state);
}

static int
say_class(errand_attempt *a, void *ctx)
{
    return errand_fail(a, *(enum errand_class *)ctx, "odd", "words", NULL);
}

static void
on_event(void *ctx, errand_subscription *sub, const errand_event *event)
{
    (void)ctx;
    (void)sub;
    (void)event;
}

static struct errand_type
make_type(const char *name)
{
    struct errand_type t = ERRAND_INIT(errand_type);
    t.name = name;
    t.description = "of a test";
    return t;
}

#define REFUSED(call, wanted, named)                                                     \
    do {                                                                                 \
        int rc_ = (call);                                                                \
        if (rc_ != (wanted) || strcmp(error.field, named) != 0) {                        \
            fail_msg("line %d: %s: %d, '%s': %s", __LINE__, #call, rc_, error.field,     \
                     error.message);                                                     \
        }                                                                                \
        assert_true(error.message[0] != '\0');                                           \
    } while (0)

static void
refusals__handles(void **state)
{
    static const char *const urls[] = {"sqlite://x", "sqlite:///tmp/x", "sqlite:", "x:"};
    struct errand_options o = ERRAND_INIT(errand_options);
    errand *other = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        REFUSED(errand_open(urls[i], &o, &other, &error), ERRAND_EINVALID, "url");
    }
    o.worker = "/nowhere/errand-worker";
    REFUSED(errand_open("memory:", &o, &other, &error), ERRAND_EINVALID, "worker");
    assert_null(other);
}

/* ---- what cannot be opened ---- */

/* A store whose header says something else at that offset. */
static void
spoil_store(const char *path, off_t at, uint32_t value)
{
    char url[128];
    const unsigned char bytes[] = {(unsigned char)(value >> 24),
                                   (unsigned char)(value >> 16),
                                   (unsigned char)(value >> 8), (unsigned char)value};
    (void)snprintf(url, sizeof url, "sqlite:%s", path);
    errand_close(open_with(url, ERRAND_THREAD));
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, sizeof bytes, at), sizeof bytes);
    (void)close(fd);
}

static void
make_places(const char *folder)
{
    char path[128];
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)snprintf(path, sizeof path, "%s/text", folder);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs("no store, whatever its length is\n", f) >= 0);
    (void)fclose(f);
    (void)snprintf(path, sizeof path, "%s/folder", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/newer.db", folder);
    spoil_store(path, 60, 9999); /* user_version */
    (void)snprintf(path, sizeof path, "%s/other.db", folder);
    spoil_store(path, 68, 7); /* application_id */
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s/dead.sock", folder);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    (void)close(fd);
}

/* By hand, one after the other: what was wrong, where, and what would be right. */
static void
refusals__opens(void **state)
{
    static const char name[] =
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    static const struct {
        const char *way, *path; /* of the folder; "=": the path as it is */
        int code;
        const char *words;
    } cases[] = {
        {"http:", "=//x", ERRAND_EINVALID,
         "none of unix:/PATH, sqlite:PATH (no //), memory:"},
        {"", "=", ERRAND_EINVALID, "none of"},
        {"memory:", "=x", ERRAND_EINVALID, "none of"},
        {"unix:", "=a/errand.sock", ERRAND_EINVALID, "by its whole path"},
        {"unix:", "=//a/errand.sock", ERRAND_EINVALID, "by its whole path"},
        {"sqlite:", "=", ERRAND_EINVALID, "none of"},
        {"sqlite:", "=nowhere/a.db", ERRAND_ENOTFOUND, "no folder 'nowhere' in /"},
        {"sqlite:", "/nowhere/a.db", ERRAND_ENOTFOUND, "/nowhere' (make it first)"},
        {"sqlite:", "/text/a.db", ERRAND_ENOTFOUND, "/text' is not a folder"},
        {"sqlite:", "/folder", ERRAND_EINVALID, "/folder' is not a file"},
        {"sqlite:", "/text", ERRAND_ECORRUPT, "/text': it is not a store"},
        {"sqlite:", "/other.db", ERRAND_ECORRUPT,
         "not a store of errand (application id 7)"},
        {"sqlite:", "/newer.db", ERRAND_ESCHEMA, "schema 9999, made by a newer version"},
        {"unix:", "/none.sock", ERRAND_ENODAEMON,
         "/none.sock, and one is started only where "
         "the socket is called errand.sock"},
        {"unix:", "/dead.sock", ERRAND_ENODAEMON, "/dead.sock"},
        {"unix:", "/text", ERRAND_ENODAEMON, "/text: that is not a socket"},
        {"unix:", "/folder", ERRAND_ENODAEMON, "/folder: that is not a socket"},
        {"unix:", "/nowhere/errand.sock", ERRAND_ENODAEMON, "/nowhere' (make it first)"},
        {"unix:", "/text/errand.sock", ERRAND_EINVALID, "/text' is not a folder"},
        {"unix:", name, ERRAND_EINVALID, "is too long: use one of at most 80 bytes"},
    };
    const struct home *h = *state;
    errand *other;
    make_places(h->folder);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char url[256];
        bool is_whole = cases[i].path[0] == '=';
        (void)snprintf(url, sizeof url, "%s%s%s%s", cases[i].way,
                       is_whole ? "" : h->folder, cases[i].path == name ? "/" : "",
                       cases[i].path + is_whole);
        int rc = errand_open(url, NULL, &other, &error);
        if (rc != cases[i].code || strcmp(error.field, "url") != 0 ||
            !strstr(error.message, cases[i].words) || other) {
            fail_msg("%s: %d, '%s': %s", url, rc, error.field, error.message);
        }
    }
    char nowhere[128];
    (void)snprintf(nowhere, sizeof nowhere, "%s/nowhere", h->folder);
    assert_int_equal(access(nowhere, F_OK), -1); /* nothing was made */
    errand *owner = open_with(h->sqlite, ERRAND_THREAD);
    REFUSED(errand_open(h->sqlite, NULL, &other, &error), ERRAND_EBUSY, "url");
    errand_close(owner);
}

static void
refusals__sockets_of_its_own(void **state)
{
    const struct home *h = *state;
    static const struct {
        const char *path;
        int code;
        const char *words;
    } cases[] = {{"/text", ERRAND_EBUSY, "/text': it is no socket"},
                 {"/nowhere/a.sock", ERRAND_ENOTFOUND, "/nowhere/a.sock'"}};
    make_places(h->folder);
    for (size_t i = 0; i < 4; i++) {
        struct errand_options o = ERRAND_INIT(errand_options);
        char path[128];
        errand *other;
        (void)snprintf(path, sizeof path, "%s%s", h->folder, cases[i / 2].path);
        o.socket = path;
        REFUSED(errand_open(i % 2 ? h->sqlite : "memory:", &o, &other, &error),
                cases[i / 2].code, "socket");
        assert_non_null(strstr(error.message, cases[i / 2].words));
    }
}

/* In a process that may do less: what a file's mode says is nothing to root. */
static int
open_as_nobody(const char *url, const char *words)
{
    errand *other;
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) {
        return 10;
    }
    int rc = errand_open(url, NULL, &other, &error);
    return rc != ERRAND_EAUTH                  ? 11
           : strcmp(error.field, "url") != 0   ? 12
           : strstr(error.message, words) == 0 ? 13
                                               : 0;
}

static void
refusals__what_is_not_allowed(void **state)
{
    static const struct {
        const char *way, *path, *words;
    } cases[] = {{"sqlite:", "/a.db", "cannot make a file in '/"},
                 {"sqlite:", "/store.db", "/store.db.lock': Permission denied"},
                 {"unix:", "/errand.sock", "/"}};
    const struct home *h = *state;
    char path[128];
    errand_close(open_with(h->sqlite, ERRAND_THREAD));
    (void)snprintf(path, sizeof path, "%s/store.db.lock", h->folder);
    assert_int_equal(chmod(path, 0), 0);
    assert_int_equal(chmod(h->folder, 0555), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char url[128];
        int status;
        (void)snprintf(url, sizeof url, "%s%s%s", cases[i].way, h->folder, cases[i].path);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            _exit(open_as_nobody(url, cases[i].words));
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (status != 0) {
            fail_msg("%s: status %#x", url, status);
        }
    }
    assert_int_equal(chmod(h->folder, 0700), 0);
}

static void
refusals__submits(void **state)
{
    struct errand_type t = make_type("test.none");
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    const char *documents[] = {"{\"type\":\"test.none\"}"};
    int64_t id;
    (void)state;
    OK(errand_register(e, &t, &error));
    REFUSED(errand_submit(e, "test.none", "", NULL, &id, &error), ERRAND_EINVALID,
            "args");
    REFUSED(errand_submit(e, "test.none", "{\"a\":1,\"a\":2}", NULL, &id, &error),
            ERRAND_EINVALID, "args");
    assert_non_null(strstr(error.message, "duplicate"));
    REFUSED(
        errand_submit(e, "test.none", "{\"a\":99999999999999999999}", NULL, &id, &error),
        ERRAND_EINVALID, "args");
    assert_non_null(strstr(error.message, "integer"));
    REFUSED(errand_submit(e, "test.none", "{\"a\":\"\xff\"}", NULL, &id, &error),
            ERRAND_EINVALID, "args");
    assert_non_null(strstr(error.message, "0xff"));
    o.retries = 3;
    REFUSED(errand_submit(e, "test.none", NULL, &o, &id, &error), ERRAND_EINVALID,
            "retries");
    o = (struct errand_submit_options)ERRAND_INIT(errand_submit_options);
    o.timeout_ms = INT64_MAX;
    REFUSED(errand_submit(e, "test.none", NULL, &o, &id, &error), ERRAND_EINVALID,
            "timeout_ms");
    REFUSED(errand_submit_many(e, documents, 1, 0, &id, NULL, &error), ERRAND_EINVALID,
            "codes");
}

static void
refusals__what_is_kept(void **state)
{
    errand *other;
    (void)state;
#define KEEP(url, member, value, code, named)                                            \
    do {                                                                                 \
        struct errand_options o = ERRAND_INIT(errand_options);                           \
        o.member = value;                                                                \
        REFUSED(errand_open(url, &o, &other, &error), code, named);                      \
    } while (0)
    KEEP("memory:", keep_finished, -2, ERRAND_EINVALID, "keep_finished");
    KEEP("memory:", keep_finished_for_ms, INT64_MAX, ERRAND_EINVALID,
         "keep_finished_for_ms");
    KEEP("memory:", tombstones_for_ms, INT64_MIN, ERRAND_EINVALID, "tombstones_for_ms");
    KEEP("memory:", facts_max, -1, ERRAND_EINVALID, "facts_max");
    KEEP("memory:", facts_for_ms, 59999, ERRAND_EINVALID, "facts_for_ms");
    KEEP("memory:", logs_max, INT64_MAX, ERRAND_EINVALID, "logs_max");
    KEEP("unix:/nowhere/errand.sock", logs_max, 1, ERRAND_EINVALID, "keep_finished");
}

/* Nobody would ever run it. To be held it may be there. */
static void
refusals__a_command_where_none_runs(void **state)
{
    static const char *const argv[] = {"/bin/true", NULL};
    struct errand_options o = ERRAND_INIT(errand_options);
    errand *other;
    int64_t id = 0;
    (void)state;
    o.no_commands = 1;
    OK(errand_open("memory:", &o, &other, &error));
    REFUSED(errand_submit_command(other, argv, NULL, NULL, &id, &error), ERRAND_EINVALID,
            "no_commands");
    assert_int_equal(id, 0);
    errand_close(other);
    o.test = ERRAND_TEST_HOLD;
    OK(errand_open("memory:", &o, &other, &error));
    OK(errand_submit_command(other, argv, NULL, NULL, &id, &error));
    assert_true(id > 0);
    errand_close(other);
}

/* What errand_args was given wrongly is told by every submit, and none goes without. */
static void
refusals__texts_that_are_none(void **state)
{
    char *args[] = {errand_args("a", "1", "b", "\xff", NULL),
                    errand_args("a", "1", "b", (const char *)NULL, NULL),
                    errand_args("\xff", "1", NULL)};
    static const char *const words[] = {"'b' is not UTF-8", "'b' is NULL",
                                        "name of argument 1"};
    struct errand_reply reply;
    int64_t id = 0;
    (void)state;
    for (int i = 0; i < 3; i++) {
        char document[200];
        const char *documents[] = {document};
        int code;
        assert_non_null(args[i]);
        REFUSED(errand_submit(e, "test.none", args[i], NULL, &id, &error),
                ERRAND_EINVALID, "args");
        assert_non_null(strstr(error.message, words[i]));
        REFUSED(errand_call(e, "test.none", args[i], NULL, &reply, &error),
                ERRAND_EINVALID, "args");
        (void)snprintf(document, sizeof document, "{\"type\":\"test.none\",\"args\":%s}",
                       args[i]);
        REFUSED(errand_submit_many(e, documents, 1, 0, &id, &code, &error),
                ERRAND_EINVALID, "args_text");
        assert_int_equal(code, ERRAND_EINVALID);
        errand_free(args[i]);
    }
}

static void
refusals__calls(void **state)
{
    struct errand_call_options o = ERRAND_INIT(errand_call_options);
    struct errand_reply reply;
    (void)state;
    o.immediate = o.always_wait = 1;
    REFUSED(errand_call(e, "test.none", NULL, &o, &reply, &error), ERRAND_EINVALID,
            "always_wait");
    o.always_wait = 0;
    for (int i = 0; i < 5; i++) {
        static const char *const fields[] = {"delay_ms", "held", "run_at", "ref",
                                             "after"};
        static const char *const more[] = {
            NULL, NULL, "{\"run_at\":\"2099-01-01T00:00:00Z\"}", "{\"ref\":\"a\"}",
            "{\"after\":[{\"ref\":\"a\"}]}"};
        struct errand_submit_options s = ERRAND_INIT(errand_submit_options);
        s.delay_ms = i == 0;
        s.held = i == 1;
        s.more = more[i];
        o.submit = &s;
        REFUSED(errand_call(e, "shell", "{\"command\":\"true\"}", &o, &reply, &error),
                ERRAND_EINVALID, fields[i]);
        assert_non_null(strstr(error.message, " a call"));
    }
}

static char *
text_of_length(size_t n)
{
    char *word = malloc(n + 1);
    assert_non_null(word);
    memset(word, 'x', n);
    word[n] = '\0';
    return word;
}

/* A JSON object with that text in it. */
static char *
json_with(const char *before, const char *text, const char *after)
{
    size_t n = strlen(before) + strlen(text) + strlen(after) + 1;
    char *json = malloc(n);
    assert_non_null(json);
    (void)snprintf(json, n, "%s%s%s", before, text, after);
    return json;
}

static void
on_refused(void *ctx, int code, int64_t id, const errand_error *got)
{
    assert_true(code < 0 && id == 0);
    error = *got;
    *(int *)ctx = code;
}

static void
async_is_refused(const struct errand_submit_options *o, const char *named)
{
    int code = 0;
    errand_error none;
    errand *turned = open_with("memory:", ERRAND_TURN);
    int rc =
        errand_submit_async(turned, "sleep", "{\"for\":1}", o, on_refused, &code, &none);
    assert_int_equal(rc, 0);
    AWAIT(turned, code != 0);
    assert_string_equal(error.field, named);
    errand_close(turned);
}

/* Below and above what a request may have: of the latter the API sees nothing. */
static void
refusals__what_is_too_large(void **state)
{
    static const size_t sizes[] = {1100000, 2200000};
    static const int codes[] = {ERRAND_EINVALID, ERRAND_ETOOBIG};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
        int64_t id;
        char *large = text_of_length(sizes[i]);
        char *args = json_with("{\"command\":\"", large, "\"}");
        char *texts = json_with("{\"$text\":{\"command\":\"", large, "\"}}");
        char *more = json_with("{\"env_set\":{\"A\":\"", large, "\"}}");
        const char *const argv[] = {"echo", large, NULL}, *const one[] = {"echo", NULL};
        errand_event event = {.name = "a.b", .kind = ERRAND_FACT, .correlation = large};
        REFUSED(errand_submit(e, "shell", args, NULL, &id, &error), codes[i], "args");
        REFUSED(errand_submit(e, "shell", texts, NULL, &id, &error), codes[i], "args");
        REFUSED(errand_submit_command(e, argv, "/", NULL, &id, &error), codes[i], "argv");
        o.correlation = large;
        REFUSED(errand_submit_command(e, one, "/", &o, &id, &error), codes[i],
                "correlation");
        REFUSED(errand_submit(e, "sleep", "{\"for\":1}", &o, &id, &error), codes[i],
                "correlation");
        o.correlation = NULL;
        o.more = more;
        REFUSED(errand_submit_command(e, one, "/", &o, &id, &error), codes[i],
                i == 0 ? "env_set" : "more");
        if (i == 0) {
            REFUSED(errand_publish(e, &event, &error), codes[i], "correlation");
        }
        free(more);
        free(texts);
        free(args);
        free(large);
    }
    struct errand_submit_options o = ERRAND_INIT(errand_submit_options);
    char *word = text_of_length(1001);
    o.correlation = word;
    async_is_refused(&o, "correlation");
    free(word);
}

/* One that is too long is refused alone. */
static void
refusals__one_of_many(void **state)
{
    (void)state;
    char *large = text_of_length(2200000);
    char *document = json_with("{\"name\":\"", large, "\",\"args\":{\"argv\":[\"a\"]}}");
    const char *const documents[] = {"{\"args\":{\"argv\":[\"a\"]}}", document,
                                     "{\"args\":{\"argv\":[\"b\"]}}"};
    int64_t ids[3];
    int codes[3];
    assert_int_equal(errand_submit_many(e, documents, 3, 0, ids, codes, &error),
                     ERRAND_ETOOBIG);
    assert_non_null(strstr(error.message, "entry 1: "));
    assert_int_equal(codes[0], 0);
    assert_int_equal(codes[1], ERRAND_ETOOBIG);
    assert_int_equal(codes[2], 0);
    assert_true(ids[0] > 0 && ids[1] == 0 && ids[2] > 0);
    free(document);
    free(large);
}

static void
refusals__ids(void **state)
{
    char *text;
    (void)state;
    REFUSED(errand_state(e, 0, &error), ERRAND_ENOTFOUND, "id");
    REFUSED(errand_get(e, -1, &text, &error), ERRAND_ENOTFOUND, "id");
    REFUSED(errand_cancel(e, 0, &error), ERRAND_ENOTFOUND, "id");
    REFUSED(errand_wait(e, -5, 0, &error), ERRAND_ENOTFOUND, "id");
    int64_t id = 7;
    char *word = text_of_length(1001);
    REFUSED(errand_find_key(e, NULL, &id, &error), ERRAND_EINVALID, "key");
    REFUSED(errand_find_key(e, "", &id, &error), ERRAND_EINVALID, "key");
    REFUSED(errand_find_key(e, word, &id, &error), ERRAND_EINVALID, "key");
    REFUSED(errand_find_key(e, "none", &id, &error), ERRAND_ENOTFOUND, "key");
    assert_int_equal(id, 0);
    REFUSED(errand_find_key(e, "none", NULL, &error), ERRAND_EINVALID, "out_id");
    free(word);
}

static void
refusals__types(void **state)
{
    static const char *const builtin[] = {"shell", "sh",        "bash",        "sleep",
                                          "wait",  "file.hash", "http.request"};
    enum errand_class cls = (enum errand_class)9;
    struct errand_param p = {.name = "n", .kind = ERRAND_PARAM_INTEGER, .max = 3};
    struct errand_type t = make_type("test.odd");
    (void)state;
    REFUSED(errand_register(e, NULL, &error), ERRAND_EINVALID, "type");
    REFUSED(errand_unregister(e, NULL, &error), ERRAND_EINVALID, "name");
    REFUSED(errand_unregister(e, "test.absent", &error), ERRAND_ENOTFOUND, "name");
    t.retries = 1;
    REFUSED(errand_register(e, &t, &error), ERRAND_EINVALID, "retries");
    t.retries = 0;
    t.params = &p;
    t.n_params = 1;
    REFUSED(errand_register(e, &t, &error), ERRAND_EINVALID, "params.n.max");
    p.max = 0;
    p.min = -1;
    REFUSED(errand_register(e, &t, &error), ERRAND_EINVALID, "params.n.min");
    for (size_t i = 0; i < sizeof builtin / sizeof *builtin; i++) {
        t = make_type(builtin[i]);
        t.handler = say_class;
        t.ctx = &cls;
        REFUSED(errand_register(e, &t, &error), ERRAND_EEXISTS, "name");
        assert_non_null(strstr(error.message, builtin[i]));
    }
}

static void
refusals__classes_of_failures(void **state)
{
    enum errand_class cls = (enum errand_class)9;
    struct errand_type t = make_type("test.fails");
    int64_t id;
    char *task;
    (void)state;
    t.handler = say_class;
    t.ctx = &cls;
    OK(errand_register(e, &t, &error));
    OK(errand_submit(e, "test.fails", NULL, NULL, &id, &error));
    assert_int_equal(errand_wait(e, id, -1, &error), ERRAND_FAILED);
    OK(errand_get(e, id, &task, &error));
    assert_non_null(strstr(task, "\"bad-class\""));
    assert_non_null(strstr(task, "\"fatal\""));
    errand_free(task);
}

static void
refusals__subscriptions(void **state)
{
    struct errand_subscribe_options o;
    errand_subscription *sub;
    char *word = malloc(100001);
    (void)state;
    assert_non_null(word);
    memset(word, 'x', 100000);
    word[100000] = '\0';
#define SUBSCRIBE(member, value, named)                                                  \
    o = (struct errand_subscribe_options)ERRAND_INIT(errand_subscribe_options);          \
    o.member = value;                                                                    \
    REFUSED(errand_subscribe(e, &o, on_event, NULL, &sub, &error), ERRAND_EINVALID, named)
    SUBSCRIBE(task, -1, "task");
    SUBSCRIBE(since, -1, "since");
    SUBSCRIBE(since, 4, "since");
    SUBSCRIBE(correlation, "\xff", "correlation");
    SUBSCRIBE(prefix, word, "prefix");
    SUBSCRIBE(cursor, word, "cursor");
    SUBSCRIBE(cursor, "", "cursor");
    SUBSCRIBE(buffer, 1, "buffer");
    SUBSCRIBE(kinds, 64, "kinds");
    SUBSCRIBE(delivery, 9, "delivery");
    free(word);
}

int
main(void)
{
#define REFUSALS(name) cmocka_unit_test_setup_teardown(refusals__##name, setup, teardown)
/* Without a handle that is open. */
#define ALONE(name)                                                                      \
    cmocka_unit_test_setup_teardown(refusals__##name, setup_home, teardown_home)
    const struct CMUnitTest tests[] = {
        REFUSALS(handles),
        REFUSALS(submits),
        REFUSALS(what_is_kept),
        REFUSALS(a_command_where_none_runs),
        REFUSALS(texts_that_are_none),
        REFUSALS(calls),
        REFUSALS(ids),
        REFUSALS(what_is_too_large),
        REFUSALS(one_of_many),
        REFUSALS(types),
        REFUSALS(classes_of_failures),
        REFUSALS(subscriptions),
        ALONE(opens),
        ALONE(sockets_of_its_own),
        ALONE(what_is_not_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
