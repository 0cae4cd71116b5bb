/* SPDX-License-Identifier: BSD-3-Clause
 *
 * wire: messages as channels_redis stores and publishes them (random prefix, serializer,
 * __asgi_channel__, Fernet), made from and turned into bodies. Sans-I/O.
 *
 * A body is a message as the serializer writes it, without __asgi_channel__. The key is put in and
 * taken out in the bytes, so that nothing is decoded that the application does not read, and what
 * Python packed arrives as it was packed.
 *
 * Thread: owner only.
 */
#ifndef CHANNEL_LAYER_WIRE_WIRE_H
#define CHANNEL_LAYER_WIRE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel_layer/config/config.h"
#include "core/buf.h"
#include "core/err.h"
#include "core/slice.h"

enum {
    WIRE_BODY_MAX = 16 * 1024 * 1024,   /* bytes of a body */
    WIRE_MEMBER_MAX = 24 * 1024 * 1024, /* encrypted, with names */
    /* Containers in the outermost one, when sent: few enough for every Python. What others sent may
     * be twice as deep, as far as Python takes it. */
    WIRE_DEPTH_MAX = 511,
    WIRE_RANDOM_BYTES = 512,
};

struct fernet;

struct wire {
    /* private */
    const struct layer_config *config;
    struct fernet *fernet;             /* made when it is first needed */
    uint64_t counter;                  /* first 8 bytes of the prefix: equal scores stay in order */
    struct buf plain;                  /* the last message that was decrypted */
    uint8_t random[WIRE_RANDOM_BYTES]; /* for prefixes; its last random_left bytes are unused */
    size_t random_left;
};

/* Members have a random prefix, and encrypted ones an age, unless config->backend is LAYER_PUBSUB.
 */
void wire_init(struct wire *wire, const struct layer_config *config);
void wire_deinit(struct wire *wire);

/* Whether every channels_redis can decode @body: one map (object), keys str (or bin), valid UTF-8,
 * no type that it refuses (of ext it takes those of an application and well-formed timestamps),
 * depth, size, no __asgi_channel__ at the top. Errors: ERR_INVALID or ERR_TOO_BIG with the place
 * and the reason. */
enum err wire_check(const struct wire *wire, struct slice body, struct err_text *why) MUST_CHECK;

enum wire_names { WIRE_NO_NAMES, WIRE_ONE_NAME, WIRE_NAME_LIST };

/* What __asgi_channel__ is to say: nothing, the one name of a send, or those of a group_send. */
struct wire_to {
    enum wire_names kind;
    const struct slice *names;
    size_t count;
};

/* Appends to @out what is stored (or published) for @body, which has passed wire_check(). @to: NULL
 * for no names. @now_s: Unix time, for the encryption and for where the prefix begins to count.
 * Errors: ERR_TOO_BIG (over WIRE_MEMBER_MAX, or the ceiling of @out), ERR_NOMEM, ERR_INVALID (a
 * name is no UTF-8; @body is no map), ERR_UNSUPPORTED (OpenSSL cannot encrypt). @out is as it was
 * then. */
enum err wire_seal(struct wire *wire, struct buf *out, struct slice body, const struct wire_to *to,
                   uint64_t now_s) MUST_CHECK;

/* What was in a member. Valid until the next wire_open() on the same wire, or the end of the
 * input's bytes, whichever comes first. */
struct wire_message {
    enum wire_names kind;
    uint32_t name_count;
    /* private */
    struct slice names; /* msgpack or JSON of the value of __asgi_channel__ */
    enum layer_serializer serializer;
};

/* Opens a member (or publication); @body is appended to without __asgi_channel__, empty before.
 * Errors: ERR_INVALID with the reason: does not decrypt, too old, from the future, does not decode,
 * is no map, nested too deeply, __asgi_channel__ is neither str nor array of str; ERR_TOO_BIG;
 * ERR_NOMEM; ERR_UNSUPPORTED. @out and @body are as they were then. */
enum err wire_open(struct wire *wire, struct wire_message *out, struct buf *body,
                   struct slice member, uint64_t now_s, struct err_text *why) MUST_CHECK;

/* The next name; start with *@at = 0. False at the end. Names that JSON escaped are unescaped into
 * @scratch and valid until the next call; half a surrogate pair becomes U+FFFD. One for which
 * @scratch has no room is left out: a ceiling of NAME_MAX_BYTES is enough for every name. */
bool wire_next_name(const struct wire_message *message, size_t *at, struct buf *scratch,
                    struct slice *name);

#endif
