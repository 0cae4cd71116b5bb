/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_link: one connection to one Redis that keeps itself up.
 *
 * Why: connecting, TLS, AUTH, SELECT, HELLO, Sentinel, deadlines and coming back after a loss are
 * the same for sending, receiving and subscribing; those who use it see commands and replies.
 *
 * Life: CONNECTING -> UP -> (lost) WAITING -> CONNECTING …, with growing, jittered pauses (50 ms to
 * 0.5 s); CLOSED at the end. Commands given while it is not up wait for it, until their deadline
 * and within REDIS_LINK_QUEUE_BYTES. Those under way when the connection is lost end with
 * ERR_TIMEOUT ("connection lost before the answer"): it is not known whether they were done.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_LINK_H
#define CHANNEL_LAYER_REDIS_REDIS_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "channel_layer/config/config.h"
#include "core/err.h"
#include "core/slice.h"

struct redisReply;
struct redis_link;

enum { REDIS_LINK_QUEUE_BYTES = 8 * 1024 * 1024 };

struct redis_link_ops {
    /* A command that is given while it is up ends with ERR_UNAVAILABLE when the connection is lost
     * before it was sent; else it waits for the next. */
    bool ends_unsent;
    /* Ready for commands; also after each loss. @is_first tells the first time. Commands given
     * inside go before those that waited; they end with the connection when it is lost first. */
    void (*up)(void *ctx, bool is_first);
    /* Lost or could not be made. @why: host and reason. Called once for each change to worse, not
     * for each attempt. */
    void (*down)(void *ctx, const char *why);
    /* A push message (RESP3: ["invalidate", [key, …] or nil], ["message", channel, text],
     * ["pmessage", pattern, channel, text]), or a pub/sub message of RESP2, which is an array of
     * the same items. Borrowed. Confirmations of SUBSCRIBE are no push. */
    void (*push)(void *ctx, const struct redisReply *reply);
};

/* @err: ERR_OK with @reply (borrowed; may be an error reply of the command itself:
 * REDIS_REPLY_ERROR, which @why then explains); ERR_TIMEOUT, ERR_UNAVAILABLE (never sent, or
 * refused undone: LOADING, READONLY), ERR_CLOSED with NULL. @why in words. SUBSCRIBE and the like:
 * called once, with the last confirmation. Not called before redis_link_command() returned. */
typedef void redis_link_done(void *ctx, enum err err, const struct redisReply *reply,
                             const char *why);

/* @host stays the caller's until closed. @timeout_ms bounds connecting and every command. */
void redis_link_open(struct redis_link **out, uv_loop_t *uv, const struct redis_host *host,
                     unsigned timeout_ms, const struct redis_link_ops *ops, void *ctx);

/* Sends one command (@args are copied). @done may be NULL: the reply is of no interest.
 * @timeout_ms: 0 for the link's own, UINT32_MAX for none (a command that blocks in Redis). The
 * callback is called exactly once. Errors, with which it is not called: ERR_TOO_BIG (too much waits
 * already, or a command over 64 MiB), ERR_NOMEM, ERR_CLOSED, ERR_INVALID (no words; UNSUBSCRIBE
 * without names). */
enum err redis_link_command(struct redis_link *link, redis_link_done *done, void *ctx,
                            unsigned timeout_ms, size_t count, const struct slice *args) MUST_CHECK;

bool redis_link_is_up(const struct redis_link *link);
/* RESP3 was agreed upon: pushes can come. */
bool redis_link_has_push(const struct redis_link *link);
/* Major version of the server that it is, or was last, connected to (0: never yet). */
unsigned redis_link_version(const struct redis_link *link);
/* Why it is not up: "127.0.0.1:6379: Connection refused"; "" while it is. */
const char *redis_link_why(const struct redis_link *link);

/* Drops the connection and makes a new one at once (the server is not what it was). */
void redis_link_reconnect(struct redis_link *link, const char *why);

/* Callbacks of commands under way come with ERR_CLOSED, then @closed; the link is gone then. None
 * of them inside this function. A name that the system's resolver is looking up is waited for. */
void redis_link_close(struct redis_link *link, void (*closed)(void *ctx), void *ctx);

#endif
