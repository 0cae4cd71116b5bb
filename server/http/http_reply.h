/* SPDX-License-Identifier: BSD-3-Clause
 *
 * http_reply: response heads and error pages as bytes.
 *
 * Why: what may stand in a response head is checked here once, whoever made it: an application's
 * header with a line break must never become a second header.
 *
 * Thread: the loop that owns the writer.
 */
#ifndef SERVER_HTTP_HTTP_REPLY_H
#define SERVER_HTTP_HTTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/header.h"
#include "core/slice.h"
#include "core/writer.h"

/* What the server adds to every response; one per loop, made anew each second. */
struct http_stamp {
    char bytes[320]; /* "Server: ...\r\nDate: ...\r\n" */
    size_t len;
    bool has_server; /* bytes begin with a Server line of server_len bytes */
    size_t server_len;
};

enum http_framing {
    HTTP_FRAMING_NONE,    /* no body: HEAD, 1xx, 204, 304 */
    HTTP_FRAMING_LENGTH,  /* Content-Length */
    HTTP_FRAMING_CHUNKED, /* HTTP/1.1, length unknown */
    HTTP_FRAMING_CLOSE,   /* HTTP/1.0, length unknown: ends with the connection */
};

struct http_reply {
    unsigned status;
    const struct header *headers; /* the application's */
    size_t header_count;
    unsigned minor;       /* of the request: the status line's version */
    bool is_head;         /* the request was HEAD */
    bool is_whole;        /* the first piece of the body is the last */
    uint64_t whole_bytes; /* its length then */
    bool close;           /* say "Connection: close" */
    /* set by http_reply_plan() */
    enum http_framing framing;
    bool has_length; /* the application gave Content-Length */
    uint64_t length; /* bytes that the body must have, with HTTP_FRAMING_LENGTH or for a check */
};

/* Makes @stamp for @now (seconds since 1970); @server "" leaves the Server line out. */
void http_stamp_make(struct http_stamp *stamp, int64_t now, const char *server, bool with_date);

/* Checks the status and headers and decides the framing.
 *
 * NULL when all is well; otherwise static text naming what cannot be sent, with *@culprit the
 * header's name. */
const char *http_reply_plan(struct http_reply *reply, struct slice *culprit) MUST_CHECK;

/* Writes the head of a planned reply. Also sets reply->close when the framing or the application's
 * own Connection header asks for it. */
void http_reply_write_head(struct http_reply *reply, const struct http_stamp *stamp,
                           struct writer *w);

/* Header lines of @headers, which http_reply_plan() found good, and the stamp's; for a 101, whose
 * own fields are left out. */
void http_reply_write_fields(struct writer *w, const struct http_stamp *stamp,
                             const struct header *headers, size_t count);

/* A chunk around @piece (nothing for an empty one); http_reply_write_last_chunk() ends the body. */
void http_reply_write_chunk(struct writer *w, struct slice piece);
void http_reply_write_last_chunk(struct writer *w);

/* A whole answer of the server's own, a small HTML page that says @sentence; always closes.
 * @extra is whole header lines or "". */
struct http_page {
    unsigned status;
    unsigned minor;
    bool is_head;
    const char *sentence;
    const char *extra;
};
size_t http_reply_write_page(struct writer *w, const struct http_stamp *stamp,
                             const struct http_page *page);

/* Standard reason phrase of @status ("Unknown Status" for others). */
const char *http_reply_phrase(unsigned status);

#endif
