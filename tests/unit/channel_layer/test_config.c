/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/config/config.h"

#include "core/mem.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALLOCATIONS_MAX = 400 }; /* more than one reading takes */

static struct layer_config *parse(const char *json)
{
    struct layer_config *config = NULL;
    struct err_text why = {0};
    if (layer_config_parse(&config, slice_str(json), &why) != ERR_OK)
        fail_msg("%s\nwas refused: %s", json, why.text);
    return config;
}

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

static const struct refusal {
    const char *json;
    const char *reason; /* a part of it */
} refusals[] = {
    {"[]", "the settings of a layer: a list where an object belongs"},
    {"{", "JSON: line 1, column 1: the text ends too early"},
    {"{'prefix': 'a', 'prefix': 'b'}", "a key that the object has already"},
    {"{'hostz': []}", "hostz: there is no such setting"},
    {"{'a b': 1}", "?: there is no such setting"},
    {"{'backend': 'redis', 'brpop_timeout': 5}", "brpop_timeout: there is no such setting"},
    {"{'backend': 'rabbit'}", "backend: 'rabbit' is none of memory, redis, pubsub"},
    {"{'backend': 5}", "backend: a number where a string belongs"},
    {"{'backend': 'memory', 'hosts': ['redis://h']}", "hosts: the backend memory has none"},
    {"{'prefix': 5}", "prefix: a number where a string belongs"},
    {"{'prefix': 'a\\u0000'}", "prefix: there is a NUL character in it"},
    {"{'expiry': 0}", "expiry: 0 is no number of seconds from 1"},
    {"{'expiry': 0.9}", "expiry: 0.9 is no number of seconds from 1"},
    {"{'expiry': -1}", "expiry: -1 is no number of seconds from 1"},
    {"{'expiry': 1e300}", "expiry: 1e+300 is no number of seconds from 1"},
    {"{'expiry': 'x'}", "expiry: a string where a number of seconds belongs"},
    {"{'group_expiry': 0}", "group_expiry: 0 is no number of seconds"},
    {"{'capacity': 0}", "capacity: 0 is no whole number from 1"},
    {"{'capacity': 1.5}", "capacity: 1.5 is no whole number from 1"},
    {"{'capacity': true}", "capacity: true or false where a number of messages belongs"},
    {"{'capacity': 4294967296}", "capacity: 4294967296 is no whole number"},
    {"{'channel_capacity': 5}", "channel_capacity: a number where an object"},
    {"{'channel_capacity': {'a*': 0}}", "channel_capacity['a*']: 0 is no whole number from 1"},
    {"{'channel_capacity': {'a*': '5'}}", "channel_capacity['a*']: a string where a number of"},
    {"{'channel_capacity': [['a', 1], ['b']]}",
     "channel_capacity[1]: [pattern, number] belongs here"},
    {"{'channel_capacity': [[1, 1]]}", "channel_capacity[0]: [pattern, number] belongs here"},
    {"{'symmetric_encryption_keys': 'k'}",
     "symmetric_encryption_keys: it is a list of keys, also when there is only one"},
    {"{'symmetric_encryption_keys': 5}", "symmetric_encryption_keys: a number where a list"},
    {"{'symmetric_encryption_keys': ['k', 5]}", "symmetric_encryption_keys[1]: a string, or bytes"},
    {"{'symmetric_encryption_keys': [{'base64': 'YQ'}]}",
     "symmetric_encryption_keys[0].base64: this is not base64"},
    {"{'symmetric_encryption_keys': [{'base64': 'YQ==', 'x': 1}]}",
     "symmetric_encryption_keys[0]: a string, or bytes"},
    {"{'random_prefix_length': -1}", "random_prefix_length: -1 is no whole number from 0 to 255"},
    {"{'random_prefix_length': 256}", "random_prefix_length: 256 is no whole number from 0 to 255"},
    {"{'serializer_format': 'pickle'}",
     "serializer_format: 'pickle' is a serializer of the project's own, written in Python; only "
     "msgpack and json are understood"},
    {"{'serializer_format': 5}", "serializer_format: a number where a string belongs"},
    {"{'timeout': 0.04}", "timeout: 0.04 is no number of seconds from 0.05 to 60"},
    {"{'timeout': 60.1}", "timeout: 60.1 is no number of seconds from 0.05 to 60"},
    {"{'timeout': 'x'}", "timeout: a string where a number of seconds belongs"},
    {"{'backend': 'pubsub', 'on_disconnect': 'f'}", "on_disconnect: a function of Python"},
    {"{'backend': 'redis', 'on_reconnect': 'f'}", "on_reconnect: a function of Python"},
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

static void nothing_is_a_memory_layer_with_the_defaults_of_channels_redis(void **state)
{
    (void)state;
    static const char *const texts[] = {"", " \n", "{}", "{\"hosts\": null}",
                                        "{\"hosts\": [], \"expiry\": null, \"prefix\": null}"};
    for (size_t i = 0; i < UNIT_ROWS(texts); i++) {
        struct layer_config *config = parse(texts[i]);
        assert_int_equal(config->backend, LAYER_MEMORY);
        assert_int_equal(config->serializer, LAYER_MSGPACK);
        assert_int_equal(config->host_count, 0);
        assert_string_equal(config->prefix, "asgi");
        assert_int_equal(config->expiry_s, 60);
        assert_int_equal(config->group_expiry_s, 86400);
        assert_int_equal(config->capacity, 100);
        assert_int_equal(config->capacities.count, 0);
        assert_int_equal(config->key_count, 0);
        assert_int_equal(config->random_prefix_length, 12);
        assert_int_equal(config->timeout_ms, 2000);
        layer_config_free(config);
    }
}

static void a_backend_that_needs_a_server_gets_the_local_one(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        enum layer_backend backend;
    } rows[] = {
        {"{\"backend\": \"redis\"}", LAYER_REDIS},
        {"{\"backend\": \"pubsub\", \"hosts\": null}", LAYER_PUBSUB},
        {"{\"backend\": \"pubsub\", \"hosts\": \"\"}", LAYER_PUBSUB},
        {"{\"backend\": \"channels_redis.core.RedisChannelLayer\", \"hosts\": []}", LAYER_REDIS},
        {"{\"backend\": \"channels_redis.pubsub.RedisPubSubChannelLayer\"}", LAYER_PUBSUB},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct layer_config *config = parse(rows[i].json);
        assert_int_equal(config->backend, rows[i].backend);
        assert_int_equal(config->host_count, 1);
        assert_string_equal(config->hosts[0].text, "localhost:6379");
        assert_false(config->hosts[0].is_tls);
        layer_config_free(config);
    }
    struct layer_config *config = parse("{\"backend\": \"channels.layers.InMemoryChannelLayer\"}");
    assert_int_equal(config->backend, LAYER_MEMORY);
    layer_config_free(config);
}

static void every_other_setting_is_read(void **state)
{
    (void)state;
    struct layer_config *config = parse(
        "{\"hosts\": [\"redis://a\", [\"b\", 2]], \"prefix\": \"p:\", \"expiry\": 61.9, "
        "\"group_expiry\": 7, \"capacity\": 5.0, \"random_prefix_length\": 0, "
        "\"serializer_format\": \"json\", \"timeout\": 0.05, \"socket\": \"/s\", "
        "\"on_disconnect\": null, \"channel_capacity\": {\"http.*\": 9, \"*\": 3, \"x\": 1}}");
    assert_int_equal(config->host_count, 2);
    assert_string_equal(config->hosts[1].text, "b:2");
    assert_string_equal(config->prefix, "p:");
    assert_int_equal(config->expiry_s, 61);
    assert_int_equal(config->group_expiry_s, 7);
    assert_int_equal(config->capacity, 5);
    assert_int_equal(config->random_prefix_length, 0);
    assert_int_equal(config->serializer, LAYER_JSON);
    assert_int_equal(config->timeout_ms, 50);
    assert_int_equal(config->capacities.count, 3);
    assert_string_equal(config->capacities.entries[0].pattern, "http.*");
    assert_int_equal(config->capacities.entries[0].number, 9);
    assert_string_equal(config->capacities.entries[2].pattern, "x");
    layer_config_free(config);
}

static void the_first_pattern_that_matches_gives_the_capacity(void **state)
{
    (void)state;
    struct layer_config *config =
        parse("{\"capacity\": 7, \"channel_capacity\": [[\"a*\", 1], [\"ab\", 2], [\"b\", 3]]}");
    assert_int_equal(layer_config_capacity(config, slice_str("ab")), 1);
    assert_int_equal(layer_config_capacity(config, slice_str("b")), 3);
    assert_int_equal(layer_config_capacity(config, slice_str("c")), 7);
    layer_config_free(config);
}

static void pubsub_heeds_what_its_channels_redis_layer_heeds(void **state)
{
    (void)state;
    struct layer_config *config = parse(
        "{\"backend\": \"pubsub\", \"capacity\": -5, \"expiry\": \"x\", \"group_expiry\": [], "
        "\"channel_capacity\": 1, \"random_prefix_length\": 3000, \"any\": {}, "
        "\"prefix\": \"p\", \"symmetric_encryption_keys\": [\"k\"]}");
    assert_int_equal(config->capacity, 10000);
    assert_int_equal(config->expiry_s, 60);
    assert_int_equal(config->capacities.count, 0);
    assert_string_equal(config->prefix, "p");
    assert_int_equal(config->key_count, 1);
    layer_config_free(config);
}

static void keys_are_the_halves_of_a_sha_256(void **state)
{
    (void)state;
    /* printf abc | sha256sum */
    static const uint8_t expected[32] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
                                         0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
                                         0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
                                         0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    struct layer_config *config =
        parse("{\"symmetric_encryption_keys\": [\"abc\", {\"base64\": \"YWJj\"}, \"\", "
              "{\"base64\": \"AP8=\"}]}");
    assert_int_equal(config->key_count, 4);
    for (size_t i = 0; i < 2; i++) {
        assert_memory_equal(config->keys[i].sign, expected, 16);
        assert_memory_equal(config->keys[i].encrypt, expected + 16, 16);
    }
    assert_int_equal(config->keys[2].sign[0], 0xe3); /* of nothing at all */
    assert_int_equal(config->keys[3].sign[0], 0x06); /* printf '\0\377' | sha256sum */
    layer_config_free(config);
}

static void assert_digests(const char *a, const char *b, bool must_be_equal)
{
    char *first = quoted("@", a);
    char *second = quoted("@", b);
    struct layer_config *one = parse(first);
    struct layer_config *other = parse(second);
    assert_int_equal(strlen(one->digest), 64);
    if ((strcmp(one->digest, other->digest) == 0) != must_be_equal)
        fail_msg("digests of\n%s\n%s\nmust %sbe equal", a, b, must_be_equal ? "" : "not ");
    layer_config_free(one);
    layer_config_free(other);
    free(first);
    free(second);
}

static void the_digest_is_of_what_is_meant(void **state)
{
    (void)state;
    static const char *const equal[][2] = {
        {"{}", "{'backend': 'memory', 'capacity': 100, 'timeout': 2.0, 'prefix': 'asgi'}"},
        {"{'expiry': 5, 'prefix': 'x'}", "{'prefix': 'x', 'expiry': 5.5}"},
        {"{'backend': 'redis'}", "{'hosts': ['redis://localhost:6379/0']}"},
        {"{'hosts': ['redis://u:p@h:1/2']}",
         "{'hosts': [{'db': 2, 'password': 'p', 'username': 'u', 'port': 1, 'host': 'h'}]}"},
        {"{'hosts': [['h', 1]]}", "{'hosts': ['redis://h:1?max_connections=9']}"},
        {"{'hosts': ['rediss://h?ssl_cert_reqs=none']}",
         "{'hosts': [{'host': 'h', 'ssl': true, 'ssl_cert_reqs': 0, 'ssl_check_hostname': true}]}"},
        {"{'channel_capacity': {'a': 1, 'b': 2}}", "{'channel_capacity': [['a', 1], ['b', 2]]}"},
        {"{'backend': 'pubsub'}", "{'backend': 'pubsub', 'capacity': 3}"},
        {"{'random_prefix_length': 3, 'symmetric_encryption_keys': ['k']}", "{}"},
    };
    static const char *const different[][2] = {
        {"{}", "{'backend': 'redis'}"},
        {"{'backend': 'pubsub'}", "{'backend': 'redis'}"},
        {"{'prefix': 'a'}", "{'prefix': 'b'}"},
        {"{'expiry': 1}", "{'expiry': 2}"},
        {"{'expiry': 1, 'group_expiry': 2}", "{'expiry': 2, 'group_expiry': 1}"},
        {"{'capacity': 1}", "{'capacity': 2}"},
        {"{'timeout': 1}", "{'timeout': 1.5}"},
        {"{'serializer_format': 'json'}", "{}"},
        {"{'channel_capacity': {'a': 1, 'b': 2}}", "{'channel_capacity': {'b': 2, 'a': 1}}"},
        {"{'hosts': [['h', 1], ['i', 1]]}", "{'hosts': [['i', 1], ['h', 1]]}"},
        {"{'hosts': ['redis://u:p@h']}", "{'hosts': ['redis://u:q@h']}"},
        {"{'hosts': ['redis://u@h']}", "{'hosts': ['redis://:u@h']}"},
        {"{'hosts': ['redis://h']}", "{'hosts': ['rediss://h']}"},
        {"{'hosts': ['rediss://h?ssl_ca_certs=/a']}", "{'hosts': ['rediss://h?ssl_ca_path=/a']}"},
        {"{'hosts': ['rediss://h?ssl_ca_data=a']}", "{'hosts': ['rediss://h?ssl_ca_data=b']}"},
        {"{'hosts': ['redis://h'], 'symmetric_encryption_keys': ['a']}",
         "{'hosts': ['redis://h']}"},
        {"{'hosts': ['redis://h'], 'symmetric_encryption_keys': ['a', 'b']}",
         "{'hosts': ['redis://h'], 'symmetric_encryption_keys': ['b', 'a']}"},
        {"{'hosts': ['redis://h'], 'random_prefix_length': 1}", "{'hosts': ['redis://h']}"},
        {"{'hosts': [{'master_name': 'm', 'sentinels': [['a', 1]]}]}",
         "{'hosts': [{'master_name': 'm', 'sentinels': [['a', 2]]}]}"},
    };
    for (size_t i = 0; i < UNIT_ROWS(equal); i++)
        assert_digests(equal[i][0], equal[i][1], true);
    for (size_t i = 0; i < UNIT_ROWS(different); i++)
        assert_digests(different[i][0], different[i][1], false);
}

static enum err parse_hosts(size_t count)
{
    struct layer_config *config = NULL;
    struct err_text why = {0};
    static const char head[] = "{\"hosts\": [";
    static const char host[] = "[\"h\",1],";
    const size_t host_len = sizeof(host) - 1;
    char *json = malloc(sizeof(head) + count * host_len + 1);
    if (json == NULL)
        abort();
    memcpy(json, head, sizeof(head) - 1);
    size_t len = sizeof(head) - 1;
    for (size_t i = 0; i < count; i++, len += host_len)
        memcpy(json + len, host, host_len);
    memcpy(json + len - 1, "]}", sizeof("]}")); /* over the last comma */
    const enum err err = layer_config_parse(&config, slice_str(json), &why);
    layer_config_free(config);
    free(json);
    return err;
}

static enum err parse_padded(const char *head, size_t fill, const char *tail)
{
    struct layer_config *config = NULL;
    struct err_text why = {0};
    const size_t size = strlen(head) + fill + strlen(tail) + 1;
    char *json = malloc(size);
    assert_non_null(json);
    memset(json, 'a', size);
    memcpy(json, head, strlen(head));
    memcpy(json + size - 1 - strlen(tail), tail, strlen(tail) + 1);
    const enum err err = layer_config_parse(&config, slice_str(json), &why);
    layer_config_free(config);
    free(json);
    return err;
}

static void each_ceiling_holds(void **state)
{
    (void)state;
    assert_int_equal(parse_hosts(1024), ERR_OK);
    assert_int_equal(parse_hosts(1025), ERR_INVALID);
    assert_int_equal(parse_padded("{\"prefix\": \"", 256, "\"}"), ERR_OK);
    assert_int_equal(parse_padded("{\"prefix\": \"", 257, "\"}"), ERR_INVALID);
    assert_int_equal(parse_padded("{\"hosts\": [[\"", 255, "\", 1]]}"), ERR_OK);
    assert_int_equal(parse_padded("{\"hosts\": [[\"", 256, "\", 1]]}"), ERR_INVALID);
    assert_int_equal(parse_padded("{\"hosts\": [\"unix:///", 106, "\"]}"), ERR_OK);
    assert_int_equal(parse_padded("{\"hosts\": [\"unix:///", 107, "\"]}"), ERR_INVALID);
    assert_int_equal(parse_padded("{\"hosts\": [\"redis://h/", 8182, "\"]}"), ERR_OK);
    assert_int_equal(parse_padded("{\"hosts\": [\"redis://h/", 8183, "\"]}"), ERR_INVALID);
    assert_int_equal(parse_padded("{\"channel_capacity\": {\"", 1000, "\": 1}}"), ERR_OK);
    assert_int_equal(parse_padded("{\"channel_capacity\": {\"", 1001, "\": 1}}"), ERR_INVALID);
    assert_int_equal(parse_padded("{\"socket\": \"", (1 << 20) - 14, "\"}"), ERR_OK);
    assert_int_equal(parse_padded("{\"socket\": \"", (1 << 20) - 13, "\"}"), ERR_TOO_BIG);
    assert_int_equal(parse_padded("{\"socket\": [[[[[[[\"", 1, "\"]]]]]]]}"), ERR_OK);
    assert_int_equal(parse_padded("{\"socket\": [[[[[[[[\"", 1, "\"]]]]]]]]}"), ERR_TOO_BIG);
}

static void a_failing_allocation_anywhere_is_told_and_leaks_nothing(void **state)
{
    (void)state;
    static const char json[] =
        "{\"hosts\": [\"rediss://u:p@h/1?ssl_certfile=/c&ssl_keyfile=/k&ssl_min_version=772\", "
        "{\"sentinels\": [[\"s\", 1], [\"t\", 2]], \"master_name\": \"m\", "
        "\"sentinel_kwargs\": {\"password\": \"q\"}}, {\"path\": \"/a\", \"password\": \"r\"}], "
        "\"channel_capacity\": {\"a\": 1, \"b\": 2}, \"prefix\": \"p\", "
        "\"symmetric_encryption_keys\": [\"k\", {\"base64\": \"YQ==\"}]}";
    struct layer_config *whole = parse(json);
    size_t failures = 0;
    for (long after = 0; after < ALLOCATIONS_MAX; after++) {
        struct layer_config *config = NULL;
        struct err_text why = {0};
        mem_fail_after(after);
        const enum err err = layer_config_parse(&config, slice_str(json), &why);
        mem_fail_after(-1);
        if (err == ERR_OK)
            assert_string_equal(config->digest, whole->digest);
        else if (config != NULL || why.code != err || why.text[0] == '\0')
            fail_msg("allocation %ld: %d, \"%s\"", after, (int)err, why.text);
        failures += err != ERR_OK ? 1 : 0;
        assert_true(err == ERR_OK || after < ALLOCATIONS_MAX - 1);
        layer_config_free(config);
    }
    assert_true(failures > 40);
    layer_config_free(whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_understood_is_refused_by_name),
        cmocka_unit_test(nothing_is_a_memory_layer_with_the_defaults_of_channels_redis),
        cmocka_unit_test(a_backend_that_needs_a_server_gets_the_local_one),
        cmocka_unit_test(every_other_setting_is_read),
        cmocka_unit_test(the_first_pattern_that_matches_gives_the_capacity),
        cmocka_unit_test(pubsub_heeds_what_its_channels_redis_layer_heeds),
        cmocka_unit_test(keys_are_the_halves_of_a_sha_256),
        cmocka_unit_test(the_digest_is_of_what_is_meant),
        cmocka_unit_test(each_ceiling_holds),
        cmocka_unit_test(a_failing_allocation_anywhere_is_told_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
