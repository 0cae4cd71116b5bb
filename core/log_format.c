/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/log_format.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum kind { KIND_TEXT, KIND_INTEGER, KIND_FLOAT };

enum field {
    FIELD_ASCTIME,
    FIELD_LEVELNAME,
    FIELD_LEVELNO,
    FIELD_MESSAGE,
    FIELD_NAME,
    FIELD_PROCESS,
    FIELD_PROCESSNAME,
    FIELD_THREAD,
    FIELD_THREADNAME,
    FIELD_CREATED,
    FIELD_MSECS,
    FIELD_RELATIVECREATED,
    FIELD_MODULE,
    FIELD_FILENAME,
    FIELD_PATHNAME,
    FIELD_FUNCNAME,
    FIELD_LINENO,
    FIELDS,
    FIELD_LITERAL = FIELDS, /* a part that is no field */
};

/* Where in the source a line was made is nobody's business here: those fields are constants, in
 * the form that logging uses when it does not know. */
static const struct {
    const char *name;
    enum kind kind;
    const char *constant; /* what a text always is; NULL: the record has it */
} fields[FIELDS] = {
    [FIELD_ASCTIME] = {"asctime", KIND_TEXT, NULL},
    [FIELD_LEVELNAME] = {"levelname", KIND_TEXT, NULL},
    [FIELD_LEVELNO] = {"levelno", KIND_INTEGER, NULL},
    [FIELD_MESSAGE] = {"message", KIND_TEXT, NULL},
    [FIELD_NAME] = {"name", KIND_TEXT, "channelsd"},
    [FIELD_PROCESS] = {"process", KIND_INTEGER, NULL},
    [FIELD_PROCESSNAME] = {"processName", KIND_TEXT, "MainProcess"},
    [FIELD_THREAD] = {"thread", KIND_INTEGER, NULL},
    [FIELD_THREADNAME] = {"threadName", KIND_TEXT, "MainThread"},
    [FIELD_CREATED] = {"created", KIND_FLOAT, NULL},
    [FIELD_MSECS] = {"msecs", KIND_FLOAT, NULL},
    [FIELD_RELATIVECREATED] = {"relativeCreated", KIND_FLOAT, NULL},
    [FIELD_MODULE] = {"module", KIND_TEXT, "channelsd"},
    [FIELD_FILENAME] = {"filename", KIND_TEXT, "channelsd"},
    [FIELD_PATHNAME] = {"pathname", KIND_TEXT, "channelsd"},
    [FIELD_FUNCNAME] = {"funcName", KIND_TEXT, "(unknown function)"},
    [FIELD_LINENO] = {"lineno", KIND_INTEGER, NULL},
};

static const struct {
    const char *name;
    int number;
} levels[] = {
    [LOG_DEBUG] = {"DEBUG", 10}, [LOG_INFO] = {"INFO", 20},         [LOG_WARN] = {"WARNING", 30},
    [LOG_ERROR] = {"ERROR", 40}, [LOG_CRITICAL] = {"CRITICAL", 50},
};

/* ---- compiling: @at walks through the copy of the format ---- */

struct compiler {
    struct log_format *out;
    struct err_text *why;
    const char *at;
    unsigned fields;
};

static enum err add_part(struct compiler *c, struct log_format_part part)
{
    if (c->out->count == LOG_FORMAT_PARTS_MAX)
        return err_fail(c->why, ERR_INVALID, "log format: more than %d parts",
                        LOG_FORMAT_PARTS_MAX);
    c->out->parts[c->out->count++] = part;
    return ERR_OK;
}

static enum err add_literal(struct compiler *c, const char *start, size_t len)
{
    if (len == 0)
        return ERR_OK;
    return add_part(c, (struct log_format_part){.field = FIELD_LITERAL,
                                                .at = (uint16_t)(start - c->out->text),
                                                .len = (uint16_t)len});
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads a run of digits; over the ceiling it stays there. */
static unsigned read_number(struct compiler *c)
{
    unsigned value = 0;
    for (; is_digit(*c->at); c->at++) {
        value = value * 10 + (unsigned)(*c->at - '0');
        if (value > LOG_FORMAT_WIDTH_MAX)
            value = LOG_FORMAT_WIDTH_MAX + 1;
    }
    return value;
}

/* The field's name in parentheses. */
static enum err read_key(struct compiler *c, struct log_format_part *part)
{
    const char *key = c->at + 1;
    const char *end = strchr(key, ')');
    if (end == NULL)
        return err_fail(c->why, ERR_INVALID, "log format: no ) behind %%(%s", key);
    const struct slice name = slice_make(key, (size_t)(end - key));
    for (unsigned i = 0; i < FIELDS; i++) {
        if (slice_eq_str(name, fields[i].name)) {
            part->field = (uint16_t)i;
            c->at = end + 1;
            return ERR_OK;
        }
    }
    return err_fail(c->why, ERR_INVALID, "log format: unknown field %%(%.*s)", (int)name.len, key);
}

/* Flags, width and precision. */
static enum err read_layout(struct compiler *c, struct log_format_part *part, const char *start)
{
    unsigned flags = 0;
    for (; *c->at != '\0' && strchr("-+ 0#", *c->at) != NULL; c->at++) {
        if (strchr(part->flags, *c->at) == NULL)
            part->flags[flags++] = *c->at;
    }
    const unsigned width = read_number(c);
    unsigned precision = 0;
    part->precision = -1;
    if (*c->at == '.') {
        c->at++;
        precision = read_number(c); /* "%.s" means 0, in C as in Python */
        part->precision = (int16_t)precision;
    }
    if (*c->at == '*')
        return err_fail(c->why, ERR_INVALID, "log format: * cannot be used in %.40s", start);
    if (width > LOG_FORMAT_WIDTH_MAX || precision > LOG_FORMAT_WIDTH_MAX)
        return err_fail(c->why, ERR_INVALID, "log format: width over %d in %.40s",
                        LOG_FORMAT_WIDTH_MAX, start);
    part->width = (uint16_t)width;
    return ERR_OK;
}

static enum err read_conversion(struct compiler *c, struct log_format_part *part, const char *start)
{
    while (*c->at != '\0' && strchr("hlL", *c->at) != NULL)
        c->at++; /* length modifiers, which Python skips too */
    const char conversion = *c->at;
    if (conversion == '\0')
        return err_fail(c->why, ERR_INVALID, "log format: incomplete at its end: %s", start);
    c->at++;
    const int len = (int)(c->at - start);
    switch (conversion) {
    case 's':
        part->conversion = 's';
        break;
    case 'd':
    case 'i':
    case 'u':
        part->conversion = 'd';
        break;
    case 'f':
    case 'F':
        part->conversion = 'f';
        break;
    default:
        return err_fail(c->why, ERR_INVALID, "log format: %.*s: only s, d and f can be used", len,
                        start);
    }
    if (part->conversion != 's' && fields[part->field].kind == KIND_TEXT)
        return err_fail(c->why, ERR_INVALID, "log format: %.*s: %s is text, use s", len, start,
                        fields[part->field].name);
    return ERR_OK;
}

/* What begins with the % at @c->at. */
static enum err read_field(struct compiler *c)
{
    const char *start = c->at++;
    struct log_format_part part = {0};
    if (*c->at == '%') { /* its second half is a text of one byte */
        c->at++;
        return add_literal(c, start + 1, 1);
    }
    if (*c->at == '\0')
        return err_fail(c->why, ERR_INVALID, "log format: ends with a single %%");
    if (*c->at != '(')
        return err_fail(c->why, ERR_INVALID, "log format: %.20s: expected %%(name)s or %%%%",
                        start);
    enum err err = read_key(c, &part);
    if (err == ERR_OK)
        err = read_layout(c, &part, start);
    if (err == ERR_OK)
        err = read_conversion(c, &part, start);
    if (err != ERR_OK)
        return err;
    c->fields++;
    return add_part(c, part);
}

enum err log_format_compile(struct log_format *out, const char *text, struct err_text *why)
{
    const size_t len = strlen(text);
    if (len >= LOG_FORMAT_MAX)
        return err_fail(why, ERR_INVALID, "log format: longer than %d bytes", LOG_FORMAT_MAX - 1);
    *out = (struct log_format){.count = 0};
    memcpy(out->text, text, len);

    struct compiler c = {.out = out, .why = why, .at = out->text};
    while (*c.at != '\0') {
        const size_t plain = strcspn(c.at, "%");
        enum err err = add_literal(&c, c.at, plain);
        c.at += plain;
        if (err == ERR_OK && *c.at == '%')
            err = read_field(&c);
        if (err != ERR_OK)
            return err;
    }
    if (c.fields == 0)
        return err_fail(why, ERR_INVALID, "log format: no %%(name)s field in \"%.100s\"", text);
    return ERR_OK;
}

/* ---- writing ---- */

struct output {
    char *out;
    size_t cap;
    size_t len; /* of the whole line, written or not */
};

static void put(struct output *o, const void *data, size_t len)
{
    if (o->len < o->cap && len > 0) {
        const size_t room = o->cap - o->len;
        memcpy(o->out + o->len, data, len < room ? len : room);
    }
    o->len += len;
}

static void fill(struct output *o, char with, size_t count)
{
    for (size_t i = 0; i < count; i++)
        put(o, &with, 1);
}

/* Length in bytes of the first @max characters of UTF-8, and how many there were: Python counts
 * width and precision in characters. */
static size_t measure_chars(struct slice text, size_t max, size_t *chars)
{
    size_t at = 0;
    *chars = 0;
    while (at < text.len && *chars < max) {
        at++;
        while (at < text.len && (text.ptr[at] & 0xc0U) == 0x80)
            at++;
        (*chars)++;
    }
    return at;
}

static bool has_flag(const struct log_format_part *part, char flag)
{
    return strchr(part->flags, flag) != NULL;
}

static void put_text(struct output *o, const struct log_format_part *part, struct slice text)
{
    if (part->width == 0 && part->precision < 0) { /* the usual %(message)s needs no counting */
        put(o, text.ptr, text.len);
        return;
    }
    size_t chars = 0;
    const size_t max = part->precision < 0 ? SIZE_MAX : (size_t)part->precision;
    const size_t len = measure_chars(text, max, &chars);
    const size_t padding = part->width > chars ? part->width - chars : 0;
    if (!has_flag(part, '-'))
        fill(o, ' ', padding);
    put(o, text.ptr, len);
    if (has_flag(part, '-'))
        fill(o, ' ', padding);
}

/* @digits is a number without its sign, of at least @min_digits (zeros are put before). */
static void put_number(struct output *o, const struct log_format_part *part, const char *digits,
                       size_t min_digits)
{
    const size_t len = strlen(digits);
    const char *sign = has_flag(part, '+') ? "+" : has_flag(part, ' ') ? " " : "";
    size_t zeros = min_digits > len ? min_digits - len : 0;
    const size_t used = strlen(sign) + zeros + len;
    size_t padding = part->width > used ? part->width - used : 0;
    if (has_flag(part, '0') && !has_flag(part, '-')) {
        zeros += padding;
        padding = 0;
    }
    if (!has_flag(part, '-'))
        fill(o, ' ', padding);
    put(o, sign, strlen(sign));
    fill(o, '0', zeros);
    put(o, digits, len);
    if (has_flag(part, '-'))
        fill(o, ' ', padding);
}

static struct slice text_of(const struct log_record *record, enum field field)
{
    if (fields[field].constant != NULL)
        return slice_str(fields[field].constant);
    if (field == FIELD_ASCTIME)
        return slice_str(record->asctime);
    return field == FIELD_MESSAGE ? record->message : slice_str(levels[record->level].name);
}

static int64_t integer_of(const struct log_record *record, enum field field)
{
    if (field == FIELD_LEVELNO)
        return levels[record->level].number;
    if (field == FIELD_PROCESS)
        return record->process;
    return field == FIELD_THREAD ? record->thread : 0;
}

/* The fields that are floating point in Python, in milliseconds; @per_unit of them make one. */
static int64_t millis_of(const struct log_record *record, enum field field, int64_t *per_unit)
{
    *per_unit = field == FIELD_CREATED ? 1000 : 1;
    if (field == FIELD_MSECS)
        return record->time_ms % 1000;
    return field == FIELD_CREATED ? record->time_ms : record->uptime_ms;
}

static void put_integer(struct output *o, const struct log_format_part *part, int64_t value)
{
    char digits[32];
    (void)snprintf(digits, sizeof(digits), "%lld", (long long)value);
    put_number(o, part, digits, part->precision < 0 ? 0 : (size_t)part->precision);
}

static void put_float(struct output *o, const struct log_format_part *part, double value)
{
    char digits[LOG_FORMAT_WIDTH_MAX + 32];
    const int places = part->precision < 0 ? 6 : part->precision;
    (void)snprintf(digits, sizeof(digits), "%.*f", places, value);
    put_number(o, part, digits, 0);
}

static void put_float_field(struct output *o, const struct log_format_part *part,
                            const struct log_record *record)
{
    int64_t per_unit = 1;
    const int64_t millis = millis_of(record, (enum field)part->field, &per_unit);
    const double value = (double)millis / (double)per_unit;
    char text[64];
    if (part->conversion == 'd') {
        put_integer(o, part, millis / per_unit);
    } else if (part->conversion == 'f') {
        put_float(o, part, value);
    } else {
        (void)snprintf(text, sizeof(text), "%.*f", per_unit == 1 ? 1 : 3, value);
        put_text(o, part, slice_str(text));
    }
}

static void put_integer_field(struct output *o, const struct log_format_part *part,
                              const struct log_record *record)
{
    const int64_t value = integer_of(record, (enum field)part->field);
    char text[32];
    if (part->conversion == 'd') {
        put_integer(o, part, value);
    } else if (part->conversion == 'f') {
        put_float(o, part, (double)value);
    } else {
        (void)snprintf(text, sizeof(text), "%lld", (long long)value);
        put_text(o, part, slice_str(text));
    }
}

size_t log_format_write(const struct log_format *format, const struct log_record *record, char *out,
                        size_t cap)
{
    struct output o = {.out = out, .cap = cap};
    for (unsigned i = 0; i < format->count; i++) {
        const struct log_format_part *part = &format->parts[i];
        if (part->field == FIELD_LITERAL) {
            put(&o, format->text + part->at, part->len);
            continue;
        }
        switch (fields[part->field].kind) {
        case KIND_TEXT:
            put_text(&o, part, text_of(record, (enum field)part->field));
            break;
        case KIND_INTEGER:
            put_integer_field(&o, part, record);
            break;
        case KIND_FLOAT:
            put_float_field(&o, part, record);
            break;
        }
    }
    return o.len;
}

const char *log_format_asctime(char *out, int64_t time_ms)
{
    const time_t seconds = (time_t)(time_ms / 1000);
    struct tm local = {0};
    size_t len = 0;
    if (localtime_r(&seconds, &local) != NULL)
        len = strftime(out, LOG_ASCTIME_MAX, "%Y-%m-%d %H:%M:%S", &local);
    (void)snprintf(out + len, LOG_ASCTIME_MAX - len, ",%03d", (int)(time_ms % 1000));
    return out;
}
