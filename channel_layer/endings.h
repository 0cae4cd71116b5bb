/* SPDX-License-Identifier: BSD-3-Clause
 *
 * endings: calls whose end is known and told in the next turn.
 *
 * Why: no call may end before the function that was asked for it returned (struct layer_call).
 *
 * Thread: owner only.
 */
#ifndef CHANNEL_LAYER_ENDINGS_H
#define CHANNEL_LAYER_ENDINGS_H

#include <stdarg.h>
#include <stdbool.h>

#include "channel_layer/layer.h"
#include "core/dlist.h"

struct endings {
    struct dlist list; /* private */
};

void endings_init(struct endings *endings);
bool endings_is_empty(const struct endings *endings);

/* @call ends with @err and the text of @format at the next endings_run(). */
void endings_add(struct endings *endings, struct layer_call *call, enum err err, const char *format,
                 va_list args) __attribute__((format(printf, 4, 0)));
/* With ERR_OK, and nothing to say. */
void endings_add_ok(struct endings *endings, struct layer_call *call);

/* Ends those that were there when it began, the oldest first; what their callbacks add waits. */
void endings_run(struct endings *endings);

#endif
