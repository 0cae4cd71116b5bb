/* SPDX-License-Identifier: BSD-3-Clause
 *
 * base64: bytes as text and back: base64 in both alphabets, padded with '=' (RFC 4648 sections 4
 * and 5), and hexadecimal digits.
 *
 * Why: OpenSSL's decoder takes padding for content and stray characters for blanks; this one takes
 * exactly what the encoder writes.
 *
 * Thread: any.
 */
#ifndef CORE_BASE64_H
#define CORE_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/slice.h"

enum base64_digits {
    BASE64_STANDARD, /* with + and / */
    BASE64_URL       /* with - and _ */
};

/* Characters for @len bytes (len < SIZE_MAX / 2), and most bytes for @len characters. */
static inline size_t base64_text_len(size_t len)
{
    return (len + 2) / 3 * 4;
}

static inline size_t base64_bytes_max(size_t len)
{
    return len / 4 * 3;
}

/* Writes base64_text_len(bytes.len) characters to @out, without a NUL. @bytes may stand at the end
 * of that room. */
void base64_encode(uint8_t *out, struct slice bytes, enum base64_digits digits);

/* Writes at most base64_bytes_max(text.len) bytes to @out and their number to *@len. False, with
 * *@len untouched, when @text is not what base64_encode() writes for some bytes. */
bool base64_decode(uint8_t *out, size_t *len, struct slice text,
                   enum base64_digits digits) MUST_CHECK;

/* Writes 2 * @len lower-case hexadecimal digits to @out, without a NUL. */
void hex_encode(char *out, const uint8_t *bytes, size_t len);
/* Whether @text has lower-case hexadecimal digits only. */
bool hex_is_lower(struct slice text);

#endif
