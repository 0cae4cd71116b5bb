/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/command/layer_reach.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel_layer/config/config.h"
#include "core/json.h"
#include "core/mem.h"
#include "server/layer_settings.h"

enum {
    PATH_BYTES = 256,
    FOLDERS = 3,
    LAYER_TIMEOUT_LEAST_MS = 50, /* what a layer takes */
    GRACE_MS = 500,              /* for our own node, which says itself what took too long */
};

/* ---- the default sockets ---- */

static const char general[] = "layer.sock";

struct search {
    char path[PATH_BYTES]; /* of the socket that was found last */
    unsigned found;
    char list[ERR_TEXT_MAX / 2]; /* of all, cut where they are too many */
};

static unsigned default_folders(char out[FOLDERS][PATH_BYTES])
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    unsigned count = 0;
    if (runtime != NULL && runtime[0] == '/')
        (void)snprintf(out[count++], PATH_BYTES, "%.200s/channelsd", runtime);
    (void)snprintf(out[count++], PATH_BYTES, "/run/channelsd");
    (void)snprintf(out[count++], PATH_BYTES, "/tmp/channelsd-%ld", (long)getuid());
    return count;
}

static bool is_socket_name(const char *name)
{
    const size_t len = strlen(name);
    return len > 5 && len < 64 && strcmp(name + len - 5, ".sock") == 0;
}

static void add_found(struct search *s, const char *folder, const char *name)
{
    const size_t used = strlen(s->list);
    const size_t room = sizeof(s->list) - used;
    (void)snprintf(s->path, sizeof(s->path), "%.180s/%.64s", folder, name);
    const size_t len = strlen(s->path);
    if (len + 3 < room) {
        memcpy(s->list + used, used > 0 ? ", " : "", used > 0 ? 2 : 0);
        memcpy(s->list + used + (used > 0 ? 2 : 0), s->path, len);
    }
    s->found++;
}

static void look_into(struct search *s, const char *folder)
{
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        if (is_socket_name(entry->d_name) && strcmp(entry->d_name, general) != 0)
            add_found(s, folder, entry->d_name);
    closedir(dir);
}

static enum err connect_default(struct node_client *client, struct err_text *why)
{
    char folders[FOLDERS][PATH_BYTES];
    const unsigned count = default_folders(folders);
    struct search s = {.found = 0};
    for (unsigned i = 0; i < count; i++) {
        char path[PATH_BYTES];
        (void)snprintf(path, sizeof(path), "%.200s/%s", folders[i], general);
        const enum err err = node_client_connect(client, path, true, why);
        if (err != ERR_UNAVAILABLE && err != ERR_INVALID)
            return err; /* who made a socket in our place is not passed over in silence */
        look_into(&s, folders[i]);
    }
    if (s.found == 1)
        return node_client_connect(client, s.path, true, why);
    if (s.found > 1)
        return err_fail(why, ERR_UNAVAILABLE,
                        "several nodes may be meant: name one by --layer-socket: %s", s.list);
    return err_fail(why, ERR_UNAVAILABLE,
                    "no node of this user was found: name one by --layer-socket PATH, or Redis by "
                    "--redis URL or --layer-config");
}

/* ---- a node of our own ---- */

static enum err append_escaped(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        char escaped[8];
        const unsigned char byte = (unsigned char)*text;
        const bool is_plain = byte >= 0x20 && byte != '"' && byte != '\\';
        const int len = is_plain ? snprintf(escaped, sizeof(escaped), "%c", byte)
                                 : snprintf(escaped, sizeof(escaped), "\\u%04x", byte);
        const enum err err = buf_append(out, escaped, (size_t)len);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

/* {"hosts": ["<url>"]}, checked as --layer-config is. */
static enum err settings_of_url(char **json, const char *url, struct err_text *why)
{
    static const char begin[] = "{\"hosts\": [\"", end[] = "\"]}";
    struct buf text;
    buf_init(&text, LAYER_SETTINGS_MAX);
    enum err err = buf_append(&text, begin, sizeof(begin) - 1);
    if (err == ERR_OK)
        err = append_escaped(&text, url);
    if (err == ERR_OK)
        err = buf_append(&text, end, sizeof(end)); /* with its NUL */
    if (err != ERR_OK)
        err_fail(why, err, "--redis: %s", err_str(err));
    else
        err = layer_settings_load(json, (const char *)text.ptr, why);
    buf_deinit(&text);
    return err;
}

/* What is no setting of a layer is a wrong argument, whatever the file system says of it. */
static enum err load_settings(char **json, const struct tool_options *options, struct err_text *why)
{
    struct err_text inner = {.code = ERR_OK};
    if (options->config == NULL)
        return options->redis != NULL ? settings_of_url(json, options->redis, why) : ERR_OK;
    if (options->config[0] == '\0')
        return err_fail(why, ERR_INVALID, "--layer-config: expected settings, or a file's path");
    if (layer_settings_load(json, options->config, &inner) == ERR_OK)
        return ERR_OK;
    return err_fail(why, inner.code == ERR_NOMEM ? ERR_NOMEM : ERR_INVALID,
                    "--layer-config: %.400s", inner.text);
}

static bool has_timeout(struct slice settings)
{
    static const struct json_limits limits = {LAYER_SETTINGS_MAX, JSON_DEPTH_CEILING};
    struct json_node *root = NULL;
    struct err_text why;
    const bool has = json_parse(&root, settings, &limits, &why) == ERR_OK &&
                     json_member(root, "timeout") != NULL;
    json_discard(root);
    return has;
}

/* Gives the settings a timeout of their own, first in the object. */
static enum err add_timeout(char **settings, int timeout_ms, struct err_text *why)
{
    char head[64];
    struct buf text;
    const char *object = strchr(*settings, '{');
    assert(object != NULL); /* they have been checked */
    (void)snprintf(head, sizeof(head), "{\"timeout\": %d.%03d, ", timeout_ms / 1000,
                   timeout_ms % 1000);
    buf_init(&text, LAYER_SETTINGS_MAX + sizeof(head));
    enum err err = buf_append(&text, head, strlen(head));
    if (err == ERR_OK)
        err = buf_append(&text, object + 1, strlen(object));
    if (err == ERR_OK) {
        mem_free(*settings);
        *settings = mem_copy_str(text.ptr, text.len - 1);
    }
    buf_deinit(&text);
    return err == ERR_OK ? err : err_fail(why, err, "--layer-config: %s", err_str(err));
}

/* Settings for a node that ends with us: a layer in memory would, too, with all that is in it. Its
 * calls end in time for us to tell why they failed. */
static enum err fit_settings(char **settings, int timeout_ms, struct err_text *why)
{
    struct layer_config *config = NULL;
    const struct slice json = slice_str(*settings);
    const enum err err = layer_config_parse(&config, json, why);
    if (err != ERR_OK)
        return err;
    const bool is_memory = config->backend == LAYER_MEMORY;
    const bool is_slow = config->timeout_ms > (unsigned)timeout_ms && !has_timeout(json);
    layer_config_free(config);
    if (is_memory)
        return err_fail(why, ERR_INVALID,
                        "--layer-config: a layer in memory lives in a node: name that by "
                        "--layer-socket PATH, or Redis by \"hosts\" or --redis URL");
    if (!is_slow)
        return ERR_OK;
    return add_timeout(
        settings, timeout_ms < LAYER_TIMEOUT_LEAST_MS ? LAYER_TIMEOUT_LEAST_MS : timeout_ms, why);
}

static enum err start_node(struct layer_reach *reach, struct node_client *client,
                           const char *settings, struct err_text *why)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
        return err_fail(why, err_from_errno(errno), "socketpair: %s", strerror(errno));
    const enum err err = layer_thread_start(&reach->thread, 0, settings, -1, why);
    if (err != ERR_OK) {
        close(fds[0]);
        close(fds[1]);
        return err;
    }
    reach->thread_is_running = true;
    layer_thread_post_attach(&reach->thread, fds[1], 0);
    node_client_use(client, fds[0]);
    return ERR_OK;
}

/* ---- open and close ---- */

/* A node's own settings prevail where none are named. */
static enum err connect_client(struct layer_reach *reach, struct node_client *client,
                               const struct tool_options *options, const char *settings,
                               struct err_text *why)
{
    if (options->socket != NULL)
        return node_client_connect(client, options->socket, false, why);
    if (settings != NULL)
        return start_node(reach, client, settings, why);
    return connect_default(client, why);
}

bool layer_reach_is_own(const struct tool_options *options)
{
    return options->socket == NULL && (options->config != NULL || options->redis != NULL);
}

enum err layer_reach_open(struct layer_reach *reach, struct node_client *client,
                          const struct tool_options *options, struct err_text *why)
{
    char *settings = NULL;
    enum err err = load_settings(&settings, options, why);
    const bool is_own = layer_reach_is_own(options);
    if (err == ERR_OK && is_own)
        err = fit_settings(&settings, options->timeout_ms, why);
    node_client_init(client, options->timeout_ms + (is_own ? GRACE_MS : 0), reach->wake_fd,
                     reach->reader_fd);
    if (err == ERR_OK)
        err = connect_client(reach, client, options, settings, why);
    if (err == ERR_OK) {
        const struct slice config = slice_str(settings != NULL ? settings : "");
        err = node_client_open(client, config, why);
        if (err != ERR_OK)
            layer_reach_close(reach, client);
    }
    mem_free(settings);
    return err;
}

void layer_reach_close(struct layer_reach *reach, struct node_client *client)
{
    node_client_deinit(client);
    if (reach->thread_is_running)
        layer_thread_stop(&reach->thread);
    reach->thread_is_running = false;
}
