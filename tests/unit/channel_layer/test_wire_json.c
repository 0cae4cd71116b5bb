/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/wire/wire.h"

#include "core/mem.h"
#include "tests/support/golden.h"
#include "tests/support/wire_fixture.h"

static int make(void **state)
{
    struct wire_fixture *f = wire_fixture_new(LAYER_JSON);
    f->config.random_prefix_length = 0;
    *state = f;
    return 0;
}

static int release(void **state)
{
    wire_fixture_free(*state);
    return 0;
}

static void what_python_dumps_passes_and_comes_back_as_it_was(void **state)
{
    struct wire_fixture *f = *state;
    json_t *file = golden_load("tests/golden/channels_redis/msgpack_vectors.json");
    const struct slice names[] = {slice_str("a!b"), slice_str("c")};
    const struct wire_to to = {.kind = WIRE_NAME_LIST, .names = names, .count = 2};
    size_t compared = 0;
    size_t i = 0;
    const json_t *row = NULL;

    json_array_foreach(json_object_get(file, "vectors"), i, row)
    {
        if (golden_text(row, "json") == NULL || golden_text(row, "json")[0] != '{')
            continue; /* no JSON for it, or it is long */
        const struct slice body = golden_slice(row, "json");
        if (wire_fixture_check(f, body) != ERR_OK || wire_fixture_open(f, body) != ERR_OK)
            fail_msg("%s: %s", golden_text(row, "python"), f->why.text);
        assert_true(slice_eq(buf_slice(&f->body), body));
        assert_int_equal(wire_fixture_seal(f, body, NULL), ERR_OK);
        assert_true(slice_eq(buf_slice(&f->sealed), body));
        assert_int_equal(wire_fixture_seal(f, body, &to), ERR_OK);
        assert_true(wire_fixture_holds(f, body, &to));
        compared++;
    }
    assert_int_equal(compared, 55);
    json_decref(file);
}

/* The wanted texts are what json.dumps() makes of the dict with the key. */
static void the_key_is_written_as_python_writes_it(void **state)
{
    static const struct {
        const char *body;
        enum wire_names kind;
        size_t count;
        const char *names[2];
        const char *want;
    } rows[] = {
        {"{}", WIRE_ONE_NAME, 1, {"a!b"}, "{\"__asgi_channel__\": \"a!b\"}"},
        {"{\"type\": \"t\"}",
         WIRE_ONE_NAME,
         1,
         {"a!b"},
         "{\"type\": \"t\", \"__asgi_channel__\": \"a!b\"}"},
        {"{\"type\": \"t\"}",
         WIRE_NAME_LIST,
         2,
         {"a!b", "c"},
         "{\"type\": \"t\", \"__asgi_channel__\": [\"a!b\", \"c\"]}"},
        {"{\"type\": \"t\"}",
         WIRE_NAME_LIST,
         0,
         {NULL},
         "{\"type\": \"t\", \"__asgi_channel__\": []}"},
        {"{\"v\": {\"w\": []}}",
         WIRE_NAME_LIST,
         1,
         {"x"},
         "{\"v\": {\"w\": []}, \"__asgi_channel__\": [\"x\"]}"},
        {"{\"type\": \"t\"}",
         WIRE_ONE_NAME,
         1,
         {"x!\303\251\177\"\\\n\b\f\r\t\001/\342\200\250\360\237\230\200"},
         "{\"type\": \"t\", \"__asgi_channel__\": "
         "\"x!\\u00e9\\u007f\\\"\\\\\\n\\b\\f\\r\\t\\u0001/\\u2028\\ud83d\\ude00\"}"},
        {" { } \n", WIRE_ONE_NAME, 1, {"x"}, " { \"__asgi_channel__\": \"x\"} \n"},
        {"{\"a\":1 }\t", WIRE_ONE_NAME, 1, {"x"}, "{\"a\":1 , \"__asgi_channel__\": \"x\"}\t"},
    };
    struct wire_fixture *f = *state;

    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct slice names[2];
        const struct wire_to to = {.kind = rows[i].kind, .names = names, .count = rows[i].count};
        for (size_t n = 0; n < rows[i].count; n++)
            names[n] = slice_str(rows[i].names[n]);
        assert_int_equal(wire_fixture_seal(f, slice_str(rows[i].body), &to), ERR_OK);
        if (!slice_eq_str(buf_slice(&f->sealed), rows[i].want))
            fail_msg("row %zu: %.*s", i, (int)f->sealed.len, (const char *)f->sealed.ptr);
        assert_true(wire_fixture_holds(f, slice_str(rows[i].body), &to));
    }
}

static void the_key_is_found_wherever_it_stands_and_the_last_one_counts(void **state)
{
#define KEY "\"__asgi_channel__\""
    static const struct {
        const char *in;
        const char *body;
        enum wire_names kind;
        uint32_t count;
        const char *last;
    } rows[] = {
        {"{" KEY ": \"x\", \"k\": 1}", "{\"k\": 1}", WIRE_ONE_NAME, 1, "x"},
        {"{\"k\": 1, " KEY ": [\"x\", \"y\"], \"l\": 2}", "{\"k\": 1, \"l\": 2}", WIRE_NAME_LIST, 2,
         "y"},
        {"{" KEY ": \"x\"}", "{}", WIRE_ONE_NAME, 1, "x"},
        {"{" KEY ": \"x\", " KEY ": [ ] }", "{ }", WIRE_NAME_LIST, 0, NULL},
        {"{" KEY ": 1, " KEY ": \"x\", \"k\": 1}", "{\"k\": 1}", WIRE_ONE_NAME, 1, "x"},
        {"{" KEY ":\"w\",\"k\":1," KEY ":\"x\",\"l\":2," KEY ":[\"y\"]}", "{\"k\":1,\"l\":2}",
         WIRE_NAME_LIST, 1, "y"},
        {"{\"\\u005f_asgi\\u005Fchannel__\": \"x\"}", "{}", WIRE_ONE_NAME, 1, "x"},
        {"{\"__asgi_channel_\\u00e9\": \"x\"}", "{\"__asgi_channel_\\u00e9\": \"x\"}",
         WIRE_NO_NAMES, 0, NULL},
        {"{\"k\": {" KEY ": \"x\"}}", "{\"k\": {" KEY ": \"x\"}}", WIRE_NO_NAMES, 0, NULL},
        {"\357\273\277{\"k\": 1}", "{\"k\": 1}", WIRE_NO_NAMES, 0, NULL},
        {"{" KEY ": \"a\\u00e9\\ud83d\\ude00\\/\\n\"}", "{}", WIRE_ONE_NAME, 1,
         "a\303\251\360\237\230\200/\n"},
        {"{" KEY ": [\"x\", \"\\ud83dx\\ude00\\ud83d\"]}", "{}", WIRE_NAME_LIST, 2,
         "\357\277\275x\357\277\275\357\277\275"},
        {"{" KEY ": [ \"x\" ,\n\"\\u0062\" ]}", "{}", WIRE_NAME_LIST, 2, "b"},
    };
    struct wire_fixture *f = *state;
    struct buf scratch;

    buf_init(&scratch, 1024);
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct slice name = {0};
        size_t at = 0;
        uint32_t count = 0;
        f->body.len = 0;
        if (wire_open(&f->wire, &f->message, &f->body, slice_str(rows[i].in), WIRE_NOW_S,
                      &f->why) != ERR_OK)
            fail_msg("%s: %s", rows[i].in, f->why.text);
        while (wire_next_name(&f->message, &at, &scratch, &name))
            count++;
        if (!slice_eq_str(buf_slice(&f->body), rows[i].body) || f->message.kind != rows[i].kind ||
            count != rows[i].count || f->message.name_count != count ||
            (count > 0 && !slice_eq_str(name, rows[i].last)))
            fail_msg("%s: %.*s", rows[i].in, (int)f->body.len, (const char *)f->body.ptr);
    }
    buf_deinit(&scratch);
}

static void a_name_without_room_is_left_out_and_the_others_come(void **state)
{
    struct wire_fixture *f = *state;
    struct buf scratch;
    struct slice name;
    size_t at = 0;
    const char *in = "{" KEY ": [\"\\u0061bcde\", \"x\", \"\\u0061bcdef\", \"\\u0079\"]}";

    buf_init(&scratch, 5);
    assert_int_equal(wire_open(&f->wire, &f->message, &f->body, slice_str(in), WIRE_NOW_S, &f->why),
                     ERR_OK);
    assert_true(wire_next_name(&f->message, &at, &scratch, &name) && slice_eq_str(name, "abcde"));
    assert_true(wire_next_name(&f->message, &at, &scratch, &name) && slice_eq_str(name, "x"));
    assert_true(wire_next_name(&f->message, &at, &scratch, &name) && slice_eq_str(name, "y"));
    assert_false(wire_next_name(&f->message, &at, &scratch, &name));
    buf_deinit(&scratch);
}

/* Both as json.loads() of Python 3.11 decides. */
static void texts_are_taken_as_python_takes_them(void **state)
{
    static const char *const good[] = {
        "{}",
        " \n\t\r{ } ",
        "{\"a\":1E+5}",
        "{\"a\":-Infinity}",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\177\"}",
        "{\"a\":\"\\u0000\"}",
        "{\"a\":-0}",
        "{\"a\":1e999}",
        "{\"a\":\"\\/\"}",
        "{\"a\" : 1 , \"b\" :[ ] }",
        "{\"\":{\"\":[[],{}]}}",
        "{\"a\":\"\302\200\"}",
        "{\"a\":1,\"a\":2}",
        "{\"a\":[1,[2,{\"b\":null}],true,false]}",
        "{\"a\":0.5e-3}",
        "{\"a\":123456789012345678901234567890}",
    };
    static const struct {
        const char *said;
        const char *text;
    } bad[] = {
        {"JSON at byte 0: empty", ""},
        {"JSON at byte 2: empty", "  "},
        {"JSON at byte 0: no object", "[]"},
        {"JSON at byte 0: no object", "null"},
        {"JSON at byte 1: no key in double quotes", "{"},
        {"JSON at byte 1: no key in double quotes", "{a:1}"},
        {"JSON at byte 1: no key in double quotes", "{'a':1}"},
        {"JSON at byte 1: no key in double quotes", "{1:1}"},
        {"JSON at byte 1: no key in double quotes", "{,}"},
        {"JSON at byte 7: no key in double quotes", "{\"a\":1,}"},
        {"JSON at byte 4: no colon behind a key", "{\"a\"}"},
        {"JSON at byte 5: no value", "{\"a\":}"},
        {"JSON at byte 5: no value", "{\"a\":.5}"},
        {"JSON at byte 5: no value", "{\"a\":+1}"},
        {"JSON at byte 6: no value", "{\"a\":-}"},
        {"JSON at byte 6: no value", "{\"a\":-NaN}"},
        {"JSON at byte 5: no value", "{\"a\":tru}"},
        {"JSON at byte 5: a number that begins with 0", "{\"a\":01}"},
        {"JSON at byte 6: a number that begins with 0", "{\"a\":-01}"},
        {"JSON at byte 7: no digit behind the point", "{\"a\":1.}"},
        {"JSON at byte 7: no digit in the exponent", "{\"a\":1e}"},
        {"JSON at byte 8: no digit in the exponent", "{\"a\":1e+}"},
        {"JSON at byte 6: neither , nor }", "{\"a\":0x1}"},
        {"JSON at byte 7: neither , nor }", "{\"a\":1 \"b\":2}"},
        {"JSON at byte 7: neither , nor ]", "{\"a\":[1}"},
        {"JSON at byte 7: neither , nor ]", "{\"a\":[1"},
        {"JSON at byte 8: no value", "{\"a\":[1,]}"},
        {"JSON at byte 10: no value", "{\"a\":{\"b\":}}"},
        {"JSON at byte 12: no key in double quotes", "{\"a\":{\"b\":1,}}"},
        {"JSON at byte 6: a control character in a string", "{\"a\":\"\t\"}"},
        {"JSON at byte 6: an escape that JSON has not", "{\"a\":\"\\x41\"}"},
        {"JSON at byte 6: an escape that JSON has not", "{\"a\":\"\\"},
        {"JSON at byte 6: an escape \\u without four hexadecimal digits", "{\"a\":\"\\u12G4\"}"},
        {"JSON at byte 6: an escape \\u without four hexadecimal digits", "{\"a\":\"\\u12"},
        {"JSON at byte 7: cut short in a string", "{\"a\":\"b"},
        {"JSON at byte 7: something follows the message", "{\"a\":1}x"},
        {"JSON at byte 2: something follows the message", "{}{}"},
        {"JSON at byte 0: no valid UTF-8", "{\"a\":\"\377\"}"},
        {"JSON at byte 0: no valid UTF-8", "{\"a\":\"\355\240\200\"}"},
    };
    struct wire_fixture *f = *state;

    for (size_t i = 0; i < UNIT_ROWS(good); i++) {
        const struct slice body = slice_str(good[i]);
        if (wire_fixture_check(f, body) != ERR_OK || wire_fixture_open(f, body) != ERR_OK ||
            !slice_eq(buf_slice(&f->body), body))
            fail_msg("%s: %s", good[i], f->why.text);
    }
    for (size_t i = 0; i < UNIT_ROWS(bad); i++) {
        const struct slice body = slice_str(bad[i].text);
        if (wire_fixture_check(f, body) != ERR_INVALID || strcmp(f->why.text, bad[i].said) != 0 ||
            wire_fixture_open(f, body) != ERR_INVALID)
            fail_msg("%s: %s", bad[i].text, f->why.text);
    }
}

static void a_message_may_not_have_the_key_in_any_spelling(void **state)
{
    struct wire_fixture *f = *state;
    assert_int_equal(wire_fixture_check(f, slice_str("{" KEY ": 1}")), ERR_INVALID);
    assert_string_equal(f->why.text, "a message may not have the key __asgi_channel__");
    assert_int_equal(wire_fixture_check(f, slice_str("{\"\\u005f_asgi_channel__\": 1}")),
                     ERR_INVALID);
    assert_int_equal(wire_fixture_check(f, slice_str("{\"__asgi_channel__\\u0000\": 1}")), ERR_OK);
}

static void names_that_are_none_are_refused(void **state)
{
    static const char *const rows[] = {
        "{" KEY ": 1}",          "{" KEY ": null}",      "{" KEY ": {}}",
        "{" KEY ": [\"x\", 1]}", "{" KEY ": [[\"x\"]]}",
    };
    struct wire_fixture *f = *state;
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        if (wire_fixture_open(f, slice_str(rows[i])) != ERR_INVALID ||
            strstr(f->why.text, "__asgi_channel__") == NULL)
            fail_msg("%s: %s", rows[i], f->why.text);
    }
}

/* {"v": @depth containers} of arrays or objects; the caller frees it. */
static struct golden_bytes nest(size_t depth, bool of_objects)
{
    const char *open = of_objects ? "{\"v\":" : "[";
    const size_t step = strlen(open);
    struct golden_bytes body = {.ptr = malloc(16 + depth * (step + 1))};
    assert_non_null(body.ptr);
    memcpy(body.ptr, "{\"v\":", 5);
    body.len = 5;
    for (size_t i = 0; i < depth; i++) {
        memcpy(body.ptr + body.len, open, step);
        body.len += step;
    }
    body.ptr[body.len++] = '1';
    memset(body.ptr + body.len, of_objects ? '}' : ']', depth);
    body.len += depth;
    body.ptr[body.len++] = '}';
    return body;
}

static void nesting_ends_where_it_must(void **state)
{
    static const struct {
        size_t depth;
        bool is_sent;
        bool is_read;
    } rows[] = {
        {511, true, true},    {512, false, true},      {1023, false, true},
        {1024, false, false}, {1000000, false, false},
    };
    struct wire_fixture *f = *state;
    for (size_t i = 0; i < 2 * UNIT_ROWS(rows); i++) {
        const size_t row = i / 2;
        struct golden_bytes body = nest(rows[row].depth, i % 2 == 1);
        if ((wire_fixture_check(f, golden_of(body)) == ERR_OK) != rows[row].is_sent ||
            (wire_fixture_open(f, golden_of(body)) == ERR_OK) != rows[row].is_read)
            fail_msg("%zu deep: %s", rows[row].depth, f->why.text);
        free(body.ptr);
    }
}

static void integers_end_at_the_digits_of_python(void **state)
{
    struct wire_fixture *f = *state;
    char body[4400];
    for (size_t digits = 4300; digits <= 4301; digits++) {
        memcpy(body, "{\"a\":-", 6);
        memset(body + 6, '7', digits);
        body[6 + digits] = '}';
        assert_int_equal(wire_fixture_check(f, slice_make(body, 7 + digits)),
                         digits == 4300 ? ERR_OK : ERR_INVALID);
    }
    memcpy(body + 6 + 4301, ".5}", 3); /* a float of so many digits is one */
    assert_int_equal(wire_fixture_check(f, slice_make(body, 6 + 4301 + 3)), ERR_OK);
}

static const char sample[] = "{\"a\": [1, -2.5e3, {\"b\\u00e9\": null}], " KEY
                             ": [\"x!y\", \"\\u0061\"], \"c\": \"\303\251\"}";

static void no_beginning_of_a_message_is_one(void **state)
{
    struct wire_fixture *f = *state;
    for (size_t len = 0; len < sizeof(sample) - 1; len++) {
        assert_int_equal(wire_fixture_open(f, slice_make(sample, len)), ERR_INVALID);
        assert_int_equal(wire_fixture_check(f, slice_make(sample, len)), ERR_INVALID);
    }
    assert_int_equal(wire_fixture_open(f, slice_str(sample)), ERR_OK);
}

static void changed_bytes_do_no_harm(void **state)
{
    struct wire_fixture *f = *state;
    size_t opened = 0;
    char text[sizeof(sample)];
    memcpy(text, sample, sizeof(text));
    for (size_t at = 0; at < sizeof(text) - 1; at++) {
        for (unsigned value = 0; value < 256; value++) {
            text[at] = (char)value;
            (void)wire_fixture_check(f, slice_make(text, sizeof(text) - 1));
            if (wire_fixture_open(f, slice_make(text, sizeof(text) - 1)) != ERR_OK)
                continue;
            opened++;
            assert_int_equal(wire_fixture_check(f, buf_slice(&f->body)), ERR_OK);
        }
        text[at] = sample[at];
    }
    assert_true(opened > 500);
}

static void memory_that_runs_out_is_an_error_and_nothing_more(void **state)
{
    enum err err = ERR_NOMEM;
    long after = 0;
    (void)state;
    for (; err == ERR_NOMEM && after < 100; after++) {
        struct wire_fixture *f = wire_fixture_new(LAYER_JSON);
        mem_fail_after(after);
        err = wire_fixture_seal(f, slice_str("{\"a\": 1}"), NULL);
        if (err == ERR_OK)
            err = wire_fixture_open(f, buf_slice(&f->sealed));
        mem_fail_after(-1);
        wire_fixture_free(f);
    }
    assert_int_equal(err, ERR_OK);
    assert_int_equal(after, 3); /* the member, the body, and none */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, release)
        TEST(what_python_dumps_passes_and_comes_back_as_it_was),
        TEST(the_key_is_written_as_python_writes_it),
        TEST(the_key_is_found_wherever_it_stands_and_the_last_one_counts),
        TEST(a_name_without_room_is_left_out_and_the_others_come),
        TEST(texts_are_taken_as_python_takes_them),
        TEST(a_message_may_not_have_the_key_in_any_spelling),
        TEST(names_that_are_none_are_refused),
        TEST(nesting_ends_where_it_must),
        TEST(integers_end_at_the_digits_of_python),
        TEST(no_beginning_of_a_message_is_one),
        TEST(changed_bytes_do_no_harm),
        TEST(memory_that_runs_out_is_an_error_and_nothing_more),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
