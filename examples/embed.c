/* SPDX-License-Identifier: MIT */
/* Tasks inside a program: the store is a file of its own, handlers run on threads, and
 * what was not finished when the program ended (or was killed) goes on at its next start.
 *
 *   embed [URL]      sqlite:/tmp/embed.db by default; memory: and unix:... work as well
 *
 * Build: cc embed.c $(pkg-config --cflags --libs errand) */
#include <errand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The work of one task: counts the words of a text. */
static int
count_words(errand_attempt *a, void *ctx)
{
    const char *text = errand_arg_text(a, "text");
    int64_t step_ms = errand_arg_integer(a, "step_ms", 0);
    int words = 0;
    char result[64];
    (void)ctx;
    for (size_t at = 0, len = strlen(text); at < len; words++) {
        at += strcspn(text + at, " ");
        at += strspn(text + at, " ");
        errand_progress_to(a, (int64_t)at, (int64_t)len, NULL);
        if (errand_sleep(a, step_ms)) { /* cancelled, paused, or the program ends */
            return ERRAND_STOPPED;
        }
    }
    int n = snprintf(result, sizeof result, "{\"words\":%d}", words);
    return errand_result_set(a, result, (size_t)n);
}

static void
die(const char *what, const errand_error *error)
{
    fprintf(stderr, "embed: %s: %s%s%s\n", what, error->field, *error->field ? ": " : "",
            error->message);
    exit(1);
}

static errand *
open_with_types(const char *url)
{
    static const struct errand_param params[] = {
        {.name = "text",
         .kind = ERRAND_PARAM_STRING,
         .required = 1,
         .help = "to be counted"},
        {.name = "step_ms",
         .kind = ERRAND_PARAM_INTEGER,
         .def = "0",
         .help = "a pause a word"},
    };
    errand *e;
    errand_error error;
    struct errand_type type = ERRAND_INIT(errand_type);
    type.name = "words.count";
    type.description = "counts the words of a text";
    type.params = params;
    type.n_params = 2;
    type.handler = count_words;
    if (errand_open(url, NULL, &e, &error) != 0) {
        die(url, &error);
    }
    if (errand_register(e, &type, &error) != 0) {
        die("register", &error);
    }
    return e;
}

int
main(int argc, char **argv)
{
    static const char *const texts[] = {"one", "one two", "one two three"};
    errand_error error;
    errand *e = open_with_types(argc > 1 ? argv[1] : "sqlite:/tmp/embed.db");
    int64_t ids[3], id;

    /* Many tasks at once; they run side by side in the background. */
    for (int i = 0; i < 3; i++) {
        char *args = errand_args("text", texts[i], NULL);
        if (errand_submit(e, "words.count", args, NULL, &ids[i], &error) != 0) {
            die("submit", &error);
        }
        errand_free(args);
    }
    for (int i = 0; i < 3; i++) {
        char *result;
        if (errand_wait(e, ids[i], -1, &error) != ERRAND_COMPLETED ||
            errand_result(e, ids[i], &result, NULL, &error) != 0) {
            die("wait", &error);
        }
        printf("%s: %s\n", texts[i], result);
        errand_free(result);
    }

    /* What does not fit is refused at once, by name. */
    if (errand_submit(e, "words.count", "{\"txt\":\"x\"}", NULL, &id, &error) == 0) {
        die("a wrong argument was taken", &error);
    }
    printf("refused: %s\n", error.field);

    /* A call: short work is answered like a function call, long work goes on by
     * itself. */
    struct errand_call_options call = ERRAND_INIT(errand_call_options);
    struct errand_reply reply;
    call.budget_ms = 30000;
    if (errand_call(e, "words.count", "{\"text\":\"quick\"}", &call, &reply, &error) <
        0) {
        die("call", &error);
    }
    printf("answered: %s\n", reply.state == ERRAND_COMPLETED ? reply.result : "later");
    errand_reply_free(&reply);
    call.budget_ms = 1;
    if (errand_call(e, "words.count", "{\"text\":\"a b c\",\"step_ms\":100}", &call,
                    &reply, &error) != ERRAND_BACKGROUND) {
        die("call", &error);
    }
    printf("in the background\n");
    if (errand_wait(e, reply.task, -1, &error) != ERRAND_COMPLETED) {
        die("wait", &error);
    }
    printf("done\n");
    errand_reply_free(&reply);
    errand_close(e);
    return 0;
}
