/* SPDX-License-Identifier: BSD-3-Clause
 *
 * wire_fixture: settings of a layer without a settings file, and messages sealed and opened with
 * them.
 */
#ifndef TESTS_SUPPORT_WIRE_FIXTURE_H
#define TESTS_SUPPORT_WIRE_FIXTURE_H

#include <stdlib.h>
#include <string.h>

#include "channel_layer/wire/wire.h"
#include "tests/support/unit.h"

enum { WIRE_NOW_S = 1700000000, WIRE_PREFIX_BYTES = 12 };

struct wire_fixture {
    struct layer_config config;
    struct wire wire;
    struct buf sealed;
    struct buf body;
    struct wire_message message;
    struct err_text why;
};

static inline struct wire_fixture *wire_fixture_new(enum layer_serializer serializer)
{
    struct wire_fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->config = (struct layer_config){
        .backend = LAYER_REDIS,
        .serializer = serializer,
        .expiry_s = 60,
        .random_prefix_length = WIRE_PREFIX_BYTES,
    };
    wire_init(&f->wire, &f->config);
    buf_init(&f->sealed, 2 * (size_t)WIRE_MEMBER_MAX);
    buf_init(&f->body, WIRE_BODY_MAX);
    return f;
}

static inline void wire_fixture_free(struct wire_fixture *f)
{
    wire_deinit(&f->wire);
    buf_deinit(&f->sealed);
    buf_deinit(&f->body);
    free(f);
}

/* A copy in a block of exactly its size, which the sanitizer watches; the caller frees it. */
static inline uint8_t *wire_exact(struct slice in)
{
    uint8_t *block = malloc(in.len > 0 ? in.len : 1);
    assert_non_null(block);
    if (in.len > 0)
        memcpy(block, in.ptr, in.len);
    return block;
}

/* Opens @member, into f->body and f->message; names are not to be asked for afterwards. */
static inline enum err wire_fixture_open(struct wire_fixture *f, struct slice member)
{
    uint8_t *block = wire_exact(member);
    f->body.len = 0;
    const enum err err = wire_open(&f->wire, &f->message, &f->body, slice_make(block, member.len),
                                   WIRE_NOW_S, &f->why);
    assert_true(err == ERR_OK || f->body.len == 0);
    free(block);
    return err;
}

static inline enum err wire_fixture_check(struct wire_fixture *f, struct slice body)
{
    uint8_t *block = wire_exact(body);
    const enum err err = wire_check(&f->wire, slice_make(block, body.len), &f->why);
    free(block);
    return err;
}

/* Seals @body into f->sealed. */
static inline enum err wire_fixture_seal(struct wire_fixture *f, struct slice body,
                                         const struct wire_to *to)
{
    f->sealed.len = 0;
    return wire_seal(&f->wire, &f->sealed, body, to, WIRE_NOW_S);
}

/* Whether the names of f->sealed, which is opened, are these @count, and its body is @body. */
static inline bool wire_fixture_holds(struct wire_fixture *f, struct slice body,
                                      const struct wire_to *to)
{
    struct buf scratch;
    struct slice name;
    size_t at = 0;
    size_t i = 0;
    bool equal = true;

    buf_init(&scratch, 4096);
    f->body.len = 0;
    if (wire_open(&f->wire, &f->message, &f->body, buf_slice(&f->sealed), WIRE_NOW_S, &f->why) !=
        ERR_OK)
        fail_msg("%s", f->why.text);
    for (; wire_next_name(&f->message, &at, &scratch, &name); i++)
        equal = equal && i < to->count && slice_eq(name, to->names[i]);
    equal = equal && i == to->count && f->message.name_count == to->count &&
            f->message.kind == to->kind && slice_eq(buf_slice(&f->body), body);
    buf_deinit(&scratch);
    return equal;
}

#endif
