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
 * Thread: any.
 */
#ifndef SERVER_TRANSPORT_ADMISSION_H
#define SERVER_TRANSPORT_ADMISSION_H

#include <stdatomic.h>

enum { ADMISSION_SPARE = 8 }; /* places for connections that are told 503 */

struct admission {
    /* private */
    atomic_uint count;
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
void admission_leave(struct admission *a);

#endif
