/* SPDX-License-Identifier: BSD-3-Clause
 *
 * json: JSON texts read into a tree.
 *
 * Why: the JSON library is known to this file only. Size and depth are checked before it sees a
 * text, and what is wrong with a text is told by its position, never by quoting it: settings hold
 * passwords.
 *
 * How it reads: RFC 8259 in UTF-8. An object that has a key twice is refused, and so are NaN and
 * Infinity, integers outside of 64 bits with a sign, numbers that a double cannot hold, and a NUL
 * in a key. A string may hold \u0000. Objects keep the order of their members.
 *
 * Thread: a tree is its owner's; different trees may be made and read at once.
 */
#ifndef CORE_JSON_H
#define CORE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/slice.h"

enum { JSON_DEPTH_CEILING = 2000 }; /* of max_depth: the library's own recursion ends soon behind */

struct json_limits {
    size_t max_bytes;
    unsigned max_depth; /* arrays and objects inside of one another; 1: [] but not [[]] */
};

enum json_kind {
    JSON_KIND_NULL,
    JSON_KIND_BOOL,
    JSON_KIND_INT,  /* no point and no exponent was written */
    JSON_KIND_REAL, /* finite */
    JSON_KIND_STR,
    JSON_KIND_ARRAY,
    JSON_KIND_OBJECT
};

struct json_node; /* opaque: a value, with all that is in it */

/* Reads the one value that @text holds.
 *
 * Ownership: the caller owns *@out, to be given to json_discard(); the nodes in it are the tree's.
 * Errors:    ERR_TOO_BIG (size or depth), ERR_INVALID, ERR_NOMEM; @why has line and column. */
enum err json_parse(struct json_node **out, struct slice text, const struct json_limits *limits,
                    struct err_text *why) MUST_CHECK;
void json_discard(struct json_node *root); /* NULL is allowed */

enum json_kind json_kind(const struct json_node *node);
/* For messages: "null", "true or false", "a number", "a string", "a list", "an object". */
const char *json_kind_str(enum json_kind kind);

/* Each for a node of that kind. */
bool json_bool(const struct json_node *node);
int64_t json_int(const struct json_node *node);
double json_double(const struct json_node *node);    /* also of JSON_KIND_INT */
struct slice json_str(const struct json_node *node); /* valid UTF-8 */

/* Items of an array, members of an object. */
size_t json_count(const struct json_node *node);
const struct json_node *json_item(const struct json_node *array, size_t i); /* i < json_count() */
const struct json_node *json_member(const struct json_node *object, const char *key); /* or NULL */

/* A place among the members of an object, which come in the order of the text. */
struct json_cursor {
    /* private */
    const struct json_node *object;
    void *at;
};

struct json_cursor json_members(const struct json_node *object);
/* The next member; false, with *@key and *@value untouched, when there are no more. */
bool json_next(struct json_cursor *cursor, struct slice *key,
               const struct json_node **value) MUST_CHECK;

#endif
