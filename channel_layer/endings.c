/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/endings.h"

#include <stdio.h>

#include "core/mem.h"

struct ending {
    struct dlist link;
    struct layer_call *call;
    enum err err;
    char why[ERR_TEXT_MAX];
};

void endings_init(struct endings *endings)
{
    dlist_init(&endings->list);
}

void endings_add(struct endings *endings, struct layer_call *call, enum err err, const char *format,
                 va_list args)
{
    struct ending *ending = mem_alloc(sizeof(*ending));
    ending->call = call;
    ending->err = err;
    (void)vsnprintf(ending->why, sizeof(ending->why), format, args);
    dlist_append(&endings->list, &ending->link);
}

void endings_run(struct endings *endings)
{
    struct dlist now;
    struct dlist *node = NULL;
    dlist_init(&now);
    dlist_splice(&now, &endings->list);
    while ((node = dlist_take_first(&now)) != NULL) {
        struct ending *ending = CONTAINER_OF(node, struct ending, link);
        ending->call->done(ending->call, ending->err, ending->why);
        mem_free(ending);
    }
}
