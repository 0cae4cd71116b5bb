/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/header.h"

#include "core/text.h"

const struct slice *header_find(const struct header *headers, size_t count, const char *name)
{
    const struct slice wanted = slice_str(name);
    for (size_t i = 0; i < count; i++) {
        if (slice_eq(headers[i].name, wanted))
            return &headers[i].value;
    }
    return NULL;
}

size_t header_count(const struct header *headers, size_t count, const char *name)
{
    const struct slice wanted = slice_str(name);
    size_t found = 0;
    for (size_t i = 0; i < count; i++)
        found += slice_eq(headers[i].name, wanted) ? 1 : 0;
    return found;
}

bool header_list_has(const struct header *headers, size_t count, const char *name, const char *item)
{
    const struct slice wanted = slice_str(name);
    for (size_t i = 0; i < count; i++) {
        if (!slice_eq(headers[i].name, wanted))
            continue;
        struct slice rest = headers[i].value;
        struct slice found = {0};
        while (text_list_next(&found, &rest)) {
            if (text_eq_nocase(found, item))
                return true;
        }
    }
    return false;
}
