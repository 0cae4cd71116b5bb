/* SPDX-License-Identifier: BSD-3-Clause
 *
 * payload: the text of a message, which tells who sent it, which one it is and when.
 *
 * Why: an answer is believed only if each byte of it is what was sent. What follows the stamp
 * depends on the stamp, so that a changed digit is noticed as well as a changed letter.
 *
 * Thread: any, once payload_init() returned.
 */
#ifndef BENCH_LOAD_PAYLOAD_H
#define BENCH_LOAD_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/slice.h"

enum {
    PAYLOAD_STAMP_BYTES = 32, /* 8 + 8 + 16 hexadecimal digits */
    PAYLOAD_MIN_BYTES = 64,
    PAYLOAD_MAX_BYTES = 65536,
    PAYLOAD_PHASES = 61, /* a prime: neighbours never share a text */
};

struct stamp {
    uint32_t sender;
    uint32_t number;
    uint64_t sent_ns;
};

struct payload {
    /* private */
    size_t size; /* bytes of a message */
    bool is_json;
    char filler[PAYLOAD_MAX_BYTES + PAYLOAD_PHASES];
};

/* Messages of @size bytes (PAYLOAD_MIN_BYTES to PAYLOAD_MAX_BYTES), plain or as the JSON object
 * {"message": "..."} that Python's json.dumps() makes. */
void payload_init(struct payload *p, size_t size, bool is_json);

/* Writes the message of @stamp to @out, which has room for PAYLOAD_MAX_BYTES. Returns its size. */
size_t payload_write(const struct payload *p, uint8_t *out, const struct stamp *stamp);

/* Reads a message into *@out. False when it is not exactly what payload_write() makes of that
 * stamp; *@out is undefined then. */
bool payload_read(const struct payload *p, struct stamp *out, struct slice text);

#endif
