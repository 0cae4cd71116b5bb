/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/channellayer.h"

#include "core/mem.h"
#include "tests/support/unit.h"

#include <stdbool.h>
#include <string.h>

/* {"type": "x"} and {"type": "y"} */
static const char body_x[] = "\x81\xa4type\xa1x";
static const char body_y[] = "\x81\xa4type\xa1y";
enum { BODY_LEN = sizeof(body_x) - 1 };

struct world {
    uv_loop_t loop;
    struct channellayer *layer;
    char seen[16]; /* the types that were received, in order */
    size_t seen_count;
    unsigned done;
    unsigned full; /* of them: refused for want of room */
    enum channellayer_code last;
    bool is_closed;
    struct channellayer_channel *to_close; /* by the next message */
};

static void on_closed(void *ctx)
{
    struct world *w = ctx;
    w->is_closed = true;
}

static void on_received(void *ctx, const void *body, size_t len)
{
    struct world *w = ctx;
    assert_int_equal(len, BODY_LEN);
    assert_true(w->seen_count < sizeof(w->seen) - 1);
    w->seen[w->seen_count++] = ((const char *)body)[len - 1];
    if (w->to_close != NULL)
        channellayer_channel_close(w->to_close);
    w->to_close = NULL;
}

static void on_done(void *ctx, enum channellayer_code code, const char *why)
{
    struct world *w = ctx;
    assert_non_null(why);
    w->done++;
    w->full += code == CHANNELLAYER_FULL;
    w->last = code;
}

static void open_world(struct world *w, const char *config)
{
    struct channellayer_error why;
    *w = (struct world){.layer = NULL};
    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(channellayer_open(&w->layer, &w->loop, config, &why), CHANNELLAYER_OK);
}

static void run_until_done(struct world *w, unsigned count)
{
    while (w->done < count)
        uv_run(&w->loop, UV_RUN_ONCE);
}

static void run_until_seen(struct world *w, size_t count)
{
    while (w->seen_count < count)
        uv_run(&w->loop, UV_RUN_ONCE);
}

static void close_world(struct world *w)
{
    channellayer_close(w->layer, on_closed, w);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_true(w->is_closed);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

static struct channellayer_channel *channel(struct world *w)
{
    struct channellayer_error why;
    struct channellayer_channel *c = channellayer_channel_open(w->layer, on_received, w, &why);
    assert_non_null(c);
    return c;
}

static void add(struct world *w, const char *group, const char *name)
{
    const unsigned before = w->done;
    channellayer_group_add(w->layer, group, name, on_done, w);
    assert_int_equal(w->done, before); /* never from inside the call */
    run_until_done(w, before + 1);
    assert_int_equal(w->last, CHANNELLAYER_OK);
}

static void group_send(struct world *w, const char *group, const char *body)
{
    const unsigned before = w->done;
    channellayer_group_send(w->layer, group, body, BODY_LEN, on_done, w);
    run_until_done(w, before + 1);
}

static void every_member_gets_a_message_to_its_group_once(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, "{}");
    struct channellayer_channel *first = channel(&w);
    struct channellayer_channel *second = channel(&w);
    assert_string_not_equal(channellayer_channel_name(first), channellayer_channel_name(second));
    add(&w, "room", channellayer_channel_name(first));
    add(&w, "room", channellayer_channel_name(first));
    add(&w, "room", channellayer_channel_name(second));
    group_send(&w, "room", body_x);
    run_until_seen(&w, 2);
    group_send(&w, "empty", body_y);
    channellayer_channel_close(second);
    group_send(&w, "room", body_y);
    run_until_seen(&w, 3);
    close_world(&w);
    assert_string_equal(w.seen, "xxy");
}

static void who_left_gets_nothing_more(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, "");
    struct channellayer_channel *c = channel(&w);
    add(&w, "room", channellayer_channel_name(c));
    const unsigned before = w.done;
    channellayer_group_discard(w.layer, "room", channellayer_channel_name(c), on_done, &w);
    run_until_done(&w, before + 1);
    group_send(&w, "room", body_x);
    channellayer_send(w.layer, channellayer_channel_name(c), body_y, BODY_LEN, on_done, &w);
    run_until_seen(&w, 1);
    close_world(&w);
    assert_string_equal(w.seen, "y");
}

static void a_normal_channel_gives_each_receive_one_message(void **state)
{
    (void)state;
    struct world w;
    struct channellayer_error why;
    open_world(&w, "{\"capacity\": 1}");
    channellayer_send(w.layer, "jobs", body_x, BODY_LEN, on_done, &w);
    run_until_done(&w, 1);
    channellayer_send(w.layer, "jobs", body_y, BODY_LEN, on_done, &w);
    run_until_done(&w, 2);
    assert_int_equal(w.last, CHANNELLAYER_FULL);
    assert_int_equal(channellayer_receive(w.layer, "jobs", on_received, &w, &why), CHANNELLAYER_OK);
    run_until_seen(&w, 1);
    channellayer_send(w.layer, "jobs", body_y, BODY_LEN, on_done, &w);
    run_until_done(&w, 3);
    assert_int_equal(w.last, CHANNELLAYER_OK);
    assert_int_equal(channellayer_receive(w.layer, "jobs", on_received, &w, &why), CHANNELLAYER_OK);
    run_until_seen(&w, 2);
    close_world(&w);
    assert_string_equal(w.seen, "xy");
}

static void a_channel_may_be_closed_by_its_own_message(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, "{}");
    w.to_close = channel(&w);
    const char *name = channellayer_channel_name(w.to_close);
    channellayer_send(w.layer, name, body_x, BODY_LEN, on_done, &w);
    channellayer_send(w.layer, name, body_y, BODY_LEN, on_done, &w);
    run_until_done(&w, 2);
    run_until_seen(&w, 1);
    close_world(&w);
    assert_string_equal(w.seen, "x");
}

static void what_is_wrong_is_told_by_name(void **state)
{
    (void)state;
    struct world w;
    struct channellayer_error why;
    struct channellayer *none = NULL;
    open_world(&w, "{}");
    assert_int_equal(channellayer_open(&none, &w.loop, "{\"capacity\": 0}", &why),
                     CHANNELLAYER_INVALID);
    assert_non_null(strstr(why.text, "capacity"));
    assert_int_equal(channellayer_receive(w.layer, "no name", on_received, &w, &why),
                     CHANNELLAYER_INVALID);
    channellayer_send(w.layer, "jobs", "\x90", 1, on_done, &w);
    run_until_done(&w, 1);
    assert_int_equal(w.last, CHANNELLAYER_INVALID);
    close_world(&w);
}

static void closing_at_once_ends_every_call(void **state)
{
    (void)state;
    struct world w;
    struct channellayer_error why;
    open_world(&w, "{\"hosts\": [\"redis://127.0.0.1:1\"]}");
    struct channellayer_channel *c = channel(&w);
    channellayer_group_add(w.layer, "room", channellayer_channel_name(c), on_done, &w);
    channellayer_group_send(w.layer, "room", body_x, BODY_LEN, on_done, &w);
    channellayer_send(w.layer, "jobs", body_x, BODY_LEN, NULL, NULL);
    channellayer_flush(w.layer, on_done, &w);
    assert_int_equal(channellayer_receive(w.layer, "jobs", on_received, &w, &why), CHANNELLAYER_OK);
    close_world(&w);
    assert_int_equal(w.done, 3);
    assert_int_equal(w.seen_count, 0);
}

/* Asks again whenever it is refused, some times. */
struct stubborn {
    struct world *world;
    unsigned left;
    unsigned refused;
};

static void on_refused(void *ctx, enum channellayer_code code, const char *why)
{
    struct stubborn *s = ctx;
    assert_int_equal(code, CHANNELLAYER_CLOSED);
    assert_string_not_equal(why, "");
    s->refused++;
    if (s->left == 0)
        return;
    s->left--;
    const unsigned before = s->refused;
    channellayer_send(s->world->layer, "jobs", body_x, BODY_LEN, on_refused, s);
    assert_int_equal(s->refused, before); /* never from inside the call */
}

static void a_layer_that_is_being_closed_refuses_what_is_asked(const char *config)
{
    struct world w;
    struct channellayer_error why;
    open_world(&w, config);
    struct stubborn s = {.world = &w, .left = 5};
    channellayer_close(w.layer, on_closed, &w);
    channellayer_send(w.layer, "jobs", body_x, BODY_LEN, on_refused, &s);
    channellayer_group_send(w.layer, "room", body_x, BODY_LEN, on_refused, &s);
    channellayer_group_add(w.layer, "room", "other", on_refused, &s);
    channellayer_group_discard(w.layer, "room", "other", on_refused, &s);
    channellayer_flush(w.layer, on_refused, &s);
    channellayer_flush(w.layer, NULL, NULL);
    assert_null(channellayer_channel_open(w.layer, on_received, &w, &why));
    assert_int_equal(why.code, CHANNELLAYER_CLOSED);
    assert_int_equal(channellayer_receive(w.layer, "jobs", on_received, &w, &why),
                     CHANNELLAYER_CLOSED);
    assert_int_equal(s.refused, 0);
    uv_run(&w.loop, UV_RUN_DEFAULT);
    assert_true(w.is_closed);
    assert_int_equal(s.refused, 10);
    assert_int_equal(uv_loop_close(&w.loop), 0);
}

static void what_is_asked_while_it_closes_is_refused(void **state)
{
    (void)state;
    a_layer_that_is_being_closed_refuses_what_is_asked("{}");
    a_layer_that_is_being_closed_refuses_what_is_asked("{\"hosts\": [\"redis://127.0.0.1:1\"]}");
}

static void what_a_call_asks_for_when_it_is_ended_is_refused(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, "{\"hosts\": [\"redis://127.0.0.1:1\"]}");
    struct stubborn s = {.world = &w, .left = 5};
    channellayer_send(w.layer, "jobs", body_x, BODY_LEN, on_refused, &s);
    close_world(&w);
    assert_int_equal(s.refused, 6);
}

/* Closes the layer by a message, while more of them wait. */
static void on_message_that_ends(void *ctx, const void *body, size_t len)
{
    struct world *w = ctx;
    on_received(w, body, len);
    channellayer_close(w->layer, on_closed, w);
}

static void the_layer_may_be_closed_by_a_message(void **state)
{
    (void)state;
    struct world w;
    struct channellayer_error why;
    open_world(&w, "{}");
    struct channellayer_channel *c =
        channellayer_channel_open(w.layer, on_message_that_ends, &w, &why);
    assert_non_null(c);
    for (unsigned i = 0; i < 3; i++)
        channellayer_send(w.layer, channellayer_channel_name(c), body_x, BODY_LEN, on_done, &w);
    uv_run(&w.loop, UV_RUN_DEFAULT);
    assert_true(w.is_closed);
    assert_int_equal(w.done, 3);
    assert_string_equal(w.seen, "x");
    assert_int_equal(uv_loop_close(&w.loop), 0);
}

/* ---- large messages ---- */

/* A body of @len bytes, {"type": "x", "data": b"…"}, which the caller frees. */
static uint8_t *large_body(uint32_t len)
{
    static const uint8_t head[] = "\x82\xa4type\xa1x\xa4"
                                  "data\xc6";
    const uint32_t head_len = sizeof(head) - 1;
    const uint32_t data_len = len - head_len - 4;
    uint8_t *body = mem_alloc(len);
    memcpy(body, head, head_len);
    for (unsigned i = 0; i < 4; i++)
        body[head_len + i] = (uint8_t)(data_len >> (24 - 8 * i));
    return body;
}

struct count {
    size_t messages;
    size_t len; /* of each of them */
};

static void on_large(void *ctx, const void *body, size_t len)
{
    struct count *count = ctx;
    assert_non_null(body);
    assert_int_equal(len, count->len);
    count->messages++;
}

static void every_channel_of_a_program_gets_a_large_message(void **state)
{
    (void)state;
    enum { CHANNELS = 1000 };
    struct world w;
    struct channellayer_error why;
    struct count count = {.len = 100000};
    open_world(&w, "{}");
    for (unsigned i = 0; i < CHANNELS; i++) {
        struct channellayer_channel *c = channellayer_channel_open(w.layer, on_large, &count, &why);
        assert_non_null(c);
        add(&w, "room", channellayer_channel_name(c));
    }
    uint8_t *body = large_body((uint32_t)count.len);
    const unsigned before = w.done;
    channellayer_group_send(w.layer, "room", body, count.len, on_done, &w);
    run_until_done(&w, before + 1);
    while (count.messages < CHANNELS)
        uv_run(&w.loop, UV_RUN_ONCE);
    mem_free(body);
    close_world(&w);
    assert_int_equal(count.messages, CHANNELS);
}

static void what_a_program_cannot_be_told_at_once_is_refused(void **state)
{
    (void)state;
    struct world w;
    struct channellayer_error why;
    struct count count = {.len = 12 * 1024 * 1024};
    open_world(&w, "{}");
    struct channellayer_channel *c = channellayer_channel_open(w.layer, on_large, &count, &why);
    const char *name = channellayer_channel_name(c);
    uint8_t *body = large_body((uint32_t)count.len);
    for (unsigned i = 0; i < 3; i++) {
        body[count.len - 1] = (uint8_t)i;
        channellayer_send(w.layer, name, body, count.len, on_done, &w);
    }
    run_until_done(&w, 3);
    assert_int_equal(w.full, 1);
    while (count.messages < 2)
        uv_run(&w.loop, UV_RUN_ONCE);
    channellayer_send(w.layer, name, body, count.len, on_done, &w); /* there is room again */
    run_until_done(&w, 4);
    assert_int_equal(w.last, CHANNELLAYER_OK);
    while (count.messages < 3)
        uv_run(&w.loop, UV_RUN_ONCE);
    mem_free(body);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_member_gets_a_message_to_its_group_once),
        cmocka_unit_test(who_left_gets_nothing_more),
        cmocka_unit_test(a_normal_channel_gives_each_receive_one_message),
        cmocka_unit_test(a_channel_may_be_closed_by_its_own_message),
        cmocka_unit_test(what_is_wrong_is_told_by_name),
        cmocka_unit_test(closing_at_once_ends_every_call),
        cmocka_unit_test(what_is_asked_while_it_closes_is_refused),
        cmocka_unit_test(what_a_call_asks_for_when_it_is_ended_is_refused),
        cmocka_unit_test(the_layer_may_be_closed_by_a_message),
        cmocka_unit_test(every_channel_of_a_program_gets_a_large_message),
        cmocka_unit_test(what_a_program_cannot_be_told_at_once_is_refused),
    };
    return cmocka_run_group_tests_name("channellayer", tests, NULL, NULL);
}
