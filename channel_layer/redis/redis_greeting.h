/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_greeting: what is said to a Redis before the first command: HELLO 3, AUTH, SELECT, …
 *
 * Why: Redis 5 and proxies do not know HELLO, and a server that reads its data set or has become a
 * replica is none to send to; each of these is found out before anybody's command goes there.
 *
 * How: HELLO 3 with AUTH; where that is refused, AUTH alone and RESP2; where AUTH takes no user's
 * name, all that again without one, as redis-py does. Behind it, in one go:
 * SELECT, CLIENT SETNAME, INFO (where HELLO did not tell the version), ROLE (behind Sentinel), PING
 * (which tells a server that reads its data set).
 *
 * Thread: owner only; no input or output.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_GREETING_H
#define CHANNEL_LAYER_REDIS_REDIS_GREETING_H

#include <stdbool.h>
#include <stdint.h>

#include "channel_layer/config/config.h"
#include "core/buf.h"
#include "core/err.h"

struct redisReply;

enum { REDIS_GREETING_STEPS = 16 };

struct redis_greeting {
    bool is_resp3;    /* pushes can come */
    unsigned version; /* major; once it is over */
    /* private */
    const struct redis_host *host;
    uint8_t steps[REDIS_GREETING_STEPS]; /* answers that are to come */
    uint8_t count;
    uint8_t next;
    bool has_no_users; /* AUTH takes a password only */
};

enum redis_greeting_step {
    REDIS_GREETING_MORE,
    REDIS_GREETING_DONE,
    REDIS_GREETING_FAILED, /* the reason is in why; never with a password */
};

/* Appends the first bytes to @out. @host is borrowed until the greeting is over. Without
 * @with_hello it begins with AUTH. Errors: ERR_TOO_BIG, ERR_NOMEM. */
enum err redis_greeting_start(struct redis_greeting *g, const struct redis_host *host,
                              bool with_hello, struct buf *out) MUST_CHECK;

/* Takes the next answer; appends to @out what is to be said then. */
enum redis_greeting_step redis_greeting_reply(struct redis_greeting *g,
                                              const struct redisReply *reply, struct buf *out,
                                              struct err_text *why) MUST_CHECK;

/* Whether HELLO is unanswered: a proxy that does not know it may simply close. */
bool redis_greeting_is_hello(const struct redis_greeting *g);

#endif
