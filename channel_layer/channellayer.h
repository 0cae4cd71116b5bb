/* SPDX-License-Identifier: BSD-3-Clause
 *
 * channellayer: the groups and channels of a Django Channels project, for programs in C.
 *
 * A layer speaks the format of channels_redis (core or pubsub), so that Python consumers, views and
 * workers that share its Redis are reached, and reach this program; without Redis it is one of its
 * own, for this process. This is the whole public interface of libchannellayer.
 *
 * What a program does that joins a group (examples/channellayer is a whole one):
 *
 *  - channellayer_open() with its loop and {"hosts": ["redis://localhost"]};
 *  - channellayer_channel_open(), with what is to be done with the messages of that channel;
 *  - channellayer_group_add() with the channel's name;
 *  - uv_run(). The program ignores SIGPIPE: a Redis that is gone is an error of write() then.
 *
 * A message body is one msgpack map with text keys (JSON, when serializer_format says so), with a
 * "type" that consumers need, and without "__asgi_channel__".
 *
 * Callbacks come from the loop, never from inside a call; each done() is called exactly once. Any
 * function may be called from any callback. All belongs to the thread that runs the loop.
 */
#ifndef CHANNEL_LAYER_CHANNELLAYER_H
#define CHANNEL_LAYER_CHANNELLAYER_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CHANNELLAYER_API __attribute__((visibility("default")))

enum channellayer_code {
    CHANNELLAYER_OK = 0,
    CHANNELLAYER_FULL = 1,        /* the channel is over capacity */
    CHANNELLAYER_INVALID = 2,     /* a name, a body or a setting: the text says which */
    CHANNELLAYER_UNAVAILABLE = 3, /* Redis cannot be reached, or refused; nothing was sent */
    CHANNELLAYER_TIMEOUT = 4,     /* not answered in time; it is not known whether it was sent */
    CHANNELLAYER_CLOSED = 5,      /* the layer is being closed */
    CHANNELLAYER_UNSUPPORTED = 6, /* not with this backend */
    CHANNELLAYER_FAILED = 7
};

struct channellayer;         /* a layer, with its connections */
struct channellayer_channel; /* a channel of this program, that only it receives from */

struct channellayer_error {
    enum channellayer_code code;
    char text[512];
};

/* @why is "" with CHANNELLAYER_OK, and valid during the call. */
typedef void channellayer_done(void *ctx, enum channellayer_code code, const char *why);
/* @body is valid during the call; NULL: the receive() ended without a message, see the log. 32 MiB
 * of messages may come between two turns of the loop, with one to many channels counted once: a
 * send() above that is CHANNELLAYER_FULL, and messages to groups are dropped with a line in the
 * log. */
typedef void channellayer_received(void *ctx, const void *body, size_t len);

/* Opens a layer with the settings @config: JSON with the keys of channels_redis' CONFIG, and
 * "backend": "memory", "redis" or "pubsub" ("redis" by default where there are hosts). Connections
 * are made in the background and again whenever they are lost. */
CHANNELLAYER_API enum channellayer_code channellayer_open(struct channellayer **out,
                                                          uv_loop_t *loop, const char *config,
                                                          struct channellayer_error *why);

/* Leaves all groups, ends the calls under way with CHANNELLAYER_CLOSED, closes the channels, drops
 * what waits to be received, and calls @closed (may be NULL) when nothing of it is left on the
 * loop: that long, what is asked of it ends with CHANNELLAYER_CLOSED, and it lives as long as a
 * program goes on asking. */
CHANNELLAYER_API void channellayer_close(struct channellayer *layer, void (*closed)(void *ctx),
                                         void *ctx);

/* A new channel; @received gets its messages. NULL with @why when it cannot be made. */
CHANNELLAYER_API struct channellayer_channel *
channellayer_channel_open(struct channellayer *layer, channellayer_received *received, void *ctx,
                          struct channellayer_error *why);
/* Its name, which anyone may send to and add to groups. It lives as long as the channel. */
CHANNELLAYER_API const char *channellayer_channel_name(const struct channellayer_channel *channel);
/* Leaves its groups and is gone; messages that it has not received are dropped. */
CHANNELLAYER_API void channellayer_channel_close(struct channellayer_channel *channel);

/* Names end with NUL; bodies are copied; @done may be NULL. */
CHANNELLAYER_API void channellayer_send(struct channellayer *layer, const char *channel,
                                        const void *body, size_t len, channellayer_done *done,
                                        void *ctx);
CHANNELLAYER_API void channellayer_group_send(struct channellayer *layer, const char *group,
                                              const void *body, size_t len, channellayer_done *done,
                                              void *ctx);
CHANNELLAYER_API void channellayer_group_add(struct channellayer *layer, const char *group,
                                             const char *channel, channellayer_done *done,
                                             void *ctx);
CHANNELLAYER_API void channellayer_group_discard(struct channellayer *layer, const char *group,
                                                 const char *channel, channellayer_done *done,
                                                 void *ctx);

/* The next message of a channel that any process may receive from ("thumbnails"), once. It counts
 * as taken when @received returns; a program that ends before gives it back. */
CHANNELLAYER_API enum channellayer_code
channellayer_receive(struct channellayer *layer, const char *channel,
                     channellayer_received *received, void *ctx, struct channellayer_error *why);

/* Forgets all groups and messages, in Redis too. */
CHANNELLAYER_API void channellayer_flush(struct channellayer *layer, channellayer_done *done,
                                         void *ctx);

#ifdef __cplusplus
}
#endif

#endif
