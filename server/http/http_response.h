/* SPDX-License-Identifier: BSD-3-Clause
 *
 * http_response: the answering half of an exchange: what the consumer sends, and the server's own
 * pages.
 *
 * Thread: the exchange's edge.
 */
#ifndef SERVER_HTTP_HTTP_RESPONSE_H
#define SERVER_HTTP_HTTP_RESPONSE_H

#include "consumers/client.h"
#include "server/http/http_exchange.h"

/* What a consumer may do to a request or to a handshake. */
extern const struct client_ops http_response_ops;

/* Answers with a page of the server's own that says @sentence, and ends the connection. When a
 * response has begun the connection is cut instead. The consumer must not be engaged any more. */
void http_response_page(struct http_exchange *x, unsigned status, const char *sentence);

/* Writes the access log's line of the present request for @event. */
void http_response_log(struct http_exchange *x, enum access_event event);

#endif
