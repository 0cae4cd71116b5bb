/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_words: what an answer of Redis says, and what an error means, for the program and for
 * people.
 *
 * Why: answers have other forms in RESP2 and RESP3. "MOVED 1234 10.0.0.5:6379" tells a user
 * nothing; and Redis repeats arguments in some errors, among which is a password at times.
 *
 * Thread: any.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_WORDS_H
#define CHANNEL_LAYER_REDIS_REDIS_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/slice.h"

struct redisReply;

/* What is to be done about an error reply. */
enum redis_trouble {
    REDIS_TROUBLE_NONE,     /* not an error, or the business of who gave the command */
    REDIS_TROUBLE_LOADING,  /* not done: Redis reads its data set, come again */
    REDIS_TROUBLE_READONLY, /* not done: a replica, or one without its master: look for another */
};
enum redis_trouble redis_trouble_of(const struct redisReply *reply);

/* Whether @reply is an error whose code, its first word, is @code; a @code with blanks must be how
 * the text begins. */
bool redis_is_error(const struct redisReply *reply, const char *code);

/* Whether the user's ACL forbids a command, in a script or not. */
bool redis_is_denied(const struct redisReply *reply);

/* Writes the text of the error reply @reply to @out, cut at @size, without arguments that Redis
 * repeats and with what to do about it. */
void redis_error_words(char *out, size_t size, const struct redisReply *reply);

/* Whether @reply is a string, status or verbatim text that equals @text, without regard to case. */
bool redis_is_text(const struct redisReply *reply, const char *text);

/* The value behind @key in @reply: a map, or an array of pairs; NULL without it. */
const struct redisReply *redis_map_get(const struct redisReply *reply, const char *key);

/* The next member and score of an answer WITHSCORES, in either form (RESP3: pairs); begin with
 * *@at = 0. */
struct redis_pair {
    struct slice member;
    struct slice score;
};
bool redis_next_pair(const struct redisReply *reply, size_t *at, struct redis_pair *pair);

#endif
