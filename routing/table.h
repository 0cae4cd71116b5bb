/* SPDX-License-Identifier: BSD-3-Clause
 *
 * table: which consumer serves a request.
 *
 * Why: the server asks one question, "who takes this scope?", and does not know the kinds of
 * consumers. What no route takes goes to the fallback: the hosted application.
 *
 * Thread: one table per edge loop; immutable once the loop serves.
 */
#ifndef ROUTING_TABLE_H
#define ROUTING_TABLE_H

#include "consumers/client.h"
#include "consumers/scope.h"
#include "core/err.h"

struct route {
    const struct consumer_kind *kind;
    void *ctx; /* given to kind->open() */
};

struct route_table {
    struct route fallback; /* kind NULL: none */
};

/* Finds who serves @scope. Errors: ERR_NOT_FOUND; @out is untouched then. */
enum err route_table_find(struct route *out, const struct route_table *table,
                          const struct scope *scope) MUST_CHECK;

#endif
