/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/websocket/ws_handshake.h"

#include "core/text.h"

#include <openssl/evp.h>

#include <string.h>

#define KEY_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455 section 1.3 */

enum {
    KEY_LEN = 24, /* base64 of 16 bytes: 22 digits and two '=' */
    KEY_DIGITS = 22,
    GUID_LEN = sizeof(KEY_GUID) - 1,
    SHA1_LEN = 20,
};

static enum ws_handshake_verdict refuse(struct ws_handshake *out, uint16_t status,
                                        const char *reason)
{
    out->status = status;
    out->reason = reason;
    return WS_HANDSHAKE_REFUSED;
}

static enum ws_handshake_verdict refuse_value(struct ws_handshake *out, const char *reason,
                                              struct slice culprit)
{
    out->culprit = culprit;
    return refuse(out, 400, reason);
}

static bool is_base64_digit(uint8_t byte)
{
    return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
           (byte >= '0' && byte <= '9') || byte == '+' || byte == '/';
}

/* The unused low bits of the last digit are not looked at, as most decoders do. */
static bool key_is_valid(struct slice key)
{
    if (key.len != KEY_LEN || key.ptr[KEY_LEN - 2] != '=' || key.ptr[KEY_LEN - 1] != '=')
        return false;
    for (size_t i = 0; i < KEY_DIGITS; i++) {
        if (!is_base64_digit(key.ptr[i]))
            return false;
    }
    return true;
}

/* RFC 6455 section 4.2.2: base64 of the SHA-1 of key and GUID. */
static enum err write_accept(char out[WS_HANDSHAKE_ACCEPT_SIZE], struct slice key)
{
    uint8_t text[KEY_LEN + GUID_LEN];
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned digest_len = 0;
    memcpy(text, key.ptr, KEY_LEN);
    memcpy(text + KEY_LEN, KEY_GUID, GUID_LEN);
    if (EVP_Digest(text, sizeof(text), digest, &digest_len, EVP_sha1(), NULL) != 1)
        return ERR_NOMEM;
    EVP_EncodeBlock((unsigned char *)out, digest, SHA1_LEN);
    return ERR_OK;
}

static enum ws_handshake_verdict check_version(struct ws_handshake *out,
                                               const struct ws_handshake_request *request)
{
    static const char name[] = "sec-websocket-version";
    const struct slice *value = header_find(request->headers, request->header_count, name);
    if (value == NULL)
        return refuse(out, 400, "Sec-WebSocket-Version is missing");
    if (header_count(request->headers, request->header_count, name) > 1)
        return refuse(out, 400, "more than one Sec-WebSocket-Version");
    const struct slice version = text_trim(*value);
    if (!slice_eq_str(version, "13") && !slice_eq_str(version, "8")) {
        out->culprit = version;
        out->answer_headers = "Upgrade: websocket\r\nSec-WebSocket-Version: 13, 8\r\n";
        return refuse(out, 426, "unsupported Sec-WebSocket-Version");
    }
    out->version = version.len == 2 ? 13 : 8;
    return WS_HANDSHAKE_OK;
}

static enum ws_handshake_verdict check_key(struct ws_handshake *out,
                                           const struct ws_handshake_request *request)
{
    static const char name[] = "sec-websocket-key";
    const struct slice *value = header_find(request->headers, request->header_count, name);
    if (value == NULL)
        return refuse(out, 400, "Sec-WebSocket-Key is missing");
    if (header_count(request->headers, request->header_count, name) > 1)
        return refuse(out, 400, "more than one Sec-WebSocket-Key");
    const struct slice key = text_trim(*value);
    if (!key_is_valid(key))
        return refuse_value(out, "Sec-WebSocket-Key is not 16 bytes in base64", key);
    if (write_accept(out->accept, key) != ERR_OK)
        return refuse(out, 500, "Sec-WebSocket-Accept cannot be computed");
    return WS_HANDSHAKE_OK;
}

/* Daphne's rule, wider than the RFC's (a token): clients put base64, with '/' and '=', into names.
 */
static bool is_offer(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] < ' ' || name.ptr[i] > '~')
            return false;
    }
    return true;
}

static enum ws_handshake_verdict check_offers(struct ws_handshake *out,
                                              const struct ws_handshake_request *request)
{
    struct ws_handshake_offers offers;
    struct slice name = {0};
    ws_handshake_offers_init(&offers, request->headers, request->header_count);
    while (ws_handshake_offers_next(&name, &offers)) {
        if (!is_offer(name))
            return refuse_value(out, "name in Sec-WebSocket-Protocol is not ASCII text", name);
    }
    return WS_HANDSHAKE_OK;
}

enum ws_handshake_verdict ws_handshake_check(struct ws_handshake *out,
                                             const struct ws_handshake_request *request)
{
    *out = (struct ws_handshake){.reason = "", .answer_headers = ""};
    if (!header_list_has(request->headers, request->header_count, "upgrade", "websocket"))
        return WS_HANDSHAKE_NONE;
    if (!slice_eq_str(request->method, "GET")) {
        out->answer_headers = "Allow: GET\r\n";
        out->culprit = request->method;
        return refuse(out, 405, "a WebSocket is opened with GET");
    }
    /* Whatever version of HTTP: nginx speaks 1.0 where its configuration does not say otherwise,
     * and passes the answer on as it is. */
    if (!header_list_has(request->headers, request->header_count, "connection", "upgrade"))
        return refuse(out, 400, "Connection does not have upgrade");
    enum ws_handshake_verdict verdict = check_version(out, request);
    if (verdict == WS_HANDSHAKE_OK)
        verdict = check_key(out, request);
    if (verdict == WS_HANDSHAKE_OK)
        verdict = check_offers(out, request);
    return verdict;
}

void ws_handshake_offers_init(struct ws_handshake_offers *offers, const struct header *headers,
                              size_t count)
{
    *offers = (struct ws_handshake_offers){.next = headers};
    offers->end = count == 0 ? headers : headers + count;
}

bool ws_handshake_offers_next(struct slice *name, struct ws_handshake_offers *offers)
{
    while (!text_list_next(name, &offers->rest)) {
        if (offers->next == offers->end)
            return false;
        if (slice_eq_str(offers->next->name, "sec-websocket-protocol"))
            offers->rest = offers->next->value;
        offers->next++;
    }
    return true;
}
