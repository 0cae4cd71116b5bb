/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_link_parts: a link as its two parts see it, and nobody else.
 *
 * Why: redis_link.c is a connection's life (states, attempts, losses, time), redis_link_commands.c
 * a command's (given, sent, answered or given up). Each ends what the other has under way.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_LINK_PARTS_H
#define CHANNEL_LAYER_REDIS_REDIS_LINK_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "channel_layer/redis/redis_conn.h"
#include "channel_layer/redis/redis_link.h"
#include "channel_layer/redis/redis_pause.h"
#include "channel_layer/redis/redis_request.h"
#include "core/buf.h"

enum { REDIS_LINK_WRITE_BYTES = 256 * 1024 }; /* of one batch */

enum link_state {
    LINK_WAITING,    /* for the next attempt */
    LINK_CONNECTING, /* until the greeting is over */
    LINK_UP,
    LINK_LEAVING, /* this server is the wrong one */
    LINK_CLOSED,  /* handles close */
};

struct redis_link {
    uv_loop_t *uv;
    const struct redis_host *host;
    const struct redis_link_ops *ops;
    void *ctx;
    enum link_state state;
    unsigned timeout_ms;
    uv_timer_t timer;      /* the one for all that waits for a time */
    uint64_t armed_ms;     /* when it fires; UINT64_MAX: not */
    uint64_t state_due_ms; /* when this state has lasted too long; UINT64_MAX: never */
    uv_idle_t turn;        /* runs once, before the loop polls again */
    unsigned parts;        /* connections and handles that are not closed */
    struct redis_requests requests;
    struct buf batch;
    struct redis_conn *conn;
    size_t sentinel;      /* which answered last */
    bool is_adding_first; /* inside up(), or as long as it is (ops->ends_unsent) */
    bool was_up;
    bool is_down_told;
    bool is_down_to_tell;
    bool is_probing;
    bool is_subscriber; /* SUBSCRIBE was sent on this connection */
    bool is_broken;     /* a write failed: lost at the end of the turn */
    unsigned attempts;
    struct redis_pause pause;
    unsigned hello_losses;
    unsigned timeouts_in_row;
    uint64_t up_ms;
    uint64_t heard_ms; /* when the last bytes came */
    unsigned version;
    void (*closed)(void *ctx);
    void *closed_ctx;
    char why[ERR_TEXT_MAX]; /* "": it is up */
};

static inline uint64_t redis_link_later_ms(const struct redis_link *link, uint64_t ms)
{
    return uv_now(link->uv) + ms;
}

/* ---- the connection (redis_link.c) ---- */

/* How people call what it is connected to, or would be. */
const char *redis_link_where(const struct redis_link *link);
/* The timer fires at @at_ms at the latest. */
void redis_link_arm(struct redis_link *link, uint64_t at_ms);
/* Something is to be told or sent before the loop polls again. */
void redis_link_next_turn(struct redis_link *link);
/* The connection, or the attempt to make one, is lost; calls back. */
void redis_link_lost(struct redis_link *link, const char *why);
/* The server cannot do what it is there for, and has said so: nothing was done. */
void redis_link_leave(struct redis_link *link, const char *why);

/* ---- commands (redis_link_commands.c) ---- */

/* Calls back: down(), and the ends of commands. */
void redis_link_tell(struct redis_link *link);
/* Fills one batch and writes it, and the next as long as the socket takes them. */
void redis_link_flush(struct redis_link *link);
/* What Redis says (struct redis_conn_ops); calls back. */
void redis_link_on_reply(void *ctx, const struct redisReply *reply);
/* Ends the commands whose deadlines are over; calls back. */
void redis_link_expire(struct redis_link *link);
/* When the silence of a server with something to answer has lasted too long. A command without a
 * deadline may block, and those behind it wait for it: that is no silence. */
uint64_t redis_link_silence_due_ms(const struct redis_link *link);
/* Asks whether anybody is there; any byte within the time limit is answer enough. */
void redis_link_probe(struct redis_link *link);

#endif
