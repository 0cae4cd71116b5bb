/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pattern: the globs of channel_capacity, as Python's fnmatch reads them: *, ?, [seq], [!seq]; no
 * escapes, no classes, [^ is no negation, an unclosed [ is itself. Whole names, case matters.
 *
 * Why: libc's fnmatch() differs in four of these. Matching is linear in memory and never worse than
 * pattern times name. Sans-I/O.
 *
 * Thread: any.
 */
#ifndef CHANNEL_LAYER_PATTERN_H
#define CHANNEL_LAYER_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/slice.h"

/* Compares by characters (UTF-8), as Python does. */
bool pattern_matches(struct slice pattern, struct slice name);

struct pattern_entry {
    char *pattern;
    uint32_t number;
};

struct pattern_table {
    struct pattern_entry *entries; /* in the order of the settings */
    size_t count;
};

/* The number of the first entry that matches, else @fallback. */
uint32_t pattern_table_find(const struct pattern_table *table, struct slice name,
                            uint32_t fallback);

#endif
