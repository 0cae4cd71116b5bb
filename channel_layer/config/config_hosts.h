/* SPDX-License-Identifier: BSD-3-Clause
 *
 * config_hosts: the setting hosts: which Redis servers, in all the forms that channels_redis takes.
 *
 * Forms of an entry:
 *   - a URL (config_url.h)
 *   - [host, port]
 *   - {"address": URL, ...}
 *   - {"host": ..., "port": ..., ...}
 *   - {"path": "/a.sock", ...}
 *   - {"sentinels": [[host, port], ...], "master_name": ..., "sentinel_kwargs": {...}, ...}
 *
 * What a URL says wins over the keywords beside it, its argument db over its path.
 *
 * Keywords, and arguments of URLs (null: not given; numbers may be strings of digits), are
 *
 *   - used: host, port, path, db, username, password, client_name, socket_connect_timeout, ssl,
 *     ssl_cert_reqs (none, optional, required; also CERT_NONE..., 0 to 2; null is none),
 *     ssl_check_hostname, ssl_ca_certs, ssl_ca_path, ssl_ca_data (PEM), ssl_certfile, ssl_keyfile,
 *     ssl_password, ssl_ciphers, ssl_min_version (TLSv1.2, TLSv1.3, 771, 772);
 *   - without effect, because it is settled otherwise here (timeouts by the layer's timeout;
 *     retries, checks of connections and RESP's version by the link) or of redis-py's own workings:
 *     socket_timeout, timeout, socket_keepalive, socket_keepalive_options, socket_type,
 *     socket_read_size, health_check_interval, max_connections, retry, retry_on_timeout,
 *     retry_on_error, single_connection_client, auto_close_connection_pool, encoding,
 *     encoding_errors, decode_responses, protocol, legacy_responses, lib_name, lib_version,
 *     driver_info, check_connection, event_dispatcher, maint_notifications_config;
 *   - refused: objects of Python that change who is talked to, unless null (connection_class,
 *     credential_provider, redis_connect_func, parser_class, encoder_class); checks of TLS that are
 *     not made here (ssl_include_verify_flags, ssl_exclude_verify_flags, ssl_validate_ocsp,
 *     ssl_validate_ocsp_stapled, ssl_ocsp_context, ssl_ocsp_expected_cert); is_master unless true;
 *     any other.
 *
 * TLS verifies the certificate and the name in it unless it is told not to; ssl_* without TLS is an
 * error.
 *
 * Thread: any.
 */
#ifndef CHANNEL_LAYER_CONFIG_CONFIG_HOSTS_H
#define CHANNEL_LAYER_CONFIG_CONFIG_HOSTS_H

#include <stddef.h>

#include "core/err.h"

struct json_node;
struct redis_host;

enum { CONFIG_HOSTS_MAX = 1024, CONFIG_SENTINELS_MAX = 64 };

/* Reads the value of hosts. NULL, null, [] and "": one server, at redis://localhost:6379.
 *
 * Ownership: the caller owns *@out, to be given to config_hosts_free().
 * Errors:    ERR_INVALID, ERR_NOMEM; @why names the place and quotes no secret. */
enum err config_hosts_read(struct redis_host **out, size_t *count, const struct json_node *hosts,
                           struct err_text *why) MUST_CHECK;
void config_hosts_free(struct redis_host *hosts, size_t count); /* wipes them */

#endif
