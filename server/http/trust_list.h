/* SPDX-License-Identifier: BSD-3-Clause
 *
 * trust_list: whose word about a client is believed (--forwarded-allow-ips).
 *
 * Why: anybody can send X-Forwarded-For. It means something only when the peer of the connection
 * is the proxy that was put in front, so the peers that may say so are named once.
 *
 * Thread: any (a parsed list is never changed).
 */
#ifndef SERVER_HTTP_TRUST_LIST_H
#define SERVER_HTTP_TRUST_LIST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "core/err.h"
#include "core/slice.h"

enum { TRUST_LIST_MAX = 64 }; /* networks */

struct trust_net {
    uint8_t addr[16]; /* network order; IPv4 uses the first four */
    uint8_t prefix_bits;
    bool is_ipv4;
};

/* A zeroed one trusts nobody. */
struct trust_list {
    bool has_everyone;     /* "*" */
    bool has_unix_sockets; /* "unix" */
    uint8_t count;
    struct trust_net nets[TRUST_LIST_MAX];
};

/* Reads a comma separated list of IPv4 and IPv6 addresses, networks as 10.0.0.0/8, "unix" and
 * "*". An IPv4-mapped IPv6 address or network is the IPv4 one that it stands for.
 *
 * Errors: ERR_INVALID with @why naming the item and what was expected. @out is untouched then. */
enum err trust_list_parse(struct trust_list *out, struct slice text,
                          struct err_text *why) MUST_CHECK;

/* Whether the peer at @peer is trusted. AF_UNIX is every peer on a unix socket (only the family
 * is read); an IPv4-mapped IPv6 address counts as the IPv4 one. */
bool trust_list_has(const struct trust_list *list, const struct sockaddr *peer);

#endif
