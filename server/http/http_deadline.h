/* SPDX-License-Identifier: BSD-3-Clause
 *
 * http_deadline: how long each phase of an HTTP exchange may take.
 *
 * Why: who is awaited changes all the time: the client with its head or its body, a worker, the
 * application with its answer, the client again that takes it. Each has a limit of its own, and
 * only the one whose turn it is may be found late.
 *
 * Thread: the connection's edge's.
 */
#ifndef SERVER_HTTP_HTTP_DEADLINE_H
#define SERVER_HTTP_HTTP_DEADLINE_H

#include "server/http/http_exchange.h"

/* To be called when the phase, or the moment that it counts from, has changed. */
void http_deadline_set(struct http_exchange *x);

/* The moment has come, or another one that does not hold any more: ends what takes too long, or
 * sets the next. */
void http_deadline_passed(struct http_exchange *x);

#endif
