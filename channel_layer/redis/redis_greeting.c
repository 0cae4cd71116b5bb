/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_greeting.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "channel_layer/redis/redis_request.h"
#include "channel_layer/redis/redis_words.h"

enum { VERSION_UNKNOWN = 5 }; /* who does not know HELLO and does not tell is none newer */

enum step {
    STEP_HELLO,
    STEP_AUTH,
    STEP_SELECT,
    STEP_NAME,
    STEP_INFO,
    STEP_ROLE,
    STEP_PING,
    STEP_VOID, /* said again behind it: the answer does not matter */
};

static enum err say(struct redis_greeting *g, enum step step, struct buf *out, size_t count,
                    const struct slice *args)
{
    assert(g->count < REDIS_GREETING_STEPS);
    g->steps[g->count++] = (uint8_t)step;
    return redis_command_append(out, count, args);
}

/* A user's name is told only when there is one: Redis 5 knows none. */
static bool says_user(const struct redis_greeting *g)
{
    const char *user = g->host->username;
    return user != NULL && strcmp(user, "default") != 0 && !g->has_no_users;
}

static enum err say_auth(struct redis_greeting *g, struct buf *out)
{
    const struct redis_host *host = g->host;
    if (host->password == NULL)
        return ERR_OK;
    if (!says_user(g)) {
        const struct slice args[] = {slice_str("AUTH"), slice_str(host->password)};
        return say(g, STEP_AUTH, out, 2, args);
    }
    const struct slice args[] = {slice_str("AUTH"), slice_str(host->username),
                                 slice_str(host->password)};
    return say(g, STEP_AUTH, out, 3, args);
}

/* All that can be said without waiting for an answer. */
static enum err say_rest(struct redis_greeting *g, struct buf *out)
{
    const struct redis_host *host = g->host;
    const struct slice info[] = {slice_str("INFO"), slice_str("server")};
    const struct slice role[] = {slice_str("ROLE")};
    const struct slice ping[] = {slice_str("PING")};
    const struct slice name[] = {
        slice_str("CLIENT"), slice_str("SETNAME"),
        slice_str(host->client_name != NULL ? host->client_name : "channelsd")};
    enum err err = ERR_OK;
    if (host->db != 0) {
        char number[16];
        snprintf(number, sizeof(number), "%u", host->db);
        const struct slice select[] = {slice_str("SELECT"), slice_str(number)};
        err = say(g, STEP_SELECT, out, 2, select);
    }
    if (err == ERR_OK)
        err = say(g, STEP_NAME, out, 3, name);
    if (err == ERR_OK && g->version == 0)
        err = say(g, STEP_INFO, out, 2, info);
    if (err == ERR_OK && host->master_name != NULL)
        err = say(g, STEP_ROLE, out, 1, role);
    if (err == ERR_OK)
        err = say(g, STEP_PING, out, 1, ping);
    return err;
}

static enum err say_without_hello(struct redis_greeting *g, struct buf *out)
{
    const enum err err = say_auth(g, out);
    return err == ERR_OK ? say_rest(g, out) : err;
}

enum err redis_greeting_start(struct redis_greeting *g, const struct redis_host *host,
                              bool with_hello, struct buf *out)
{
    *g = (struct redis_greeting){.host = host};
    if (!with_hello)
        return say_without_hello(g, out);
    const char *user = host->username != NULL ? host->username : "default";
    const struct slice args[] = {slice_str("HELLO"), slice_str("3"), slice_str("AUTH"),
                                 slice_str(user),
                                 slice_str(host->password != NULL ? host->password : "")};
    return say(g, STEP_HELLO, out, host->password != NULL ? 5 : 2, args);
}

static enum redis_greeting_step failed(const struct redis_greeting *g, struct err_text *why,
                                       const char *what, const struct redisReply *reply)
{
    char words[ERR_TEXT_MAX];
    redis_error_words(words, sizeof(words), reply);
    /* Whatever a server puts into its text: the password is not for logs. */
    if (g->host->password != NULL && g->host->password[0] != '\0' &&
        strstr(words, g->host->password) != NULL)
        snprintf(words, sizeof(words), "refused");
    (void)err_fail(why, ERR_UNAVAILABLE, "%s%s", what, words);
    return REDIS_GREETING_FAILED;
}

static unsigned major_of(const char *text)
{
    unsigned major = 0;
    for (; *text >= '0' && *text <= '9' && major < 1000; text++)
        major = major * 10 + (unsigned)(*text - '0');
    return major;
}

static enum redis_greeting_step on_hello(struct redis_greeting *g, const struct redisReply *reply,
                                         struct buf *out, struct err_text *why)
{
    if (reply->type == REDIS_REPLY_ERROR) {
        static const char *const final[] = {"WRONGPASS", "ERR invalid password",
                                            "ERR max number of clients reached", "DENIED"};
        for (size_t i = 0; i < sizeof(final) / sizeof(final[0]); i++)
            if (redis_is_error(reply, final[i]))
                return failed(g, why, "", reply);
        if (redis_is_error(reply, "NOAUTH") && g->host->password == NULL)
            return failed(g, why, "", reply);
        if (say_without_hello(g, out) == ERR_OK)
            return REDIS_GREETING_MORE;
        (void)err_fail(why, ERR_TOO_BIG, "user name or password is too long");
        return REDIS_GREETING_FAILED;
    }
    const struct redisReply *version = redis_map_get(reply, "version");
    if (reply->type != REDIS_REPLY_MAP && reply->type != REDIS_REPLY_ARRAY) {
        (void)err_fail(why, ERR_PROTO, "answers HELLO as no Redis does");
        return REDIS_GREETING_FAILED;
    }
    g->is_resp3 = reply->type == REDIS_REPLY_MAP;
    if (version != NULL && version->type == REDIS_REPLY_STRING)
        g->version = major_of(version->str);
    if (say_rest(g, out) == ERR_OK)
        return REDIS_GREETING_MORE;
    (void)err_fail(why, ERR_TOO_BIG, "the client's name is too long");
    return REDIS_GREETING_FAILED;
}

static bool is_auth_needless(const struct redisReply *reply)
{
    return redis_is_error(reply, "ERR Client sent AUTH, but no password is set") ||
           redis_is_error(reply, "ERR AUTH <password> called without any password configured");
}

/* Redis 5: the password is everybody's, and the name of no use. What was said behind it was said by
 * nobody. */
static enum redis_greeting_step on_no_users(struct redis_greeting *g, struct buf *out,
                                            struct err_text *why)
{
    g->has_no_users = true;
    for (unsigned i = g->next; i < g->count; i++)
        g->steps[i] = STEP_VOID;
    if (say_without_hello(g, out) == ERR_OK)
        return REDIS_GREETING_MORE;
    (void)err_fail(why, ERR_TOO_BIG, "the password is too long");
    return REDIS_GREETING_FAILED;
}

static void on_info(struct redis_greeting *g, const struct redisReply *reply)
{
    static const char key[] = "redis_version:";
    const char *found = NULL;
    if (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_VERB)
        found = strstr(reply->str, key);
    if (found != NULL)
        g->version = major_of(found + sizeof(key) - 1);
    if (g->version == 0)
        g->version = VERSION_UNKNOWN;
}

static bool is_replica(const struct redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
           !redis_is_text(reply->element[0], "master");
}

enum redis_greeting_step redis_greeting_reply(struct redis_greeting *g,
                                              const struct redisReply *reply, struct buf *out,
                                              struct err_text *why)
{
    if (g->next == g->count) {
        (void)err_fail(why, ERR_PROTO, "answers what it was not asked");
        return REDIS_GREETING_FAILED;
    }
    const bool is_error = reply->type == REDIS_REPLY_ERROR;
    switch ((enum step)g->steps[g->next++]) {
    case STEP_HELLO:
        return on_hello(g, reply, out, why);
    case STEP_AUTH:
        if (says_user(g) &&
            redis_is_error(reply, "ERR wrong number of arguments for 'auth' command"))
            return on_no_users(g, out, why);
        if (is_error && !is_auth_needless(reply))
            return failed(g, why, "the password is refused: ", reply);
        break;
    case STEP_SELECT:
        if (is_error) {
            char what[48];
            snprintf(what, sizeof(what), "database %u: ", g->host->db);
            return failed(g, why, what, reply);
        }
        break;
    case STEP_NAME: /* a name for people: nothing depends on it */
    case STEP_VOID:
        break;
    case STEP_INFO:
        on_info(g, reply);
        break;
    case STEP_ROLE: /* who may not ask believes Sentinel */
        if (is_replica(reply)) {
            (void)err_fail(why, ERR_UNAVAILABLE, "is not the master that Sentinel says it is");
            return REDIS_GREETING_FAILED;
        }
        break;
    case STEP_PING: /* other errors are those of a server that answers */
        if (redis_trouble_of(reply) != REDIS_TROUBLE_NONE || redis_is_error(reply, "NOAUTH"))
            return failed(g, why, "", reply);
        break;
    }
    return g->next == g->count ? REDIS_GREETING_DONE : REDIS_GREETING_MORE;
}

bool redis_greeting_is_hello(const struct redis_greeting *g)
{
    return g->next < g->count && g->steps[g->next] == STEP_HELLO;
}
