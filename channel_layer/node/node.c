/* SPDX-License-Identifier: BSD-3-Clause
 *
 * End: node_close() -> the listeners and the peers close (their clients are detached at once) ->
 * the last close callback of them has come -> the layers close -> the last of them is closed: the
 * node goes.
 */
#include "channel_layer/node/node.h"

#include <string.h>
#include <sys/resource.h>

#include "channel_layer/node/node_listeners.h"
#include "channel_layer/node/peer.h"
#include "core/log.h"
#include "core/mem.h"

enum { LOOK_MS = 60 * 1000 };

struct node_layer {
    struct layer *layer;
    bool is_own;            /* of the node's own settings: it stays */
    uint64_t idle_since_ms; /* 0: it was used when that was last looked at */
};

struct node {
    struct loop *loop;
    char *settings; /* of the layer for peers that name none */
    struct node_layer layers[NODE_LAYERS_MAX];
    unsigned layer_count;
    unsigned closing_layers;
    uv_timer_t look; /* for layers that nobody uses */
    struct node_peers peers;
    struct node_listeners listeners;
    uv_idle_t resume;
    unsigned open_handles; /* resume, look */
    bool is_closing;
    bool has_closed_layers;
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

static void on_layer_closed(void *ctx);

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

static void close_layer(struct node *node, struct node_layer *slot)
{
    struct layer *layer = slot->layer;
    *slot = node->layers[--node->layer_count];
    node->closing_layers++;
    layer_close(layer, on_layer_closed, node);
}

/* Notes since when nobody has used it. */
static bool is_idle(const struct node *node, struct node_layer *slot)
{
    if (slot->is_own || !layer_is_idle(slot->layer))
        slot->idle_since_ms = 0;
    else if (slot->idle_since_ms == 0)
        slot->idle_since_ms = loop_now_ms(node->loop);
    return slot->idle_since_ms != 0;
}

static void on_look(uv_timer_t *look)
{
    struct node *node = look->data;
    const uint64_t now_ms = loop_now_ms(node->loop);
    for (unsigned i = node->layer_count; i-- > 0;) {
        struct node_layer *slot = &node->layers[i];
        if (is_idle(node, slot) && now_ms - slot->idle_since_ms >= NODE_IDLE_MS)
            close_layer(node, slot);
    }
}

/* Closes the layer that nobody has used for the longest time. False: all are in use, or too many
 * are still at closing. */
static bool make_place(struct node *node)
{
    struct node_layer *oldest = NULL;
    for (unsigned i = 0; i < node->layer_count; i++) {
        struct node_layer *slot = &node->layers[i];
        if (is_idle(node, slot) && (oldest == NULL || slot->idle_since_ms < oldest->idle_since_ms))
            oldest = slot;
    }
    if (oldest == NULL || node->closing_layers >= NODE_LAYERS_MAX)
        return false;
    close_layer(node, oldest);
    return true;
}

static struct node_layer *find_layer(struct node *node, const struct layer_config *config)
{
    for (unsigned i = 0; i < node->layer_count; i++)
        if (strcmp(layer_config(node->layers[i].layer)->digest, config->digest) == 0)
            return &node->layers[i];
    return NULL;
}

/* Takes @config. */
static enum err open_layer(struct node *node, struct layer_config *config, struct err_text *why)
{
    if (node->layer_count == NODE_LAYERS_MAX && !make_place(node)) {
        layer_config_free(config);
        return err_fail(why, ERR_UNSUPPORTED,
                        "this node has %d layers of different settings already: have fewer, or "
                        "another node (channelsd layer serve)",
                        NODE_LAYERS_MAX);
    }
    struct layer *layer = NULL;
    const enum err err = layer_open(&layer, &node->loop->uv, config, why);
    if (err != ERR_OK)
        return err;
    node->layers[node->layer_count++] = (struct node_layer){.layer = layer};
    log_opened(layer_config(layer));
    return ERR_OK;
}

enum err node_find_layer(struct node *node, struct layer **out, struct slice settings,
                         struct err_text *why)
{
    struct layer_config *config = NULL;
    enum err err =
        layer_config_parse(&config, is_own(settings) ? slice_str(node->settings) : settings, why);
    if (err != ERR_OK)
        return err;
    struct node_layer *slot = find_layer(node, config);
    if (slot != NULL) {
        layer_config_free(config);
    } else {
        err = open_layer(node, config, why);
        if (err != ERR_OK)
            return err;
        slot = &node->layers[node->layer_count - 1];
    }
    slot->is_own = slot->is_own || is_own(settings);
    *out = slot->layer;
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
    node->closing_layers--;
    if (node->has_closed_layers && node->closing_layers == 0)
        finish(node);
}

/* Everything but the layers is gone. */
static void go_on_closing(struct node *node)
{
    if (!node->is_closing || node->open_handles > 0 || node->listeners.open > 0 ||
        node->peers.open > 0)
        return;
    while (node->layer_count > 0)
        close_layer(node, &node->layers[0]);
    node->has_closed_layers = true;
    if (node->closing_layers == 0)
        finish(node);
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

static void on_handle_closed(uv_handle_t *handle)
{
    struct node *node = handle->data;
    node->open_handles--;
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
    uv_close((uv_handle_t *)&node->resume, on_handle_closed);
    uv_close((uv_handle_t *)&node->look, on_handle_closed);
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

unsigned node_peers_max(void)
{
    struct rlimit limit;
    const rlim_t most = (rlim_t)NODE_FIRST_FILES + 4 * (rlim_t)NODE_PEERS_MAX;
    const rlim_t least = (rlim_t)NODE_FIRST_FILES + 4 * (rlim_t)NODE_PEERS_MIN;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur <= least)
        return NODE_PEERS_MIN;
    return limit.rlim_cur >= most ? NODE_PEERS_MAX
                                  : (unsigned)((limit.rlim_cur - NODE_FIRST_FILES) / 4);
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
    node->peers.max_accepted = node_peers_max();
    uv_idle_init(&loop->uv, &node->resume);
    uv_timer_init(&loop->uv, &node->look);
    uv_timer_start(&node->look, on_look, LOOK_MS, LOOK_MS);
    node->resume.data = node->look.data = node;
    node->open_handles = 2;
    node_listeners_init(&node->listeners, node);
    *out = node;
    return ERR_OK;
}
