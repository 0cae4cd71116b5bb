/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What came out of Redis, whoever put it there: opening, checking and sealing messages of both
 * serializers. The first byte chooses the settings (see below), the rest is the member; with keys
 * it is also sealed, so that what is behind the encryption is reached.
 */
#include "channel_layer/names.h"
#include "channel_layer/pattern.h"
#include "channel_layer/wire/wire.h"
#include "tests/support/fuzz.h"

#include <stdlib.h>
#include <string.h>

enum { AS_JSON = 1, WITH_KEYS = 2, AS_PUBSUB = 4, PREFIX_SHIFT = 3, NOW_S = 1700000000 };
enum { NAMES_MAX = 64, SCRATCH_BYTES = 4096 };

static void require(bool promise)
{
    if (!promise)
        abort();
}

/* What is told of a message: its names, copied, and how many more there were. */
struct told {
    struct slice names[NAMES_MAX];
    size_t count;
    struct buf bytes;
};

static void read_names(const struct wire_message *message, struct told *told)
{
    struct buf scratch;
    struct slice name;
    size_t at = 0;
    size_t count = 0;

    told->count = 0;
    told->bytes.len = 0;
    buf_init(&scratch, SCRATCH_BYTES);
    require(buf_reserve(&told->bytes, told->bytes.max_bytes) == ERR_OK);
    while (wire_next_name(message, &at, &scratch, &name)) {
        count++;
        struct slice local;
        (void)name_is_channel(name);
        (void)name_local_kind(name_local(name), &local);
        (void)name_local_is_ours(name_local(name), &local);
        if (told->count == NAMES_MAX || buf_append(&told->bytes, name.ptr, name.len) != ERR_OK)
            continue;
        told->names[told->count++] =
            slice_make(told->bytes.ptr + told->bytes.len - name.len, name.len);
    }
    require(count <= message->name_count);
    require(message->kind != WIRE_NO_NAMES || count == 0);
    buf_deinit(&scratch);
}

/* What was opened can be sealed again with its names, and then says the same. */
static void round_trip(struct wire *wire, struct slice body, enum wire_names kind,
                       const struct told *told)
{
    struct err_text why;
    struct buf sealed;
    struct buf again;
    struct wire_message message;
    const bool is_none = kind == WIRE_ONE_NAME && told->count == 0; /* it was too long to keep */
    const struct wire_to to = {
        .kind = is_none ? WIRE_NO_NAMES : kind, .names = told->names, .count = told->count};

    if (wire_check(wire, body, &why) != ERR_OK) /* nested deeper than we send */
        return;
    buf_init(&sealed, WIRE_MEMBER_MAX);
    buf_init(&again, WIRE_BODY_MAX);
    require(wire_seal(wire, &sealed, body, &to, NOW_S) == ERR_OK);
    require(wire_open(wire, &message, &again, buf_slice(&sealed), NOW_S, &why) == ERR_OK);
    require(slice_eq(buf_slice(&again), body) || body.ptr[0] >= 0xde); /* a long header shrinks */
    require(message.kind == to.kind && message.name_count == to.count);
    struct told second = {0};
    buf_init(&second.bytes, told->bytes.max_bytes);
    read_names(&message, &second);
    require(second.count == told->count);
    for (size_t i = 0; i < second.count; i++)
        require(slice_eq(second.names[i], told->names[i]));
    buf_deinit(&second.bytes);
    buf_deinit(&sealed);
    buf_deinit(&again);
}

static void open_member(struct wire *wire, struct slice member)
{
    struct wire_message message;
    struct err_text why = {0};
    struct told told = {0};
    struct buf body;

    buf_init(&body, WIRE_BODY_MAX);
    buf_init(&told.bytes, SCRATCH_BYTES);
    if (wire_open(wire, &message, &body, member, NOW_S, &why) != ERR_OK) {
        require(body.len == 0 && why.text[0] != '\0');
    } else {
        require(body.len <= member.len);
        read_names(&message, &told);
        round_trip(wire, buf_slice(&body), message.kind, &told);
    }
    buf_deinit(&told.bytes);
    buf_deinit(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct layer_key key = {.sign = {1}, .encrypt = {2}};
    struct layer_config config = {.expiry_s = 60, .keys = &key};
    struct err_text why;
    struct wire wire;
    struct buf sealed;

    if (size == 0)
        return 0;
    config.serializer = (data[0] & AS_JSON) != 0 ? LAYER_JSON : LAYER_MSGPACK;
    config.key_count = (data[0] & WITH_KEYS) != 0 ? 1 : 0;
    config.backend = (data[0] & AS_PUBSUB) != 0 ? LAYER_PUBSUB : LAYER_REDIS;
    config.random_prefix_length = data[0] >> PREFIX_SHIFT;
    const struct slice in = slice_make(data + 1, size - 1);
    wire_init(&wire, &config);
    open_member(&wire, in);
    (void)pattern_matches(slice_make(in.ptr, in.len / 2),
                          slice_make(in.ptr + in.len / 2, in.len - in.len / 2));
    buf_init(&sealed, WIRE_MEMBER_MAX);
    /* Sealed as it is: what another program with the key could have put there. */
    require(wire_seal(&wire, &sealed, in, NULL, NOW_S) == (in.len > 0 ? ERR_OK : ERR_INVALID));
    open_member(&wire, buf_slice(&sealed));
    if (wire_check(&wire, in, &why) == ERR_OK)
        round_trip(&wire, in, WIRE_NO_NAMES, &(struct told){.bytes = {.max_bytes = 1}});
    buf_deinit(&sealed);
    wire_deinit(&wire);
    return 0;
}
