/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_keys.h"

#include "channel_layer/redis/redis.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

struct slice redis_key(const struct redis_backend *b, struct redis_key *out, const char *a,
                       struct slice name)
{
    const struct slice parts[] = {slice_str(b->config->prefix), slice_str(a), name};
    out->len = 0;
    for (unsigned i = 0; i < 3; i++) {
        assert(parts[i].len < sizeof(out->text) - out->len);
        if (parts[i].len > 0)
            memcpy(out->text + out->len, parts[i].ptr, parts[i].len);
        out->len += parts[i].len;
    }
    out->text[out->len] = '\0';
    return slice_make(out->text, out->len);
}

struct slice redis_number(struct redis_number *out, int64_t number)
{
    const int len = snprintf(out->text, sizeof(out->text), "%" PRId64, number);
    return slice_make(out->text, (size_t)len);
}

double redis_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

struct slice redis_score(struct redis_backend *b, struct redis_number *out)
{
    enum { TURNED_BACK_S = 60, PER_S = 1000 * 1000 };
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t score_us = (int64_t)now.tv_sec * PER_S + now.tv_nsec / 1000;
    /* A clock that was set back by much is believed: scores of the future would never be trimmed.
     */
    if (score_us <= b->last_score_us &&
        score_us > b->last_score_us - (int64_t)TURNED_BACK_S * PER_S)
        score_us = b->last_score_us + 1; /* a double of today resolves 0.24 µs */
    b->last_score_us = score_us;
    int len = snprintf(out->text, sizeof(out->text), "%" PRId64 ".%06" PRId64, score_us / PER_S,
                       score_us % PER_S);
    while (out->text[len - 1] == '0' && out->text[len - 2] != '.')
        len--;
    out->text[len] = '\0';
    return slice_make(out->text, (size_t)len);
}

struct slice redis_oldest(struct redis_number *out, unsigned ago_s)
{
    return redis_number(out, (int64_t)redis_now() - (int64_t)ago_s);
}

bool redis_is_own(const struct redis_backend *b, struct slice nonlocal)
{
    const size_t len = sizeof(b->own_tail) - 1;
    return nonlocal.len > len && memcmp(nonlocal.ptr + nonlocal.len - len, b->own_tail, len) == 0;
}

struct slice redis_aggregate(struct redis_aggregate *out, const char *node, struct slice group)
{
    char local[AGGREGATE_MAX + 1];
    name_aggregate(local, group);
    const int len = snprintf(out->text, sizeof(out->text), "specific.%s!%s", node, local);
    out->len = (size_t)len;
    return slice_make(out->text, out->len);
}
