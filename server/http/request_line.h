/* SPDX-License-Identifier: BSD-3-Clause
 *
 * request_line: the first line of an HTTP/1 request (RFC 9112 section 3). Sans-I/O.
 *
 * Why: llhttp knows a fixed list of methods and forms of targets; Django projects are served any
 * token as a method and any path, as Daphne does. So this line is read here and llhttp gets the
 * rest.
 *
 * Thread: any (no state).
 */
#ifndef SERVER_HTTP_REQUEST_LINE_H
#define SERVER_HTTP_REQUEST_LINE_H

#include <stdint.h>

#include "core/err.h"
#include "core/slice.h"

struct request_line {
    struct slice method;
    struct slice target;    /* as received */
    struct slice path;      /* of the target, still percent-encoded; "*" for OPTIONS * */
    struct slice query;     /* behind the question mark */
    struct slice authority; /* of an absolute-form target, else empty: it takes the place of Host */
    unsigned minor;         /* 0 or 1: HTTP/1.0 or HTTP/1.1 */
};

/* Reads @line, which comes without its CRLF. The slices of @out point into it.
 *
 * Returns 0, or the status to answer with: 400, 505; then *@reason is static text naming what is
 * wrong; all slices of @out are good, and the method is empty when there was none. */
unsigned request_line_parse(struct request_line *out, const char **reason,
                            struct slice line) MUST_CHECK;

#endif
