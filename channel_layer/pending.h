/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pending: what a program that uses the layer is to be told in the loop's next turn.
 *
 * Why: clients may not call the layer back, and the program's callbacks may. One message to a group
 * comes once for each of the program's channels in it, one straight after the other: its body is
 * kept once.
 *
 * Thread: owner only.
 */
#ifndef CHANNEL_LAYER_PENDING_H
#define CHANNEL_LAYER_PENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/dlist.h"
#include "core/slice.h"

struct channellayer_channel;
struct channellayer_receive;
struct pending_body; /* bytes that several of them may share */

/* A message for the program, or a group to be left. */
struct pending {
    struct dlist link;
    struct channellayer_channel *channel; /* NULL: of a normal channel */
    struct channellayer_receive *receive;
    uint64_t ticket; /* of a message that somebody waits to be accepted, or 0 */
    bool is_leave;   /* the body is the name of the group */
    bool is_failed;  /* the receive ended without a message */
    struct pending_body *body;
};

struct pending_list {
    struct dlist items; /* oldest first */
    size_t count;
    size_t bytes; /* of memory that they take, also what was taken out and not freed yet */
    bool is_full; /* one was refused, and that is logged */
};

void pending_init(struct pending_list *list);

/* Whether a message of @bytes may be added. One that comes alone may have any size. Each time that
 * a full list has to refuse again after it was empty, the log says so. */
bool pending_has_room(struct pending_list *list, size_t bytes);

/* Adds one with a copy of @body, all else 0. Ownership: the list's, until pending_take(). NULL
 * without memory for it, which is logged as a full list is. */
struct pending *pending_add(struct pending_list *list, struct slice body);

/* NULL: there is none. */
struct pending *pending_first(const struct pending_list *list);
/* What it says; valid as long as @p. */
struct slice pending_text(const struct pending *p);

/* Takes @p out of the list: the caller's, who gives it back to be freed. */
void pending_take(struct pending_list *list, struct pending *p);
void pending_free(struct pending_list *list, struct pending *p);

/* Forgets what is for @channel, or all when it is NULL. */
void pending_forget(struct pending_list *list, const struct channellayer_channel *channel);

#endif
