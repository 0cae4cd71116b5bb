/* SPDX-License-Identifier: BSD-3-Clause
 *
 * transcode: the body of a message as a JSON text, and a JSON text as the body of a message.
 *
 * Why: people and scripts write and read JSON; bodies are msgpack, which knows more types. What
 * JSON has no word for is an object with one member, so that nothing is lost in either direction:
 *
 *   bin                           {"__bytes__": "<base64>"}
 *   NaN and the infinities        {"__float__": "NaN"}, "Infinity", "-Infinity"
 *   integers from 2^63 on         {"__int__": "9223372036854775808"}
 *   ext                           {"__ext__": [type, "<base64>"]}
 *   map that a JSON object cannot {"__map__": [[key, value], ...]}: a key is not a str or has a
 * NUL, or the map is itself of the shape of one of these
 *
 * Towards msgpack keys are str or bin, since Python's readers refuse all others; a number with a
 * point or an exponent becomes a float of 64 bits, any other an integer in its shortest form.
 * Towards JSON every float has a point or an exponent and reads back as the same double; text stays
 * UTF-8, and the result is one line. A key that a map has twice is written twice.
 *
 * Thread: any (no state outside the arguments).
 */
#ifndef CORE_TRANSCODE_H
#define CORE_TRANSCODE_H

#include "core/buf.h"
#include "core/err.h"
#include "core/slice.h"

enum {
    TRANSCODE_DEPTH_WRITE = 512, /* arrays and maps in one another: every Python reads them */
    TRANSCODE_DEPTH_READ = 1024, /* what Python's reader takes */
};

/* Appends to @out the body that the JSON object @text describes.
 * Errors: ERR_INVALID (no JSON, no object, a marked form that is none), ERR_TOO_BIG (depth, or the
 * ceiling of @out), ERR_NOMEM, with the reason in @why. @out then has a part of it. */
enum err transcode_to_pack(struct buf *out, struct slice text, struct err_text *why) MUST_CHECK;

/* Appends to @out the JSON of @body, one msgpack map.
 * Errors: ERR_INVALID (not msgpack, no map, bytes behind it, a str that is not UTF-8), ERR_TOO_BIG,
 * ERR_NOMEM, with the reason in @why. @out then has a part of it. */
enum err transcode_to_json(struct buf *out, struct slice body, struct err_text *why) MUST_CHECK;

#endif
