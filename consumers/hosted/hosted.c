/* SPDX-License-Identifier: BSD-3-Clause */
#include "consumers/hosted/hosted.h"

#include "consumers/hosted/worker_link.h"

enum { BEAT_MS = 1000 };

static struct worker_link *link_of(struct dlist *node)
{
    return CONTAINER_OF(node, struct worker_link, link);
}

static struct worker_link *find_link(struct hosted *h, unsigned worker)
{
    for (struct dlist *n = h->links.next; n != &h->links; n = n->next)
        if (link_of(n)->worker == worker)
            return link_of(n);
    return NULL;
}

/* ---- what a client asks ---- */

static struct worker_link *choose_link(struct hosted *h)
{
    struct worker_link *best = NULL;
    unsigned fewest = 0;
    for (struct dlist *n = h->links.next; n != &h->links; n = n->next) {
        struct worker_link *link = link_of(n);
        if (!worker_link_takes_clients(link))
            continue;
        const unsigned clients = worker_load_clients(link->load);
        if (best == NULL || clients < fewest) {
            best = link;
            fewest = clients;
        }
    }
    return best;
}

static bool hosted_can_open(void *ctx)
{
    return choose_link(ctx) != NULL;
}

static enum err hosted_open(struct client *c, void *ctx, const struct scope *scope,
                            const struct slice *subprotocols, size_t subprotocol_count,
                            struct slice body, bool more)
{
    struct hosted *h = ctx;
    struct worker_link *link = choose_link(h);
    if (link == NULL)
        return ERR_CLOSED;
    bool worn_out = false;
    enum err err = worker_link_engage(link, c, &worn_out);
    if (err != ERR_OK)
        return err;
    dlist_remove(&link->link); /* equal ones take turns: this one comes last now */
    dlist_append(&h->links, &link->link);
    err = worker_link_open_client(link, c, scope, subprotocols, subprotocol_count, body, more);
    if (err == ERR_OK)
        c->kind = &hosted_kind;
    else
        worker_link_release(link, c);
    if (worn_out)
        h->ops->worker_worn(h, link->worker);
    return err;
}

static void hosted_body(struct client *c, struct slice piece, bool more)
{
    worker_link_body(c->consumer, c, piece, more);
}

static void hosted_receive(struct client *c, enum message_kind kind, struct slice data, bool first,
                           bool last)
{
    const bool is_text = kind == MESSAGE_TEXT;
    if (first && last && data.len <= LINK_PAYLOAD_MAX) {
        worker_link_receive(c->consumer, c, is_text, data);
        return;
    }
    do {
        const size_t len = data.len < LINK_PAYLOAD_MAX ? data.len : LINK_PAYLOAD_MAX;
        const struct slice piece = slice_make(data.ptr, len);
        data = slice_make(data.ptr + len, data.len - len);
        worker_link_part(c->consumer, c, is_text, piece, last && data.len == 0);
    } while (data.len > 0);
}

static void hosted_drained(struct client *c, size_t bytes)
{
    worker_link_credit(c->consumer, c, bytes);
}

static void hosted_gone(struct client *c, uint16_t code, struct slice reason)
{
    struct worker_link *link = c->consumer;
    worker_link_disconnect(link, c, c->is_websocket, code, reason);
    worker_link_release(link, c);
    c->kind = NULL;
}

const struct consumer_kind hosted_kind = {
    .name = "hosted",
    .can_open = hosted_can_open,
    .open = hosted_open,
    .body = hosted_body,
    .receive = hosted_receive,
    .drained = hosted_drained,
    .gone = hosted_gone,
};

/* ---- links ---- */

static void on_link_ready(struct worker_link *link)
{
    struct hosted *h = link->ctx;
    h->ops->worker_ready(h, link->worker);
}

static void on_link_room(struct worker_link *link)
{
    struct hosted *h = link->ctx;
    h->ops->worker_has_room(h, link->worker);
}

static void on_link_lost(struct worker_link *link, const char *why)
{
    struct hosted *h = link->ctx;
    dlist_remove(&link->link);
    if (!h->is_closing)
        h->ops->worker_lost(h, link->worker, why);
}

static const struct worker_link_ops link_ops = {on_link_ready, on_link_room, on_link_lost};

static struct worker_link *find_hung(struct hosted *h)
{
    for (struct dlist *n = h->links.next; n != &h->links; n = n->next) {
        struct worker_link *link = link_of(n);
        if (!link->is_hung && link->beats_missed * BEAT_MS >= (uint64_t)h->hang_ms)
            return link;
    }
    return NULL;
}

/* One pass a second over all links: whoever answered is asked again, whoever did not for too long
 * is hung. Passes are counted and not time: when nobody ran for a while (a suspended machine), that
 * was not the worker's doing. */
static void on_beat(struct wheel_entry *entry)
{
    struct hosted *h = CONTAINER_OF(entry, struct hosted, beat);
    for (struct dlist *n = h->links.next; n != &h->links; n = n->next) {
        struct worker_link *link = link_of(n);
        if (link->state == WORKER_LINK_STARTING || link->state == WORKER_LINK_LOST)
            continue;
        if (link->beat_answered == link->beat_sent)
            worker_link_beat(link);
        else
            link->beats_missed++;
    }
    wheel_set(&h->loop->wheel, &h->beat, loop_now_ms(h->loop) + BEAT_MS);
    /* Looked for anew each time: the owner may detach the worker, or close @h, when it is told. */
    struct worker_link *hung = NULL;
    while ((hung = find_hung(h)) != NULL) {
        hung->is_hung = true;
        h->ops->worker_hung(h, hung->worker);
    }
}

void hosted_init(struct hosted *h, struct loop *loop, int64_t hang_ms, const struct hosted_ops *ops)
{
    h->loop = loop;
    h->ops = ops;
    h->hang_ms = hang_ms;
    h->is_closing = false;
    dlist_init(&h->links);
    wheel_entry_init(&h->beat, on_beat);
    if (hang_ms > 0)
        wheel_set(&loop->wheel, &h->beat, loop_now_ms(loop) + BEAT_MS);
}

enum err hosted_attach(struct hosted *h, int fd, unsigned worker, struct worker_load *load)
{
    struct worker_link *link = NULL;
    const enum err err = worker_link_open(&link, h->loop, fd, worker, load, &link_ops);
    if (err != ERR_OK)
        return err;
    link->ctx = h;
    dlist_append(&h->links, &link->link);
    return ERR_OK;
}

void hosted_retire(struct hosted *h, unsigned worker, uint64_t grace_ms, uint64_t shutdown_ms)
{
    struct worker_link *link = find_link(h, worker);
    if (link != NULL)
        worker_link_retire(link, grace_ms, shutdown_ms);
}

void hosted_shutdown(struct hosted *h, uint64_t grace_ms)
{
    for (struct dlist *n = h->links.next; n != &h->links; n = n->next)
        worker_link_shutdown(link_of(n), grace_ms);
}

void hosted_detach(struct hosted *h, unsigned worker, const char *why)
{
    struct worker_link *link = find_link(h, worker);
    if (link != NULL)
        worker_link_close(link, why);
}

void hosted_close(struct hosted *h)
{
    h->is_closing = true;
    wheel_clear(&h->loop->wheel, &h->beat);
    while (!dlist_is_empty(&h->links))
        worker_link_close(link_of(h->links.next), "the server stops");
}
