/* SPDX-License-Identifier: BSD-3-Clause
 *
 * admission: how many connections all edges have together, and whether there is room for one more.
 *
 * Why: the ceiling is the server's, and the kernel does not spread connections evenly over the
 * edges. Without a ceiling the last descriptor would go to a client; then none is left to start a
 * worker with, and accept() fails in a way that the event loop cannot wait out.
 *
 * Over the ceiling a newcomer is refused with an answer (503), for which it needs a place; when too
 * many of these wait for their end, further ones are dropped without.
 *
 * It also knows when a crowd has left, whose memory the allocator would keep for a peak that may
 * never come again; giving it back takes a walk through the memory of all threads, for which one
 * edge is enough, and that not too often: clients that come and go are no crowd that left.
 *
 * Thread: any.
 */
#ifndef SERVER_TRANSPORT_ADMISSION_H
#define SERVER_TRANSPORT_ADMISSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    ADMISSION_SPARE = 8,               /* places for connections that are told 503 */
    ADMISSION_CROWD_MIN = 64,          /* what fewer leave behind is not worth a walk */
    ADMISSION_GIVE_BACK_MS = 60 * 1000 /* between two walks */
};

struct admission {
    /* private */
    atomic_uint count;
    atomic_uint peak; /* since memory was last given back */
    _Atomic uint64_t next_ms;
    unsigned max;
};

enum admission_verdict {
    ADMISSION_SERVE,
    ADMISSION_REFUSE, /* answer 503 */
    ADMISSION_DROP,   /* close; do not call admission_leave() */
};

/* @max: connections that are served; at least 1. */
void admission_init(struct admission *a, unsigned max);

enum admission_verdict admission_enter(struct admission *a);

/* Whether half of a crowd, or more, is gone. */
bool admission_leave(struct admission *a);

/* For who was told so, when the others had time to leave, too: whether they are still gone and it
 * is for the caller to give their memory back. If not, *@again_ms is when to ask again; 0: never.
 * @now_ms: of a clock that all callers have. */
bool admission_crowd_is_gone(struct admission *a, uint64_t now_ms, uint64_t *again_ms);

#endif
