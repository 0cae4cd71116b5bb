/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/names.h"

#include "core/base64.h"
#include "core/digest.h"
#include "core/text.h"

#include <string.h>

static bool is_plain(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '-' || byte == '_' || byte == '.';
}

static size_t plain_run(struct slice name)
{
    size_t i = 0;
    while (i < name.len && is_plain(name.ptr[i]))
        i++;
    return i;
}

bool name_is_group(struct slice name)
{
    return name.len > 0 && name.len <= NAME_MAX_CHARS && plain_run(name) == name.len;
}

bool name_is_channel(struct slice name)
{
    if (name.len > NAME_MAX_BYTES)
        return false;
    const size_t front = plain_run(name);
    if (front == 0 || front == name.len)
        return front > 0 && front <= NAME_MAX_CHARS;
    if (name.ptr[front] != '!')
        return false;
    size_t chars = front + 1;
    for (size_t i = front + 1; i < name.len; i++) {
        if (name.ptr[i] < 0x80 && !is_plain(name.ptr[i]))
            return false;
        if ((name.ptr[i] & 0xc0) != 0x80) /* the first byte of a character */
            chars++;
    }
    return chars <= NAME_MAX_CHARS && utf8_is_valid(name.ptr, name.len);
}

static const uint8_t *find_mark(struct slice name)
{
    return name.len > 0 ? memchr(name.ptr, '!', name.len) : NULL;
}

bool name_is_specific(struct slice name)
{
    return find_mark(name) != NULL;
}

struct slice name_nonlocal(struct slice name)
{
    const uint8_t *mark = find_mark(name);
    return mark == NULL ? name : slice_make(name.ptr, (size_t)(mark - name.ptr) + 1);
}

struct slice name_local(struct slice name)
{
    const uint8_t *mark = find_mark(name);
    if (mark == NULL)
        return (struct slice){0};
    const size_t front = (size_t)(mark - name.ptr) + 1;
    return slice_make(name.ptr + front, name.len - front);
}

void name_make_node(char out[NODE_ID_CHARS + 1])
{
    uint8_t bytes[NODE_ID_CHARS / 2];
    digest_random(bytes, sizeof(bytes));
    bytes[6] = (uint8_t)((bytes[6] & 0x0f) | 0x40); /* RFC 9562: version 4 */
    bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80); /* and its variant */
    hex_encode(out, bytes, sizeof(bytes));
    out[NODE_ID_CHARS] = '\0';
}

void name_make_peer(char out[PEER_ID_CHARS + 1])
{
    uint8_t bytes[PEER_ID_CHARS / 2];
    digest_random(bytes, sizeof(bytes));
    hex_encode(out, bytes, sizeof(bytes));
    out[PEER_ID_CHARS - 1] = 'd';
    out[PEER_ID_CHARS] = '\0';
}

bool name_local_is_ours(struct slice local, struct slice *peer)
{
    if (local.len != PEER_ID_CHARS + CHANNEL_REST_CHARS || local.ptr[PEER_ID_CHARS - 1] != 'd' ||
        !hex_is_lower(local))
        return false;
    *peer = slice_make(local.ptr, PEER_ID_CHARS);
    return true;
}

enum { MARK_CHARS = 2, DIGEST_CHARS = 2 * DIGEST_SHA1_BYTES };

size_t name_aggregate(char out[AGGREGATE_MAX + 1], struct slice group)
{
    size_t len = group.len;
    if (group.len <= GROUP_PLAIN_MAX) {
        memcpy(out, "g.", MARK_CHARS);
        if (len > 0)
            memcpy(out + MARK_CHARS, group.ptr, len);
    } else {
        uint8_t digest[DIGEST_SHA1_BYTES];
        digest_sha1(digest, group);
        memcpy(out, "G.", MARK_CHARS);
        hex_encode(out + MARK_CHARS, digest, sizeof(digest));
        len = DIGEST_CHARS;
    }
    out[MARK_CHARS + len] = '\0';
    return MARK_CHARS + len;
}

enum name_kind name_local_kind(struct slice local, struct slice *rest)
{
    *rest = (struct slice){0};
    if (slice_eq_str(local, NAME_CONTROL_LOCAL))
        return NAME_CONTROL;
    if (local.len <= MARK_CHARS || local.ptr[1] != '.')
        return NAME_CHANNEL;
    const struct slice tail = slice_make(local.ptr + MARK_CHARS, local.len - MARK_CHARS);
    const bool is_plain_group =
        local.ptr[0] == 'g' && tail.len <= GROUP_PLAIN_MAX && name_is_group(tail);
    const bool is_digest = local.ptr[0] == 'G' && tail.len == DIGEST_CHARS && hex_is_lower(tail);
    if (!is_plain_group && !is_digest)
        return NAME_CHANNEL;
    *rest = tail;
    return is_digest ? NAME_GROUP_DIGEST : NAME_GROUP;
}

bool name_is_reserved(struct slice name)
{
    struct slice rest = {0};
    const struct slice nonlocal = name_nonlocal(name);
    const size_t least = NODE_ID_CHARS + 1; /* and the '!' */
    return name_is_specific(name) && nonlocal.len >= least &&
           hex_is_lower(slice_make(nonlocal.ptr + nonlocal.len - least, NODE_ID_CHARS)) &&
           name_local_kind(name_local(name), &rest) != NAME_CHANNEL;
}
