/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_tls.h"

#include <assert.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <uv.h>

#include "core/mem.h"

struct redis_tls {
    SSL *ssl;
    BIO *in;  /* from the network; the SSL's own */
    BIO *out; /* to the network; the SSL's own */
    char server_name[256];
};

/* What this thread's error queue, which is emptied, tells: what the system said if it said
 * anything, for then the errors behind it only say that it did; else the last of them. */
static const char *openssl_reason(void)
{
    const unsigned long first = ERR_peek_error();
    const unsigned long last = ERR_peek_last_error();
    const char *reason = NULL;
    if (first != 0 && ERR_SYSTEM_ERROR(first))
        reason = uv_strerror(-ERR_GET_REASON(first));
    else if (last != 0)
        reason = ERR_reason_error_string(last);
    ERR_clear_error();
    return reason != NULL ? reason : "unknown reason";
}

/* Never asks at a terminal: without a password the key cannot be read, which is told. */
static int on_key_password(char *out, int size, int writing, void *ctx)
{
    const struct redis_host *host = ctx;
    (void)writing;
    if (host->key_password == NULL)
        return -1;
    const size_t len = strlen(host->key_password);
    if (size < 0 || len > (size_t)size)
        return -1;
    memcpy(out, host->key_password, len);
    return (int)len;
}

/* For certificates: none has a password. */
static int on_no_password(char *out, int size, int writing, void *ctx)
{
    (void)out;
    (void)size;
    (void)writing;
    (void)ctx;
    return -1;
}

static enum err set_versions(SSL_CTX *context, const struct redis_host *host, struct err_text *why)
{
    static const struct {
        const char *name;
        int version;
    } versions[] = {{"TLSv1", TLS1_VERSION},
                    {"TLSv1.1", TLS1_1_VERSION},
                    {"TLSv1.2", TLS1_2_VERSION},
                    {"TLSv1.3", TLS1_3_VERSION}};
    if (host->min_tls != NULL) {
        int version = 0;
        for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++)
            if (strcmp(host->min_tls, versions[i].name) == 0)
                version = versions[i].version;
        if (version == 0 || SSL_CTX_set_min_proto_version(context, version) != 1)
            return err_fail(why, ERR_INVALID, "ssl_min_version: %s is not known", host->min_tls);
    }
    if (host->ciphers != NULL && SSL_CTX_set_cipher_list(context, host->ciphers) != 1)
        return err_fail(why, ERR_INVALID, "ssl_ciphers: %s: %s", host->ciphers, openssl_reason());
    return ERR_OK;
}

/* As Python's load_verify_locations(cadata=...): each certificate of the text, at least one. */
static enum err add_authorities(SSL_CTX *context, const char *pem, struct err_text *why)
{
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    const size_t len = strlen(pem);
    BIO *in = len <= INT_MAX ? BIO_new_mem_buf(pem, (int)len) : NULL;
    X509 *certificate = NULL;
    unsigned count = 0;
    bool is_added = in != NULL;
    while (is_added && (certificate = PEM_read_bio_X509(in, NULL, on_no_password, NULL)) != NULL) {
        is_added = X509_STORE_add_cert(store, certificate) == 1;
        X509_free(certificate);
        count++;
    }
    BIO_free(in);
    /* Behind the last one it misses the first line of another: any other reason is an error. */
    const unsigned long last = ERR_peek_last_error();
    if (!is_added || count == 0 || ERR_GET_LIB(last) != ERR_LIB_PEM ||
        ERR_GET_REASON(last) != PEM_R_NO_START_LINE)
        return err_fail(why, ERR_INVALID, "ssl_ca_data: certificate %u in PEM: %s",
                        is_added ? count + 1 : count, openssl_reason());
    ERR_clear_error();
    return ERR_OK;
}

static enum err set_authorities(SSL_CTX *context, const struct redis_host *host,
                                struct err_text *why)
{
    if (host->verify == REDIS_VERIFY_NONE) {
        SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
        return ERR_OK;
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    /* A system without certificates of its own is no error: the server's is then not accepted. */
    if (SSL_CTX_set_default_verify_paths(context) != 1)
        ERR_clear_error();
    if (host->ca_file != NULL && SSL_CTX_load_verify_file(context, host->ca_file) != 1)
        return err_fail(why, ERR_INVALID, "ssl_ca_certs: %s: %s", host->ca_file, openssl_reason());
    if (host->ca_folder != NULL && SSL_CTX_load_verify_dir(context, host->ca_folder) != 1)
        return err_fail(why, ERR_INVALID, "ssl_ca_path: %s: %s", host->ca_folder, openssl_reason());
    return host->ca_data != NULL ? add_authorities(context, host->ca_data, why) : ERR_OK;
}

static enum err set_own_certificate(SSL_CTX *context, const struct redis_host *host,
                                    struct err_text *why)
{
    if (host->cert_file == NULL)
        return ERR_OK;
    if (SSL_CTX_use_certificate_chain_file(context, host->cert_file) != 1)
        return err_fail(why, ERR_INVALID, "ssl_certfile: %s: %s", host->cert_file,
                        openssl_reason());
    /* As in Python, the key may stand in the certificate's file. */
    const char *key = host->key_file != NULL ? host->key_file : host->cert_file;
    if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        return err_fail(why, ERR_INVALID, "ssl_keyfile: %s: %s%s", key, openssl_reason(),
                        host->key_password == NULL ? "" : " (is ssl_password right?)");
    if (SSL_CTX_check_private_key(context) != 1)
        return err_fail(why, ERR_INVALID, "ssl_keyfile: %s: %s", key, openssl_reason());
    return ERR_OK;
}

enum err redis_tls_context_new(struct ssl_ctx_st **out, const struct redis_host *host,
                               struct err_text *why)
{
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL)
        return err_fail(why, ERR_NOMEM, "TLS: %s", openssl_reason());
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_default_passwd_cb(context, on_key_password);
    /* OpenSSL hands it back to on_key_password(), which reads it only. */
    SSL_CTX_set_default_passwd_cb_userdata(context, (void *)(uintptr_t)host);
    enum err err = set_versions(context, host, why);
    if (err == ERR_OK)
        err = set_authorities(context, host, why);
    if (err == ERR_OK)
        err = set_own_certificate(context, host, why);
    if (err != ERR_OK) {
        SSL_CTX_free(context);
        return err;
    }
    *out = context;
    return ERR_OK;
}

void redis_tls_context_free(struct ssl_ctx_st *context)
{
    SSL_CTX_free(context);
}

static bool is_address(const char *name)
{
    ASN1_OCTET_STRING *address = a2i_IPADDRESS(name);
    ASN1_OCTET_STRING_free(address);
    ERR_clear_error();
    return address != NULL;
}

/* What the certificate must be for. An address is looked for among its addresses, and is never sent
 * as SNI (RFC 6066 section 3). */
static bool set_server_name(SSL *ssl, const char *name, bool check)
{
    if (is_address(name))
        return !check || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    char *copy = mem_copy_str(name, strlen(name)); /* the macro casts a const away */
    const bool is_set = SSL_set_tlsext_host_name(ssl, copy) == 1;
    mem_free(copy);
    if (!is_set)
        return false;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return !check || SSL_set1_host(ssl, name) == 1;
}

enum err redis_tls_new(struct redis_tls **out, struct ssl_ctx_st *context,
                       const struct redis_host *host, const char *server_name, struct err_text *why)
{
    ERR_clear_error();
    SSL *ssl = SSL_new(context);
    BIO *in = BIO_new(BIO_s_mem());
    BIO *net = BIO_new(BIO_s_mem());
    if (ssl == NULL || in == NULL || net == NULL) {
        SSL_free(ssl);
        BIO_free(in);
        BIO_free(net);
        return err_fail(why, ERR_NOMEM, "TLS: %s", openssl_reason());
    }
    BIO_set_mem_eof_return(in, -1); /* an empty buffer is no end of file */
    SSL_set_bio(ssl, in, net);
    SSL_set_connect_state(ssl);
    const bool check = host->check_hostname && host->verify != REDIS_VERIFY_NONE;
    if (!set_server_name(ssl, server_name, check)) {
        SSL_free(ssl);
        return err_fail(why, ERR_INVALID, "TLS: %s cannot be the name of a server: %s", server_name,
                        openssl_reason());
    }
    struct redis_tls *tls = mem_alloc(sizeof(*tls));
    *tls = (struct redis_tls){.ssl = ssl, .in = in, .out = net};
    const size_t len = strlen(server_name);
    memcpy(tls->server_name, server_name,
           len < sizeof(tls->server_name) ? len : sizeof(tls->server_name) - 1);
    *out = tls;
    return ERR_OK;
}

void redis_tls_free(struct redis_tls *tls)
{
    if (tls == NULL)
        return;
    SSL_free(tls->ssl);
    mem_free(tls);
}

enum err redis_tls_feed(struct redis_tls *tls, const void *bytes, size_t len)
{
    assert(len <= INT_MAX);
    return BIO_write(tls->in, bytes, (int)len) == (int)len ? ERR_OK : ERR_NOMEM;
}

/* What SSL_* answered with @rc means. */
static enum redis_tls_step step_of(struct redis_tls *tls, int rc, struct err_text *why)
{
    const int kind = SSL_get_error(tls->ssl, rc);
    if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE)
        return REDIS_TLS_MORE;
    if (kind == SSL_ERROR_ZERO_RETURN) {
        ERR_clear_error();
        (void)err_fail(why, ERR_CLOSED, "connection closed by the server");
        return REDIS_TLS_FAILED;
    }
    const long verified = SSL_get_verify_result(tls->ssl);
    if (!SSL_is_init_finished(tls->ssl) && verified != X509_V_OK &&
        SSL_get_verify_mode(tls->ssl) != SSL_VERIFY_NONE) {
        ERR_clear_error();
        (void)err_fail(why, ERR_ACCESS, "the server's certificate is not accepted for %s: %s",
                       tls->server_name, X509_verify_cert_error_string(verified));
        return REDIS_TLS_FAILED;
    }
    const bool is_plain = ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_SSL &&
                          ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_WRONG_VERSION_NUMBER;
    (void)err_fail(why, ERR_PROTO, "TLS: %s%s", openssl_reason(),
                   is_plain ? " (does this port speak TLS?)" : "");
    return REDIS_TLS_FAILED;
}

enum redis_tls_step redis_tls_handshake(struct redis_tls *tls, struct err_text *why)
{
    ERR_clear_error();
    const int rc = SSL_do_handshake(tls->ssl);
    return rc == 1 ? REDIS_TLS_DONE : step_of(tls, rc, why);
}

enum redis_tls_step redis_tls_read(struct redis_tls *tls, void *out, size_t size, size_t *got,
                                   struct err_text *why)
{
    ERR_clear_error();
    const int rc = SSL_read_ex(tls->ssl, out, size, got);
    return rc == 1 ? REDIS_TLS_DONE : step_of(tls, rc, why);
}

enum err redis_tls_write(struct redis_tls *tls, struct slice plain, struct err_text *why)
{
    if (plain.len == 0)
        return ERR_OK;
    ERR_clear_error();
    size_t written = 0;
    /* The memory behind takes everything: less is an error. */
    if (SSL_write_ex(tls->ssl, plain.ptr, plain.len, &written) != 1 || written != plain.len)
        return err_fail(why, ERR_IO, "TLS: %s", openssl_reason());
    return ERR_OK;
}

enum err redis_tls_take_output(struct redis_tls *tls, struct buf *out)
{
    char *bytes = NULL;
    const long len = BIO_get_mem_data(tls->out, &bytes);
    if (len <= 0)
        return ERR_OK;
    const enum err err = buf_append(out, bytes, (size_t)len);
    if (err == ERR_OK)
        (void)BIO_reset(tls->out);
    return err;
}
