/* SPDX-License-Identifier: BSD-3-Clause
 *
 * unit: what every unit test includes, and the only file that includes cmocka.h.
 *
 * Why: cmocka.h needs four headers before it, and clang-format would sort them. The blank line
 * keeps the blocks apart.
 */
#ifndef TESTS_SUPPORT_UNIT_H
#define TESTS_SUPPORT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* How many rows a table has. */
#define UNIT_ROWS(table) (sizeof(table) / sizeof((table)[0]))

/* Next number of a sequence that @seed (not 0) begins: the same on every machine (xorshift64*). */
static inline uint32_t unit_random(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return (uint32_t)((*seed * UINT64_C(0x2545f4914f6cdd1d)) >> 32);
}

#endif
