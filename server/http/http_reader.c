/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/http/http_reader.h"

#include <stdlib.h>

#include "core/mem.h"
#include "core/text.h"

enum reader_state {
    READER_LINE, /* in the request line */
    READER_HEAD, /* in the headers */
    READER_BODY, /* head told; in the body or behind it */
    READER_END,  /* request told as complete */
    READER_BAD,
};

enum { HEADERS_FIRST = 32 };

/* ---- head ---- */

void http_head_init(struct http_head *head, const struct http_limits *limits)
{
    *head = (struct http_head){.line.minor = 1};
    buf_init(&head->bytes, limits->max_line_bytes + 2 + limits->max_header_bytes);
}

void http_head_deinit(struct http_head *head)
{
    buf_deinit(&head->bytes);
    mem_free(head->headers);
    head->headers = NULL;
    head->header_room = 0;
}

void http_head_reset(struct http_head *head)
{
    head->bytes.len = 0;
    head->line = (struct request_line){.minor = 1};
    head->header_count = 0;
    head->stored_headers = 0;
    head->seen_headers = 0;
    head->line_len = 0;
    head->name_len = 0;
    head->field_start = 0;
    head->trailer_bytes = 0;
    head->extension_bytes = 0;
    head->in_value = false;
    head->has_length = false;
    head->content_length = 0;
    head->is_chunked = false;
    head->keep_alive = false;
    head->expects_continue = false;
    head->has_upgrade = false;
}

static enum err add_header(struct http_head *head, struct header field)
{
    if (head->stored_headers == head->header_room) {
        const size_t room = head->header_room == 0 ? HEADERS_FIRST : head->header_room * 2;
        struct header *headers = mem_try_resize(head->headers, room * sizeof(*headers));
        if (headers == NULL)
            return ERR_NOMEM;
        head->headers = headers;
        head->header_room = room;
    }
    head->headers[head->stored_headers++] = field;
    return ERR_OK;
}

/* ---- llhttp's callbacks ---- */

static int fail(struct http_reader *r, unsigned status, const char *reason)
{
    r->status = (uint16_t)status;
    r->reason = reason;
    return HPE_USER;
}

static unsigned parse_line(struct http_reader *r, const char **reason)
{
    return request_line_parse(&r->head->line, reason,
                              slice_make(r->head->bytes.ptr, r->head->line_len - 2));
}

/* The line's slices point into the head's bytes and are looked at any time: for a 408, for the
 * access log. */
static enum err append_to_head(struct http_reader *r, const char *at, size_t len)
{
    struct buf *bytes = &r->head->bytes;
    const uint32_t room = bytes->cap;
    const enum err err = buf_append(bytes, at, len);
    const char *reason = NULL;
    if (err == ERR_OK && bytes->cap != room && parse_line(r, &reason) != 0)
        abort(); /* it was parsed before */
    return err;
}

static int append(struct http_reader *r, const char *at, size_t len)
{
    struct http_head *head = r->head;
    if (r->state != READER_HEAD) {
        /* A trailer: counted, not kept; the head's bytes must not move any more. */
        head->trailer_bytes += len;
        return head->trailer_bytes > r->limits->max_header_bytes
                   ? fail(r, 431, "The trailers are longer than this server takes.")
                   : 0;
    }
    const size_t used = head->bytes.len - head->line_len;
    if (len > r->limits->max_header_bytes - used)
        return fail(r, 431, "The headers are longer than this server takes.");
    if (append_to_head(r, at, len) != ERR_OK)
        return fail(r, 500, "No memory for the headers.");
    return 0;
}

static int on_header_field(llhttp_t *parser, const char *at, size_t len)
{
    struct http_reader *r = parser->data;
    struct http_head *head = r->head;
    if (head->in_value || head->name_len == 0) {
        head->in_value = false;
        head->field_start = head->bytes.len;
    }
    const uint32_t start = head->bytes.len;
    const int rc = append(r, at, len);
    if (rc != 0)
        return rc;
    for (uint32_t i = start; i < head->bytes.len; i++)
        if (head->bytes.ptr[i] >= 'A' && head->bytes.ptr[i] <= 'Z')
            head->bytes.ptr[i] |= 0x20U;
    head->name_len += len;
    return 0;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t len)
{
    struct http_reader *r = parser->data;
    r->head->in_value = true;
    return append(r, at, len);
}

/* Bytes that no proxy or application may take for the end of a line (CVE-2026-44546 in Daphne).
 * 0x85 is refused although UTF-8 text has it as a second byte: Daphne refuses it too. */
static bool is_bad_value(struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        const uint8_t c = value.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f || c == 0x85)
            return true;
    }
    return false;
}

/* The field's bytes stand at field_start; its slices are made when the head is complete, because
 * the buffer may still move. Until then name.ptr holds the offset. */
static int on_header_value_complete(llhttp_t *parser)
{
    struct http_reader *r = parser->data;
    struct http_head *head = r->head;
    const size_t name_len = head->name_len;
    head->name_len = 0;
    head->in_value = false;
    if (r->state != READER_HEAD)
        return 0;
    if (++head->seen_headers > r->limits->max_headers)
        return fail(r, 431, "The request has more headers than this server takes.");
    const uint8_t *start = head->bytes.ptr + head->field_start;
    const struct slice name = slice_make(start, name_len);
    const struct slice value =
        text_trim(slice_make(start + name_len, head->bytes.len - head->field_start - name_len));
    if (is_bad_value(value))
        return fail(r, 400, "A header value has a control byte.");
    /* A name with '_' looks like one with '-' to a CGI-like application; Daphne leaves those out
     * too. */
    if (memchr(name.ptr, '_', name.len) != NULL) {
        head->bytes.len = (uint32_t)head->field_start;
        return 0;
    }
    const struct header field = {
        .name = {.ptr = (const uint8_t *)(uintptr_t)head->field_start, .len = name_len},
        .value = {.ptr = (const uint8_t *)(uintptr_t)(value.ptr - head->bytes.ptr),
                  .len = value.len},
    };
    return add_header(head, field) == ERR_OK ? 0 : fail(r, 500, "No memory for the headers.");
}

static void place_headers(struct http_head *head)
{
    for (size_t i = 0; i < head->stored_headers; i++) {
        struct header *field = &head->headers[i];
        field->name.ptr = head->bytes.ptr + (uintptr_t)field->name.ptr;
        field->value.ptr = head->bytes.ptr + (uintptr_t)field->value.ptr;
    }
    head->header_count = head->stored_headers;
}

/* The authority of an absolute-form target takes the place of Host (RFC 9112 section 3.2.2). */
static int check_host(struct http_reader *r)
{
    struct http_head *head = r->head;
    if (header_count(head->headers, head->header_count, "host") > 1)
        return fail(r, 400, "The request has more than one Host header.");
    if (head->line.authority.len == 0)
        return 0;
    for (size_t i = 0; i < head->header_count; i++)
        if (slice_eq_str(head->headers[i].name, "host")) {
            head->headers[i].value = head->line.authority;
            return 0;
        }
    const struct header host = {.name = slice_str("host"), .value = head->line.authority};
    if (add_header(head, host) != ERR_OK)
        return fail(r, 500, "No memory for the headers.");
    head->header_count = head->stored_headers;
    return 0;
}

static int check_framing(struct http_reader *r, const llhttp_t *parser)
{
    struct http_head *head = r->head;
    const struct slice *coding =
        header_find(head->headers, head->header_count, "transfer-encoding");
    if (coding != NULL) {
        if (head->line.minor == 0)
            return fail(r, 400, "An HTTP/1.0 request cannot have Transfer-Encoding.");
        if (header_count(head->headers, head->header_count, "transfer-encoding") != 1 ||
            !text_eq_nocase(*coding, "chunked"))
            return fail(
                r, 400,
                "The only Transfer-Encoding of a request that this server takes is chunked.");
        head->is_chunked = true;
    }
    if (header_find(head->headers, head->header_count, "content-length") != NULL) {
        head->has_length = true;
        head->content_length = parser->content_length;
    }
    return 0;
}

static int on_headers_complete(llhttp_t *parser)
{
    struct http_reader *r = parser->data;
    struct http_head *head = r->head;
    place_headers(head);
    int rc = check_host(r);
    if (rc == 0)
        rc = check_framing(r, parser);
    if (rc != 0)
        return rc;
    head->has_upgrade = parser->upgrade != 0;
    parser->upgrade =
        0; /* what follows is read as HTTP unless the caller takes the connection over */
    head->keep_alive = head->line.minor == 1 &&
                       !header_list_has(head->headers, head->header_count, "connection", "close");
    const struct slice *expect = header_find(head->headers, head->header_count, "expect");
    head->expects_continue =
        head->line.minor == 1 && expect != NULL && text_eq_nocase(*expect, "100-continue");
    r->state = READER_BODY;
    return HPE_PAUSED;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
    struct http_reader *r = parser->data;
    r->piece = slice_make(at, len);
    return HPE_PAUSED;
}

static int on_message_complete(llhttp_t *parser)
{
    struct http_reader *r = parser->data;
    r->state = READER_END;
    return HPE_PAUSED;
}

/* Extensions mean nothing here; without a ceiling they would be a request that never ends. */
static int on_chunk_extension(llhttp_t *parser, const char *at, size_t len)
{
    struct http_reader *r = parser->data;
    (void)at;
    r->head->extension_bytes += len;
    return r->head->extension_bytes > r->limits->max_header_bytes
               ? fail(r, 431, "The extensions of a chunk are longer than this server takes.")
               : 0;
}

/* Behind the line with the chunk's size. */
static int on_chunk_header(llhttp_t *parser)
{
    struct http_reader *r = parser->data;
    r->head->extension_bytes = 0;
    return 0;
}

static const llhttp_settings_t *settings(void)
{
    static const llhttp_settings_t table = {
        .on_header_field = on_header_field,
        .on_header_value = on_header_value,
        .on_header_value_complete = on_header_value_complete,
        .on_headers_complete = on_headers_complete,
        .on_chunk_extension_name = on_chunk_extension,
        .on_chunk_extension_value = on_chunk_extension,
        .on_chunk_header = on_chunk_header,
        .on_body = on_body,
        .on_message_complete = on_message_complete,
    };
    return &table;
}

/* ---- reader ---- */

void http_reader_init(struct http_reader *r, const struct http_limits *limits)
{
    *r = (struct http_reader){.limits = limits, .state = READER_END};
    llhttp_init(&r->parser, HTTP_REQUEST, settings());
    r->parser.data = r;
}

void http_reader_begin(struct http_reader *r, struct http_head *head)
{
    llhttp_reset(&r->parser);
    r->head = head;
    r->state = READER_LINE;
    r->piece = slice_make(NULL, 0);
    r->status = 0;
    r->reason = NULL;
    r->skipped_blank = false;
}

bool http_reader_has_begun(const struct http_reader *r)
{
    return r->state != READER_LINE || r->head->bytes.len > 0;
}

static void tell_bad(struct http_reader *r, struct http_event *event, unsigned status,
                     const char *reason)
{
    r->state = READER_BAD;
    event->kind = HTTP_EVENT_BAD;
    event->status = status;
    event->reason = reason;
}

/* llhttp gets a line of its own making: what it needs of ours is the version. */
static void start_headers(struct http_reader *r)
{
    static const char line[2][18] = {"POST / HTTP/1.0\r\n", "POST / HTTP/1.1\r\n"};
    const llhttp_errno_t rc = llhttp_execute(&r->parser, line[r->head->line.minor], 17);
    if (rc != HPE_OK)
        abort(); /* a constant that the parser is documented to take */
    r->state = READER_HEAD;
}

/* Collects the request line. True: complete, and the state has moved on (or *@event is BAD). */
static bool read_line(struct http_reader *r, struct http_event *event, const uint8_t **in,
                      size_t *len)
{
    struct http_head *head = r->head;
    const uint8_t *newline = memchr(*in, '\n', *len);
    const size_t take = newline == NULL ? *len : (size_t)(newline - *in) + 1;
    /* What cannot become a request is refused at once: TLS on this port, other protocols. */
    if (head->bytes.len == 0 && **in != '\r' && !text_is_token(slice_make(*in, 1))) {
        tell_bad(r, event, 400, "The request line does not begin with a method.");
        return true;
    }
    if (head->bytes.len + take > r->limits->max_line_bytes + 2) {
        tell_bad(r, event, 414, "The request line is longer than this server takes.");
        return true;
    }
    if (buf_append(&head->bytes, *in, take) != ERR_OK) {
        tell_bad(r, event, 500, "No memory for the request line.");
        return true;
    }
    *in += take;
    *len -= take;
    const struct slice got = buf_slice(&head->bytes);
    if (newline == NULL)
        return false;
    if (got.len == 2 && got.ptr[0] == '\r' && !r->skipped_blank) {
        r->skipped_blank =
            true; /* one empty line before a request is allowed (RFC 9112 section 2.2) */
        head->bytes.len = 0;
        return true;
    }
    if (got.len < 2 || got.ptr[got.len - 2] != '\r') {
        tell_bad(r, event, 400, "A line of the request does not end with CR LF.");
        return true;
    }
    head->line_len = got.len;
    return true;
}

static void run_parser(struct http_reader *r, struct http_event *event, const uint8_t **in,
                       size_t *len)
{
    const uint8_t was = r->state;
    const llhttp_errno_t rc = llhttp_execute(&r->parser, (const char *)*in, *len);
    if (rc == HPE_OK) {
        *in += *len;
        *len = 0;
        return;
    }
    if (rc != HPE_PAUSED) {
        if (r->status == 0)
            tell_bad(r, event, 400, llhttp_get_error_reason(&r->parser));
        else
            tell_bad(r, event, r->status, r->reason);
        return;
    }
    const uint8_t *stop = (const uint8_t *)llhttp_get_error_pos(&r->parser);
    *len -= (size_t)(stop - *in);
    *in = stop;
    llhttp_resume(&r->parser);
    if (r->piece.len > 0) {
        event->kind = HTTP_EVENT_BODY;
        event->data = r->piece;
        r->piece.len = 0;
    } else if (r->state == READER_END) {
        event->kind = HTTP_EVENT_END;
    } else if (was == READER_HEAD && r->state == READER_BODY) {
        event->kind = HTTP_EVENT_HEAD;
    }
}

void http_reader_next(struct http_reader *r, struct http_event *event, const uint8_t **in,
                      size_t *len)
{
    *event = (struct http_event){.kind = HTTP_EVENT_MORE};
    /* A request without body ends right behind its head: that is told without further input. */
    while (event->kind == HTTP_EVENT_MORE && r->state < READER_END &&
           (*len > 0 || r->state == READER_BODY)) {
        if (r->state != READER_LINE) {
            const size_t before = *len;
            run_parser(r, event, in, len);
            if (event->kind == HTTP_EVENT_MORE && before == 0)
                return;
            continue;
        }
        if (!read_line(r, event, in, len))
            return;
        if (r->state == READER_BAD || r->head->line_len == 0)
            continue;
        const char *reason = NULL;
        const unsigned status = parse_line(r, &reason);
        if (status != 0)
            tell_bad(r, event, status, reason);
        else
            start_headers(r);
    }
}
