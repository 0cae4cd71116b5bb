/* SPDX-License-Identifier: BSD-3-Clause
 *
 * json_walk: goes through JSON, step by step; nothing is built.
 *
 * Why: what Python's json takes is taken, and nothing else: RFC 8259, with NaN, Infinity and
 * -Infinity, integers of any value (up to 4300 digits) and half surrogate pairs in escapes.
 *
 * Work is linear in the bytes given, memory a fixed amount of stack. Sans-I/O.
 *
 * Thread: any.
 */
#ifndef CHANNEL_LAYER_WIRE_JSON_WALK_H
#define CHANNEL_LAYER_WIRE_JSON_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/slice.h"

/* Containers, one in the other, that json_walk_value() goes through at most. */
enum { JSON_WALK_DEPTH_MAX = 1023 };

/* A position in bytes, which are valid UTF-8. */
struct json_walk {
    const uint8_t *begin;
    const uint8_t *at;
    const uint8_t *end;
    struct err_text *why;
};

/* ERR_INVALID: @reason, and where, in w->why. */
enum err json_walk_refuse(const struct json_walk *w, const char *reason);

static inline void json_walk_blanks(struct json_walk *w)
{
    while (w->at < w->end && (*w->at == ' ' || *w->at == '\n' || *w->at == '\r' || *w->at == '\t'))
        w->at++;
}

/* The byte at the position; NUL, which no JSON has outside a string, at the end. */
static inline uint8_t json_walk_peek(const struct json_walk *w)
{
    return w->at < w->end ? *w->at : '\0';
}

static inline bool json_walk_byte(struct json_walk *w, uint8_t byte)
{
    if (json_walk_peek(w) != byte)
        return false;
    w->at++;
    return true;
}

/* Goes behind a string. *@text: what is between its quotes, as written. Errors, of these three:
 * ERR_INVALID with the reason. */
enum err json_walk_string(struct json_walk *w, struct slice *text) MUST_CHECK;
/* Goes behind a key, its colon and the blanks that follow. */
enum err json_walk_key(struct json_walk *w, struct slice *key) MUST_CHECK;
/* Goes behind one value. @max_depth: containers that it may consist of, one in the other. */
enum err json_walk_value(struct json_walk *w, unsigned max_depth) MUST_CHECK;

/* The next bytes that the text at the position, which json_walk_string() has seen, means: as they
 * stand, or one character that was escaped, in @space. */
struct slice json_walk_piece(struct json_walk *w, uint8_t space[4]);

#endif
