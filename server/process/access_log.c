/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/process/access_log.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    CLIENT_MAX = 255, /* bytes of the client's host as shown */
    ESCAPE_LEN = 4,   /* \xHH */
    TAIL_MAX = 64,    /* "\" " status, bytes, newline and a final NUL */
};

static const char cut_mark[] = "...";

/* Appends to memory whose end is known; what does not fit is cut. */
struct pen {
    uint8_t *at;
    uint8_t *end;
};

static void pen_raw(struct pen *pen, const void *data, size_t len)
{
    assert((size_t)(pen->end - pen->at) >= len);
    memcpy(pen->at, data, len);
    pen->at += len;
}

static void pen_str(struct pen *pen, const char *str)
{
    pen_raw(pen, str, strlen(str));
}

static size_t shown_len(uint8_t byte)
{
    return byte < 0x20 || byte > 0x7e ? ESCAPE_LEN : 1;
}

static void pen_byte(struct pen *pen, uint8_t byte)
{
    static const char hex[] = "0123456789abcdef";
    const uint8_t escape[ESCAPE_LEN] = {'\\', 'x', (uint8_t)hex[byte >> 4],
                                        (uint8_t)hex[byte & 0xf]};
    if (shown_len(byte) == 1)
        pen_raw(pen, &byte, 1);
    else
        pen_raw(pen, escape, sizeof(escape));
}

/* Writes @text in at most @most bytes, the mark of a cut included. */
static void pen_text(struct pen *pen, struct slice text, size_t most)
{
    const size_t mark_len = sizeof(cut_mark) - 1;
    size_t used = 0;
    size_t whole = 0; /* bytes of @text that leave room for the mark */
    for (size_t i = 0; i < text.len && used <= most; i++) {
        used += shown_len(text.ptr[i]);
        if (used + mark_len <= most)
            whole = i + 1;
    }
    const bool is_cut = used > most;
    for (size_t i = 0; i < (is_cut ? whole : text.len); i++)
        pen_byte(pen, text.ptr[i]);
    if (is_cut)
        pen_str(pen, cut_mark);
}

/* Nobody calls setlocale() here, so that the month is English, as it is under Daphne. */
static void stamp_update(struct access_log *log, time_t now)
{
    struct tm tm = {.tm_mday = 1};
    if (log->now == now && log->stamp[0] != '\0')
        return;
    (void)localtime_r(&now, &tm); /* fails for years over an int only */
    if (strftime(log->stamp, sizeof(log->stamp), "%d/%b/%Y:%H:%M:%S", &tm) == 0)
        (void)snprintf(log->stamp, sizeof(log->stamp), "-");
    log->now = now;
}

static void write_client(struct pen *pen, const struct scope_addr *client)
{
    char port[sizeof(":65535")];
    if (client->host.len == 0) {
        pen_str(pen, "None");
        return;
    }
    pen_text(pen, client->host, CLIENT_MAX);
    if (client->has_port) {
        (void)snprintf(port, sizeof(port), ":%u", client->port);
        pen_str(pen, port);
    }
}

static void write_request(struct pen *pen, const struct access_entry *entry)
{
    static const char *const names[] = {
        [ACCESS_WS_CONNECTING] = "WSCONNECTING",
        [ACCESS_WS_CONNECT] = "WSCONNECT",
        [ACCESS_WS_REJECT] = "WSREJECT",
        [ACCESS_WS_DISCONNECT] = "WSDISCONNECT",
    };
    const size_t most = (size_t)(pen->end - pen->at) - TAIL_MAX;
    const uint8_t *begin = pen->at;
    if (entry->event == ACCESS_HTTP)
        pen_text(pen, entry->method, most / 2);
    else
        pen_str(pen, names[entry->event]);
    pen_str(pen, " ");
    pen_text(pen, entry->target, most - (size_t)(pen->at - begin));
}

static void write_tail(struct pen *pen, const struct access_entry *entry)
{
    char status[16] = "-";
    char bytes[24] = "-";
    if (entry->event == ACCESS_HTTP && entry->status > 0)
        (void)snprintf(status, sizeof(status), "%u", entry->status);
    if (entry->event == ACCESS_HTTP && entry->body_bytes > 0)
        (void)snprintf(bytes, sizeof(bytes), "%" PRIu64, entry->body_bytes);
    pen_str(pen, "\" ");
    pen_str(pen, status);
    pen_str(pen, " ");
    pen_str(pen, bytes);
    pen_str(pen, "\n");
}

struct slice access_log_format(struct access_log *log, uint8_t *out, size_t room,
                               const struct access_entry *entry)
{
    struct pen pen = {.at = out, .end = out + room};
    assert(room >= ACCESS_LOG_LINE_MIN);
    stamp_update(log, entry->now);
    write_client(&pen, &entry->client);
    pen_str(&pen, " - - [");
    pen_str(&pen, log->stamp);
    pen_str(&pen, "] \"");
    write_request(&pen, entry);
    write_tail(&pen, entry);
    return slice_make(out, (size_t)(pen.at - out));
}
