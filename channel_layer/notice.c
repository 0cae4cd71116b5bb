/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/notice.h"

bool notice_is_due(struct notice *notice, uint64_t now_ms, uint64_t *held_back)
{
    if (now_ms < notice->next_ms) {
        notice->held_back++;
        return false;
    }
    *held_back = notice->held_back;
    notice->held_back = 0;
    notice->next_ms = now_ms + NOTICE_MS;
    return true;
}
