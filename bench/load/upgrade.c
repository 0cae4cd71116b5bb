/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/upgrade.h"

#include "core/text.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>

enum { KEY_BYTES = 16, DIGEST_BYTES = 20 };

/* Section 4.2.2, item 5, step 4. */
static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

enum err upgrade_init(struct upgrade *u, const char *host, unsigned port, const char *path)
{
    uint8_t random[KEY_BYTES];
    uint8_t digest[DIGEST_BYTES];
    char key[KEY_BYTES * 2];
    char text[sizeof(key) + sizeof(guid)];

    if (RAND_bytes(random, sizeof(random)) != 1)
        return ERR_IO;
    EVP_EncodeBlock((uint8_t *)key, random, sizeof(random));
    const int len = snprintf(text, sizeof(text), "%s%s", key, guid);
    if (EVP_Digest(text, (size_t)len, digest, NULL, EVP_sha1(), NULL) != 1)
        return ERR_IO;
    EVP_EncodeBlock((uint8_t *)u->accept, digest, sizeof(digest));

    const int size = snprintf(u->request, sizeof(u->request),
                              "GET %s HTTP/1.1\r\nHost: %s:%u\r\nOrigin: http://%s:%u\r\n"
                              "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n",
                              path, host, port, host, port, key);
    return size < 0 || (size_t)size >= sizeof(u->request) ? ERR_TOO_BIG : ERR_OK;
}

struct slice upgrade_request(const struct upgrade *u)
{
    return slice_str(u->request);
}

static bool accepts(const struct upgrade *u, struct slice head)
{
    static const char name[] = "sec-websocket-accept";
    const uint8_t *end = head.ptr + head.len;

    for (const uint8_t *line = head.ptr; line < end;) {
        const uint8_t *stop = memmem(line, (size_t)(end - line), "\r\n", 2);
        if (stop == NULL)
            return false;
        const uint8_t *colon = memchr(line, ':', (size_t)(stop - line));
        if (colon != NULL && text_eq_nocase(slice_make(line, (size_t)(colon - line)), name)) {
            const struct slice value = slice_make(colon + 1, (size_t)(stop - colon - 1));
            return slice_eq_str(text_trim(value), u->accept);
        }
        line = stop + 2;
    }
    return false;
}

enum upgrade_scan upgrade_scan(const struct upgrade *u, size_t *used, struct slice in)
{
    static const char status[] = "HTTP/1.1 101 ";
    const uint8_t *end = memmem(in.ptr, in.len, "\r\n\r\n", 4);

    if (end == NULL)
        return in.len > UPGRADE_REPLY_MAX ? UPGRADE_REFUSED : UPGRADE_MORE;
    *used = (size_t)(end - in.ptr) + 4;
    if (*used < sizeof(status) || memcmp(in.ptr, status, sizeof(status) - 1) != 0)
        return UPGRADE_REFUSED;
    return accepts(u, slice_make(in.ptr, *used - 2)) ? UPGRADE_DONE : UPGRADE_REFUSED;
}
