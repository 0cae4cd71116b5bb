/* SPDX-License-Identifier: BSD-3-Clause
 *
 * names: channel and group names: what is one, whose it is, and the names that stand for groups.
 *
 * Names of channels made here: specific.<node>!<peer><rest>: <node> 32, <peer> 13 (the last a d),
 * <rest> 19 lower-case hexadecimal digits. The member that stands for all of this node's clients in
 * a group: specific.<node>!g.<group>, or !G.<SHA-1 of the group in hex> when that name would be too
 * long (docs/layer-protocol.md). Sans-I/O.
 *
 * Thread: any.
 */
#ifndef CHANNEL_LAYER_NAMES_H
#define CHANNEL_LAYER_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/slice.h"

enum {
    NAME_MAX_CHARS = 99,
    NAME_MAX_BYTES = 4 * NAME_MAX_CHARS,
    NODE_ID_CHARS = 32,
    PEER_ID_CHARS = 13,
    CHANNEL_REST_CHARS = 19,
    GROUP_PLAIN_MAX = 55, /* characters of a group whose aggregate carries its name */
};

/* Each accepts what Channels accepts, but for its slips: no trailing newline; digits and letters
 * outside ASCII only behind the '!', where Python's \w takes them: there any character that is no
 * ASCII punctuation, blank or control but - . _ */
bool name_is_group(struct slice name);
bool name_is_channel(struct slice name);
bool name_is_specific(struct slice name); /* has a '!' */

/* Up to and with the first '!'; the whole name when there is none. */
struct slice name_nonlocal(struct slice name);
/* What follows it; empty when there is none. */
struct slice name_local(struct slice name);

/* 32 lower-case hex digits of a random version 4 UUID, and a NUL. */
void name_make_node(char out[NODE_ID_CHARS + 1]);
/* 12 random hex digits, 'd', NUL. */
void name_make_peer(char out[PEER_ID_CHARS + 1]);

/* Whether the local part is one that names.h describes (of this or of another node), and whose. */
bool name_local_is_ours(struct slice local, struct slice *peer);

/* Whether it may stand for a group or for a node: its local part does, behind a node's digits.
 * channels_redis takes such names; a message for one would be for whoever it stands for. */
bool name_is_reserved(struct slice name);

/* The local part that stands for @group, written to @out (at most 57 characters and a NUL). */
enum { AGGREGATE_MAX = 57 };
size_t name_aggregate(char out[AGGREGATE_MAX + 1], struct slice group);

/* The local part of the channel that nodes use among themselves: specific.<node>!ctl. */
#define NAME_CONTROL_LOCAL "ctl"

/* What a local part says. @rest: the group, or the 40 digits of its digest; empty with the others.
 * What only resembles a group (longer than name_aggregate() makes it, or no name of a group) is a
 * channel. */
enum name_kind { NAME_CHANNEL, NAME_GROUP, NAME_GROUP_DIGEST, NAME_CONTROL };
enum name_kind name_local_kind(struct slice local, struct slice *rest);

#endif
