/* SPDX-License-Identifier: MIT */
/* An order and the task that ships it, in one transaction of the program's own database:
 * either both are there or neither, whenever the program is killed.
 *
 *   outbox DATABASE [URL] [ORDERS]      URL: memory: by default
 *
 * Build: cc outbox.c $(pkg-config --cflags --libs errand sqlite3) */
#include <errand_outbox.h>
#include <stdlib.h>

static int
ship(errand_attempt *a, void *ctx)
{
    (void)ctx;
    errand_outputf(a, "shipped order %d\n", (int)errand_arg_integer(a, "order", 0));
    return 0;
}

static void
die(const char *what, const char *why)
{
    fprintf(stderr, "outbox: %s: %s\n", what, why);
    exit(1);
}

static int
place_order(sqlite3 *db, const char *goods)
{
    char args[64],
        *sql = sqlite3_mprintf("INSERT INTO orders (goods) VALUES (%Q)", goods);
    int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    }
    if (rc == SQLITE_OK) {
        (void)snprintf(args, sizeof args, "{\"order\":%d}",
                       (int)sqlite3_last_insert_rowid(db));
        rc = errand_outbox_add(db, "order.ship", args, NULL, NULL);
    }
    rc = sqlite3_exec(db, rc == 0 ? "COMMIT" : "ROLLBACK", NULL, NULL, NULL);
    sqlite3_free(sql);
    return rc;
}

static void
on_submitted(void *ctx, const char *key, int64_t id)
{
    int *n = ctx;
    (void)key;
    *n += id > 0;
}

int
main(int argc, char **argv)
{
    static const struct errand_param params[] = {
        {.name = "order", .kind = ERRAND_PARAM_INTEGER, .required = 1},
    };
    sqlite3 *db;
    errand *e;
    errand_error error;
    int orders = argc > 3 ? atoi(argv[3]) : 3, submitted = 0;
    struct errand_type type = ERRAND_INIT(errand_type);
    type.name = "order.ship";
    type.description = "ships an order";
    type.params = params;
    type.n_params = 1;
    type.handler = ship;
    if (argc < 2 || sqlite3_open(argv[1], &db) != SQLITE_OK ||
        sqlite3_exec(db,
                     "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, goods)",
                     NULL, NULL, NULL) != SQLITE_OK ||
        errand_outbox_create(db) != 0) {
        die("database", argc < 2 ? "name it" : sqlite3_errmsg(db));
    }
    if (errand_open(argc > 2 ? argv[2] : "memory:", NULL, &e, &error) != 0 ||
        errand_register(e, &type, &error) != 0) {
        die("errand", error.message);
    }
    /* What a killed predecessor has committed and not handed on goes first. */
    if (errand_outbox_relay(db, e, on_submitted, &submitted, &error) != 0) {
        die("relay", error.message);
    }
    printf("left over: %d\n", submitted);
    for (int i = 0; i < orders; i++) {
        if (place_order(db, "tea") != 0) {
            die("order", sqlite3_errmsg(db));
        }
    }
    submitted = 0;
    if (errand_outbox_relay(db, e, on_submitted, &submitted, &error) != 0) {
        die("relay", error.message);
    }
    printf("submitted: %d\n", submitted);
    errand_close(e);
    sqlite3_close(db);
    return 0;
}
