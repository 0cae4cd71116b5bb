/* SPDX-License-Identifier: BSD-3-Clause
 *
 * header: the fields of an HTTP head as the parser leaves them: an array of names and values.
 *
 * Why: a head has a dozen fields and each question is asked once, so looking through the array
 * costs less than building a table for it.
 *
 * Thread: any. Nothing here copies; all slices stay those of the head.
 */
#ifndef CORE_HEADER_H
#define CORE_HEADER_H

#include <stdbool.h>
#include <stddef.h>

#include "core/slice.h"

struct header {
    struct slice name; /* lower-case */
    struct slice value;
};

/* The value of the first field called @name (lower-case), or NULL. */
const struct slice *header_find(const struct header *headers, size_t count, const char *name);

/* How many fields are called @name (lower-case). */
size_t header_count(const struct header *headers, size_t count, const char *name);

/* Whether the comma separated list that all fields called @name (lower-case) make together has
 * @item in it, without case: header_list_has(headers, count, "connection", "close"). */
bool header_list_has(const struct header *headers, size_t count, const char *name,
                     const char *item);

#endif
