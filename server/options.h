/* SPDX-License-Identifier: BSD-3-Clause
 *
 * options: what the command line and the environment say, checked, with defaults filled in.
 *
 * Why: channelsd is started where daphne was, with the same flags and defaults. One table
 * (options.def) gives argv, environment, --help and the README's table, so that they cannot
 * disagree. The command line wins over the environment.
 *
 * Thread: any; options_parse() once, at start-up (getopt_long() keeps state of its own).
 */
#ifndef SERVER_OPTIONS_H
#define SERVER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/err.h"
#include "server/http/trust_list.h"

enum { OPTIONS_EXIT_BAD = 2 }; /* exit status that goes with OPTIONS_BAD */

/* Times are milliseconds, -1 is never. Sizes are bytes; 0 is no limit where so said. Text belongs
 * to the struct. */
struct options {
    char *application; /* "module:attribute"; NULL: the project's ASGI_APPLICATION (runworker) */
    char *channels;    /* runworker: names with commas between them; NULL: clients are served */

    /* Where to listen. Both may be set. */
    bool has_tcp;
    int port;        /* 0: any free one */
    char *host;      /* address or name without brackets */
    char *unix_path; /* NULL: none */
    int backlog;
    unsigned max_connections; /* 0: as many as there are descriptors */

    /* Who does the work. */
    unsigned workers;
    unsigned edge_loops;                /* at least 1: the number of usable cores is filled in */
    char *python;                       /* NULL: found by the supervisor */
    char *loop;                         /* the worker's: "auto", "asyncio" or "uvloop" */
    char *accelerate;                   /* "off", "exact" or "full" */
    unsigned threads;                   /* most request threads of a worker */
    unsigned max_requests;              /* 0: never */
    uint64_t worker_memory_limit_bytes; /* 0: no limit */
    char *root_path;

    /* The channel layer. */
    char *layer_socket; /* where other processes of the host reach it; NULL: none */
    char *layer_config; /* JSON; NULL: in memory */
    char *layer_alias;  /* runworker: which of CHANNEL_LAYERS */
    bool adopts_layer;

    /* What is logged. */
    int verbosity;    /* 0 to 3 */
    char *access_log; /* a path, "-" for stdout, NULL for none; follows verbosity when not given */
    char *log_format; /* of Python's logging */

    /* HTTP. */
    char *server_name; /* "" for no Server field */
    bool has_date_header;
    unsigned max_request_line_bytes;
    unsigned max_header_bytes; /* all fields together */
    unsigned max_header_count;
    uint64_t max_body_bytes; /* 0: no limit */
    int64_t http_timeout_ms; /* from the whole body read to the end of the response */
    int64_t header_timeout_ms;
    int64_t keep_alive_timeout_ms;
    int64_t body_timeout_ms; /* no bytes of a body */
    int64_t send_timeout_ms; /* the client takes no bytes */

    /* WebSockets. */
    int64_t ping_interval_ms;
    int64_t ping_timeout_ms;
    int64_t websocket_timeout_ms;         /* whole life */
    int64_t websocket_connect_timeout_ms; /* until accepted or refused */
    uint64_t websocket_max_message_bytes; /* 0: no limit */
    uint64_t websocket_max_frame_bytes;   /* 0: no limit */

    /* Ends. */
    int64_t application_close_timeout_ms; /* after its client is gone */
    int64_t graceful_timeout_ms;
    int64_t worker_timeout_ms;

    /* Reverse proxies. */
    bool has_proxy_headers;
    char *proxy_headers_host; /* lower-case field names */
    char *proxy_headers_port;
    char *forwarded_allow_ips;   /* as given */
    struct trust_list forwarded; /* the same, parsed */
};

enum options_result {
    OPTIONS_RUN,     /* @out is filled */
    OPTIONS_EXIT_OK, /* help or version was printed to @out_stream: exit with 0 */
    OPTIONS_BAD,     /* an error and a line of usage were printed to @err_stream: exit with 2 */
};

/* Reads @argv (argv[0] is skipped) and the variables CHANNELSD_*.
 *
 * Ownership: after OPTIONS_RUN @out is given back with options_deinit(); otherwise it is zeroed
 *            and holds nothing. */
enum options_result options_parse(struct options *out, int argc, char **argv, FILE *out_stream,
                                  FILE *err_stream) MUST_CHECK;

/* The same for `channelsd runworker [module:attribute] CHANNEL...`; nothing is listened on. */
enum options_result options_parse_runworker(struct options *out, int argc, char **argv,
                                            FILE *out_stream, FILE *err_stream) MUST_CHECK;

/* Frees the text; @options is zeroed afterwards. */
void options_deinit(struct options *options);

#endif
