/* SPDX-License-Identifier: MIT */
/* The definitions stand here as JSON, as somebody would PUT them, and are read by the
 * same reader. One that cannot be read is a mistake of ours and ends the process; when
 * memory is out three times in a row the type is missing until the next restore. */
#include "api/builtin.h"

#include <string.h>

#include "base/mem.h"
#include "wire/type_json.h"

/* A script says itself how often it may run and how long; a pause may be a long one. */
static const struct builtin {
    const char *name, *definition;
} builtins[] = {
    {"shell", "{\"help\":\"runs a command\"}"},
    {"sh", "{\"help\":\"runs a script by sh\",\"retries\":0,\"timeout_s\":0,"
           "\"parameters\":["
           "{\"name\":\"script\",\"kind\":\"string\",\"required\":true,\"min\":1,"
           "\"help\":\"the text of the script\"},"
           "{\"name\":\"args\",\"kind\":\"strings\",\"help\":\"its $1, $2 ...\"}],"
           "\"command\":[\"sh\",\"-c\",\"{script}\",\"sh\",\"{args}\"]}"},
    {"bash", "{\"help\":\"runs a script by bash\",\"retries\":0,\"timeout_s\":0,"
             "\"parameters\":["
             "{\"name\":\"script\",\"kind\":\"string\",\"required\":true,\"min\":1,"
             "\"help\":\"the text of the script\"},"
             "{\"name\":\"args\",\"kind\":\"strings\",\"help\":\"its $1, $2 ...\"}],"
             "\"command\":[\"bash\",\"-c\",\"{script}\",\"bash\",\"{args}\"]}"},
    {"sleep", "{\"help\":\"waits, by sleep\",\"timeout_s\":0,\"idempotent\":true,"
              "\"parameters\":["
              "{\"name\":\"for\",\"kind\":\"duration\",\"required\":true,"
              "\"help\":\"how long\"}],\"command\":[\"sleep\",\"{for}\"]}"},
    {"wait", "{\"help\":\"waits, and tells how far it is\",\"timeout_s\":0,"
             "\"idempotent\":true,\"parameters\":["
             "{\"name\":\"for\",\"kind\":\"duration\",\"required\":true,"
             "\"help\":\"how long\"},"
             "{\"name\":\"steps\",\"kind\":\"integer\",\"default\":10,\"min\":1,"
             "\"max\":10000,\"help\":\"how often it tells its progress\"}],"
             "\"program\":[\"errand-types\"]}"},
    {"file.hash",
     "{\"help\":\"SHA-256 of a file, or of each file of a folder\","
     "\"timeout_s\":0,\"idempotent\":true,\"parameters\":["
     "{\"name\":\"path\",\"kind\":\"path\",\"required\":true,"
     "\"help\":\"the file or folder\"},"
     "{\"name\":\"follow\",\"kind\":\"boolean\",\"default\":false,"
     "\"help\":\"follow symbolic links\"},"
     "{\"name\":\"hidden\",\"kind\":\"boolean\",\"default\":true,"
     "\"help\":\"also what begins with a dot\"}],\"program\":[\"errand-types\"]}"},
    {"http.request",
     "{\"help\":\"an HTTP request; its result is the answer\",\"parameters\":["
     "{\"name\":\"url\",\"kind\":\"url\",\"required\":true,"
     "\"pattern\":\"^[Hh][Tt][Tt][Pp][Ss]?://\",\"help\":\"http or https\"},"
     "{\"name\":\"method\",\"kind\":\"string\",\"default\":\"GET\","
     "\"choices\":[\"GET\",\"HEAD\",\"POST\",\"PUT\",\"PATCH\",\"DELETE\"]},"
     "{\"name\":\"headers\",\"kind\":\"strings\",\"max\":100,"
     "\"pattern\":\"^[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\\\\r\\\\n]*$\",\"secret\":true,"
     "\"help\":\"\\\"Name: value\\\" each\"},"
     "{\"name\":\"body\",\"kind\":\"string\",\"help\":\"what is sent\"},"
     "{\"name\":\"max_bytes\",\"kind\":\"integer\",\"default\":1048576,\"min\":0,"
     "\"max\":16777216,\"help\":\"the longest answer that is taken\"},"
     "{\"name\":\"follow\",\"kind\":\"boolean\",\"default\":true,"
     "\"help\":\"follow redirects\"}],\"program\":[\"errand-http\"]}"},
};
#define TRIES      3 /* memory may be out for a moment */
#define N_BUILTINS (sizeof builtins / sizeof *builtins)

const char *
er_builtin_name(size_t i)
{
    return i < N_BUILTINS ? builtins[i].name : NULL;
}

const char *
er_builtin_definition(const char *name)
{
    for (size_t i = 0; i < N_BUILTINS; i++) {
        if (strcmp(builtins[i].name, name) == 0) {
            return builtins[i].definition;
        }
    }
    return NULL;
}

static void
give(struct er_engine *e, const char *name)
{
    struct er_arena arena = {0};
    struct er_type type;
    int rc = ER_ENOMEM;
    for (int i = 0; rc == ER_ENOMEM && i < TRIES; i++) {
        er_arena_free(&arena);
        rc = er_type_json_parse(name, er_builtin_definition(name), &arena, &type, NULL);
    }
    ER_ASSERT(rc == 0 || rc == ER_ENOMEM); /* our own text */
    if (rc == 0) {
        er_engine_type_changed(e, &type);
    }
    er_arena_free(&arena);
}

void
er_builtin_load(struct er_engine *e)
{
    for (size_t i = 0; i < N_BUILTINS; i++) {
        if (!er_engine_has_type(e, builtins[i].name)) {
            give(e, builtins[i].name);
        }
    }
}

void
er_builtin_restore(struct er_engine *e, const char *name)
{
    if (er_builtin_definition(name)) {
        give(e, name);
    } else {
        er_engine_type_removed(e, name);
    }
}
