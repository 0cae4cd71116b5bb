/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/sequence.h"

void sequence_init(struct sequence *s, uint32_t first)
{
    *s = (struct sequence){.next = first};
}

enum sequence_verdict sequence_check(struct sequence *s, uint32_t number)
{
    if (number >= s->next) {
        const uint32_t skipped = number - s->next;
        /* The window moves by one more than was skipped; bit 0 stands for @number, which is here.
         */
        if (skipped >= SEQUENCE_WINDOW - 1)
            s->missing = UINT64_MAX << 1;
        else
            s->missing = s->missing << (skipped + 1) | ((UINT64_C(1) << skipped) - 1) << 1;
        s->next = number + 1;
        return SEQUENCE_NEXT;
    }
    const uint32_t back = s->next - 1 - number;
    if (back >= SEQUENCE_WINDOW || (s->missing >> back & 1) == 0)
        return SEQUENCE_REPEATED;
    s->missing &= ~(UINT64_C(1) << back);
    return SEQUENCE_LATE;
}
