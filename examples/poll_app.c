/* SPDX-License-Identifier: MIT */
/* No thread of the library's: the program's own loop over poll turns the handle. All
 * callbacks come from errand_turn, on this thread, so that they need no locks.
 *
 *   poll_app [URL]      memory: by default */
#include <errand.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct app {
    errand *e;
    int open; /* answers that are still to come */
};

static int
shout(errand_attempt *a, void *ctx)
{
    const char *text = errand_arg_text(a, "text");
    char loud[100];
    (void)ctx;
    int n = snprintf(loud, sizeof loud, "%s!", text);
    return errand_result_set(a, loud, (size_t)n);
}

static void
on_reply(void *ctx, int code, const struct errand_reply *reply, const errand_error *error)
{
    struct app *app = ctx;
    app->open--;
    if (code < 0) {
        printf("refused: %s\n", error->message);
    } else {
        printf("%s\n", reply->state == ERRAND_COMPLETED ? reply->result : "later");
    }
}

int
main(int argc, char **argv)
{
    struct app app = {0};
    errand_error error;
    static const struct errand_param params[] = {
        {.name = "text", .kind = ERRAND_PARAM_STRING, .required = 1},
    };
    struct errand_options options = ERRAND_INIT(errand_options);
    struct errand_call_options call = ERRAND_INIT(errand_call_options);
    struct errand_type type = ERRAND_INIT(errand_type);
    options.threading = ERRAND_TURN;
    call.budget_ms = 30000;
    type.name = "text.shout";
    type.description = "says it louder";
    type.params = params;
    type.n_params = 1;
    type.handler = shout;
    if (errand_open(argc > 1 ? argv[1] : "memory:", &options, &app.e, &error) != 0 ||
        errand_register(app.e, &type, &error) != 0 ||
        errand_call_async(app.e, "text.shout", "{\"text\":\"hello\"}", &call, on_reply,
                          &app, &error) != 0 ||
        errand_call_async(app.e, "text.shout", "{\"volume\":11}", NULL, on_reply, &app,
                          &error) != 0) {
        fprintf(stderr, "poll_app: %s\n", error.message);
        return 1;
    }
    app.open = 2;
    while (app.open > 0) {
        struct pollfd p = {.fd = errand_fd(app.e), .events = POLLIN};
        if (poll(&p, 1, -1) == 1) {
            errand_turn(app.e);
        }
    }
    errand_close(app.e);
    return 0;
}
