/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/http/http_scope.h"

#include "core/mem.h"
#include "core/text.h"

static bool is_trusted(const struct conn *c)
{
    const struct options *o = c->edge->config->options;
    return trust_list_has(&o->forwarded, &c->peer.any);
}

void http_scope_client(struct scope *scope, char *host_room, const struct http_exchange *x)
{
    const struct conn *c = x->conn;
    const struct http_head *head = x->head;
    scope->type = x->is_upgrade ? SCOPE_WEBSOCKET : SCOPE_HTTP;
    scope->scheme = slice_str(x->is_upgrade ? "ws" : "http");
    scope->headers = head->headers;
    scope->header_count = head->header_count;
    if (!c->is_unix) {
        scope->client.host = slice_make(host_room, conn_peer_host(c, host_room, INET6_ADDRSTRLEN));
        scope->client.port = conn_peer_port(c);
        scope->client.has_port = true;
    }
    if (c->edge->config->options->has_proxy_headers && is_trusted(c))
        proxy_headers_apply(scope, &c->edge->config->proxy);
}

/* A unix socket has none, as under Daphne: Django would make a port of what ASGI allows there. */
static void set_server(struct scope *scope, struct http_exchange *x)
{
    if (x->conn->is_unix)
        return;
    if (!x->has_local) {
        x->has_local = true;
        x->local_len = (uint16_t)conn_local_host(x->conn, x->local_host, sizeof(x->local_host),
                                                 &x->local_port);
    }
    scope->server.host = slice_make(x->local_host, x->local_len);
    scope->server.port = x->local_port;
    scope->server.has_port = true;
}

/* Daphne percent-decodes the names; one that does not decode to UTF-8 is left as it is on the wire.
 */
static struct slice decode_subprotocol(uint8_t *room, struct slice name)
{
    const size_t len = text_percent_decode(room, name.ptr, name.len);
    return utf8_is_valid(room, len) ? slice_make(room, len) : name;
}

struct slice http_scope_offered(const struct http_exchange *x, struct slice chosen)
{
    struct ws_handshake_offers offers;
    struct slice name;
    struct slice found = {0};
    ws_handshake_offers_init(&offers, x->head->headers, x->head->header_count);
    while (found.len == 0 && ws_handshake_offers_next(&name, &offers)) {
        uint8_t *room = mem_alloc(name.len + 1);
        if (slice_eq(decode_subprotocol(room, name), chosen))
            found = name;
        mem_free(room);
    }
    return found;
}

static enum err set_subprotocols(struct http_scope_room *room, uint8_t *at,
                                 const struct http_exchange *x)
{
    struct ws_handshake_offers offers;
    struct slice name;
    ws_handshake_offers_init(&offers, x->head->headers, x->head->header_count);
    while (ws_handshake_offers_next(&name, &offers)) {
        if (room->subprotocol_count == HTTP_SCOPE_SUBPROTOCOLS_MAX)
            return ERR_TOO_BIG;
        const struct slice decoded = decode_subprotocol(at, name);
        room->subprotocols[room->subprotocol_count++] = decoded;
        at += decoded.len;
    }
    return ERR_OK;
}

enum err http_scope_make(struct scope *scope, struct http_scope_room *room, struct http_exchange *x)
{
    struct http_head *head = x->head;
    const struct options *options = x->conn->edge->config->options;
    struct slice raw_root = {0};
    *scope = (struct scope){0};
    room->subprotocol_count = 0;
    /* Taken out for everybody: an application must not see what only a proxy may say. */
    head->header_count = proxy_headers_take_root_path(head->headers, head->header_count, &raw_root);
    http_scope_client(scope, room->peer_host, x);
    set_server(scope, x);

    size_t need = head->line.path.len + raw_root.len;
    for (size_t i = 0; x->is_upgrade && i < head->header_count; i++)
        if (slice_eq_str(head->headers[i].name, "sec-websocket-protocol"))
            need += head->headers[i].value.len;
    room->decoded = mem_try(need + 1);
    if (room->decoded == NULL)
        return ERR_NOMEM;
    uint8_t *at = room->decoded;
    scope->path = slice_make(at, text_percent_decode(at, head->line.path.ptr, head->line.path.len));
    at += scope->path.len;
    scope->root_path = slice_str(options->root_path);
    if (raw_root.len > 0 && is_trusted(x->conn) &&
        proxy_headers_decode_root_path(&scope->root_path, at, raw_root))
        at += scope->root_path.len;
    scope->http_version = slice_str(head->line.minor == 1 ? "1.1" : "1.0");
    scope->method = head->line.method;
    scope->raw_path = head->line.path;
    scope->query = head->line.query;
    return x->is_upgrade ? set_subprotocols(room, at, x) : ERR_OK;
}

void http_scope_deinit(struct http_scope_room *room)
{
    mem_free(room->decoded);
    room->decoded = NULL;
}
