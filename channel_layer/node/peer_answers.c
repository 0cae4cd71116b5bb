/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/node/peer_answers.h"

#include "core/mem.h"
#include "core/text.h"

void peer_commit(struct peer *peer, const uint8_t *start, const uint8_t *end)
{
    writer_commit(&peer->writer, (size_t)(end - start));
    peer_note_room(peer);
}

void peer_reply_done(struct peer *peer, uint64_t req)
{
    uint8_t *start = writer_reserve(&peer->writer, LAYER_HEAD_MAX);
    peer_commit(peer, start, pack_nil(layer_write_reply_head(start, req, ERR_OK)));
}

/* @text: at most ERR_TEXT_MAX bytes. */
static void reply_text(struct peer *peer, uint64_t req, enum err err, struct slice text)
{
    uint8_t *start = writer_reserve(&peer->writer, LAYER_HEAD_MAX + ERR_TEXT_MAX);
    peer_commit(peer, start, pack_str(layer_write_reply_head(start, req, err), text));
}

/* Errors quote names, which may be cut inside a character. */
static struct slice whole_characters(struct slice text)
{
    while (text.len > 0 && !utf8_is_valid(text.ptr, text.len))
        text.len--;
    return text;
}

void peer_reply_error(struct peer *peer, uint64_t req, enum err err, const char *why)
{
    struct slice text = slice_str(why[0] != '\0' ? why : err_str(err));
    if (text.len > ERR_TEXT_MAX)
        text.len = ERR_TEXT_MAX;
    reply_text(peer, req, err, whole_characters(text));
}

static void on_call_done(struct layer_call *call, enum err err, const char *why)
{
    struct peer_call *c = CONTAINER_OF(call, struct peer_call, call);
    struct peer *peer = c->peer;
    dlist_remove(&c->link);
    if (peer != NULL && err != ERR_OK)
        peer_reply_error(peer, c->req, err, why);
    else if (peer != NULL && c->base[0] != '\0')
        reply_text(peer, c->req, ERR_OK, slice_str(c->base));
    else if (peer != NULL)
        peer_reply_done(peer, c->req);
    mem_free(c);
}

void peer_call_start(struct peer_call *c, struct peer *peer, uint64_t req)
{
    c->call.done = on_call_done;
    c->peer = peer;
    c->req = req;
    dlist_append(&peer->calls, &c->link);
}

struct peer_call *peer_call_new(struct peer *peer, uint64_t req)
{
    struct peer_call *c = mem_alloc(sizeof(*c));
    peer_call_start(c, peer, req);
    return c;
}

void peer_calls_forget(struct peer *peer)
{
    struct dlist *node = NULL;
    while ((node = dlist_take_first(&peer->calls)) != NULL)
        CONTAINER_OF(node, struct peer_call, link)->peer = NULL;
}
