/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/pattern.h"

/* One character as a number that orders as Python orders them; a byte that is no part of valid
 * UTF-8 is a character of its own, above all others. */
static uint32_t next_char(const uint8_t **at, const uint8_t *end)
{
    enum { STRAY = 0x110000 };
    static const uint32_t least[4] = {0, 0x80, 0x800, 0x10000};
    const uint8_t *in = *at;
    const uint8_t first = *in;
    *at = in + 1;
    if (first < 0x80)
        return first;
    const size_t more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    if (first < 0xc0 || first > 0xf7 || (size_t)(end - in) <= more)
        return STRAY + first;
    uint32_t value = first & (0x3fU >> more);
    for (size_t i = 1; i <= more; i++) {
        if ((in[i] & 0xc0) != 0x80)
            return STRAY + first;
        value = value << 6 | (in[i] & 0x3fU);
    }
    if (value < least[more] || value >= STRAY)
        return STRAY + first;
    *at = in + more + 1;
    return value;
}

/* Where the ] stands that closes the [ behind which @at is; NULL when there is none. @last: the
 * last ] of the pattern, which tells without a search that there is none. */
static const uint8_t *find_close(const uint8_t *at, const uint8_t *end, const uint8_t *last)
{
    if (at < end && *at == '!')
        at++;
    if (at < end && *at == ']') /* the first one is a member */
        at++;
    if (last == NULL || at > last)
        return NULL;
    return memchr(at, ']', (size_t)(end - at));
}

/* Whether @c is in the set between @at and @close. A - at either end or right behind a range is
 * itself; a range whose ends are in the wrong order is empty. */
static bool set_has(const uint8_t *at, const uint8_t *close, uint32_t c)
{
    const bool is_negated = *at == '!';
    bool found = false;
    if (is_negated)
        at++;
    while (at < close && !found) {
        const uint32_t low = next_char(&at, close);
        uint32_t high = low;
        if (close - at >= 2 && *at == '-') {
            at++;
            high = next_char(&at, close);
        }
        found = low <= c && c <= high;
    }
    return found != is_negated;
}

struct glob {
    const uint8_t *at;
    const uint8_t *end;
    const uint8_t *last_close;
};

/* Whether the next element of the pattern (no star) takes the character @c; then goes behind it. */
static bool takes(struct glob *g, uint32_t c)
{
    const uint8_t *at = g->at;
    const uint32_t element = next_char(&at, g->end);
    bool matches = element == c || element == '?';
    if (element == '[') {
        const uint8_t *close = find_close(at, g->end, g->last_close);
        if (close != NULL) {
            matches = set_has(at, close, c);
            at = close + 1;
        }
    }
    if (matches)
        g->at = at;
    return matches;
}

bool pattern_matches(struct slice pattern, struct slice name)
{
    struct glob g = {.at = pattern.ptr};
    const uint8_t *at = name.ptr;
    const uint8_t *end = name.len > 0 ? name.ptr + name.len : name.ptr;
    const uint8_t *star = NULL;  /* behind the last star that was met */
    const uint8_t *retry = NULL; /* what that star takes ends here so far */

    g.end = pattern.len > 0 ? pattern.ptr + pattern.len : pattern.ptr;
    g.last_close = pattern.len > 0 ? memrchr(pattern.ptr, ']', pattern.len) : NULL;
    for (;;) {
        if (g.at < g.end && *g.at == '*') {
            star = ++g.at;
            retry = at;
            continue;
        }
        if (at == end && g.at == g.end)
            return true;
        const uint8_t *before = at;
        if (at < end && g.at < g.end && takes(&g, next_char(&at, end)))
            continue;
        at = before;
        /* Only the last star can take more: what earlier ones took is as short as can be. */
        if (star == NULL || retry == end)
            return false;
        (void)next_char(&retry, end);
        at = retry;
        g.at = star;
    }
}

uint32_t pattern_table_find(const struct pattern_table *table, struct slice name, uint32_t fallback)
{
    for (size_t i = 0; i < table->count; i++) {
        if (pattern_matches(slice_str(table->entries[i].pattern), name))
            return table->entries[i].number;
    }
    return fallback;
}
