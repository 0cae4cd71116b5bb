/* SPDX-License-Identifier: BSD-3-Clause
 *
 * dlist: intrusive doubly linked list with a head that is a node.
 *
 * Why: connections, timers and writers join and leave lists in O(1) without allocating.
 * A node that is in no list points to itself, so dlist_remove() may be called twice.
 */
#ifndef CORE_DLIST_H
#define CORE_DLIST_H

#include <stdbool.h>
#include <stddef.h>

struct dlist {
    struct dlist *next;
    struct dlist *prev;
};

/* The struct of which @member at @ptr is a part. */
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline void dlist_init(struct dlist *node)
{
    node->next = node;
    node->prev = node;
}

static inline bool dlist_is_empty(const struct dlist *head)
{
    return head->next == head;
}

/* Puts @node, which is in no list, at the end of @head. */
static inline void dlist_append(struct dlist *head, struct dlist *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void dlist_remove(struct dlist *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    dlist_init(node);
}

/* Takes the first node out of @head; NULL when empty. */
static inline struct dlist *dlist_take_first(struct dlist *head)
{
    if (dlist_is_empty(head))
        return NULL;
    struct dlist *node = head->next;
    dlist_remove(node);
    return node;
}

/* Moves all nodes of @from to the end of @to; @from is empty afterwards. */
static inline void dlist_splice(struct dlist *to, struct dlist *from)
{
    if (dlist_is_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    dlist_init(from);
}

#endif
