/* SPDX-License-Identifier: MIT */
/* Runs two commands through the library, which starts a process for that: errand-worker
 * at an embedded store, errandd where a daemon is to be. For a look at it under valgrind,
 * which ends a program that uses a clone it does not know.
 *
 * usage: campaign_commands memory:|sqlite:PATH|unix: */
#include "campaign_base.h"

static void
run(errand *e, const char *word)
{
    const char *const argv[] = {"/bin/sh", "-c", "printf %s \"$1\"", "sh", word, NULL};
    errand_error error;
    int64_t id;
    char *bytes = NULL;
    size_t len = 0;
    char target[64];
    OK(errand_submit_command(e, argv, NULL, NULL, &id, &error));
    int state = errand_wait(e, id, -1, &error);
    if (state != ERRAND_COMPLETED) {
        BREACH("%s: state %d: %s", word, state, error.message);
    }
    (void)snprintf(target, sizeof target, "/v1/tasks/%lld/log", (long long)id);
    int status = errand_request(e, "GET", target, NULL, 0, &bytes, &len, &error);
    if (status != 200 || len != strlen(word) || memcmp(bytes, word, len) != 0) {
        BREACH("%s: status %d, %zu bytes of output", word, status, len);
    }
    errand_free(bytes);
}

/* What is refused reads nothing that was not given. */
static void
refuse(errand *e)
{
    errand_error error;
    errand_reply_free(NULL);
    if (errand_register(e, NULL, &error) != ERRAND_EINVALID ||
        errand_register_blocking(e, NULL, NULL, &error) != ERRAND_EINVALID ||
        errand_submit(e, NULL, NULL, NULL, NULL, &error) != ERRAND_EINVALID ||
        errand_call(e, NULL, NULL, NULL, NULL, &error) != ERRAND_EINVALID ||
        errand_subscribe(e, NULL, NULL, NULL, NULL, &error) != ERRAND_EINVALID) {
        BREACH("taken, or refused otherwise: %d %s", error.code, error.message);
    }
}

int
main(int argc, char **argv)
{
    errand_error error;
    errand *e;
    char url[128];
    begin_campaign("1");
    campaign_where = argc > 1 ? argv[1] : "";
    bool is_unix = strcmp(campaign_where, "unix:") == 0;
    (void)snprintf(url, sizeof url, "%s%s%s", campaign_where,
                   is_unix ? campaign_folder : "", is_unix ? "/errand.sock" : "");
    OK(errand_open(url, NULL, &e, &error));
    refuse(e);
    run(e, "one");
    run(e, "two");
    errand_close(e);
    end_campaign();
    (void)printf("1..1\nok 1 - commands at %s\n", campaign_where);
    return 0;
}
