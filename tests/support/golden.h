/* SPDX-License-Identifier: BSD-3-Clause
 *
 * golden: recorded vectors of tests/golden, which are JSON, read for unit tests.
 *
 * Why: expected bytes come from the program that is to be matched, never from the code under test.
 */
#ifndef TESTS_SUPPORT_GOLDEN_H
#define TESTS_SUPPORT_GOLDEN_H

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/slice.h"
#include "tests/support/unit.h"

/* The whole file; the caller json_decref()s it. Tests run in the root of the repository. */
static inline json_t *golden_load(const char *path)
{
    json_error_t why;
    json_t *file = json_load_file(path, 0, &why);
    if (file == NULL)
        fail_msg("%s:%d: %s", path, why.line, why.text);
    return file;
}

/* A text of @object, or NULL when it has none of that name. */
static inline const char *golden_text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

/* A text that is there, with its length (it may hold NULs). */
static inline struct slice golden_slice(const json_t *object, const char *key)
{
    const json_t *text = json_object_get(object, key);
    if (!json_is_string(text))
        fail_msg("no text %s", key);
    return slice_make(json_string_value(text), json_string_length(text));
}

static inline unsigned golden_digit(char digit)
{
    return (unsigned)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

/* The bytes that hexadecimal digits say, in a block of exactly their size, which the sanitizer
 * watches; the caller frees @ptr (never NULL), which is why it is no slice. */
struct golden_bytes {
    uint8_t *ptr;
    size_t len;
};

static inline struct golden_bytes golden_hex(const char *digits)
{
    struct golden_bytes bytes = {.len = strlen(digits) / 2};
    bytes.ptr = malloc(bytes.len > 0 ? bytes.len : 1);
    assert_non_null(bytes.ptr);
    for (size_t i = 0; i < bytes.len; i++)
        bytes.ptr[i] =
            (uint8_t)(golden_digit(digits[2 * i]) << 4 | golden_digit(digits[2 * i + 1]));
    return bytes;
}

static inline struct slice golden_of(struct golden_bytes bytes)
{
    return slice_make(bytes.ptr, bytes.len);
}

#endif
