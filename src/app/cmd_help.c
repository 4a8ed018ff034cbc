/* SPDX-License-Identifier: MIT */
/* errand help, completions: made from the table of commands, so that neither can miss an
 * option. `errand help --json` gives the table to tools/options_check.py. */
#include <stdio.h>
#include <string.h>

#include "app/cmd.h"
#include "app/show.h"

/* ---- help ---- */

struct help {
    bool json;
};

static const struct er_opt help_opts[] = {
    {0, "json", NULL, ER_OPT_FLAG, offsetof(struct help, json),
     "all commands and options as JSON", 0, 0, NULL},
    ER_OPT_END,
};

/* Adds "  -n, --name TEXT      what it does". */
static void
add_options(const struct er_opt *opts, struct er_buf *b)
{
    for (const struct er_opt *o = opts; o && o->name; o++) {
        char left[64];
        char letter[8] = "    ";
        if (o->letter) {
            (void)snprintf(letter, sizeof letter, "-%c, ", o->letter);
        }
        (void)snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name,
                       o->arg ? " " : "", o->arg ? o->arg : "");
        if (strlen(left) > 26) {
            er_buf_addf(b, "  %s\n  %-27s%s\n", left, "", o->help);
        } else {
            er_buf_addf(b, "  %-27s%s\n", left, o->help);
        }
    }
}

void
er_help_print(const struct er_cmd *cmd)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_addf(&b, "errand %s [OPTIONS]%s%s\n\n%c%s.\n", cmd->name,
                cmd->operands[0] ? " " : "", cmd->operands, cmd->summary[0] - 'a' + 'A',
                cmd->summary + 1);
    if (cmd->text) {
        er_buf_addf(&b, "%s\n", cmd->text);
    }
    er_buf_add_char(&b, '\n');
    for (int i = 0; i < ER_CMD_TABLES; i++) {
        add_options(cmd->opts[i], &b);
    }
    add_options(er_common_opts, &b);
    (void)er_app_out(&b);
    er_buf_fini(&b);
}

void
er_help_print_all(void)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, "errand runs work in the background and never loses it.\n\n"
                       "usage: errand [COMMAND [OPTIONS] [ARG...]]\n\n");
    for (size_t i = 0; er_commands[i]; i++) {
        const struct er_cmd *c = er_commands[i];
        if (c->group) {
            er_buf_addf(&b, "%s%s\n", i > 0 ? "\n" : "", c->group);
        }
        er_buf_addf(&b, "  %-13s%s\n", c->name, c->summary);
    }
    er_buf_add_str(
        &b, "\nIds: 42, several, a range 3-7, @last. Durations: 250ms 2s 5m 1h30m 2d.\n"
            "errand help COMMAND tells more of one; so does man errand.\n");
    (void)er_app_out(&b);
    er_buf_fini(&b);
}

/* The options of a table as JSON, added to an array. */
static void
append_options(json_t *array, const struct er_opt *opts)
{
    for (const struct er_opt *o = opts; o && o->name; o++) {
        char letter[2] = {o->letter, '\0'};
        json_t *v = json_pack("{s:s, s:s?, s:s?, s:s}", "name", o->name, "letter",
                              o->letter ? letter : NULL, "arg", o->arg, "help", o->help);
        (void)json_array_append_new(array, v);
    }
}

static int
print_json(void)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && er_commands[i]; i++) {
        const struct er_cmd *c = er_commands[i];
        json_t *options = json_array();
        for (int k = 0; k < ER_CMD_TABLES; k++) {
            append_options(options, c->opts[k]);
        }
        append_options(options, er_common_opts);
        json_t *o = json_pack("{s:s, s:s, s:s, s:o}", "command", c->name, "operands",
                              c->operands, "summary", c->summary, "options", options);
        rc = er_show_json(o);
        json_decref(o);
    }
    return rc;
}

static int
help_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct help *o = data;
    (void)app;
    if (o->json) {
        return print_json();
    }
    if (n == 0) {
        er_help_print_all();
        return 0;
    }
    const struct er_cmd *cmd = er_command_find(args[0]);
    if (cmd) {
        er_help_print(cmd);
    }
    return cmd ? 0 : er_error_exit(ER_EINVALID);
}

const struct er_cmd er_cmd_help = {
    .name = "help",
    .operands = "[COMMAND]",
    .summary = "this list, or all about one command",
    .opts = {help_opts},
    .data_size = sizeof(struct help),
    .max = 1,
    .exec = help_exec,
};

/* ---- completions ---- */

/* Adds a text in single quotes for a shell. */
static void
add_quoted(struct er_buf *b, const char *s, const char *escape)
{
    er_buf_add_char(b, '\'');
    for (; *s; s++) {
        if (*s == '\'') {
            er_buf_add_str(b, escape);
        } else {
            er_buf_add_char(b, *s);
        }
    }
    er_buf_add_char(b, '\'');
}

static void
add_flags(const struct er_opt *opts, struct er_buf *b)
{
    for (const struct er_opt *o = opts; o && o->name; o++) {
        er_buf_addf(b, " --%s", o->name);
        if (o->letter) {
            er_buf_addf(b, " -%c", o->letter);
        }
    }
}

/* Adds a case for each option whose values are known, or are files or commands. */
static void
add_bash_values(const struct er_opt *opts, struct er_buf *b)
{
    for (const struct er_opt *o = opts; o && o->name; o++) {
        if (o->words) {
            er_buf_addf(b, "        *:--%s) words='%s' ;;\n", o->name, o->words);
        } else if (o->arg &&
                   (strncmp(o->arg, "FILE", 4) == 0 || strcmp(o->arg, "DIR") == 0)) {
            er_buf_addf(b, "        *:--%s) compopt -o default; return ;;\n", o->name);
        } else if (o->arg) {
            er_buf_addf(b, "        %s:--%s) return ;;\n", "*", o->name);
        }
    }
}

static void
add_bash(struct er_buf *b)
{
    er_buf_add_str(
        b, "# bash completion of errand; made by: errand completions bash\n"
           "_errand() {\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
           "    local cmd=${COMP_WORDS[1]} words= flags=\n"
           "    COMPREPLY=()\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        words='");
    for (size_t i = 0; er_commands[i]; i++) {
        er_buf_addf(b, "%s%s", i > 0 ? " " : "", er_commands[i]->name);
    }
    er_buf_add_str(
        b,
        " --help --version --no-autostart --socket'\n    else\n        case $cmd in\n");
    for (size_t i = 0; er_commands[i]; i++) {
        er_buf_addf(b, "        %s) flags='", er_commands[i]->name);
        for (int k = 0; k < ER_CMD_TABLES; k++) {
            add_flags(er_commands[i]->opts[k], b);
        }
        add_flags(er_common_opts, b);
        er_buf_add_str(b, "' ;;\n");
    }
    er_buf_add_str(b, "        esac\n        case $cmd:$prev in\n");
    for (size_t i = 0; er_commands[i]; i++) {
        struct er_buf one;
        er_buf_init(&one, 0);
        for (int k = 0; k < ER_CMD_TABLES; k++) {
            add_bash_values(er_commands[i]->opts[k], &one);
        }
        for (const char *p = one.data ? one.data : ""; *p;) { /* "*:" becomes "NAME:" */
            size_t n = strcspn(p, "\n") + 1;
            er_buf_addf(b, "        %s%.*s", er_commands[i]->name, (int)(n - 9), p + 9);
            p += n;
        }
        er_buf_fini(&one);
    }
    er_buf_add_str(
        b,
        "        esac\n"
        "        case $cur in -*) [ -n \"$words\" ] || words=$flags ;; esac\n"
        "        if [ -z \"$words\" ]; then\n"
        "            case $cmd in\n"
        "            add) compopt -o default; COMPREPLY=($(compgen -c -- \"$cur\"));"
        " return ;;\n"
        "            help) words=\"$(errand help | sed -n 's/^  \\([a-z]*\\) .*/\\1/p')\""
        " ;;\n"
        "            completions) words='bash zsh fish' ;;\n"
        "            submit|call|types)\n"
        "                words=\"$(errand --no-autostart types --json 2>/dev/null"
        " | sed -n 's/^{\"name\":\"\\([^\"]*\\)\".*/\\1/p')\" ;;\n"
        "            show|why|log|result|wait|cancel|pause|resume|retry|remove|"
        "requeue|send|edit)\n"
        "                words=\"@last $(errand --no-autostart tasks --json 2>/dev/null"
        " | sed -n 's/^{\"id\":\\([0-9]*\\).*/\\1/p')\" ;;\n"
        "            esac\n        fi\n    fi\n"
        "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
        "}\n"
        "complete -F _errand errand\n");
}

static void
add_zsh_options(const struct er_opt *opts, struct er_buf *b)
{
    for (const struct er_opt *o = opts; o && o->name; o++) {
        struct er_buf spec;
        er_buf_init(&spec, 0);
        er_buf_addf(&spec, "*--%s%s[", o->name, o->arg ? "=" : "");
        for (const char *p = o->help; *p; p++) {
            if (*p == '[' || *p == ']' || *p == ':' || *p == '\\') {
                er_buf_add_char(&spec, '\\');
            }
            er_buf_add_char(&spec, *p);
        }
        er_buf_add_char(&spec, ']');
        if (o->words) {
            er_buf_addf(&spec, ":%s:(%s)", o->name, o->words);
        } else if (o->arg) {
            bool file = strncmp(o->arg, "FILE", 4) == 0 || strcmp(o->arg, "DIR") == 0;
            er_buf_addf(&spec, ":%s:%s", o->name, file ? "_files" : "");
        }
        er_buf_add_str(b, " \\\n            ");
        add_quoted(b, spec.data, "'\\''");
        er_buf_fini(&spec);
    }
}

static void
add_zsh(struct er_buf *b)
{
    er_buf_add_str(
        b,
        "#compdef errand\n# zsh completion of errand; made by: errand completions zsh\n"
        "_errand() {\n"
        "    local -a commands\n"
        "    if (( CURRENT == 2 )); then\n"
        "        commands=(\n");
    for (size_t i = 0; er_commands[i]; i++) {
        struct er_buf line;
        er_buf_init(&line, 0);
        er_buf_addf(&line, "%s:%s", er_commands[i]->name, er_commands[i]->summary);
        er_buf_add_str(b, "            ");
        add_quoted(b, line.data, "'\\''");
        er_buf_add_char(b, '\n');
        er_buf_fini(&line);
    }
    er_buf_add_str(
        b, "        )\n        _describe command commands\n        return\n    fi\n"
           "    local cmd=$words[2]\n    shift words\n    (( CURRENT-- ))\n"
           "    case $cmd in\n");
    for (size_t i = 0; er_commands[i]; i++) {
        const struct er_cmd *c = er_commands[i];
        er_buf_addf(b, "    %s)\n        _arguments", c->name);
        for (int k = 0; k < ER_CMD_TABLES; k++) {
            add_zsh_options(c->opts[k], b);
        }
        add_zsh_options(er_common_opts, b);
        er_buf_add_str(b, strcmp(c->name, "add") == 0
                              ? " \\\n            '*::command:_normal'"
                              : " \\\n            '*:argument:'");
        er_buf_add_str(b, " ;;\n");
    }
    er_buf_add_str(b, "    esac\n}\n_errand \"$@\"\n");
}

static void
add_fish_options(const char *command, const struct er_opt *opts, struct er_buf *b)
{
    for (const struct er_opt *o = opts; o && o->name; o++) {
        er_buf_addf(b, "complete -c errand -n '__fish_seen_subcommand_from %s' -l %s",
                    command, o->name);
        if (o->letter) {
            er_buf_addf(b, " -s %c", o->letter);
        }
        if (o->words) {
            er_buf_addf(b, " -x -a '%s'", o->words);
        } else if (o->arg) {
            er_buf_add_str(b, " -r");
        }
        er_buf_add_str(b, " -d ");
        add_quoted(b, o->help, "\\'");
        er_buf_add_char(b, '\n');
    }
}

static void
add_fish(struct er_buf *b)
{
    er_buf_add_str(b, "# fish completion of errand; made by: errand completions fish\n"
                      "complete -c errand -f\n");
    for (size_t i = 0; er_commands[i]; i++) {
        er_buf_addf(b, "complete -c errand -n __fish_use_subcommand -a %s -d ",
                    er_commands[i]->name);
        add_quoted(b, er_commands[i]->summary, "\\'");
        er_buf_add_char(b, '\n');
    }
    for (size_t i = 0; er_commands[i]; i++) {
        for (int k = 0; k < ER_CMD_TABLES; k++) {
            add_fish_options(er_commands[i]->name, er_commands[i]->opts[k], b);
        }
        add_fish_options(er_commands[i]->name, er_common_opts, b);
    }
}

static int
completions_exec(struct er_app *app, void *data, int n, char **args)
{
    static const struct {
        const char *shell;
        void (*add)(struct er_buf *b);
    } shells[] = {{"bash", add_bash}, {"zsh", add_zsh}, {"fish", add_fish}};
    (void)app;
    (void)data;
    (void)n;
    for (size_t i = 0; i < sizeof shells / sizeof shells[0]; i++) {
        if (strcmp(args[0], shells[i].shell) == 0) {
            struct er_buf b;
            er_buf_init(&b, 0);
            shells[i].add(&b);
            int rc = er_app_out(&b);
            er_buf_fini(&b);
            return rc;
        }
    }
    return er_app_failf(
        ER_EINVALID, "there are no completions for '%.60s' (bash, zsh, fish)", args[0]);
}

const struct er_cmd er_cmd_completions = {
    .name = "completions",
    .operands = "bash|zsh|fish",
    .summary = "completions for a shell, on standard output",
    .min = 1,
    .max = 1,
    .exec = completions_exec,
};
