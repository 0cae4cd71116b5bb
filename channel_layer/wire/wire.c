/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/wire/wire.h"

#include "channel_layer/wire/fernet.h"
#include "channel_layer/wire/wire_body.h"
#include "core/digest.h"
#include "core/text.h"

#include <assert.h>
#include <string.h>

enum {
    COUNTER_BYTES = 8,
    EXPIRY_GRACE_S = 10, /* what channels_redis adds to expiry for what is encrypted */
};

void wire_init(struct wire *wire, const struct layer_config *config)
{
    *wire = (struct wire){.config = config};
    buf_init(&wire->plain, WIRE_MEMBER_MAX);
}

void wire_deinit(struct wire *wire)
{
    fernet_free(wire->fernet);
    buf_deinit(&wire->plain);
    *wire = (struct wire){.config = wire->config};
}

static bool is_encrypted(const struct wire *wire)
{
    return wire->config->key_count > 0;
}

/* Publications have neither: nothing there must be unique, and nothing waits. */
static bool has_prefix_and_age(const struct wire *wire)
{
    return wire->config->backend != LAYER_PUBSUB;
}

static size_t prefix_size(const struct wire *wire)
{
    return has_prefix_and_age(wire) ? wire->config->random_prefix_length : 0;
}

static enum err need_fernet(struct wire *wire)
{
    if (wire->fernet != NULL)
        return ERR_OK;
    return fernet_new(&wire->fernet, wire->config->keys, wire->config->key_count);
}

enum err wire_check(const struct wire *wire, struct slice body, struct err_text *why)
{
    if (body.len > WIRE_BODY_MAX)
        return err_fail(why, ERR_TOO_BIG, "a message of %zu bytes; at most %d", body.len,
                        WIRE_BODY_MAX);
    switch (wire->config->serializer) {
    case LAYER_MSGPACK:
        return wire_msgpack_check(body, why);
    case LAYER_JSON:
        return wire_json_check(body, why);
    }
    return ERR_UNSUPPORTED;
}

/* Random bytes are fetched many at a time: one call for each message costs more than all the rest
 * of sealing it. They only make members differ. */
static void take_random(struct wire *wire, uint8_t *out, size_t len)
{
    while (len > 0) {
        if (wire->random_left == 0) {
            digest_random(wire->random, sizeof(wire->random));
            wire->random_left = sizeof(wire->random);
        }
        const size_t part = len < wire->random_left ? len : wire->random_left;
        memcpy(out, wire->random + sizeof(wire->random) - wire->random_left, part);
        wire->random_left -= part;
        out += part;
        len -= part;
    }
}

/* A counter, so that messages with one score come out in the order in which they went in, then
 * random bytes, so that two senders never write the same. A prefix that has no room for the counter
 * is its low end: that is where messages differ. */
static void write_prefix(struct wire *wire, uint8_t *out, uint64_t now_s)
{
    const size_t len = wire->config->random_prefix_length;
    uint8_t counter[COUNTER_BYTES];

    if (wire->counter == 0) { /* begins above where an earlier run of this program ended */
        uint8_t start[3];
        take_random(wire, start, sizeof(start));
        wire->counter = now_s << 32 | (uint64_t)start[0] << 16 | (uint64_t)start[1] << 8 | start[2];
    }
    wire->counter++;
    for (size_t i = 0; i < COUNTER_BYTES; i++)
        counter[i] = (uint8_t)(wire->counter >> (56 - 8 * i));
    if (len < COUNTER_BYTES) {
        memcpy(out, counter + COUNTER_BYTES - len, len);
        return;
    }
    memcpy(out, counter, COUNTER_BYTES);
    take_random(wire, out + COUNTER_BYTES, len - COUNTER_BYTES);
}

static enum err splice_size(const struct wire *wire, size_t *size, const struct wire_splice *splice)
{
    const struct wire_to *to = splice->to;
    *size = splice->body.len;
    if (splice->body.len == 0)
        return ERR_INVALID;
    if (splice->body.len > WIRE_MEMBER_MAX)
        return ERR_TOO_BIG;
    if (to->kind == WIRE_NO_NAMES)
        return ERR_OK;
    for (size_t i = 0; i < to->count; i++) {
        if (!utf8_is_valid(to->names[i].ptr, to->names[i].len))
            return ERR_INVALID; /* would break the receiver, who reads them as text */
    }
    if (wire->config->serializer == LAYER_JSON)
        return wire_json_size(size, splice);
    return wire_msgpack_size(size, splice);
}

static void splice_write(const struct wire *wire, uint8_t *out, size_t size,
                         const struct wire_splice *splice)
{
    const uint8_t *end = out;
    if (splice->to->kind == WIRE_NO_NAMES) {
        memcpy(out, splice->body.ptr, size);
        return;
    }
    if (wire->config->serializer == LAYER_JSON)
        end = wire_json_write(out, splice);
    else
        end = wire_msgpack_write(out, splice);
    assert((size_t)(end - out) == size);
}

enum err wire_seal(struct wire *wire, struct buf *out, struct slice body, const struct wire_to *to,
                   uint64_t now_s)
{
    static const struct wire_to nobody = {.kind = WIRE_NO_NAMES};
    const struct wire_splice splice = {.body = body, .to = to != NULL ? to : &nobody};
    const size_t prefix = prefix_size(wire);
    size_t size = 0;

    assert(splice.to->kind != WIRE_ONE_NAME || splice.to->count == 1);
    enum err err = splice_size(wire, &size, &splice);
    if (err == ERR_OK && is_encrypted(wire))
        err = need_fernet(wire);
    if (err != ERR_OK)
        return err;
    const size_t whole = prefix + (is_encrypted(wire) ? fernet_token_size(size) : size);
    if (whole > WIRE_MEMBER_MAX)
        return ERR_TOO_BIG;
    err = buf_reserve(out, whole);
    if (err != ERR_OK)
        return err;
    uint8_t *at = out->ptr + out->len;
    if (prefix > 0)
        write_prefix(wire, at, now_s);
    at += prefix;
    if (is_encrypted(wire)) {
        uint8_t iv[FERNET_IV_BYTES];
        digest_random(iv, sizeof(iv));
        splice_write(wire, fernet_text_place(at, size), size, &splice);
        err = fernet_seal(wire->fernet, at, size, now_s, iv);
        if (err != ERR_OK)
            return err;
    } else {
        splice_write(wire, at, size, &splice);
    }
    out->len += (uint32_t)whole;
    return ERR_OK;
}

static enum err decrypt(struct wire *wire, struct slice *plain, uint64_t now_s,
                        struct err_text *why)
{
    const struct fernet_rule rule = {
        .has_limits = has_prefix_and_age(wire),
        .now_s = now_s,
        .max_age_s = (uint64_t)wire->config->expiry_s + EXPIRY_GRACE_S,
    };
    const enum err err = need_fernet(wire);
    if (err != ERR_OK)
        return err_fail(why, err, "cannot decrypt: %s", err_str(err));
    return fernet_open(wire->fernet, plain, &wire->plain, *plain, &rule, why);
}

enum err wire_open(struct wire *wire, struct wire_message *out, struct buf *body,
                   struct slice member, uint64_t now_s, struct err_text *why)
{
    const size_t prefix = prefix_size(wire);

    if (member.len > WIRE_MEMBER_MAX)
        return err_fail(why, ERR_TOO_BIG, "%zu bytes; at most %d", member.len, WIRE_MEMBER_MAX);
    if (member.len < prefix)
        return err_fail(why, ERR_INVALID, "%zu bytes: shorter than its random prefix of %zu",
                        member.len, prefix);
    struct slice plain =
        slice_make(prefix > 0 ? member.ptr + prefix : member.ptr, member.len - prefix);
    enum err err = is_encrypted(wire) ? decrypt(wire, &plain, now_s, why) : ERR_OK;
    if (err != ERR_OK)
        return err;
    if (plain.len > WIRE_BODY_MAX)
        return err_fail(why, ERR_TOO_BIG, "a message of %zu bytes; at most %d", plain.len,
                        WIRE_BODY_MAX);
    err = buf_reserve(body, plain.len);
    if (err != ERR_OK)
        return err_fail(why, err, "%zu bytes: %s", plain.len, err_str(err));
    switch (wire->config->serializer) {
    case LAYER_MSGPACK:
        return wire_msgpack_open(out, body, plain, why);
    case LAYER_JSON:
        return wire_json_open(out, body, plain, why);
    }
    return ERR_UNSUPPORTED;
}

bool wire_next_name(const struct wire_message *message, size_t *at, struct buf *scratch,
                    struct slice *name)
{
    if (message->kind == WIRE_NO_NAMES)
        return false;
    if (message->serializer == LAYER_JSON)
        return wire_json_next_name(message->names, at, scratch, name);
    return wire_msgpack_next_name(message->names, at, name);
}
