/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/process/start_log.h"

#include "core/log.h"

void start_log_begin(const struct options *options)
{
    if (options->has_proxy_headers)
        log_line(LOG_INFO, "Proxy headers are believed from: %s", options->forwarded_allow_ips);
    if (options->workers > 1)
        log_line(LOG_INFO, "Starting %u workers", options->workers);
}

void start_log_ready(const struct options *options, const char *tcp_host, uint16_t tcp_port)
{
    if (options->has_tcp) /* also of IPv6, without brackets: programs read this line of Daphne's */
        log_line(LOG_INFO, "Listening on TCP address %s:%u", tcp_host, tcp_port);
    if (options->unix_path != NULL)
        log_line(LOG_INFO, "Listening on unix socket %s", options->unix_path);
    if (options->channels != NULL)
        log_line(LOG_INFO, "Running workers for the channels %s", options->channels);
}
