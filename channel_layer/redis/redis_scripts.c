/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_scripts.h"

#include "core/base64.h"
#include "core/digest.h"
#include "core/mem.h"

#include <hiredis/hiredis.h>

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum {
    IDLE_MAX = 64,              /* runs kept */
    IDLE_BYTES_MAX = 64 * 1024, /* of each */
    ARGS_MAX = 16 * 1024,       /* of one script */
};

/* Scores and times are text all the way: a number of Lua would be printed with fewer digits.
 *
 * A Redis that is full refuses the first command of a script that needs memory, unless something
 * was written before. What adds a message therefore trims only where there is something to trim;
 * what only moves things (pops, beats) takes out first and is never refused. */
static const char *const texts[SCRIPTS] = {
    /* key | oldest, capacity, score, member, expiry. 1: added, 0: over capacity. */
    [SCRIPT_SEND] = "if redis.call('ZCOUNT',KEYS[1],0,ARGV[1])>0 then "
                    "redis.call('ZREMRANGEBYSCORE',KEYS[1],0,ARGV[1]) end "
                    "if redis.call('ZCARD',KEYS[1])>=tonumber(ARGV[2]) then return 0 end "
                    "redis.call('ZADD',KEYS[1],ARGV[3],ARGV[4]) "
                    "redis.call('EXPIRE',KEYS[1],ARGV[5]) "
                    "return 1",
    /* group | oldest. The members. */
    [SCRIPT_MEMBERS] = "redis.call('ZREMRANGEBYSCORE',KEYS[1],0,ARGV[1]) "
                       "return redis.call('ZRANGE',KEYS[1],0,-1)",
    /* keys | oldest, score, expiry, then capacity and member for each key. How many were over
     * capacity, how many have another type, how many failed otherwise, and the number and the error
     * of the first of the last, else of the second: one bad key must not keep the others from their
     * message, nor hide what is wrong with them. */
    [SCRIPT_GROUP_SEND] = "local full,wrong,failed,nth,why=0,0,0,0,'' "
                          "for i,key in ipairs(KEYS) do "
                          "local r=redis.pcall('ZCOUNT',key,0,ARGV[1]) "
                          "if type(r)=='number' and r>0 then "
                          "r=redis.pcall('ZREMRANGEBYSCORE',key,0,ARGV[1]) end "
                          "if type(r)=='number' then r=redis.pcall('ZCARD',key) end "
                          "if type(r)=='number' then "
                          "if r>=tonumber(ARGV[2*i+2]) then full=full+1 else "
                          "r=redis.pcall('ZADD',key,ARGV[2],ARGV[2*i+3]) "
                          "if type(r)=='number' then redis.call('EXPIRE',key,ARGV[3]) end "
                          "end end "
                          "if type(r)~='number' then "
                          "local other=string.find(r.err,'WRONGTYPE',1,true) "
                          "if other then wrong=wrong+1 else failed=failed+1 end "
                          "if nth==0 or (not other and failed==1) then nth=i why=r.err end end "
                          "end "
                          "return {full,wrong,failed,nth,why}",
    /* channel, taken | count, name of the channel, expiry of taken. Members and scores. */
    [SCRIPT_POP] = "local m=redis.call('ZRANGE',KEYS[1],0,ARGV[1]-1,'WITHSCORES') "
                   "for i=1,#m,2 do "
                   "redis.call('ZREM',KEYS[1],m[i]) "
                   "redis.call('ZADD',KEYS[2],m[i+1],ARGV[2]..':'..m[i]) "
                   "end "
                   "if #m>0 then redis.call('EXPIRE',KEYS[2],ARGV[3]) end "
                   "return m",
    /* nodes, taken, then the channel of each | claim (empty: one's own), expiry, then for each its
     * name in taken, score, member. How many went back, -1: the claim is not ours any more. */
    [SCRIPT_GIVE_BACK] = "if ARGV[1]~='' and not redis.call('ZSCORE',KEYS[1],ARGV[1]) then "
                         "return -1 end "
                         "local n=0 "
                         "for i=3,#KEYS do local a=3*i-6 "
                         "if redis.call('ZREM',KEYS[2],ARGV[a])==1 then "
                         "local r=redis.pcall('ZADD',KEYS[i],ARGV[a+1],ARGV[a+2]) "
                         "if type(r)=='number' then redis.call('EXPIRE',KEYS[i],ARGV[2]) n=n+1 "
                         "elseif not string.find(r.err,'WRONGTYPE',1,true) then "
                         "redis.call('ZADD',KEYS[2],ARGV[a+1],ARGV[a]) return r end "
                         "end end "
                         "return n",
    /* channel, its $inflight | expiry. How many went back. */
    [SCRIPT_RESTORE] = "local m=redis.call('ZRANGE',KEYS[2],0,-1,'WITHSCORES') "
                       "redis.call('ZCARD',KEYS[1]) " /* an error before anything is changed */
                       "if #m>0 then redis.call('DEL',KEYS[2]) end "
                       "for i=1,#m,2 do redis.call('ZADD',KEYS[1],m[i+1],m[i]) end "
                       "if #m>0 then redis.call('EXPIRE',KEYS[1],ARGV[1]) end "
                       "return #m/2",
    /* nodes | node, expiry, seconds after which one is gone, seconds of peace before that counts. 1
     * when this node was not known, how many are not gone, then the node that is gone and that the
     * caller has claimed: '~' stands before a claimed one, and who comes back takes that away. The
     * time is Redis' own: clocks of hosts differ. When nobody has beaten for a while it was Redis
     * that was away: '!' notes when that ended, and everybody gets the time to come back. */
    [SCRIPT_BEAT] = "redis.replicate_commands() "
                    "local nodes,now=KEYS[1],tonumber(redis.call('TIME')[1]) "
                    "local newest=redis.call('ZREVRANGE',nodes,0,0,'WITHSCORES')[2] "
                    "redis.call('ZREM',nodes,'~'..ARGV[1]) "
                    "local said={redis.call('ZADD',nodes,now,ARGV[1])} "
                    "if newest and now-newest>tonumber(ARGV[4]) then "
                    "redis.call('ZADD',nodes,now,'!') end "
                    "redis.call('EXPIRE',nodes,ARGV[2]) "
                    "local since=redis.call('ZSCORE',nodes,'!') "
                    "said[2]=redis.call('ZCOUNT',nodes,'('..now-ARGV[3],'+inf') "
                    "if since then said[2]=said[2]-1 end "
                    "if since and now-since<tonumber(ARGV[4]) then return said end "
                    "redis.call('ZREM',nodes,'!') "
                    "local gone=redis.call('ZRANGEBYSCORE',nodes,'-inf',now-ARGV[3],'LIMIT',0,1) "
                    "for i,node in ipairs(gone) do "
                    "redis.call('ZREM',nodes,node) "
                    "if string.sub(node,1,1)=='~' then node=string.sub(node,2) end "
                    "redis.call('ZADD',nodes,now,'~'..node) "
                    "said[i+2]=node "
                    "end "
                    "return said",
    /* nodes, groups of the node, then groups | claim, then for each its name and the member. How
     * many members left, -1: the claim is not ours any more. */
    [SCRIPT_SWEEP_GROUPS] = "if not redis.call('ZSCORE',KEYS[1],ARGV[1]) then return -1 end "
                            "local n=0 "
                            "for i=3,#KEYS do "
                            "local r=redis.pcall('ZREM',KEYS[i],ARGV[2*i-3]) "
                            "if type(r)=='number' then n=n+r end "
                            "redis.call('SREM',KEYS[2],ARGV[2*i-4]) "
                            "end "
                            "return n",
    /* nodes, then what the node had | claim. */
    [SCRIPT_SWEPT] = "if redis.call('ZREM',KEYS[1],ARGV[1])==0 then return -1 end "
                     "for i=2,#KEYS do redis.call('DEL',KEYS[i]) end "
                     "return 0",
    /* nodes, what the node has taken | node. 1: it was taken out, 0: not, it has messages yet. */
    [SCRIPT_LEAVE] = "if redis.call('ZCARD',KEYS[2])>0 then return 0 end "
                     "redis.call('ZREM',KEYS[1],ARGV[1]) "
                     "return 1",
    /* keys | for each '1' when its name says that it is a layer's, '0' when its type has to. */
    [SCRIPT_FORGET] = "local n=0 "
                      "for i,key in ipairs(KEYS) do "
                      "if ARGV[i]=='1' or redis.call('TYPE',key).ok=='zset' then "
                      "n=n+redis.call('DEL',key) end "
                      "end "
                      "return n",
};

/* One script under way, with what is needed to give it again. */
struct script_run {
    struct dlist link; /* scripts->idle */
    struct redis_scripts *scripts;
    struct redis_link *redis;
    script_done *done;
    void *ctx;
    uint64_t deadline_ms;
    enum redis_script script;
    bool has_text; /* the text was given */
    size_t key_count;
    size_t count;
    size_t held;      /* what it counts for in held_bytes */
    struct buf bytes; /* the arguments, one after the other */
    struct buf sizes; /* uint32_t: their lengths */
};

void redis_scripts_init(struct redis_scripts *scripts, uv_loop_t *uv)
{
    *scripts = (struct redis_scripts){.uv = uv};
    dlist_init(&scripts->idle);
    redis_argv_init(&scripts->argv, ARGS_MAX + 3);
    for (unsigned i = 0; i < SCRIPTS; i++) {
        uint8_t digest[DIGEST_SHA1_BYTES];
        digest_sha1(digest, slice_str(texts[i]));
        hex_encode(scripts->sha[i], digest, sizeof(digest));
        scripts->sha[i][40] = '\0';
    }
}

static void free_run(struct script_run *run)
{
    buf_deinit(&run->bytes);
    buf_deinit(&run->sizes);
    mem_free(run);
}

void redis_scripts_deinit(struct redis_scripts *scripts)
{
    assert(scripts->held_bytes == 0);
    struct dlist *node = NULL;
    while ((node = dlist_take_first(&scripts->idle)) != NULL)
        free_run(CONTAINER_OF(node, struct script_run, link));
    redis_argv_deinit(&scripts->argv);
}

static struct script_run *new_run(struct redis_scripts *scripts)
{
    struct dlist *node = dlist_take_first(&scripts->idle);
    if (node != NULL) {
        scripts->idle_count--;
        return CONTAINER_OF(node, struct script_run, link);
    }
    struct script_run *run = mem_alloc(sizeof(*run));
    dlist_init(&run->link);
    run->scripts = scripts;
    buf_init(&run->bytes, SCRIPT_HELD_MAX);
    buf_init(&run->sizes, ARGS_MAX * sizeof(uint32_t));
    return run;
}

static void give_run(struct script_run *run)
{
    struct redis_scripts *scripts = run->scripts;
    scripts->held_bytes -= run->held;
    if (scripts->idle_count >= IDLE_MAX || run->bytes.cap > IDLE_BYTES_MAX) {
        free_run(run);
        return;
    }
    run->bytes.len = 0;
    run->sizes.len = 0;
    run->held = 0;
    dlist_append(&scripts->idle, &run->link);
    scripts->idle_count++;
}

static enum err keep_args(struct script_run *run, const struct script_args *args)
{
    size_t bytes = 0;
    for (size_t i = 0; i < args->count; i++)
        bytes += args->args[i].len;
    if (bytes > SCRIPT_HELD_MAX - run->scripts->held_bytes || args->count > ARGS_MAX)
        return ERR_UNAVAILABLE;
    enum err err = buf_reserve(&run->bytes, bytes);
    if (err == ERR_OK)
        err = buf_reserve(&run->sizes, args->count * sizeof(uint32_t));
    for (size_t i = 0; i < args->count && err == ERR_OK; i++) {
        const uint32_t len = (uint32_t)args->args[i].len;
        err = buf_append(&run->bytes, args->args[i].ptr, len);
        if (err == ERR_OK)
            err = buf_append(&run->sizes, &len, sizeof(len));
    }
    if (err != ERR_OK)
        return ERR_NOMEM;
    run->held = bytes;
    run->scripts->held_bytes += bytes;
    return ERR_OK;
}

static void on_reply(void *ctx, enum err err, const struct redisReply *reply, const char *why);

/* Gives the run's command to its link. */
static enum err give_command(struct script_run *run, unsigned timeout_ms)
{
    struct redis_argv *argv = &run->scripts->argv;
    char keys[24];
    snprintf(keys, sizeof(keys), "%zu", run->key_count);
    redis_argv_begin(argv);
    if (redis_argv_reserve(argv, run->count + 3) != ERR_OK)
        return ERR_NOMEM;
    redis_argv_add(argv, slice_str(run->has_text ? "EVAL" : "EVALSHA"));
    redis_argv_add(argv,
                   slice_str(run->has_text ? texts[run->script] : run->scripts->sha[run->script]));
    redis_argv_add(argv, slice_str(keys));
    const uint8_t *at = run->bytes.ptr;
    for (size_t i = 0; i < run->count; i++) {
        uint32_t len = 0;
        memcpy(&len, run->sizes.ptr + i * sizeof(len), sizeof(len));
        redis_argv_add(argv, slice_make(at, len));
        if (len > 0)
            at += len;
    }
    const enum err err = redis_argv_give(argv, run->redis, timeout_ms, on_reply, run);
    return err == ERR_OK ? ERR_OK : ERR_UNAVAILABLE;
}

static bool starts_with(const struct redisReply *reply, const char *text)
{
    const size_t len = strlen(text);
    return reply->len >= len && memcmp(reply->str, text, len) == 0;
}

/* Gives the text after a digest was not known. False: the run ends with what it has. */
static bool give_text(struct script_run *run)
{
    const uint64_t now_ms = uv_now(run->scripts->uv);
    run->has_text = true;
    if (now_ms >= run->deadline_ms)
        return false;
    return give_command(run, (unsigned)(run->deadline_ms - now_ms)) == ERR_OK;
}

static void on_reply(void *ctx, enum err err, const struct redisReply *reply, const char *why)
{
    struct script_run *run = ctx;
    const bool is_error = err == ERR_OK && reply->type == REDIS_REPLY_ERROR;
    if (is_error && !run->has_text && starts_with(reply, "NOSCRIPT") && give_text(run))
        return;
    uint32_t key_len = 0;
    memcpy(&key_len, run->sizes.ptr, sizeof(key_len));
    struct script_result result = {
        .err = err,
        .reply = reply,
        .why = why,
        .key = slice_make(run->bytes.ptr, key_len),
        .is_refused = is_error,
    };
    struct err_text text;
    if (is_error) {
        result.err = redis_refusal(reply, why, result.key, &text);
        result.why = text.text;
    }
    run->done(run->ctx, &result);
    give_run(run);
}

enum err redis_script_run(struct redis_scripts *scripts, struct redis_link *link,
                          const struct script_args *args, script_done *done, void *ctx)
{
    assert(args->key_count > 0 && args->key_count <= args->count && args->timeout_ms > 0);
    struct script_run *run = new_run(scripts);
    run->redis = link;
    run->done = done;
    run->ctx = ctx;
    run->script = args->script;
    run->has_text = false;
    run->key_count = args->key_count;
    run->count = args->count;
    run->deadline_ms = uv_now(scripts->uv) + args->timeout_ms;
    run->held = 0;
    enum err err = keep_args(run, args);
    if (err == ERR_OK)
        err = give_command(run, args->timeout_ms);
    if (err != ERR_OK)
        give_run(run);
    return err;
}

void redis_scripts_load(struct redis_link *link)
{
    for (unsigned i = 0; i < SCRIPTS; i++) {
        const struct slice args[] = {slice_str("SCRIPT"), slice_str("LOAD"), slice_str(texts[i])};
        if (redis_link_command(link, NULL, NULL, 0, 3, args) != ERR_OK)
            return; /* then a run gives its text itself */
    }
}

enum err redis_refusal(const struct redisReply *reply, const char *said, struct slice key,
                       struct err_text *why)
{
    enum { SAID_MAX = 256, KEY_MAX = 100 };
    if (reply->type != REDIS_REPLY_ERROR)
        return ERR_OK;
    return err_fail(why, ERR_UNAVAILABLE, "%.*s (key %.*s)", SAID_MAX, said,
                    key.len > KEY_MAX ? KEY_MAX : (int)key.len, (const char *)key.ptr);
}
