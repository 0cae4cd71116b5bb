/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuzz_json_body: a line that somebody writes for a layer that stores JSON, and the JSON that
 * anybody stored in it.
 *
 * The input is taken for both. What is JSON is printed as one line; and where nothing in it looks
 * like a marked form already, that line says the same when it is read and printed again.
 */
#include "server/command/json_body.h"

#include "core/json.h"
#include "tests/support/fuzz.h"

#include <stdlib.h>
#include <string.h>

enum { OUT_MAX = 16 << 20 };

static void require(bool promise)
{
    if (!promise)
        abort();
}

static bool is_json(struct slice text)
{
    static const struct json_limits limits = {.max_bytes = OUT_MAX, .max_depth = 1000};
    struct err_text why = {0};
    struct json_node *root = NULL;
    if (json_parse(&root, text, &limits, &why) != ERR_OK)
        return false;
    json_discard(root);
    return true;
}

/* A line that is no JSON is none as a body either: what marks is taken out of what is whole. */
static void from_line(struct slice text)
{
    struct err_text why = {0};
    struct buf body;
    buf_init(&body, OUT_MAX);
    const enum err err = json_body_read(&body, text, &why);
    require(err == ERR_OK || (why.code == err && why.text[0] != '\0'));
    if (err == ERR_OK && is_json(buf_slice(&body)))
        require(is_json(text));
    buf_deinit(&body);
}

static void from_body(struct slice in)
{
    struct err_text why = {0};
    struct buf line, body, again;
    buf_init(&line, OUT_MAX);
    buf_init(&body, OUT_MAX);
    buf_init(&again, OUT_MAX);
    require(json_body_print(&line, in, &why) == ERR_OK);
    if (is_json(in)) {
        require(memchr(line.ptr, '\n', line.len) == NULL);
        require(memchr(line.ptr, '\r', line.len) == NULL);
    }
    if (is_json(buf_slice(&line)) && memmem(in.ptr, in.len, "__", 2) == NULL) {
        const enum err err = json_body_read(&body, buf_slice(&line), &why);
        require(err == ERR_OK || err == ERR_TOO_BIG);
        require(json_body_print(&again, buf_slice(&body), &why) == ERR_OK);
        require(err != ERR_OK || slice_eq(buf_slice(&line), buf_slice(&again)));
    }
    buf_deinit(&line);
    buf_deinit(&body);
    buf_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    from_line(slice_make(data, size));
    from_body(slice_make(data, size));
    return 0;
}
