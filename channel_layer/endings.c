/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/endings.h"

#include <stdio.h>
#include <string.h>

#include "core/mem.h"

struct ending {
    struct dlist link;
    struct layer_call *call;
    enum err err;
    char why[];
};

void endings_init(struct endings *endings)
{
    dlist_init(&endings->list);
}

bool endings_is_empty(const struct endings *endings)
{
    return dlist_is_empty(&endings->list);
}

static void add(struct endings *endings, struct layer_call *call, enum err err, const char *why)
{
    const size_t len = strlen(why);
    struct ending *ending = mem_alloc(sizeof(*ending) + len + 1);
    ending->call = call;
    ending->err = err;
    memcpy(ending->why, why, len);
    dlist_append(&endings->list, &ending->link);
}

void endings_add(struct endings *endings, struct layer_call *call, enum err err, const char *format,
                 va_list args)
{
    char why[ERR_TEXT_MAX];
    (void)vsnprintf(why, sizeof(why), format, args);
    add(endings, call, err, why);
}

void endings_add_ok(struct endings *endings, struct layer_call *call)
{
    add(endings, call, ERR_OK, "");
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
