/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pack: msgpack written into a caller's memory and read in place.
 *
 * Why: a worker link carries a record per message. Writing goes straight into the output block and
 * reading gives slices of the input: no tree of objects, no allocation, and nothing that grows
 * with a count that the sender declares. The link uses nil, bool, unsigned and signed integers,
 * str, bin and array; messages of the channel layer may hold every type, and are walked item by
 * item (format: github.com/msgpack/msgpack/blob/master/spec.md).
 *
 * Thread: any (no state outside the arguments).
 */
#ifndef CORE_PACK_H
#define CORE_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/slice.h"

enum {
    PACK_UINT_MAX = 9,   /* bytes of the longest integer */
    PACK_HEADER_MAX = 5, /* bytes before the content of a str, bin, array or map */
};

/* Each writes at @out, which has room (PACK_UINT_MAX, PACK_HEADER_MAX + length), and returns the
 * byte behind. Shortest forms are used. */
uint8_t *pack_nil(uint8_t *out);
uint8_t *pack_bool(uint8_t *out, bool value);
uint8_t *pack_uint(uint8_t *out, uint64_t value);
uint8_t *pack_array(uint8_t *out, uint32_t count);
uint8_t *pack_map(uint8_t *out, uint32_t count);
uint8_t *pack_str(uint8_t *out, struct slice text); /* text is valid UTF-8 */
uint8_t *pack_bin(uint8_t *out, struct slice bytes);
uint8_t *pack_str_header(uint8_t *out, uint32_t len);
uint8_t *pack_bin_header(uint8_t *out, uint32_t len);

enum pack_scan {
    PACK_MORE,   /* the value is not complete in the input */
    PACK_DONE,   /* one whole value; *used is its length in bytes */
    PACK_BROKEN, /* not msgpack, nested deeper than PACK_DEPTH_MAX, or longer than the ceiling */
};

enum { PACK_DEPTH_MAX = 8 };

/* Finds the end of the value at @in without building anything. A value of more than @max_bytes
 * is PACK_BROKEN as soon as its length is known. Work is linear in bytes present. */
enum pack_scan pack_scan(size_t *used, const uint8_t *in, size_t len, size_t max_bytes);

enum pack_kind {
    PACK_NIL,
    PACK_BOOL,
    PACK_INT,
    PACK_FLOAT,
    PACK_STR,
    PACK_BIN,
    PACK_EXT,
    PACK_ARRAY,
    PACK_MAP,
};

/* One item: a value without what a container holds. */
struct pack_item {
    enum pack_kind kind;
    size_t header;    /* bytes up to the content; the type of an ext is the last of them */
    uint64_t content; /* bytes; 0 for containers */
    uint64_t items;   /* that a container holds: two for each entry of a map */
};

/* Describes the item that begins at @in. PACK_DONE says that it is known, not that its content (or
 * the type of an ext) is in the input. PACK_BROKEN: the byte that msgpack never uses. */
enum pack_scan pack_scan_item(struct pack_item *out, const uint8_t *in, size_t len);

/* A reading position in a value that pack_scan() found whole. A wrong type sets @failed and gives
 * a zero value; check once at the end of a record. */
struct pack_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

void pack_reader_init(struct pack_reader *r, const uint8_t *in, size_t len);
/* Number of items that follow: never more than there are bytes left. */
uint32_t pack_read_array(struct pack_reader *r);
uint64_t pack_read_uint(struct pack_reader *r);
int64_t pack_read_int(struct pack_reader *r);
bool pack_read_bool(struct pack_reader *r);
struct slice pack_read_bytes(struct pack_reader *r); /* str or bin; borrowed */
/* As pack_read_bytes(), with nil allowed: then *@is_nil is true and the slice empty. */
struct slice pack_read_bytes_or_nil(struct pack_reader *r, bool *is_nil);
void pack_skip(struct pack_reader *r);

#endif
