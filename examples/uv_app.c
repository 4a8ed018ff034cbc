/* SPDX-License-Identifier: MIT */
/* In a libuv loop of the program's own (the library's is another one): submits without
 * waiting, and hears of the end on the same thread.
 *
 *   uv_app [URL]      memory: by default
 *
 * Build: cc uv_app.c $(pkg-config --cflags --libs errand libuv) */
#include <errand.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

struct app {
    errand *e;
    uv_poll_t poll;
    int64_t id;
};

static int
dig(errand_attempt *a, void *ctx)
{
    (void)ctx;
    errand_outputf(a, "dug %d m\n", (int)errand_arg_integer(a, "depth", 1));
    return 0;
}

static void
on_readable(uv_poll_t *poll, int status, int events)
{
    struct app *app = poll->data;
    (void)status;
    (void)events;
    errand_turn(app->e);
}

static void
on_final(void *ctx, errand_subscription *sub, const errand_event *event)
{
    struct app *app = ctx;
    if (event->task == app->id) {
        printf("%s\n", event->name);
        errand_unsubscribe(sub);                   /* fine from inside its own callback */
        uv_close((uv_handle_t *)&app->poll, NULL); /* the loop ends */
    }
}

static void
on_submitted(void *ctx, int code, int64_t id, const errand_error *error)
{
    struct app *app = ctx;
    app->id = id;
    printf("%s\n", code == 0 ? "submitted" : error->message);
}

int
main(int argc, char **argv)
{
    struct app app = {0};
    uv_loop_t loop;
    errand_error error;
    errand_subscription *sub;
    struct errand_options options = ERRAND_INIT(errand_options);
    struct errand_type type = ERRAND_INIT(errand_type);
    struct errand_subscribe_options finals = ERRAND_INIT(errand_subscribe_options);
    options.threading = ERRAND_TURN;
    type.name = "garden.dig";
    type.description = "digs a hole";
    type.handler = dig;
    finals.delivery = ERRAND_ON_LOOP;
    finals.names =
        (const char *const[]){"task-completed", "task-failed", "task-cancelled", NULL};
    if (errand_open(argc > 1 ? argv[1] : "memory:", &options, &app.e, &error) != 0 ||
        errand_register(app.e, &type, &error) != 0 ||
        errand_subscribe(app.e, &finals, on_final, &app, &sub, &error) != 0 ||
        errand_submit_async(app.e, "garden.dig", "{\"depth\":2}", NULL, on_submitted,
                            &app, &error) != 0) {
        fprintf(stderr, "uv_app: %s\n", error.message);
        return 1;
    }
    uv_loop_init(&loop);
    uv_poll_init(&loop, &app.poll, errand_fd(app.e));
    app.poll.data = &app;
    uv_poll_start(&app.poll, UV_READABLE, on_readable);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    errand_close(app.e);
    return 0;
}
