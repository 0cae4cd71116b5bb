/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/text.h"

#include <math.h>
#include <string.h>

static const uint64_t HIGH_BITS = 0x8080808080808080U;

static size_t ascii_prefix(const uint8_t *in, size_t len)
{
    size_t i = 0;
    for (; len - i >= 16; i += 16) {
        uint64_t low = 0;
        uint64_t high = 0;
        memcpy(&low, in + i, sizeof(low));
        memcpy(&high, in + i + sizeof(low), sizeof(high));
        if (((low | high) & HIGH_BITS) != 0)
            break;
    }
    while (i < len && in[i] < 0x80)
        i++;
    return i;
}

/* Table 3-7 of the Unicode standard: which bytes may follow which first byte. */
static bool begin_sequence(struct utf8 *u, uint8_t byte)
{
    if (byte < 0xc2 || byte > 0xf4) /* a continuation, an overlong form, or over U+10FFFF */
        return false;
    u->missing = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    u->least = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : 0x80; /* below: overlong */
    u->most = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : 0xbf;  /* above: surrogate, too high */
    return true;
}

static bool is_continuation(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

static bool is_common_pair(const uint8_t *in)
{
    return in[0] >= 0xc2 && in[0] <= 0xdf && is_continuation(in[1]);
}

static bool is_common_triple(const uint8_t *in)
{
    return in[0] > 0xe0 && in[0] <= 0xef && in[0] != 0xed && is_continuation(in[1]) &&
           is_continuation(in[2]);
}

/* Length of the run of ASCII and of those sequences of two and three bytes whose range needs no
 * closer look: most letters of the world. */
static size_t common_run(const uint8_t *in, size_t len)
{
    size_t i = 0;
    while (len - i >= 3) {
        if (is_common_triple(in + i))
            i += 3;
        else if (is_common_pair(in + i))
            i += 2;
        else if (in[i] < 0x80)
            i += ascii_prefix(in + i, len - i);
        else
            break;
    }
    return i;
}

bool utf8_feed(struct utf8 *u, const uint8_t *in, size_t len)
{
    size_t i = 0;
    while (i < len) {
        if (u->missing > 0) {
            if (in[i] < u->least || in[i] > u->most)
                return false;
            u->missing--;
            u->least = 0x80;
            u->most = 0xbf;
            i++;
            continue;
        }
        i += common_run(in + i, len - i);
        if (i == len)
            break;
        if (in[i] >= 0x80 && !begin_sequence(u, in[i]))
            return false;
        i++;
    }
    return true;
}

bool utf8_is_valid(const uint8_t *in, size_t len)
{
    struct utf8 u = {0};
    return utf8_feed(&u, in, len) && utf8_is_complete(&u);
}

/* The value of a hexadecimal digit, or -1. */
static int hex_value(uint8_t digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -1;
}

size_t text_percent_decode(uint8_t *out, const uint8_t *in, size_t len)
{
    size_t count = 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = in[i];
        if (byte == '%' && len - i > 2) {
            const int high = hex_value(in[i + 1]);
            const int low = hex_value(in[i + 2]);
            if (high >= 0 && low >= 0) {
                byte = (uint8_t)(high * 16 + low);
                i += 2;
            }
        }
        out[count++] = byte;
    }
    return count;
}

static bool is_token_char(uint8_t byte)
{
    if ((byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
        (byte >= 'A' && byte <= 'Z'))
        return true;
    return byte != '\0' && strchr("!#$%&'*+-.^_`|~", byte) != NULL;
}

bool text_is_token(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!is_token_char(text.ptr[i]))
            return false;
    }
    return text.len > 0;
}

static uint8_t lower(uint8_t byte)
{
    return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte + ('a' - 'A')) : byte;
}

bool text_eq_nocase(struct slice text, const char *other)
{
    const struct slice want = slice_str(other);
    if (text.len != want.len)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (lower(text.ptr[i]) != lower(want.ptr[i]))
            return false;
    }
    return true;
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t';
}

struct slice text_trim(struct slice text)
{
    while (text.len > 0 && is_blank(text.ptr[0])) {
        text.ptr++;
        text.len--;
    }
    while (text.len > 0 && is_blank(text.ptr[text.len - 1]))
        text.len--;
    return text;
}

bool text_list_next(struct slice *item, struct slice *rest)
{
    while (rest->len > 0) {
        const uint8_t *comma = memchr(rest->ptr, ',', rest->len);
        const size_t len = comma == NULL ? rest->len : (size_t)(comma - rest->ptr);
        const size_t step = comma == NULL ? len : len + 1;
        const struct slice found = text_trim(slice_make(rest->ptr, len));
        rest->ptr += step;
        rest->len -= step;
        if (found.len > 0) {
            *item = found;
            return true;
        }
    }
    return false;
}

struct decimal {
    uint64_t mantissa;
    int64_t exponent;
    bool has_digit;
};

static bool take_byte(struct slice *rest, const char *any)
{
    if (rest->len == 0 || rest->ptr[0] == '\0' || strchr(any, rest->ptr[0]) == NULL)
        return false;
    rest->ptr++;
    rest->len--;
    return true;
}

static bool take_digit(struct slice *rest, unsigned *digit)
{
    if (rest->len == 0 || rest->ptr[0] < '0' || rest->ptr[0] > '9')
        return false;
    *digit = rest->ptr[0] - (unsigned)'0';
    rest->ptr++;
    rest->len--;
    return true;
}

/* Digits that the mantissa has no room for only count for what is before the point. */
static void take_digits(struct slice *rest, struct decimal *d, bool in_fraction)
{
    unsigned digit = 0;
    while (take_digit(rest, &digit)) {
        d->has_digit = true;
        if (d->mantissa < UINT64_MAX / 10 - 1) {
            d->mantissa = d->mantissa * 10 + digit;
            d->exponent -= in_fraction ? 1 : 0;
        } else {
            d->exponent += in_fraction ? 0 : 1;
        }
    }
}

static bool take_exponent(struct slice *rest, struct decimal *d)
{
    const int64_t most = 1000000; /* past that every number is 0 or too large */
    const bool is_negative = take_byte(rest, "-");
    int64_t exponent = 0;
    unsigned digit = 0;
    bool has_digit = false;
    if (!is_negative)
        (void)take_byte(rest, "+");
    for (; take_digit(rest, &digit); has_digit = true)
        exponent = exponent < most ? exponent * 10 + (int64_t)digit : exponent;
    d->exponent += is_negative ? -exponent : exponent;
    return has_digit;
}

static double value_of(const struct decimal *d)
{
    enum { EXACT = 22 }; /* the highest power of ten that a double has exactly */
    double value = (double)d->mantissa;
    int64_t left = d->exponent < 0 ? -d->exponent : d->exponent;
    while (left > 0 && value != 0 && isfinite(value)) {
        double power = 1;
        for (int i = 0; i < EXACT && left > 0; i++, left--)
            power *= 10;
        value = d->exponent < 0 ? value / power : value * power;
    }
    return value;
}

bool text_read_decimal(double *out, struct slice text)
{
    struct decimal d = {0};
    struct slice rest = text_trim(text);
    const bool is_negative = take_byte(&rest, "-");
    if (!is_negative)
        (void)take_byte(&rest, "+");
    take_digits(&rest, &d, false);
    if (take_byte(&rest, "."))
        take_digits(&rest, &d, true);
    if (!d.has_digit || (take_byte(&rest, "eE") && !take_exponent(&rest, &d)) || rest.len > 0)
        return false;
    const double value = value_of(&d);
    if (!isfinite(value))
        return false;
    *out = is_negative ? -value : value;
    return true;
}
