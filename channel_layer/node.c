/* SPDX-License-Identifier: BSD-3-Clause
 *
 * End: node_close() -> the listeners and the peers close (their clients are detached at once) ->
 * the last close callback of them has come -> the layers close -> the last of them is closed: the
 * node goes.
 */
#include "channel_layer/node.h"

#include <string.h>

#include "channel_layer/node_listeners.h"
#include "channel_layer/peer.h"
#include "core/log.h"
#include "core/mem.h"

struct node {
    struct loop *loop;
    char *settings; /* of the layer for peers that name none */
    struct layer *layers[NODE_LAYERS_MAX];
    unsigned layer_count;
    struct node_peers peers;
    struct node_listeners listeners;
    uv_idle_t resume;
    bool has_resume; /* its close callback has not come yet */
    bool is_closing;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

struct loop *node_loop(const struct node *node)
{
    return node->loop;
}

struct node_peers *node_peers(struct node *node)
{
    return &node->peers;
}

/* ---- layers ---- */

static bool is_own(struct slice settings)
{
    return settings.len == 0 || slice_eq_str(settings, "{}");
}

static void log_opened(const struct layer_config *config)
{
    static const char *const backends[] = {
        [LAYER_MEMORY] = "memory", [LAYER_REDIS] = "redis", [LAYER_PUBSUB] = "pubsub"};
    log_event(LOG_INFO, "layer.open", "backend=%s prefix=%s hosts=%zu first_host=%s",
              backends[config->backend], config->prefix, config->host_count,
              config->host_count > 0 ? config->hosts[0].text : "-");
}

enum err node_find_layer(struct node *node, struct layer **out, struct slice settings,
                         struct err_text *why)
{
    struct layer_config *config = NULL;
    enum err err =
        layer_config_parse(&config, is_own(settings) ? slice_str(node->settings) : settings, why);
    if (err != ERR_OK)
        return err;
    for (unsigned i = 0; i < node->layer_count; i++) {
        if (strcmp(layer_config(node->layers[i])->digest, config->digest) == 0) {
            layer_config_free(config);
            *out = node->layers[i];
            return ERR_OK;
        }
    }
    if (node->layer_count == NODE_LAYERS_MAX) {
        layer_config_free(config);
        return err_fail(why, ERR_UNSUPPORTED,
                        "this node has %d layers of different settings already", NODE_LAYERS_MAX);
    }
    struct layer *layer = NULL;
    err = layer_open(&layer, &node->loop->uv, config, why);
    if (err != ERR_OK)
        return err;
    node->layers[node->layer_count++] = layer;
    log_opened(layer_config(layer));
    *out = layer;
    return ERR_OK;
}

/* ---- end ---- */

static void finish(struct node *node)
{
    void (*closed)(void *ctx) = node->closed;
    void *ctx = node->closed_ctx;
    mem_free(node->settings);
    mem_free(node);
    closed(ctx);
}

static void on_layer_closed(void *ctx)
{
    struct node *node = ctx;
    if (--node->layer_count == 0)
        finish(node);
}

/* Everything but the layers is gone. */
static void close_layers(struct node *node)
{
    if (node->layer_count == 0) {
        finish(node);
        return;
    }
    const unsigned count = node->layer_count;
    for (unsigned i = 0; i < count; i++)
        layer_close(node->layers[i], on_layer_closed, node);
}

static void go_on_closing(struct node *node)
{
    if (node->is_closing && !node->has_resume && node->listeners.open == 0 && node->peers.open == 0)
        close_layers(node);
}

void node_peer_gone(struct node *node)
{
    node->peers.open--;
    go_on_closing(node);
}

void node_listener_gone(struct node *node)
{
    go_on_closing(node);
}

static void on_resume_closed(uv_handle_t *handle)
{
    struct node *node = handle->data;
    node->has_resume = false;
    go_on_closing(node);
}

void node_close(struct node *node, void (*closed)(void *ctx), void *ctx)
{
    node->is_closing = true;
    node->closed = closed;
    node->closed_ctx = ctx;
    node_listeners_close(&node->listeners);
    while (!dlist_is_empty(&node->peers.list))
        peer_close(CONTAINER_OF(node->peers.list.next, struct peer, link), "the node ends");
    uv_close((uv_handle_t *)&node->resume, on_resume_closed);
}

/* ---- peers ---- */

static void on_resume(uv_idle_t *resume)
{
    struct node *node = resume->data;
    struct dlist batch;
    struct dlist *n = NULL;
    uv_idle_stop(resume);
    dlist_init(&batch);
    dlist_splice(&batch, &node->peers.paused);
    while ((n = dlist_take_first(&batch)) != NULL)
        peer_resume(CONTAINER_OF(n, struct peer, paused));
}

void node_resume_later(struct node *node)
{
    if (!node->is_closing)
        uv_idle_start(&node->resume, on_resume);
}

void node_attach(struct node *node, int fd, const char *name)
{
    const enum err err = peer_open(node, fd, name);
    if (err != ERR_OK)
        log_event(LOG_ERROR, "layer.peer", "peer=%s reason=\"%s\"", name, err_str(err));
}

enum err node_listen(struct node *node, int fd)
{
    return node_listeners_add(&node->listeners, fd);
}

void node_listen_at(struct node *node, struct slice path)
{
    if (!node->is_closing)
        node_listeners_want(&node->listeners, path);
}

enum err node_open(struct node **out, struct loop *loop, struct slice settings,
                   struct err_text *why)
{
    struct layer_config *config = NULL;
    const enum err err = layer_config_parse(&config, settings, why);
    if (err != ERR_OK)
        return err;
    layer_config_free(config);
    struct node *node = mem_alloc(sizeof(*node));
    node->loop = loop;
    node->settings = mem_copy_str(settings.ptr, settings.len);
    dlist_init(&node->peers.list);
    dlist_init(&node->peers.paused);
    uv_idle_init(&loop->uv, &node->resume);
    node->resume.data = node;
    node->has_resume = true;
    node_listeners_init(&node->listeners, node);
    *out = node;
    return ERR_OK;
}
