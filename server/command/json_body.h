/* SPDX-License-Identifier: BSD-3-Clause
 *
 * json_body: the bodies of a layer that writes JSON (serializer_format), from lines and as lines.
 *
 * Why: such a body is JSON as Python writes it, which knows NaN and the infinities and has no
 * bytes. A line is JSON as everybody reads it, with the marked forms of core/transcode.h: what
 * people and scripts write and read is the same whatever the layer stores.
 *
 * Thread: any.
 */
#ifndef SERVER_COMMAND_JSON_BODY_H
#define SERVER_COMMAND_JSON_BODY_H

#include "core/buf.h"
#include "core/err.h"
#include "core/slice.h"

/* Appends to @out the body that the JSON @text describes: __float__ and __int__ become numbers. The
 * rest stays as it is written; whether it is JSON at all is for the node to say.
 * Errors: ERR_INVALID (a marked form that is none, or one for what JSON has not), ERR_TOO_BIG
 * (depth, or the ceiling of @out), ERR_NOMEM, with the reason in @why. @out then has a part of it.
 */
enum err json_body_read(struct buf *out, struct slice text, struct err_text *why) MUST_CHECK;

/* Appends to @out the one line for @body. Errors: ERR_TOO_BIG, ERR_NOMEM, as above. */
enum err json_body_print(struct buf *out, struct slice body, struct err_text *why) MUST_CHECK;

#endif
