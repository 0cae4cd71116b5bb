/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A sentinel is asked through a redis_link of its own, so that TLS, passwords and old versions are
 * no concern here. One link at a time; the next is opened when the last is gone.
 */
#include "channel_layer/redis/redis_sentinel.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "channel_layer/redis/redis_link.h"
#include "core/mem.h"

enum { LEAST_SHARE_MS = 200, NAME_MAX_BYTES_OF_HOST = 255 };

enum ask_state {
    ASK_OPEN,    /* a sentinel is being asked */
    ASK_NEXT,    /* its link closes, then the next is asked */
    ASK_TELLING, /* its link closes, then the owner is told */
    ASK_TOLD,
    ASK_CLOSED, /* the owner closed */
};

struct redis_sentinel {
    uv_loop_t *uv;
    const struct redis_host *host;
    const struct redis_sentinel_ops *ops;
    void *ctx;
    enum ask_state state;
    unsigned share_ms;
    size_t first;
    size_t asked;
    struct redis_link *link;
    char name[NAME_MAX_BYTES_OF_HOST + 1]; /* "": not found */
    uint16_t port;
    char said[ERR_TEXT_MAX]; /* what those said that told no address */
};

static void ask_next(struct redis_sentinel *s);

static size_t index_of(const struct redis_sentinel *s)
{
    return (s->first + s->asked) % s->host->sentinel_count;
}

static void note(struct redis_sentinel *s, const char *why)
{
    const size_t len = strlen(s->said);
    snprintf(s->said + len, sizeof(s->said) - len, "%s%s", len > 0 ? "; " : "", why);
}

static void free_asking(struct redis_sentinel *s)
{
    void (*closed)(void *) = s->ops->closed;
    void *ctx = s->ctx;
    mem_free(s);
    closed(ctx);
}

static void tell(struct redis_sentinel *s)
{
    s->state = ASK_TOLD;
    if (s->name[0] != '\0') {
        s->ops->found(s->ctx, s->name, s->port, index_of(s), "");
        return;
    }
    char why[ERR_TEXT_MAX];
    snprintf(why, sizeof(why), "no sentinel tells where the master is: %.400s", s->said);
    s->ops->found(s->ctx, NULL, 0, 0, why);
}

static void on_link_closed(void *ctx)
{
    struct redis_sentinel *s = ctx;
    s->link = NULL;
    switch (s->state) {
    case ASK_NEXT:
        s->asked++;
        if (s->asked < s->host->sentinel_count)
            ask_next(s);
        else
            tell(s);
        break;
    case ASK_TELLING:
        tell(s);
        break;
    case ASK_CLOSED:
        free_asking(s);
        break;
    case ASK_OPEN:
    case ASK_TOLD:
        assert(false); /* a link closes only when it is told to */
    }
}

static void leave(struct redis_sentinel *s, enum ask_state next)
{
    assert(s->state == ASK_OPEN);
    s->state = next;
    redis_link_close(s->link, on_link_closed, s);
}

/* "10.0.0.5", "6379" from the answer; false when it is none. */
static bool take_address(struct redis_sentinel *s, const struct redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_STRING)
        return false;
    const struct redisReply *name = reply->element[0];
    const struct redisReply *port = reply->element[1];
    unsigned long number = 0;
    for (size_t i = 0; i < port->len; i++) {
        if (port->str[i] < '0' || port->str[i] > '9' || number > UINT16_MAX)
            return false;
        number = number * 10 + (unsigned long)(port->str[i] - '0');
    }
    if (number == 0 || number > UINT16_MAX || name->len == 0 || name->len >= sizeof(s->name) ||
        memchr(name->str, '\0', name->len) != NULL)
        return false;
    memcpy(s->name, name->str, name->len + 1);
    s->port = (uint16_t)number;
    return true;
}

static void on_answer(void *ctx, enum err err, const struct redisReply *reply, const char *why)
{
    struct redis_sentinel *s = ctx;
    char text[ERR_TEXT_MAX];
    if (s->state != ASK_OPEN)
        return;
    const struct redis_host *asked = &s->host->sentinels[index_of(s)];
    if (err == ERR_OK && take_address(s, reply)) {
        leave(s, ASK_TELLING);
        return;
    }
    if (err != ERR_OK || reply->type == REDIS_REPLY_ERROR) {
        note(s, why);
    } else {
        snprintf(text, sizeof(text), "%s: %s", asked->text,
                 reply->type == REDIS_REPLY_NIL ? "knows no such master"
                                                : "answers as no sentinel does");
        note(s, text);
    }
    leave(s, ASK_NEXT);
}

static void on_up(void *ctx, bool is_first)
{
    (void)ctx;
    (void)is_first;
}

static void on_down(void *ctx, const char *why)
{
    struct redis_sentinel *s = ctx;
    if (s->state != ASK_OPEN)
        return;
    note(s, why);
    leave(s, ASK_NEXT);
}

static void on_push(void *ctx, const struct redisReply *reply)
{
    (void)ctx;
    (void)reply;
}

static const struct redis_link_ops link_ops = {.up = on_up, .down = on_down, .push = on_push};

static void ask_next(struct redis_sentinel *s)
{
    const struct slice question[] = {slice_str("SENTINEL"), slice_str("get-master-addr-by-name"),
                                     slice_str(s->host->master_name)};
    redis_link_open(&s->link, s->uv, &s->host->sentinels[index_of(s)], s->share_ms, &link_ops, s);
    s->state = ASK_OPEN;
    const enum err err = redis_link_command(s->link, on_answer, s, 0, 3, question);
    if (err != ERR_OK) {
        note(s, err_str(err));
        leave(s, ASK_NEXT);
    }
}

void redis_sentinel_ask(struct redis_sentinel **out, uv_loop_t *uv,
                        const struct redis_sentinel_how *how, const struct redis_sentinel_ops *ops,
                        void *ctx)
{
    const struct redis_host *host = how->host;
    assert(host->sentinel_count > 0); /* with a master come sentinels (config_hosts.h) */
    struct redis_sentinel *s = mem_alloc(sizeof(*s));
    s->uv = uv;
    s->host = host;
    s->ops = ops;
    s->ctx = ctx;
    s->first = how->first;
    const size_t share_ms = how->timeout_ms / host->sentinel_count;
    s->share_ms = share_ms > LEAST_SHARE_MS ? (unsigned)share_ms : LEAST_SHARE_MS;
    ask_next(s);
    *out = s;
}

void redis_sentinel_close(struct redis_sentinel *s)
{
    const enum ask_state was = s->state;
    assert(was != ASK_CLOSED);
    s->state = ASK_CLOSED;
    if (was == ASK_OPEN)
        redis_link_close(s->link, on_link_closed, s);
    else if (was == ASK_TOLD)
        free_asking(s); /* there is no link any more */
}
