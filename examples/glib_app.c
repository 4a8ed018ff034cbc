/* SPDX-License-Identifier: MIT */
/* In a GLib main loop, as every GTK program has one: a call does not freeze the window,
 * and progress arrives on the main thread.
 *
 *   glib_app [URL]      memory: by default
 *
 * Build: cc glib_app.c $(pkg-config --cflags --libs errand glib-2.0) */
#include <errand.h>
#include <glib-unix.h>
#include <glib.h>
#include <string.h>

struct app {
    errand *e;
    GMainLoop *loop;
    int seen; /* progress events */
};

static int
paint(errand_attempt *a, void *ctx)
{
    (void)ctx;
    for (int i = 1; i <= 5; i++) {
        errand_progress_to(a, i, 5, NULL);
        if (errand_sleep(a, 20)) {
            return ERRAND_STOPPED;
        }
    }
    return errand_result_set(a, "painted", 7);
}

static gboolean
on_readable(gint fd, GIOCondition condition, gpointer ctx)
{
    struct app *app = ctx;
    (void)fd;
    (void)condition;
    errand_turn(app->e);
    return G_SOURCE_CONTINUE;
}

static void
on_event(void *ctx, errand_subscription *sub, const errand_event *event)
{
    struct app *app = ctx;
    (void)sub;
    app->seen += strcmp(event->name, "task-progress") == 0;
}

static void
on_reply(void *ctx, int code, const struct errand_reply *reply, const errand_error *error)
{
    struct app *app = ctx;
    if (code < 0) {
        g_print("refused: %s\n", error->message);
    } else {
        g_print("%s\n", reply->state == ERRAND_COMPLETED ? reply->result : "later");
    }
    g_main_loop_quit(app->loop);
}

int
main(int argc, char **argv)
{
    struct app app = {.loop = g_main_loop_new(NULL, FALSE)};
    errand_error error;
    errand_subscription *sub;
    struct errand_options options = ERRAND_INIT(errand_options);
    struct errand_type type = ERRAND_INIT(errand_type);
    struct errand_subscribe_options progress = ERRAND_INIT(errand_subscribe_options);
    struct errand_call_options call = ERRAND_INIT(errand_call_options);
    options.threading = ERRAND_TURN;
    type.name = "picture.paint";
    type.description = "paints a picture";
    type.handler = paint;
    progress.delivery = ERRAND_ON_LOOP;
    call.budget_ms = 30000;
    call.always_wait = 1;
    if (errand_open(argc > 1 ? argv[1] : "memory:", &options, &app.e, &error) != 0 ||
        errand_register(app.e, &type, &error) != 0 ||
        errand_subscribe(app.e, &progress, on_event, &app, &sub, &error) != 0 ||
        errand_call_async(app.e, "picture.paint", NULL, &call, on_reply, &app, &error) !=
            0) {
        g_printerr("glib_app: %s\n", error.message);
        return 1;
    }
    guint source = g_unix_fd_add(errand_fd(app.e), G_IO_IN, on_readable, &app);
    g_main_loop_run(app.loop);
    g_print("%s\n", app.seen > 0 ? "saw progress" : "saw no progress");
    g_source_remove(source);
    errand_close(app.e);
    g_main_loop_unref(app.loop);
    return 0;
}
