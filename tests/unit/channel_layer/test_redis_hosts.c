/* SPDX-License-Identifier: BSD-3-Clause
 * The ways to a Redis: databases, unix sockets, TLS, replicas, Sentinel.
 */
#include "tests/support/redis_link_rig.h"

/* ---- databases, names ---- */

static void database_and_name_are_set(void **state)
{
    struct redis_daemon p = {0};
    struct rig rig;
    struct ask ask;
    (void)state;
    daemon_start(&p, NULL);
    prepare(&rig, p.port);
    rig.host.db = 3;
    rig_open(&rig, 2000);
    rig_ask(&rig, &ask, "CLIENT LIST");
    RUN_UNTIL(&rig, ask.is_answered);
    assert_true(strstr(ask.text, " db=3 ") != NULL);
    assert_true(strstr(ask.text, " name=channelsd ") != NULL);
    rig_close(&rig);

    prepare(&rig, p.port);
    rig.host.db = 99;
    expect_down(&rig, "database 99: ERR DB index is out of range");
    daemon_remove(&p);
}

/* ---- unix sockets, names ---- */

static void a_unix_socket_is_a_host(void **state)
{
    char path[128];
    char too_long[200];
    struct redis_daemon p = {0};
    struct rig rig;
    (void)state;
    daemon_folder(&p);
    snprintf(path, sizeof(path), "%s/socket", p.folder);
    const char *const args[] = {"--unixsocket", path, NULL};
    daemon_start(&p, args);
    prepare(&rig, 0);
    rig.host.unix_path = path;
    expect_up(&rig);
    daemon_remove(&p);

    prepare(&rig, 0);
    rig.host.unix_path = path;
    expect_down(&rig, "no such file");

    memset(too_long, 'x', sizeof(too_long) - 1);
    too_long[sizeof(too_long) - 1] = '\0';
    prepare(&rig, 0);
    rig.host.unix_path = too_long;
    expect_down(&rig, "too long");
}

static void a_host_is_looked_up_by_name(void **state)
{
    struct redis_daemon p = {0};
    struct rig rig;
    (void)state;
    daemon_start(&p, NULL);
    prepare(&rig, p.port);
    rig.host.host = text_of("localhost"); /* perhaps ::1 first, where nobody listens */
    expect_up(&rig);
    daemon_remove(&p);

    prepare(&rig, 6379);
    rig.host.host = text_of("no such host");
    expect_down(&rig, "cannot be looked up");
}

/* ---- servers that are the wrong ones at the moment ---- */

static void a_replica_is_left_and_its_refusal_told(void **state)
{
    struct redis_daemon p = {0};
    struct rig rig;
    struct ask asks[2];
    (void)state;
    daemon_start(&p, NULL);
    prepare(&rig, p.port);
    rig_open(&rig, 2000);
    RUN_UNTIL(&rig, rig.ups == 1);
    daemon_do(&p, "REPLICAOF 127.0.0.1 %u", daemon_free_port());
    rig_ask(&rig, &asks[0], "SET key value");
    rig_ask(&rig, &asks[1], "ECHO x"); /* under way too: may end */
    RUN_UNTIL(&rig, rig.downs == 1);
    assert_int_equal(asks[0].err, ERR_UNAVAILABLE);
    assert_true(strstr(asks[0].why, "READONLY") != NULL);
    assert_string_equal(asks[1].text, "x");
    assert_true(strstr(rig.why, "is a replica") != NULL);
    daemon_do(&p, "REPLICAOF NO ONE");
    RUN_UNTIL(&rig, rig.ups == 2);
    rig_expect(&rig, "SET key value", "OK");
    rig_close(&rig);
    daemon_remove(&p);
}

static void a_server_that_loads_is_waited_for(void **state)
{
    static const char hello[] = "%1\r\n$7\r\nversion\r\n$5\r\n7.2.1\r\n";
    static const char loading[] = "+OK\r\n-LOADING Redis is loading the dataset in memory\r\n";
    static const char *const answers[] = {hello,
                                          loading,
                                          hello,
                                          loading,
                                          hello,
                                          "+OK\r\n+PONG\r\n",
                                          "-LOADING Redis is loading the dataset in memory\r\n",
                                          hello,
                                          "+OK\r\n+PONG\r\n",
                                          "$1\r\nv\r\n",
                                          NULL};
    struct peer peer = {.answers = answers};
    struct rig rig;
    struct ask ask;
    (void)state;
    rig_open_peer(&rig, &peer, 2000);
    RUN_UNTIL(&rig, rig.ups == 1);
    assert_int_equal(peer.conns, 3);
    assert_int_equal(rig.downs, 1);
    assert_true(strstr(rig.why, "LOADING") != NULL);
    rig_ask(&rig, &ask, "GET key"); /* it loads again */
    RUN_UNTIL(&rig, rig.ups == 2);
    assert_int_equal(ask.err, ERR_UNAVAILABLE);
    rig_expect(&rig, "GET key", "v");
    peer_close(&peer);
    rig_close(&rig);
}

/* ---- TLS ---- */

struct tls_files {
    char ca[128], cert[128], key[128], locked[128];
};

static void make_certificate(const struct redis_daemon *p, const char *name, const char *san)
{
    char subject[64], key[64], crt[64], alt[96];
    snprintf(subject, sizeof(subject), "/CN=%s", name);
    snprintf(key, sizeof(key), "%s.key", name);
    snprintf(crt, sizeof(crt), "%s.crt", name);
    snprintf(alt, sizeof(alt), "subjectAltName=%s", san);
    const char *const argv[] = {"openssl",
                                "req",
                                "-x509",
                                "-newkey",
                                "ec",
                                "-pkeyopt",
                                "ec_paramgen_curve:P-256",
                                "-nodes",
                                "-days",
                                "2",
                                "-subj",
                                subject,
                                "-addext",
                                alt,
                                "-keyout",
                                key,
                                "-out",
                                crt,
                                san[0] == '\0' ? NULL : "-CA",
                                "ca.crt",
                                "-CAkey",
                                "ca.key",
                                NULL};
    const char *const authority[] = {
        "openssl", "req",   "-x509", "-newkey", "ec",    "-pkeyopt", "ec_paramgen_curve:P-256",
        "-nodes",  "-days", "2",     "-subj",   subject, "-keyout",  key,
        "-out",    crt,     NULL};
    daemon_run(p->folder, san[0] == '\0' ? authority : argv);
}

static void make_files(const struct redis_daemon *p, struct tls_files *f)
{
    const char *const lock[] = {"openssl",    "ec",      "-in",      "node.key",     "-out",
                                "locked.key", "-aes128", "-passout", "pass:" SECRET, NULL};
    make_certificate(p, "ca", "");
    make_certificate(p, "node", "DNS:localhost");
    daemon_run(p->folder, lock);
    snprintf(f->ca, sizeof(f->ca), "%s/ca.crt", p->folder);
    snprintf(f->cert, sizeof(f->cert), "%s/node.crt", p->folder);
    snprintf(f->key, sizeof(f->key), "%s/node.key", p->folder);
    snprintf(f->locked, sizeof(f->locked), "%s/locked.key", p->folder);
}

/* What differs from settings with which it works. */
struct tls_row {
    const char *what;
    const char *host;
    const char *ca, *ca_data, *cert, *key, *password, *min_tls, *ciphers;
    enum redis_verify verify;
    bool check;
    const char *fails; /* NULL: it is up */
};

static void try_tls(const struct tls_row *row, unsigned port)
{
    struct rig rig;
    prepare(&rig, port);
    struct redis_host *host = &rig.host;
    host->is_tls = true;
    host->host = text_of(row->host);
    host->ca_file = text_of(row->ca);
    host->ca_data = text_of(row->ca_data);
    host->cert_file = text_of(row->cert);
    host->key_file = text_of(row->key);
    host->key_password = text_of(row->password);
    host->min_tls = text_of(row->min_tls);
    host->ciphers = text_of(row->ciphers);
    host->verify = row->verify;
    host->check_hostname = row->check;
    print_message("    %s\n", row->what);
    if (row->fails == NULL)
        expect_up(&rig);
    else
        expect_down(&rig, row->fails);
}

/* Authorities as text, where @good names their file. */
static void try_authorities(struct tls_row good, unsigned port)
{
    char both[8192] = "what stands around it does not count\n";
    FILE *file = fopen(good.cert, "r"); /* one that vouches for nobody comes first */
    assert_non_null(file);
    size_t len = strlen(both);
    len += fread(both + len, 1, sizeof(both) / 2, file);
    fclose(file);
    file = fopen(good.ca, "r");
    assert_non_null(file);
    len += fread(both + len, 1, sizeof(both) / 2 - 64, file);
    fclose(file);
    both[len] = '\0';
    good.ca = NULL;
    struct tls_row row = good;
    row.what = "authorities as text";
    row.ca_data = both;
    try_tls(&row, port);
    row.what = "authorities as text, and none in it";
    row.ca_data = "/etc/ssl/ca.crt";
    row.fails = "ssl_ca_data: certificate 1 in PEM: no start line";
    try_tls(&row, port);
    row.what = "authorities as text that was cut";
    row.ca_data = both;
    both[len - 40] = '\0';
    row.fails = "ssl_ca_data: certificate 2 in PEM: ";
    try_tls(&row, port);
}

static void certificates_are_really_checked(void **state)
{
    char tls_port[8];
    struct redis_daemon p = {0};
    struct tls_files f;
    (void)state;
    daemon_need(daemon_has_tls(), "TLS");
    daemon_folder(&p);
    make_files(&p, &f);
    const unsigned port = daemon_free_port();
    snprintf(tls_port, sizeof(tls_port), "%u", port);
    const char *const args[] = {"--tls-port",
                                tls_port,
                                "--tls-cert-file",
                                f.cert,
                                "--tls-key-file",
                                f.key,
                                "--tls-ca-cert-file",
                                f.ca,
                                "--tls-auth-clients",
                                "yes",
                                NULL};
    daemon_start(&p, args);
    const struct tls_row good = {.what = "all checked",
                                 .host = "localhost",
                                 .ca = f.ca,
                                 .cert = f.cert,
                                 .key = f.key,
                                 .check = true};
    struct tls_row rows[12];
    for (size_t i = 0; i < UNIT_ROWS(rows); i++)
        rows[i] = good;
    rows[1].what = "nobody vouches for the server";
    rows[1].ca = NULL;
    rows[1].fails = "the server's certificate is not accepted for localhost";
    rows[2] = rows[1];
    rows[2].what = "optional is required";
    rows[2].verify = REDIS_VERIFY_OPTIONAL;
    rows[3] = rows[1];
    rows[3].what = "not verified";
    rows[3].verify = REDIS_VERIFY_NONE;
    rows[3].fails = NULL;
    rows[4].what = "for another name";
    rows[4].host = "127.0.0.1";
    rows[4].fails = "not accepted for 127.0.0.1: IP address mismatch";
    rows[5] = rows[4];
    rows[5].what = "the name is not checked";
    rows[5].check = false;
    rows[5].fails = NULL;
    rows[6].what = "no certificate of our own";
    rows[6].cert = NULL;
    rows[6].key = NULL;
    rows[6].fails = "certificate required";
    rows[7].what = "a key with a password";
    rows[7].key = f.locked;
    rows[7].password = SECRET;
    rows[7].min_tls = "TLSv1.3";
    rows[8] = rows[7];
    rows[8].what = "without its password";
    rows[8].password = NULL;
    rows[8].fails = "ssl_keyfile";
    rows[9].what = "a missing file";
    rows[9].ca = "/nonexistent/ca.crt";
    rows[9].fails = "ssl_ca_certs: /nonexistent/ca.crt: no such file";
    rows[10].what = "an unknown version";
    rows[10].min_tls = "SSLv9";
    rows[10].fails = "ssl_min_version: SSLv9 is not known";
    rows[11].what = "unknown ciphers";
    rows[11].ciphers = "NOTHING";
    rows[11].fails = "ssl_ciphers";
    for (size_t i = 0; i < UNIT_ROWS(rows); i++)
        try_tls(&rows[i], port);
    try_authorities(good, port);

    struct tls_row plain = good;
    plain.what = "a port without TLS";
    plain.fails = ""; /* Redis closes, or answers in plain text: either is an error */
    try_tls(&plain, p.port);
    daemon_remove(&p);
}

static void nothing_is_read_for_a_server_that_is_not_there(void **state)
{
    struct tls_row row = {.what = "nobody there, and a missing file",
                          .host = "127.0.0.1",
                          .ca = "/nonexistent/ca.crt",
                          .fails = "connection refused"};
    (void)state;
    try_tls(&row, daemon_free_port());
}

/* ---- Sentinel ---- */

static void start_sentinel(struct redis_daemon *p, unsigned master_port)
{
    char path[128];
    daemon_folder(p);
    snprintf(path, sizeof(path), "%s/sentinel.conf", p->folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    p->port = daemon_free_port();
    fprintf(file,
            "port %u\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 %u 1\n"
            "sentinel down-after-milliseconds mymaster 300\n"
            "sentinel failover-timeout mymaster 2000\n",
            p->port, master_port);
    fclose(file);
    const char *const args[] = {"redis-server", "sentinel.conf", "--sentinel", NULL};
    memcpy(p->args, args, sizeof(args)); /* the folder is where it runs */
    daemon_restart(p);
}

static bool has_replica(const struct redis_daemon *master)
{
    char said[256];
    daemon_ask(master->port, "WAIT 1 100", said, sizeof(said));
    return strncmp(said, ":1", 2) == 0;
}

static bool knows_replica(const struct redis_daemon *sentinel)
{
    char said[256];
    daemon_ask(sentinel->port, "SENTINEL REPLICAS mymaster", said, sizeof(said));
    return strncmp(said, "*1", 2) == 0;
}

static void sentinel_names_the_master_also_after_a_failover(void **state)
{
    char master_port[8];
    struct redis_daemon master = {0};
    struct redis_daemon replica = {0};
    struct redis_daemon sentinel = {0};
    struct redis_host sentinels[2] = {{.text = text_of("dead"), .host = text_of("127.0.0.1")},
                                      {.text = text_of("live"), .host = text_of("127.0.0.1")}};
    struct rig rig;
    struct ask ask;
    char where[32];
    (void)state;
    daemon_start(&master, NULL);
    snprintf(master_port, sizeof(master_port), "%u", master.port);
    const char *const follow[] = {"--replicaof", "127.0.0.1", master_port, NULL};
    daemon_start(&replica, follow);
    for (int i = 0; i < 50 && !has_replica(&master); i++)
        continue;
    start_sentinel(&sentinel, master.port);
    sentinels[0].port = (uint16_t)daemon_free_port();
    sentinels[1].port = (uint16_t)sentinel.port;

    rig_init(&rig);
    rig.host.text = strdup("mymaster");
    rig.host.master_name = text_of("mymaster");
    rig.host.sentinels = sentinels;
    rig.host.sentinel_count = 2;
    rig_open(&rig, 2000);
    rig_expect(&rig, "SET kept 1", "OK");
    rig_ask(&rig, &ask, "NOCOMMAND");
    RUN_UNTIL(&rig, ask.is_answered);
    snprintf(where, sizeof(where), "mymaster at 127.0.0.1:%u", master.port);
    assert_true(strstr(ask.why, where) != NULL);
    while (!knows_replica(&sentinel))
        rig_sleep(&rig, 20);
    daemon_kill(&master);
    RUN_UNTIL(&rig, rig.ups == 2);
    assert_int_equal(rig.downs, 1);
    rig_expect(&rig, "SET kept 2", "OK");
    rig_ask(&rig, &ask, "NOCOMMAND");
    RUN_UNTIL(&rig, ask.is_answered);
    snprintf(where, sizeof(where), "mymaster at 127.0.0.1:%u", replica.port);
    assert_true(strstr(ask.why, where) != NULL);
    rig_close(&rig);

    rig_init(&rig);
    rig.host.text = strdup("other");
    rig.host.master_name = text_of("other");
    rig.host.sentinels = sentinels;
    rig.host.sentinel_count = 2;
    expect_down(&rig, "live: knows no such master");

    daemon_remove(&sentinel);
    for (int turns = 0; turns < 20; turns += 2) { /* closed while they are asked */
        rig_init(&rig);
        rig.host.master_name = text_of("mymaster");
        rig.host.sentinels = sentinels;
        rig.host.sentinel_count = 2;
        rig_open(&rig, 2000);
        for (int i = 0; i < turns; i++)
            uv_run(&rig.loop, UV_RUN_NOWAIT);
        rig_close(&rig);
    }
    daemon_remove(&replica);
    daemon_remove(&master);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(database_and_name_are_set),
        cmocka_unit_test(a_unix_socket_is_a_host),
        cmocka_unit_test(a_host_is_looked_up_by_name),
        cmocka_unit_test(a_replica_is_left_and_its_refusal_told),
        cmocka_unit_test(a_server_that_loads_is_waited_for),
        cmocka_unit_test(certificates_are_really_checked),
        cmocka_unit_test(nothing_is_read_for_a_server_that_is_not_there),
        cmocka_unit_test(sentinel_names_the_master_also_after_a_failover),
    };
    return cmocka_run_group_tests_name("redis_hosts", tests, NULL, NULL);
}
