/* SPDX-License-Identifier: BSD-3-Clause
 *
 * transcode_marks: the names that mark what JSON has no word for (transcode.h).
 *
 * Thread: any.
 */
#ifndef CORE_TRANSCODE_MARKS_H
#define CORE_TRANSCODE_MARKS_H

#include "core/slice.h"

enum mark { MARK_NONE, MARK_BYTES, MARK_FLOAT, MARK_INT, MARK_EXT, MARK_MAP };

/* Which of them @key is. */
static inline enum mark mark_of(struct slice key)
{
    return slice_eq_str(key, "__bytes__")   ? MARK_BYTES
           : slice_eq_str(key, "__float__") ? MARK_FLOAT
           : slice_eq_str(key, "__int__")   ? MARK_INT
           : slice_eq_str(key, "__ext__")   ? MARK_EXT
           : slice_eq_str(key, "__map__")   ? MARK_MAP
                                            : MARK_NONE;
}

#endif
