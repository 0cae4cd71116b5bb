/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/config/config.h"

#include "core/mem.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 2048 };

static struct layer_config *parse(const char *json)
{
    struct layer_config *config = NULL;
    struct err_text why = {0};
    if (layer_config_parse(&config, slice_str(json), &why) != ERR_OK)
        fail_msg("%s\nwas refused: %s", json, why.text);
    return config;
}

static void append(char *line, const char *name, const char *value)
{
    const size_t len = strlen(line);
    if (value != NULL)
        (void)snprintf(line + len, LINE_MAX_BYTES - len, " %s=%s", name, value);
}

static void append_number(char *line, const char *name, unsigned value)
{
    char text[16];
    (void)snprintf(text, sizeof(text), "%u", value);
    append(line, name, value != 0 ? text : NULL);
}

/* All that is set of a host, in one line; with TLS what is verified: name, chain (optional) or no.
 */
static void describe(char line[LINE_MAX_BYTES], const struct redis_host *host)
{
    static const char *const verified[] = {[REDIS_VERIFY_REQUIRED] = "chain",
                                           [REDIS_VERIFY_OPTIONAL] = "optional",
                                           [REDIS_VERIFY_NONE] = "no"};
    (void)snprintf(line, LINE_MAX_BYTES, "%s", host->text);
    append(line, "host", host->host);
    append_number(line, "port", host->port);
    append(line, "path", host->unix_path);
    append_number(line, "db", host->db);
    append(line, "user", host->username);
    append(line, "password", host->password);
    append(line, "tls", host->is_tls ? verified[host->verify] : NULL);
    append(line, "name", host->check_hostname ? "checked" : NULL);
    append(line, "ca", host->ca_file);
    append(line, "cas", host->ca_folder);
    append(line, "cadata", host->ca_data);
    append(line, "cert", host->cert_file);
    append(line, "key", host->key_file);
    append(line, "keypass", host->key_password);
    append(line, "ciphers", host->ciphers);
    append(line, "min", host->min_tls);
    append(line, "client", host->client_name);
    append_number(line, "connect", host->connect_timeout_ms);
    append(line, "master", host->master_name);
    for (size_t i = 0; i < host->sentinel_count; i++) {
        char inner[LINE_MAX_BYTES];
        describe(inner, &host->sentinels[i]);
        append(line, "sentinel", inner);
    }
}

/* What redis-py 8.1 and channels_redis 4.3 make of these was looked up in them, but for those at
 * the end, which they refuse. */
static const struct form {
    const char *entry;
    const char *host;
} forms[] = {
    {"'redis://localhost'", "localhost:6379 host=localhost port=6379"},
    {"'redis://'", "localhost:6379 host=localhost port=6379"},
    {"'redis://:6380'", "localhost:6380 host=localhost port=6380"},
    {"'redis://h:0/'", "h:6379 host=h port=6379"},
    {"'redis://u:p@h:1/3'", "h:1 host=h port=1 db=3 user=u password=p"},
    {"'redis://u@h'", "h:6379 host=h port=6379 user=u"},
    {"'redis://:p@h'", "h:6379 host=h port=6379 password=p"},
    {"'redis://u:@h'", "h:6379 host=h port=6379 user=u"},
    {"'redis://a%40b:c%2Fd%3Ae@H.Example:1/2?db=5'",
     "h.example:1 host=h.example port=1 db=5 user=a@b password=c/d:e"},
    {"'redis://:a@b@h'", "h:6379 host=h port=6379 password=a@b"},
    {"'redis://:a:b@h'", "h:6379 host=h port=6379 password=a:b"},
    {"'redis://h/abc'", "h:6379 host=h port=6379"},
    {"'redis://h//7'", "h:6379 host=h port=6379 db=7"},
    {"'redis://h/1/2'", "h:6379 host=h port=6379 db=12"},
    {"'redis://h/%31'", "h:6379 host=h port=6379 db=1"},
    {"'redis://h/4#5'", "h:6379 host=h port=6379 db=4"},
    {"'redis:///3'", "localhost:6379 host=localhost port=6379 db=3"},
    {"'redis://h?db='", "h:6379 host=h port=6379"},
    {"'redis://h?db'", "h:6379 host=h port=6379"},
    {"'redis://h?db=1&db=2'", "h:6379 host=h port=6379 db=1"},
    {"'redis://h?db=+3'", "h:6379 host=h port=6379 db=3"},
    {"'redis://h?db=%33'", "h:6379 host=h port=6379 db=3"},
    {"'redis://[::1]:6390/1'", "[::1]:6390 host=::1 port=6390 db=1"},
    {"'redis://[2001:DB8::1]'", "[2001:db8::1]:6379 host=2001:db8::1 port=6379"},
    {"'redis://[fe80::1%25eth0]:1'", "[fe80::1%eth0]:1 host=fe80::1%eth0 port=1"},
    {"'REDIS://h'", "h:6379 host=h port=6379"},
    {"' redis://h:1/2\\n'", "h:1 host=h port=1 db=2"},
    {"'redis://%68ost'", "host:6379 host=host port=6379"},
    {"'redis://h?username=u&password=p'", "h:6379 host=h port=6379 user=u password=p"},
    {"'redis://a:b@h?username=u&password=p'", "h:6379 host=h port=6379 user=a password=b"},
    {"'redis://h?host=z&port=7'", "h:7 host=h port=7"},
    {"'redis://?host=z&port=7'", "z:7 host=z port=7"},
    {"'redis://h?client_name=bob&socket_connect_timeout=1.5'",
     "h:6379 host=h port=6379 client=bob connect=1500"},
    {"'redis://h?protocol=3&max_connections=5&timeout=3&socket_timeout=.5&decode_responses=1'",
     "h:6379 host=h port=6379"},
    {"'rediss://h'", "h:6379 host=h port=6379 tls=chain name=checked"},
    {"'rediss://h?ssl_cert_reqs=none'", "h:6379 host=h port=6379 tls=no"},
    {"'rediss://h?ssl_cert_reqs=optional&ssl_ca_certs=/ca%20.pem'",
     "h:6379 host=h port=6379 tls=optional name=checked ca=/ca .pem"},
    {"'rediss://h?ssl_ca_data=-----BEGIN%20C'",
     "h:6379 host=h port=6379 tls=chain name=checked cadata=-----BEGIN C"},
    {"'rediss://h?ssl_check_hostname=FALSE'", "h:6379 host=h port=6379 tls=chain"},
    {"'rediss://h?ssl_check_hostname=no&ssl_min_version=772'",
     "h:6379 host=h port=6379 tls=chain min=TLSv1.3"},
    {"'rediss://h?ssl_check_hostname=1'", "h:6379 host=h port=6379 tls=chain name=checked"},
    {"'rediss://h?ssl_certfile=/c&ssl_keyfile=/k&ssl_password=s&ssl_ca_path=/d&ssl_ciphers=HIGH'",
     "h:6379 host=h port=6379 tls=chain name=checked cas=/d cert=/c key=/k keypass=s ciphers=HIGH"},
    {"'unix:///a/b.sock?db=6'", "/a/b.sock path=/a/b.sock db=6"},
    {"'unix://u:p@/a/b.sock'", "/a/b.sock path=/a/b.sock user=u password=p"},
    {"'unix://a/b.sock'", "/b.sock path=/b.sock"},
    {"'unix:///a%20b'", "/a b path=/a b"},
    {"'unix:///a?path=/x'", "/a path=/a"},
    {"'unix:///a?password=a+b%2Bc@d'", "/a path=/a password=a b+c@d"},
    {"['h', 1]", "h:1 host=h port=1"},
    {"['h', '1']", "h:1 host=h port=1"},
    {"['h', 1, 5]", "h:1 host=h port=1"},
    {"['::1', 1]", "[::1]:1 host=::1 port=1"},
    {"[null, 1]", "localhost:1 host=localhost port=1"},
    {"{}", "localhost:6379 host=localhost port=6379"},
    {"{'host': 'h', 'port': '5'}", "h:5 host=h port=5"},
    {"{'host': 'h', 'db': '3', 'username': null, 'password': ''}", "h:6379 host=h port=6379 db=3"},
    {"{'host': 'h', 'db': null, 'username': 'u', 'password': 'p'}",
     "h:6379 host=h port=6379 user=u password=p"},
    {"{'port': 1}", "localhost:1 host=localhost port=1"},
    {"{'address': 'redis://h/4', 'db': 2}", "h:6379 host=h port=6379 db=4"},
    {"{'db': 2, 'address': 'redis://h'}", "h:6379 host=h port=6379 db=2"},
    {"{'address': 'redis://h', 'port': 7}", "h:7 host=h port=7"},
    {"{'address': 'redis://u:p@h', 'username': 'x', 'password': 'y'}",
     "h:6379 host=h port=6379 user=u password=p"},
    {"{'address': 'redis://h', 'socket_timeout': null, 'health_check_interval': 5, 'retry': {}, "
     "'retry_on_timeout': true, 'max_connections': 3, 'protocol': 3, 'decode_responses': true, "
     "'encoding': 'utf-8', 'retry_on_error': [], 'socket_keepalive': true, 'is_master': true, "
     "'credential_provider': null}",
     "h:6379 host=h port=6379"},
    {"{'address': 'redis://h', 'socket_connect_timeout': 2, 'client_name': 'c'}",
     "h:6379 host=h port=6379 client=c connect=2000"},
    {"{'address': 'rediss://h', 'ssl_cert_reqs': null}", "h:6379 host=h port=6379 tls=no"},
    {"{'address': 'rediss://h', 'ssl_cert_reqs': 0}", "h:6379 host=h port=6379 tls=no"},
    {"{'address': 'rediss://h', 'ssl_cert_reqs': 1}",
     "h:6379 host=h port=6379 tls=optional name=checked"},
    {"{'address': 'rediss://h', 'ssl_cert_reqs': 2}",
     "h:6379 host=h port=6379 tls=chain name=checked"},
    {"{'address': 'rediss://h', 'ssl_check_hostname': false}", "h:6379 host=h port=6379 tls=chain"},
    {"{'address': 'rediss://h', 'ssl_check_hostname': 0}", "h:6379 host=h port=6379 tls=chain"},
    {"{'address': 'rediss://h?ssl_cert_reqs=none', 'ssl_cert_reqs': 'required'}",
     "h:6379 host=h port=6379 tls=no"},
    {"{'address': 'rediss://h', 'ssl_min_version': 771}",
     "h:6379 host=h port=6379 tls=chain name=checked min=TLSv1.2"},
    {"{'sentinels': [['s', 26379]], 'master_name': 'm'}",
     "m by s:26379 master=m sentinel=s:26379 host=s port=26379"},
    {"{'sentinels': [['s', 1], ['::2', '2']], 'master_name': 'm', 'db': 7, 'password': 'p', "
     "'ssl': true, 'ssl_cert_reqs': 'none', 'sentinel_kwargs': {'password': 'q', 'username': 'v'}, "
     "'host': 'unused'}",
     "m by s:1 db=7 password=p tls=no master=m sentinel=s:1 host=s port=1 user=v password=q "
     "sentinel=[::2]:2 host=::2 port=2 user=v password=q"},
    {"{'sentinels': [['s', 1]], 'master_name': 'm', 'ssl': false, 'sentinel_kwargs': {'ssl': true, "
     "'ssl_ca_certs': '/c', 'socket_timeout': 1, 'socket_connect_timeout': 0.25}}",
     "m by s:1 master=m sentinel=s:1 host=s port=1 tls=chain name=checked ca=/c connect=250"},
    {"{'sentinels': [['s', 1]], 'master_name': 'm', 'sentinel_kwargs': null}",
     "m by s:1 master=m sentinel=s:1 host=s port=1"},
    /* ours */
    {"{'host': 'h', 'ssl': true}", "h:6379 host=h port=6379 tls=chain name=checked"},
    {"{'host': 'h', 'ssl': true, 'ssl_cert_reqs': 'VerifyMode.CERT_NONE'}",
     "h:6379 host=h port=6379 tls=no"},
    {"{'host': 'h', 'ssl': false}", "h:6379 host=h port=6379"},
    {"{'path': '/a', 'db': 1}", "/a path=/a db=1"},
    {"{'address': 'rediss://h', 'ssl': true}", "h:6379 host=h port=6379 tls=chain name=checked"},
    {"{'address': 'redis://h', 'ssl_ca_certs': null}", "h:6379 host=h port=6379"},
    {"{'address': 'rediss://h', 'ssl_validate_ocsp': false}",
     "h:6379 host=h port=6379 tls=chain name=checked"},
    {"'rediss://h?ssl_cert_reqs=CERT_OPTIONAL'",
     "h:6379 host=h port=6379 tls=optional name=checked"},
    {"'rediss://h?ssl_cert_reqs=0'", "h:6379 host=h port=6379 tls=no"},
    {"'rediss://h?ssl_min_version=TLSv1.2'",
     "h:6379 host=h port=6379 tls=chain name=checked min=TLSv1.2"},
    {"'rediss://h?ssl_min_version=TLSVersion.TLSv1_3'",
     "h:6379 host=h port=6379 tls=chain name=checked min=TLSv1.3"},
};

/* JSON with ' for ", so that the tables stay readable. */
static char *quoted(const char *format, const char *text)
{
    const size_t size = strlen(format) + strlen(text) + 1;
    char *out = malloc(size);
    assert_non_null(out);
    (void)snprintf(out, size, "%.*s%s%s", (int)strcspn(format, "@"), format, text,
                   strchr(format, '@') != NULL ? strchr(format, '@') + 1 : "");
    for (char *c = out; *c != '\0'; c++) {
        if (*c == '\'')
            *c = '"';
    }
    return out;
}

static void every_form_of_hosts_is_read_as_redis_py_reads_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(forms); i++) {
        char line[LINE_MAX_BYTES];
        char *json = quoted("{'hosts': [@]}", forms[i].entry);
        struct layer_config *config = parse(json);
        assert_int_equal(config->backend, LAYER_REDIS);
        assert_int_equal(config->host_count, 1);
        describe(line, &config->hosts[0]);
        if (strcmp(line, forms[i].host) != 0)
            fail_msg("%s\nis   %s\nnot  %s", forms[i].entry, line, forms[i].host);
        layer_config_free(config);
        free(json);
    }
}

static const struct refusal {
    const char *json;
    const char *reason; /* a part of it */
} refusals[] = {
    {"{'hosts': 'redis://h'}",
     "hosts: a string: it is a list of Redis servers, also when there is only one"},
    {"{'hosts': {'address': 'redis://h'}}", "hosts: an object: it is a list of Redis servers"},
    {"{'hosts': [5]}", "hosts[0]: a number is no Redis server"},
    {"{'hosts': [null]}", "hosts[0]: null is no Redis server"},
    {"{'hosts': ['redis://h', 'h:6379']}",
     "hosts[1]: the address of a Redis server is a URL that begins with redis://, rediss:// or "
     "unix://"},
    {"{'hosts': ['http://h']}", "redis://, rediss:// or unix://"},
    {"{'hosts': ['']}", "redis://, rediss:// or unix://"},
    {"{'hosts': ['redis:/h']}", "redis://, rediss:// or unix://"},
    {"{'hosts': ['localhost', 6379]}", "redis://, rediss:// or unix://"},
    {"{'hosts': ['redis://h:x']}", "hosts[0]: what follows the host's colon is no port"},
    {"{'hosts': ['redis://h:1:2']}", "is no port"},
    {"{'hosts': ['redis://h:99999']}", "hosts[0]: the port is over 65535"},
    {"{'hosts': ['redis://h:99999999999999999999']}", "is no port"},
    {"{'hosts': ['redis://[::1']}", "hosts[0]: what stands in brackets is no IPv6 address"},
    {"{'hosts': ['redis://[zz]:1']}", "what stands in brackets is no IPv6 address"},
    {"{'hosts': ['redis://[]']}", "what stands in brackets is no IPv6 address"},
    {"{'hosts': ['redis://[::1]x:1']}", "only a port may follow the ]"},
    {"{'hosts': ['redis://a b']}", "hosts[0].host: this is no host"},
    {"{'hosts': ['redis://h?db=x']}", "hosts[0].db: 'x' is no number of a database"},
    {"{'hosts': ['redis://h?db=-1']}", "hosts[0].db: '-1' is no number of a database"},
    {"{'hosts': ['redis://h?frob=1']}", "hosts[0].frob: there is no such setting"},
    {"{'hosts': ['redis://h?address=1']}", "hosts[0].address: there is no such setting"},
    {"{'hosts': ['redis://h?socket_timeout=abc']}", "hosts[0].socket_timeout: 'abc' is no number"},
    {"{'hosts': ['redis://h?socket_connect_timeout=0']}",
     "hosts[0].socket_connect_timeout: '0' is no number of seconds above 0"},
    {"{'hosts': ['redis://h?ssl_cert_reqs=none']}",
     "hosts[0].ssl_cert_reqs: only with TLS: rediss:// or \"ssl\": true"},
    {"{'hosts': ['redis://h', 'rediss://h?ssl_cert_reqs=maybe']}",
     "hosts[1].ssl_cert_reqs: 'maybe' is none of none, optional, required"},
    {"{'hosts': ['rediss://h?ssl_cert_reqs=NONE']}", "is none of none, optional, required"},
    {"{'hosts': ['rediss://h?ssl_min_version=770']}",
     "hosts[0].ssl_min_version: '770' is none of TLSv1.2 (771), TLSv1.3 (772)"},
    {"{'hosts': ['rediss://h?ssl_validate_ocsp=x']}",
     "hosts[0].ssl_validate_ocsp: this is not supported"},
    {"{'hosts': ['rediss://h?ssl_keyfile=/k']}", "hosts[0].ssl_keyfile: ssl_certfile is missing"},
    {"{'hosts': ['redis://h?ssl=true']}", "hosts[0].ssl: true, but the URL begins with redis://"},
    {"{'hosts': ['redis://:%ff@h']}", "hosts[0].password: it is not UTF-8"},
    {"{'hosts': ['redis://:%00@h']}", "hosts[0].password: there is a NUL character in it"},
    {"{'hosts': ['unix://']}", "hosts[0]: a unix:// URL has the path of a socket"},
    {"{'hosts': ['unix:///a?host=h']}", "hosts[0].host: not together with a unix socket"},
    {"{'hosts': ['redis://h?path=/a']}", "hosts[0].path: only with unix://, or without a URL"},
    {"{'hosts': [['h']]}", "hosts[0]: a list here is [host, port]"},
    {"{'hosts': [['h', null]]}", "hosts[0].port: null is no port from 1 to 65535"},
    {"{'hosts': [['h', 0]]}", "hosts[0].port: 0 is no port from 1 to 65535"},
    {"{'hosts': [['h', 65536]]}", "hosts[0].port: 65536 is no port"},
    {"{'hosts': [['h', -1]]}", "hosts[0].port: -1 is no port"},
    {"{'hosts': [['h', 1.5]]}", "hosts[0].port: 1.5 is no port"},
    {"{'hosts': [['redis://h', 1]]}", "hosts[0].host: this is no host (a URL belongs into"},
    {"{'hosts': [[5, 1]]}", "hosts[0].host: a number where a string belongs"},
    {"{'hosts': [{'host': ''}]}", "hosts[0].host: this is no host"},
    {"{'hosts': [{'frob': 1}]}", "hosts[0].frob: there is no such setting"},
    {"{'hosts': [{'address': 5}]}", "hosts[0].address: a number where a string belongs"},
    {"{'hosts': [{'password': 5}]}", "hosts[0].password: a number where a string belongs"},
    {"{'hosts': [{'ssl': 'yes'}]}", "hosts[0].ssl: 'yes' is neither true nor false"},
    {"{'hosts': [{'ssl': 2}]}", "hosts[0].ssl: 2 is neither true nor false"},
    {"{'hosts': [{'ssl': true, 'ssl_cert_reqs': 3}]}",
     "hosts[0].ssl_cert_reqs: 3 is none of none, optional, required"},
    {"{'hosts': [{'ssl': true, 'ssl_cert_reqs': true}]}",
     "hosts[0].ssl_cert_reqs: true or false is none of none, optional, required"},
    {"{'hosts': [{'path': '/a', 'ssl': true}]}", "hosts[0].ssl: there is no TLS on a unix socket"},
    {"{'hosts': [{'path': '/a', 'host': 'h'}]}", "hosts[0].host: not together with a unix socket"},
    {"{'hosts': [{'path': '/a', 'port': 5}]}", "hosts[0].port: not together with a unix socket"},
    {"{'hosts': [{'address': 'rediss://h', 'ssl': false}]}",
     "hosts[0].ssl: false, but the URL begins with rediss://"},
    {"{'hosts': [{'address': 'redis://h', 'ssl': true}]}", "write rediss://"},
    {"{'hosts': [{'address': 'redis://h', 'path': '/a'}]}", "hosts[0].path: only with unix://"},
    {"{'hosts': [{'address': 'redis://h', 'ssl_ca_certs': '/c'}]}",
     "hosts[0].ssl_ca_certs: only with TLS"},
    {"{'hosts': [{'address': 'unix:///a', 'host': 'h'}]}",
     "hosts[0].host: not together with a unix socket"},
    {"{'hosts': [{'host': 'h', 'connection_class': 'x'}]}",
     "hosts[0].connection_class: an object of Python"},
    {"{'hosts': [{'host': 'h', 'is_master': false}]}", "hosts[0].is_master: a layer writes"},
    {"{'hosts': [{'host': 'h', 'client_name': 'a b'}]}", "hosts[0].client_name: it has a blank"},
    {"{'hosts': [{'host': 'h', 'socket_connect_timeout': -1}]}",
     "hosts[0].socket_connect_timeout: -1 is no number of seconds above 0"},
    {"{'hosts': [{'master_name': 'm'}]}", "hosts[0].sentinels: master_name has to come with"},
    {"{'hosts': [{'sentinels': [['s', 1]]}]}", "hosts[0].master_name: sentinels have to come with"},
    {"{'hosts': [{'sentinels': [], 'master_name': 'm'}]}", "hosts[0].sentinels: from one to 64"},
    {"{'hosts': [{'sentinels': 's:1', 'master_name': 'm'}]}",
     "hosts[0].sentinels: a string where a list belongs"},
    {"{'hosts': [{'sentinels': [['s', 1, 2]], 'master_name': 'm'}]}",
     "hosts[0].sentinels[0]: a sentinel is [host, port]"},
    {"{'hosts': [{'sentinels': [['s', 1], 's'], 'master_name': 'm'}]}",
     "hosts[0].sentinels[1]: a sentinel is [host, port]"},
    {"{'hosts': [{'sentinels': [['s', 0]], 'master_name': 'm'}]}",
     "hosts[0].sentinels[0].port: 0 is no port"},
    {"{'hosts': [{'sentinels': [[null, 1]], 'master_name': 'm'}]}",
     "hosts[0].sentinels[0].host: null is none"},
    {"{'hosts': [{'sentinels': [['s', 1]], 'master_name': 'm', 'sentinel_kwargs': {'frob': 1}}]}",
     "hosts[0].sentinel_kwargs.frob: there is no such setting"},
    {"{'hosts': [{'sentinels': [['s', 1]], 'master_name': 'm', 'sentinel_kwargs': {'host': 'h'}}]}",
     "hosts[0].sentinel_kwargs.host: there is no such setting"},
    {"{'hosts': [{'sentinels': [['s', 1]], 'master_name': 'm', "
     "'sentinel_kwargs': {'ssl_cert_reqs': 'none'}}]}",
     "hosts[0].sentinel_kwargs.ssl_cert_reqs: only with TLS"},
    {"{'hosts': [{'sentinels': [['s', 1]], 'master_name': 'm', 'sentinel_kwargs': []}]}",
     "hosts[0].sentinel_kwargs: a list where an object belongs"},
    {"{'hosts': [{'host': 'h', 'sentinel_kwargs': {}}]}",
     "hosts[0].sentinel_kwargs: only together with sentinels"},
    {"{'hosts': [{'address': 'redis://h', 'sentinels': [['s', 1]], 'master_name': 'm'}]}",
     "hosts[0].master_name: not together with the address of a server"},
    {"{'hosts': [{'path': '/a', 'sentinels': [['s', 1]], 'master_name': 'm'}]}",
     "hosts[0].master_name: not together with the address of a server"},
};

static void what_is_not_understood_is_refused_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(refusals); i++) {
        char *json = quoted("@", refusals[i].json);
        struct layer_config *config = NULL;
        struct err_text why = {0};
        if (layer_config_parse(&config, slice_str(json), &why) == ERR_OK)
            fail_msg("%s was accepted", json);
        assert_null(config);
        if (why.code != ERR_INVALID || strstr(why.text, refusals[i].reason) == NULL)
            fail_msg("%s\nwas refused with  %s\ninstead of        %s", json, why.text,
                     refusals[i].reason);
        free(json);
    }
}

/* The password of each is "hush", or has it in it. */
static const char *const secrets[] = {
    "{'hosts': ['redis://u:hush@h:x']}",
    "{'hosts': ['redis://:hu?hush@h']}",
    "{'hosts': ['redis://:hu/hush@h']}",
    "{'hosts': ['redis://:hu#hush@h']}",
    "{'hosts': ['redis://:12/hush@h']}",
    "{'hosts': ['redis://:12?hush=a@h']}",
    "{'hosts': ['redis://:12?db=hush@h']}",
    "{'hosts': ['http://:hush@h']}",
    "{'hosts': ['hush@h:6379']}",
    "{'hosts': ['redis://:hush@h?frob=1']}",
    "{'hosts': ['redis://:hush@h?db=x']}",
    "{'hosts': ['redis://:hush@[h]']}",
    "{'hosts': ['redis://:hush@h', 5]}",
    "{'hosts': [['redis://:hush@h', 5]]}",
    "{'hosts': [{'host': 'h', 'password': ['hush']}]}",
    "{'hosts': [{'host': 'h', 'password': 'hush\\u0000'}]}",
    "{'hosts': [{'address': 'redis://:hush@h', 'ssl': true}]}",
    "{'hosts': [{'host': 'h', 'ssl': true, 'ssl_password': {'a': 'hush'}}]}",
    "{'hosts': 'redis://:hush@h'}",
    "{'hosts': ['redis://:hush@h'",
    "{'hosts': ['redis://:hush\n@h']}",
    "{'symmetric_encryption_keys': 'hush'}",
    "{'symmetric_encryption_keys': ['hush', 5]}",
    "{'symmetric_encryption_keys': [{'base64': 'hush='}]}",
    "{'symmetric_encryption_keys': [{'hush': 'hush'}]}",
    "{'symmetric_encryption_keys': ['hush' 'x']}",
};

static void no_refusal_tells_a_secret(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(secrets); i++) {
        char *json = quoted("@", secrets[i]);
        struct layer_config *config = NULL;
        struct err_text why = {0};
        if (layer_config_parse(&config, slice_str(json), &why) == ERR_OK)
            fail_msg("%s was accepted", json);
        if (strstr(why.text, "hush") != NULL)
            fail_msg("%s was told: %s", json, why.text);
        free(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_hosts_is_read_as_redis_py_reads_it),
        cmocka_unit_test(what_is_not_understood_is_refused_by_name),
        cmocka_unit_test(no_refusal_tells_a_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
