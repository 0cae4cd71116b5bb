/* SPDX-License-Identifier: BSD-3-Clause
 *
 * wire_body: what the two serializers do for wire.c: check a body, put __asgi_channel__ in, take it
 * out. Each of them walks over bytes; neither builds anything.
 *
 * Work is linear in the bytes given, memory a fixed amount of stack, whatever the bytes claim.
 * Sans-I/O.
 *
 * Thread: any.
 */
#ifndef CHANNEL_LAYER_WIRE_WIRE_BODY_H
#define CHANNEL_LAYER_WIRE_WIRE_BODY_H

#include "channel_layer/wire/wire.h"

#define WIRE_KEY "__asgi_channel__"

enum {
    /* Containers in the top one that msgpack of Python decodes; in JSON it gives up a few earlier.
     */
    WIRE_READ_DEPTH_MAX = 1023,
};

/* A body with what is to be put in. Names are valid UTF-8. */
struct wire_splice {
    struct slice body;
    const struct wire_to *to;
};

/* What wire_check() promises; size is checked by the caller. */
enum err wire_msgpack_check(struct slice body, struct err_text *why) MUST_CHECK;
enum err wire_json_check(struct slice body, struct err_text *why) MUST_CHECK;

/* How many bytes writing makes. Errors: ERR_INVALID (no map), ERR_TOO_BIG (over WIRE_MEMBER_MAX).
 */
enum err wire_msgpack_size(size_t *size, const struct wire_splice *splice) MUST_CHECK;
enum err wire_json_size(size_t *size, const struct wire_splice *splice) MUST_CHECK;

/* Writes them; the byte behind is returned. */
uint8_t *wire_msgpack_write(uint8_t *out, const struct wire_splice *splice);
uint8_t *wire_json_write(uint8_t *out, const struct wire_splice *splice);

/* Appends @plain without the key to @body, which has room for all of it, and tells of the names;
 * @body is unchanged on error. Errors: ERR_INVALID with the reason. */
enum err wire_msgpack_open(struct wire_message *out, struct buf *body, struct slice plain,
                           struct err_text *why) MUST_CHECK;
enum err wire_json_open(struct wire_message *out, struct buf *body, struct slice plain,
                        struct err_text *why) MUST_CHECK;

bool wire_msgpack_next_name(struct slice names, size_t *at, struct slice *name);
bool wire_json_next_name(struct slice names, size_t *at, struct buf *scratch, struct slice *name);

#endif
