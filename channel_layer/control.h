/* SPDX-License-Identifier: BSD-3-Clause
 *
 * control: what one node asks another one to do, as a message to specific.<node>!ctl.
 *
 * Why: Redis knows one member for all clients of a node. To take one of these out of a group, or to
 * make them forget their groups, is their own node's business, which has to hear of it.
 *
 * Sans-I/O. Thread: any.
 */
#ifndef CHANNEL_LAYER_CONTROL_H
#define CHANNEL_LAYER_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "channel_layer/config/config.h"
#include "core/slice.h"

enum { CONTROL_MAX = 1024 }; /* bytes of a message */

enum control_kind {
    CONTROL_DISCARD, /* {"type": "channelsd.discard", "group": …, "channel": …} */
    CONTROL_FLUSH,   /* {"type": "channelsd.flush"} */
};

struct control {
    enum control_kind kind;
    struct slice group;   /* CONTROL_DISCARD: a name of a group */
    struct slice channel; /* and of a channel */
};

/* Writes the body. @control's names need no escapes: they are names. */
struct slice control_write(uint8_t out[CONTROL_MAX], enum layer_serializer serializer,
                           const struct control *control);

/* Reads what control_write() wrote; the names are borrowed from @body and not checked. False: it is
 * something else. */
bool control_read(struct control *out, enum layer_serializer serializer, struct slice body);

#endif
