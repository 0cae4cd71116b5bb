/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuzz_transcode: what a person or a script writes as JSON, and the body that anybody sent.
 *
 * The input is taken for both. What comes out of one direction goes back in the other, and then
 * must say the same: a body that came from JSON to the byte, since it is in its shortest form.
 */
#include "core/transcode.h"

#include "tests/support/fuzz.h"

#include <stdlib.h>
#include <string.h>

enum { OUT_MAX = 16 << 20 };

static void require(bool promise)
{
    if (!promise)
        abort();
}

static void require_one_line(struct slice json)
{
    for (size_t i = 0; i < json.len; i++)
        require(json.ptr[i] >= 0x20);
}

/* JSON -> body -> JSON -> body: both bodies are the same. */
static void from_json(struct slice text)
{
    struct err_text why = {0};
    struct buf body, json, again;
    buf_init(&body, OUT_MAX);
    buf_init(&json, OUT_MAX);
    buf_init(&again, OUT_MAX);
    const enum err err = transcode_to_pack(&body, text, &why);
    require(err == ERR_OK || (why.code == err && why.text[0] != '\0'));
    if (err == ERR_OK) {
        require(transcode_to_json(&json, buf_slice(&body), &why) == ERR_OK);
        require_one_line(buf_slice(&json));
        require(transcode_to_pack(&again, buf_slice(&json), &why) == ERR_OK);
        require(slice_eq(buf_slice(&body), buf_slice(&again)));
    }
    buf_deinit(&body);
    buf_deinit(&json);
    buf_deinit(&again);
}

/* body -> JSON -> body -> JSON: both texts are the same, where the body can be written at all: some
 * keys and depths are for readers only. */
static void from_body(struct slice in)
{
    struct err_text why = {0};
    struct buf json, body, again;
    buf_init(&json, OUT_MAX);
    buf_init(&body, OUT_MAX);
    buf_init(&again, OUT_MAX);
    const enum err err = transcode_to_json(&json, in, &why);
    require(err == ERR_OK || (why.code == err && why.text[0] != '\0'));
    if (err == ERR_OK)
        require_one_line(buf_slice(&json));
    if (err == ERR_OK && transcode_to_pack(&body, buf_slice(&json), &why) == ERR_OK) {
        require(transcode_to_json(&again, buf_slice(&body), &why) == ERR_OK);
        require(slice_eq(buf_slice(&json), buf_slice(&again)));
    }
    buf_deinit(&json);
    buf_deinit(&body);
    buf_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    from_json(slice_make(data, size));
    from_body(slice_make(data, size));
    return 0;
}
