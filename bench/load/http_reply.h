/* SPDX-License-Identifier: BSD-3-Clause
 *
 * http_reply: one answer of an HTTP/1.1 server, with a length or in chunks.
 *
 * Why: an answer counts only when it is complete, says 200 and has the body that was expected.
 *
 * Thread: any.
 */
#ifndef BENCH_LOAD_HTTP_REPLY_H
#define BENCH_LOAD_HTTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#include "core/slice.h"

enum { HTTP_REPLY_MAX_BYTES = 65536 }; /* head and body; a longer one is broken */

struct http_reply {
    unsigned status;
    bool has_body;   /* exactly the body that was expected */
    bool keeps_open; /* another request may follow */
};

enum http_reply_scan {
    HTTP_REPLY_MORE,   /* the answer is not complete */
    HTTP_REPLY_DONE,   /* *out and *used are set */
    HTTP_REPLY_BROKEN, /* not HTTP/1.x, or of a length that cannot be told */
};

/* Reads the answer at the front of @in and compares its body with @expected. *@used is its
 * length. */
enum http_reply_scan http_reply_scan(struct http_reply *out, size_t *used, struct slice in,
                                     struct slice expected);

#endif
