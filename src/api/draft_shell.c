/* SPDX-License-Identifier: MIT */
/* The type `shell`: a command as an array of words or as one shell line. */
#include <stdio.h>
#include <string.h>

#include "api/draft.h"
#include "base/mem.h"
#include "model/shell_words.h"
#include "model/suggest.h"

/* One of its members, "argv[3]" say. */
static int
refuse(struct er_draft *d, const char *which, const char *why)
{
    char field[128];
    (void)snprintf(field, sizeof field, "%s.%s", er_draft_args_member(d), which);
    return er_draft_bad(d, field, "%s %s", field, why);
}

int
er_draft_check_shell(struct er_draft *d, const json_t *args)
{
    static const char *const names[] = {"argv",         "command",    "stdin",
                                        "stdin_base64", "stdin_file", "input"};
    const json_t *argv = json_object_get(args, "argv"),
                 *command = json_object_get(args, "command");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)args, key, value)
    {
        size_t i = 0;
        while (i < 6 && strcmp(names[i], key) != 0) {
            i++;
        }
        if (i == 6) {
            (void)snprintf(d->field, sizeof d->field, "%s.%s", er_draft_args_member(d),
                           key);
            return er_suggest_fail(&d->err, ER_EINVALID, "member", key, names, 6);
        }
        if (i > 0 && i < 5 && !json_is_string(value)) {
            return refuse(d, key, "is not a string");
        }
        if (i == 5 && !json_is_boolean(value)) {
            return refuse(d, key, "is not true or false");
        }
    }
    if ((argv == NULL) == (command == NULL)) {
        return er_draft_bad(d, er_draft_args_member(d),
                            "args of type shell has either argv (an array of strings) or "
                            "command (a shell line)");
    }
    if (command && json_string_value(command)[0] == '\0') {
        return refuse(d, "command", "is empty");
    }
    if (command && strlen(json_string_value(command)) != json_string_length(command)) {
        return refuse(d, "command", "contains a NUL");
    }
    if (argv && (!json_is_array(argv) || json_array_size(argv) == 0)) {
        return refuse(d, "argv", "is not an array of at least one string");
    }
    for (size_t i = 0; i < json_array_size(argv); i++) {
        const json_t *word = json_array_get(argv, i);
        if (!json_is_string(word) ||
            strlen(json_string_value(word)) != json_string_length(word)) {
            char which[40];
            (void)snprintf(which, sizeof which, "argv[%zu]", i);
            return refuse(d, which, "is not a string without NUL");
        }
    }
    if (argv && json_string_length(json_array_get(argv, 0)) == 0) {
        return refuse(d, "argv[0]", "is empty");
    }
    return 0;
}

int
er_draft_name_shell(struct er_draft *d, const json_t *args)
{
    const json_t *argv = json_object_get(args, "argv");
    size_t n = argv ? json_array_size(argv) : 1;
    struct er_buf b;
    const char **words = er_realloc_array(NULL, n, sizeof *words);
    if (!words) {
        return ER_ENOMEM;
    }
    words[0] = json_string_value(json_object_get(args, "command"));
    for (size_t i = 0; i < n && argv; i++) {
        words[i] = json_string_value(json_array_get(argv, i));
    }
    er_buf_init(&b, 0);
    er_shell_words_name(&b, words, n);
    er_free(words);
    d->row->name = er_arena_memdup(d->arena, b.data ? b.data : "", b.len);
    er_buf_fini(&b);
    return d->row->name ? 0 : ER_ENOMEM;
}
