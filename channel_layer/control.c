/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/control.h"

#include <stdio.h>
#include <string.h>

#include "core/pack.h"

static const char discard_type[] = "channelsd.discard";
static const char flush_type[] = "channelsd.flush";

/* ---- JSON ---- */

static struct slice write_json(uint8_t *out, const struct control *control)
{
    int len = 0;
    if (control->kind == CONTROL_FLUSH)
        len = snprintf((char *)out, CONTROL_MAX, "{\"type\":\"%s\"}", flush_type);
    else
        len = snprintf((char *)out, CONTROL_MAX,
                       "{\"type\":\"%s\",\"group\":\"%.*s\",\"channel\":\"%.*s\"}", discard_type,
                       (int)control->group.len, (const char *)control->group.ptr,
                       (int)control->channel.len, (const char *)control->channel.ptr);
    return slice_make(out, (size_t)len);
}

/* Cuts @text off the front. */
static bool cut(struct slice *in, const char *text)
{
    const size_t len = strlen(text);
    if (in->len < len || memcmp(in->ptr, text, len) != 0)
        return false;
    *in = slice_make(in->ptr + len, in->len - len);
    return true;
}

/* Cuts off what stands before the next quote, and that. */
static bool cut_quoted(struct slice *in, struct slice *out)
{
    const uint8_t *quote = in->len > 0 ? memchr(in->ptr, '"', in->len) : NULL;
    if (quote == NULL)
        return false;
    const size_t len = (size_t)(quote - in->ptr);
    *out = slice_make(in->ptr, len);
    *in = slice_make(quote + 1, in->len - len - 1);
    return true;
}

static bool read_json(struct control *out, struct slice body)
{
    struct slice type = {0};
    if (!cut(&body, "{\"type\":\"") || !cut_quoted(&body, &type))
        return false;
    if (slice_eq_str(type, flush_type)) {
        out->kind = CONTROL_FLUSH;
        return slice_eq_str(body, "}");
    }
    out->kind = CONTROL_DISCARD;
    return slice_eq_str(type, discard_type) && cut(&body, ",\"group\":\"") &&
           cut_quoted(&body, &out->group) && cut(&body, ",\"channel\":\"") &&
           cut_quoted(&body, &out->channel) && slice_eq_str(body, "}");
}

/* ---- msgpack ---- */

enum { MAP_OF_ONE = 0x81, MAP_OF_THREE = 0x83 };

static struct slice write_msgpack(uint8_t *out, const struct control *control)
{
    const bool is_flush = control->kind == CONTROL_FLUSH;
    uint8_t *end = out;
    *end++ = is_flush ? MAP_OF_ONE : MAP_OF_THREE;
    end =
        pack_str(pack_str(end, slice_str("type")), slice_str(is_flush ? flush_type : discard_type));
    if (!is_flush) {
        end = pack_str(pack_str(end, slice_str("group")), control->group);
        end = pack_str(pack_str(end, slice_str("channel")), control->channel);
    }
    return slice_make(out, (size_t)(end - out));
}

static bool read_msgpack(struct control *out, struct slice body)
{
    struct pack_reader r;
    bool is_one = false;
    if (body.len < 1 || (body.ptr[0] != MAP_OF_ONE && body.ptr[0] != MAP_OF_THREE))
        return false;
    pack_reader_init(&r, body.ptr + 1, body.len - 1);
    const bool has_type = slice_eq_str(pack_read_bytes(&r), "type");
    const struct slice type = pack_read_bytes(&r);
    if (body.ptr[0] == MAP_OF_ONE) {
        out->kind = CONTROL_FLUSH;
        is_one = slice_eq_str(type, flush_type);
    } else {
        out->kind = CONTROL_DISCARD;
        const bool has_group = slice_eq_str(pack_read_bytes(&r), "group");
        out->group = pack_read_bytes(&r);
        const bool has_channel = slice_eq_str(pack_read_bytes(&r), "channel");
        out->channel = pack_read_bytes(&r);
        is_one = slice_eq_str(type, discard_type) && has_group && has_channel;
    }
    return has_type && is_one && !r.failed && r.at == r.end;
}

/* ---- both ---- */

struct slice control_write(uint8_t out[CONTROL_MAX], enum layer_serializer serializer,
                           const struct control *control)
{
    return serializer == LAYER_JSON ? write_json(out, control) : write_msgpack(out, control);
}

bool control_read(struct control *out, enum layer_serializer serializer, struct slice body)
{
    *out = (struct control){.kind = CONTROL_DISCARD};
    return serializer == LAYER_JSON ? read_json(out, body) : read_msgpack(out, body);
}
