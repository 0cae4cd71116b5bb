/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/http/trust_list.h"

#include "core/text.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

enum {
    IPV4_BITS = 32,
    IPV6_BITS = 128,
    MAPPED_BITS = 96, /* ::ffff:0:0/96 */
    ITEM_SHOWN = 64,  /* bytes of an item that an error shows */
};

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

static bool is_mapped(const uint8_t addr[16])
{
    return memcmp(addr, mapped_prefix, sizeof(mapped_prefix)) == 0;
}

/* Reads "192.0.2.1" or "2001:db8::1" with the longest prefix of its family. */
static bool addr_parse(struct trust_net *out, const char *text)
{
    struct trust_net net = {0};
    if (inet_pton(AF_INET, text, net.addr) == 1) {
        net.is_ipv4 = true;
        net.prefix_bits = IPV4_BITS;
    } else if (inet_pton(AF_INET6, text, net.addr) == 1) {
        net.prefix_bits = IPV6_BITS;
    } else {
        return false;
    }
    *out = net;
    return true;
}

static bool prefix_parse(uint8_t *out, const char *text, uint8_t most)
{
    unsigned bits = 0;
    const size_t len = strlen(text);
    if (len == 0 || len > 3)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        bits = bits * 10 + (unsigned)(text[i] - '0');
    }
    if (bits > most)
        return false;
    *out = (uint8_t)bits;
    return true;
}

static bool has_bits_behind_prefix(const struct trust_net *net)
{
    const size_t bits = net->is_ipv4 ? IPV4_BITS : IPV6_BITS;
    for (size_t bit = net->prefix_bits; bit < bits; bit++) {
        if ((net->addr[bit / 8] & (0x80U >> (bit % 8))) != 0)
            return true;
    }
    return false;
}

static void unmap(struct trust_net *net)
{
    if (net->is_ipv4 || net->prefix_bits < MAPPED_BITS || !is_mapped(net->addr))
        return;
    memmove(net->addr, net->addr + sizeof(mapped_prefix), 4);
    memset(net->addr + 4, 0, sizeof(net->addr) - 4);
    net->prefix_bits = (uint8_t)(net->prefix_bits - MAPPED_BITS);
    net->is_ipv4 = true;
}

static enum err net_parse(struct trust_net *out, struct slice item, struct err_text *why)
{
    char text[INET6_ADDRSTRLEN + sizeof("/128")] = "";
    struct trust_net net = {0};

    const int shown = item.len < ITEM_SHOWN ? (int)item.len : ITEM_SHOWN;
    if (item.len < sizeof(text))
        memcpy(text, item.ptr, item.len);
    const bool is_whole = strlen(text) == item.len; /* neither too long nor with a NUL inside */
    char *slash = strchr(text, '/');
    if (slash != NULL)
        *slash = '\0';
    if (!is_whole || !addr_parse(&net, text))
        return err_fail(
            why, ERR_INVALID,
            "\"%.*s\" is no address, no network (10.0.0.0/8), not \"unix\" and not \"*\"", shown,
            (const char *)item.ptr);
    if (slash != NULL && !prefix_parse(&net.prefix_bits, slash + 1, net.prefix_bits))
        return err_fail(why, ERR_INVALID,
                        "\"%.*s\" needs a prefix length from 0 to %d behind the slash", shown,
                        (const char *)item.ptr, net.is_ipv4 ? IPV4_BITS : IPV6_BITS);
    if (has_bits_behind_prefix(&net))
        return err_fail(why, ERR_INVALID, "\"%.*s\" has bits set behind its prefix of %d bits",
                        shown, (const char *)item.ptr, net.prefix_bits);
    unmap(&net);
    *out = net;
    return ERR_OK;
}

enum err trust_list_parse(struct trust_list *out, struct slice text, struct err_text *why)
{
    struct trust_list list = {0};
    struct slice rest = text;
    struct slice item = {0};
    while (text_list_next(&item, &rest)) {
        if (slice_eq_str(item, "*")) {
            list.has_everyone = true;
            continue;
        }
        if (slice_eq_str(item, "unix")) {
            list.has_unix_sockets = true;
            continue;
        }
        if (list.count == TRUST_LIST_MAX)
            return err_fail(why, ERR_INVALID, "more than %d addresses and networks",
                            TRUST_LIST_MAX);
        const enum err err = net_parse(&list.nets[list.count], item, why);
        if (err != ERR_OK)
            return err;
        list.count++;
    }
    *out = list;
    return ERR_OK;
}

static bool net_has(const struct trust_net *net, const uint8_t *addr)
{
    const size_t bytes = net->prefix_bits / 8U;
    if (memcmp(net->addr, addr, bytes) != 0)
        return false;
    const unsigned bits = net->prefix_bits % 8U;
    return bits == 0 || ((net->addr[bytes] ^ addr[bytes]) >> (8U - bits)) == 0;
}

bool trust_list_has(const struct trust_list *list, const struct sockaddr *peer)
{
    if (list->has_everyone)
        return true;
    if (peer->sa_family == AF_UNIX)
        return list->has_unix_sockets;

    uint8_t addr[16] = {0};
    bool is_ipv4 = false;
    if (peer->sa_family == AF_INET) {
        memcpy(addr, &((const struct sockaddr_in *)(const void *)peer)->sin_addr, 4);
        is_ipv4 = true;
    } else if (peer->sa_family == AF_INET6) {
        memcpy(addr, &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr, 16);
        is_ipv4 = is_mapped(addr);
        if (is_ipv4)
            memmove(addr, addr + sizeof(mapped_prefix), 4);
    } else {
        return false;
    }
    for (size_t i = 0; i < list->count; i++) {
        if (list->nets[i].is_ipv4 == is_ipv4 && net_has(&list->nets[i], addr))
            return true;
    }
    return false;
}
