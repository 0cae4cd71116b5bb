/* SPDX-License-Identifier: BSD-3-Clause */
#include "routing/table.h"

enum err route_table_find(struct route *out, const struct route_table *table,
                          const struct scope *scope)
{
    (void)scope; /* the fallback takes every path and both types */
    if (table->fallback.kind == NULL)
        return ERR_NOT_FOUND;
    *out = table->fallback;
    return ERR_OK;
}
