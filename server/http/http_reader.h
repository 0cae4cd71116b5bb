/* SPDX-License-Identifier: BSD-3-Clause
 *
 * http_reader: the reading half of one HTTP/1 connection. Sans-I/O.
 *
 * Why: bytes in, events out, at the pace of the caller: a request is not read on before the caller
 * wants it, which is what keeps pipelined requests in order and uploads out of memory. Framing is
 * llhttp's, strict; the request line is ours (request_line.h).
 *
 * Thread: owner only.
 */
#ifndef SERVER_HTTP_HTTP_READER_H
#define SERVER_HTTP_HTTP_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <llhttp.h>

#include "core/buf.h"
#include "core/header.h"
#include "core/slice.h"
#include "server/http/request_line.h"

/* Ceilings of a request head; shared by all connections. */
struct http_limits {
    size_t max_line_bytes;   /* request line without CRLF; over it 414 */
    size_t max_header_bytes; /* names and values together; also all trailers, a chunk's extensions;
                                over it 431 */
    size_t max_headers;      /* over it 431 */
};

/* The head of one request: storage that is lent from request to request. */
struct http_head {
    struct http_head *next; /* for the lender */
    struct request_line line;
    struct header
        *headers; /* names in lower case, values trimmed; those with '_' in the name are left out */
    size_t header_count;     /* 0 until the head is complete */
    uint64_t content_length; /* 0 unless has_length */
    bool has_length;
    bool is_chunked;
    bool keep_alive;       /* the client allows another request on the connection */
    bool expects_continue; /* "Expect: 100-continue" */
    bool has_upgrade;
    /* private */
    struct buf bytes;
    size_t header_room;
    size_t stored_headers; /* entries in use; those of an unfinished head hold offsets */
    size_t line_len;
    size_t seen_headers; /* with the ones left out */
    size_t name_len;     /* of the field being read */
    size_t field_start;
    size_t trailer_bytes;
    size_t extension_bytes; /* of the chunk whose size is being read */
    bool in_value;
};

/* @max_bytes: what line and headers may need together. */
void http_head_init(struct http_head *head, const struct http_limits *limits);
void http_head_deinit(struct http_head *head);
/* Makes it empty, keeping its memory for the next request. */
void http_head_reset(struct http_head *head);

enum http_event_kind {
    HTTP_EVENT_MORE, /* the input is used up */
    HTTP_EVENT_HEAD, /* the head is complete and in the caller's http_head */
    HTTP_EVENT_BODY, /* data is a piece of the body; borrowed from the input */
    HTTP_EVENT_END,  /* the request is complete */
    HTTP_EVENT_BAD,  /* answer with status and reason, then close; nothing is read after it */
};

struct http_event {
    enum http_event_kind kind;
    struct slice data;
    unsigned status;    /* BAD: 400, 408.., 414, 431, 500 (no memory), 505 */
    const char *reason; /* BAD: static text naming what is wrong */
};

struct http_reader {
    /* private */
    llhttp_t parser;
    const struct http_limits *limits;
    struct http_head *head;
    struct slice piece;
    const char *reason;
    uint16_t status;
    uint8_t state;
    bool skipped_blank;
};

void http_reader_init(struct http_reader *r, const struct http_limits *limits);

/* Makes ready for the next request, whose head goes into @head (empty; borrowed until END or BAD).
 */
void http_reader_begin(struct http_reader *r, struct http_head *head);

/* Whether any byte of the present request's head has come. */
bool http_reader_has_begun(const struct http_reader *r);

/* Takes bytes from *@in (@len of them), tells the next event and moves on behind what it took.
 * After END call http_reader_begin() before the next call. */
void http_reader_next(struct http_reader *r, struct http_event *event, const uint8_t **in,
                      size_t *len);

#endif
