/* SPDX-License-Identifier: BSD-3-Clause
 *
 * text: what protocols ask about bytes that claim to be text: UTF-8, tokens, lists, escapes,
 * numbers.
 *
 * Why: frames, heads and routes all read such bytes. UTF-8 is checked incrementally, because a
 * WebSocket message may arrive in pieces that end anywhere. Upper and lower case mean ASCII only
 * and the decimal point is a point, whatever the locale: a program that hosts us may have set one.
 *
 * Thread: any.
 */
#ifndef CORE_TEXT_H
#define CORE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/slice.h"

/* Where a UTF-8 check stands between two pieces. Zeroed: at the beginning of a text. */
struct utf8 {
    /* private */
    uint8_t missing; /* continuation bytes that the sequence still needs */
    uint8_t least;   /* range of the next of them */
    uint8_t most;
};

/* Checks the next @len bytes of a text. False as soon as no continuation could make it valid:
 * overlong forms, surrogates and what lies over U+10FFFF fail at the earliest byte that tells.
 * After false, @u must be zeroed before it is used again. */
bool utf8_feed(struct utf8 *u, const uint8_t *in, size_t len) MUST_CHECK;

/* Whether the text may end here, that is not inside a sequence. */
static inline bool utf8_is_complete(const struct utf8 *u)
{
    return u->missing == 0;
}

/* Whether these bytes are a whole valid text. */
bool utf8_is_valid(const uint8_t *in, size_t len);

/* Replaces %XX by the byte that it names, as Python's urllib.parse.unquote_to_bytes() does: what
 * is no valid escape stays as it is, and so does '+'. @out needs @len bytes and may be @in itself.
 * Returns how many bytes were written. */
size_t text_percent_decode(uint8_t *out, const uint8_t *in, size_t len);

/* Whether @text is a token (RFC 9110 section 5.6.2); the empty text is none. */
bool text_is_token(struct slice text);

/* Whether @text equals @other; letters of ASCII compare without case. */
bool text_eq_nocase(struct slice text, const char *other);

/* @text without the blanks and tabs at both ends. */
struct slice text_trim(struct slice text);

/* Cuts the next item off the comma separated list *@rest. Items come trimmed; empty ones are
 * skipped (RFC 9110 section 5.6.1). Quoted strings are not known here: a comma always separates.
 * False, with *@item untouched, when there are no more. */
bool text_list_next(struct slice *item, struct slice *rest) MUST_CHECK;

/* Reads "1.5", "-.5" or "17.95e+2", blanks and tabs around it or not, to within a few units of the
 * last place of a double. False, with *@out untouched, for anything else, for what is infinite and
 * for what no double can hold. */
bool text_read_decimal(double *out, struct slice text) MUST_CHECK;

#endif
