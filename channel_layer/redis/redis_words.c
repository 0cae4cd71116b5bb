/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_words.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "core/slice.h"
#include "core/text.h"

#define CLUSTER                                                                                 \
    "this is a node of a Redis Cluster: set a prefix with a hash tag, such as \"{asgi}\", and " \
    "name "                                                                                     \
    "the node that has its slot, or use a single Redis"

#define DENIED "the user's ACL must allow it"
#define SCRIPT_DENIED "The user executing the script can't run this command or subcommand"

enum { SERVER_TEXT_MAX = 200 };

/* First word of an error, and what to do about it. */
static const struct {
    const char *code;
    const char *advice;
} advice_rows[] = {
    {"ASK", CLUSTER},
    {"CLUSTERDOWN", CLUSTER},
    {"CROSSSLOT", CLUSTER},
    {"DENIED", "set a password there, or bind it to this network"},
    {"ERR ACL failure in script:", DENIED},
    {"ERR " SCRIPT_DENIED, DENIED},
    {"LOADING", "it is tried again"},
    {"MISCONF", "Redis takes no writes because it could not save to disk: see its log"},
    {"MOVED", CLUSTER},
    {"NOAUTH", "the host's settings need a password"},
    {"NOPERM", DENIED},
    {"OOM", "Redis has reached its maxmemory: raise it, or remove data"},
    {"READONLY", "this Redis is a replica: name its master, or use Sentinel"},
    {SCRIPT_DENIED, DENIED},
    {"WRONGPASS", "see username and password in the host's settings"},
    {"WRONGTYPE", "another program uses this key: choose another prefix"},
};

/* Skips @front at *@at. */
static bool skip(const char **at, const char *front)
{
    const size_t len = strlen(front);
    if (strncmp(*at, front, len) != 0)
        return false;
    *at += len;
    return true;
}

/* What the server said: Redis 6 and older wrap what a command in a script answered, perhaps twice.
 * "ERR Error running script (call to f_<digits>): @user_script:1: @user_script: 1: -OOM ..." */
static const char *text_of(const struct redisReply *reply)
{
    const char *at = reply->str;
    if (!skip(&at, "ERR Error running script (call to f_"))
        return reply->str;
    at += strspn(at, "0123456789abcdef");
    if (!skip(&at, "): "))
        return reply->str;
    while (skip(&at, "@user_script:")) {
        (void)skip(&at, " ");
        at += strspn(at, "0123456789");
        (void)skip(&at, ": ");
    }
    (void)skip(&at, "-");
    return at;
}

bool redis_is_error(const struct redisReply *reply, const char *code)
{
    if (reply->type != REDIS_REPLY_ERROR)
        return false;
    const char *at = text_of(reply);
    return skip(&at, code) && (*at == '\0' || *at == ' ');
}

bool redis_is_denied(const struct redisReply *reply)
{
    return redis_is_error(reply, "NOPERM") || redis_is_error(reply, "ERR ACL failure in script:") ||
           redis_is_error(reply, SCRIPT_DENIED) || redis_is_error(reply, "ERR " SCRIPT_DENIED);
}

enum redis_trouble redis_trouble_of(const struct redisReply *reply)
{
    if (redis_is_error(reply, "LOADING"))
        return REDIS_TROUBLE_LOADING;
    if (redis_is_error(reply, "READONLY") || redis_is_error(reply, "MASTERDOWN"))
        return REDIS_TROUBLE_READONLY;
    return REDIS_TROUBLE_NONE;
}

void redis_error_words(char *out, size_t size, const struct redisReply *reply)
{
    char text[SERVER_TEXT_MAX + 1];
    snprintf(text, sizeof(text), "%s", text_of(reply));
    char *repeated = strstr(text, ", with args beginning");
    if (repeated != NULL)
        *repeated = '\0';
    for (size_t len = strlen(text); len > 0 && text[len - 1] == ' '; len--)
        text[len - 1] = '\0';
    for (char *c = text; *c != '\0'; c++)
        if ((uint8_t)*c < 0x20 || (uint8_t)*c >= 0x7f)
            *c = '?';
    const char *advice = NULL;
    for (size_t i = 0; i < sizeof(advice_rows) / sizeof(advice_rows[0]); i++)
        if (redis_is_error(reply, advice_rows[i].code))
            advice = advice_rows[i].advice;
    if (advice != NULL)
        snprintf(out, size, "%s (%s)", text, advice);
    else
        snprintf(out, size, "%s", text);
}

bool redis_is_text(const struct redisReply *reply, const char *text)
{
    if (reply->type != REDIS_REPLY_STRING && reply->type != REDIS_REPLY_STATUS &&
        reply->type != REDIS_REPLY_VERB)
        return false;
    return text_eq_nocase(slice_make(reply->str, reply->len), text);
}

const struct redisReply *redis_map_get(const struct redisReply *reply, const char *key)
{
    if (reply->type != REDIS_REPLY_MAP && reply->type != REDIS_REPLY_ARRAY)
        return NULL;
    for (size_t i = 0; i + 1 < reply->elements; i += 2)
        if (redis_is_text(reply->element[i], key))
            return reply->element[i + 1];
    return NULL;
}

static bool is_bytes(const struct redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_DOUBLE;
}

bool redis_next_pair(const struct redisReply *reply, size_t *at, struct redis_pair *pair)
{
    const struct redisReply *list = reply;
    size_t first = *at;
    if (*at < reply->elements && reply->element[*at]->type == REDIS_REPLY_ARRAY) {
        list = reply->element[*at];
        first = 0;
        *at += 1;
    } else {
        *at += 2;
    }
    if (list->elements < first + 2 || !is_bytes(list->element[first]) ||
        !is_bytes(list->element[first + 1]))
        return false;
    pair->member = slice_make(list->element[first]->str, list->element[first]->len);
    pair->score = slice_make(list->element[first + 1]->str, list->element[first + 1]->len);
    return true;
}
