/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis_words.h"

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
    {"LOADING", "it is tried again"},
    {"MISCONF", "Redis takes no writes because it could not save to disk: see its log"},
    {"MOVED", CLUSTER},
    {"NOAUTH", "the host's settings need a password"},
    {"NOPERM", "the user's ACL must allow it"},
    {"OOM", "Redis has reached its maxmemory: raise it, or remove data"},
    {"READONLY", "this Redis is a replica: name its master, or use Sentinel"},
    {"WRONGPASS", "see username and password in the host's settings"},
    {"WRONGTYPE", "another program uses this key: choose another prefix"},
};

bool redis_is_error(const struct redisReply *reply, const char *code)
{
    const size_t len = strlen(code);
    return reply->type == REDIS_REPLY_ERROR && reply->len >= len &&
           memcmp(reply->str, code, len) == 0 && (reply->len == len || reply->str[len] == ' ');
}

enum redis_trouble redis_trouble_of(const struct redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ERROR)
        return REDIS_TROUBLE_NONE;
    if (redis_is_error(reply, "LOADING"))
        return REDIS_TROUBLE_LOADING;
    if (redis_is_error(reply, "READONLY") || redis_is_error(reply, "MASTERDOWN"))
        return REDIS_TROUBLE_READONLY;
    /* Redis 6 and older wrap what a command in a script answered. */
    if (redis_is_error(reply, "ERR Error running script") &&
        strstr(reply->str, "-READONLY ") != NULL)
        return REDIS_TROUBLE_READONLY;
    return REDIS_TROUBLE_NONE;
}

void redis_error_words(char *out, size_t size, const struct redisReply *reply)
{
    char text[SERVER_TEXT_MAX + 1];
    size_t len = reply->len < SERVER_TEXT_MAX ? reply->len : SERVER_TEXT_MAX;
    memcpy(text, reply->str, len);
    text[len] = '\0';
    char *repeated = strstr(text, ", with args beginning");
    if (repeated != NULL)
        *repeated = '\0';
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
