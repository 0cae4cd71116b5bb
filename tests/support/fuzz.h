/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuzz: the function that every fuzz target defines.
 *
 * Why: libFuzzer calls it by this name without a header of its own, and so does replay_main.c.
 */
#ifndef TESTS_SUPPORT_FUZZ_H
#define TESTS_SUPPORT_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Feeds @size bytes (borrowed) to the code under test. Returns 0; what is wrong ends the process.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
