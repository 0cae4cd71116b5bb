/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/base64.h"

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

static const char alphabets[][65] = {
    [BASE64_STANDARD] = LETTERS "+/",
    [BASE64_URL] = LETTERS "-_",
};

void base64_encode(uint8_t *out, struct slice bytes, enum base64_digits digits)
{
    const char *const alphabet = alphabets[digits];
    for (size_t i = 0; i < bytes.len; i += 3) {
        const size_t left = bytes.len - i;
        const uint32_t first = bytes.ptr[i];
        const uint32_t second = left > 1 ? bytes.ptr[i + 1] : 0;
        const uint32_t third = left > 2 ? bytes.ptr[i + 2] : 0;
        const uint32_t group = first << 16 | second << 8 | third;
        *out++ = (uint8_t)alphabet[group >> 18];
        *out++ = (uint8_t)alphabet[group >> 12 & 63];
        *out++ = left > 1 ? (uint8_t)alphabet[group >> 6 & 63] : '=';
        *out++ = left > 2 ? (uint8_t)alphabet[group & 63] : '=';
    }
}

static int value_of(uint8_t digit, const char *alphabet)
{
    if (digit >= 'A' && digit <= 'Z')
        return digit - 'A';
    if (digit >= 'a' && digit <= 'z')
        return digit - 'a' + 26;
    if (digit >= '0' && digit <= '9')
        return digit - '0' + 52;
    return digit == (uint8_t)alphabet[62] ? 62 : digit == (uint8_t)alphabet[63] ? 63 : -1;
}

bool base64_decode(uint8_t *out, size_t *len, struct slice text, enum base64_digits digits)
{
    if (text.len % 4 != 0)
        return false;
    size_t padding = 0;
    while (padding < 2 && padding < text.len && text.ptr[text.len - 1 - padding] == '=')
        padding++;
    size_t written = 0;
    for (size_t i = 0; i < text.len; i += 4) {
        const size_t missing = i + 4 == text.len ? padding : 0;
        uint32_t group = 0;
        for (size_t j = 0; j < 4 - missing; j++) {
            const int value = value_of(text.ptr[i + j], alphabets[digits]);
            if (value < 0)
                return false;
            group |= (uint32_t)value << (18 - 6 * j);
        }
        if ((group & ((1U << (8 * missing)) - 1)) != 0) /* bits that belong to no byte */
            return false;
        for (size_t j = 0; j < 3 - missing; j++)
            out[written++] = (uint8_t)(group >> (16 - 8 * j));
    }
    *len = written;
    return true;
}

void hex_encode(char *out, const uint8_t *bytes, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        *out++ = hex[bytes[i] >> 4];
        *out++ = hex[bytes[i] & 15];
    }
}

bool hex_is_lower(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        const uint8_t digit = text.ptr[i];
        if ((digit < '0' || digit > '9') && (digit < 'a' || digit > 'f'))
            return false;
    }
    return true;
}
