/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_scripts: the Lua that runs in Redis, and the one way to run it.
 *
 * Why: a send is four commands of which the third depends on the second; in a script they are one
 * round trip, and nobody comes between them.
 *
 * A script is named by its digest (EVALSHA). A server that does not know it yet is given the text
 * once, within the same deadline. What Redis refuses arrives as an error in words, with the key.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_SCRIPTS_H
#define CHANNEL_LAYER_REDIS_REDIS_SCRIPTS_H

#include <stdbool.h>
#include <stddef.h>

#include "channel_layer/redis/redis_argv.h"
#include "channel_layer/redis/redis_link.h"
#include "core/dlist.h"
#include "core/err.h"
#include "core/slice.h"

/* What each takes and answers stands beside its text. */
enum redis_script {
    SCRIPT_SEND,
    SCRIPT_MEMBERS,
    SCRIPT_GROUP_SEND,
    SCRIPT_POP,
    SCRIPT_GIVE_BACK,
    SCRIPT_RESTORE,
    SCRIPT_BEAT,
    SCRIPT_SWEEP_GROUPS,
    SCRIPT_SWEPT,
    SCRIPT_LEAVE,
    SCRIPT_FORGET,
    SCRIPTS
};

enum { SCRIPT_HELD_MAX = 64 * 1024 * 1024 }; /* bytes of all scripts under way */

struct redis_scripts {
    /* private */
    uv_loop_t *uv;
    char sha[SCRIPTS][41];
    struct dlist idle; /* struct script_run, to be used again */
    unsigned idle_count;
    size_t held_bytes;
    struct redis_argv argv; /* the command that is being given */
};

/* How one run ended. Everything is borrowed. @err: ERR_OK with @reply, which is no error; else as
 * redis_link_done, and ERR_UNAVAILABLE when Redis refused. @key: the first key. @is_refused: Redis
 * answered, with an error. */
struct script_result {
    enum err err;
    const struct redisReply *reply;
    const char *why;
    struct slice key;
    bool is_refused;
};
typedef void script_done(void *ctx, const struct script_result *result);

/* @args: @key_count keys, then the arguments; copied. */
struct script_args {
    enum redis_script script;
    unsigned timeout_ms; /* not 0 */
    size_t key_count;
    size_t count;
    const struct slice *args;
};

void redis_scripts_init(struct redis_scripts *scripts, uv_loop_t *uv);
/* No script is under way any more. */
void redis_scripts_deinit(struct redis_scripts *scripts);

/* Runs a script; @done is called exactly once, not before this returned.
 * Errors: ERR_UNAVAILABLE, ERR_NOMEM: too much waits already; @done is not called then. */
enum err redis_script_run(struct redis_scripts *scripts, struct redis_link *link,
                          const struct script_args *args, script_done *done, void *ctx) MUST_CHECK;

/* Gives a server that is new all texts, so that no first call has to be made twice. */
void redis_scripts_load(struct redis_link *link);

/* What the reply to a command about @key says: ERR_OK, or ERR_UNAVAILABLE with @said (host and
 * words of Redis), the key and what to do in @why. */
enum err redis_refusal(const struct redisReply *reply, const char *said, struct slice key,
                       struct err_text *why);

#endif
