/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/mailbox.h"
#include "core/mem.h"

#include "tests/support/unit.h"

#include <stdbool.h>

enum { PRODUCERS = 2, MAILS = 1000 };

struct receiver {
    struct mailbox box;
    unsigned seen;
    unsigned close_at; /* mails */
    unsigned last[PRODUCERS];
    bool out_of_order;
};

struct letter {
    struct mail mail;
    unsigned producer;
    unsigned number; /* 1 to MAILS */
};

static void on_letter(struct mail *mail, void *ctx)
{
    struct receiver *r = ctx;
    const struct letter *letter = (struct letter *)mail;
    if (letter->number != r->last[letter->producer] + 1)
        r->out_of_order = true;
    r->last[letter->producer] = letter->number;
    mem_free(mail);
    if (++r->seen == r->close_at)
        mailbox_close(&r->box);
}

static void post(struct receiver *r, unsigned producer, unsigned number)
{
    struct letter *letter = mem_alloc(sizeof(*letter));
    letter->mail.deliver = on_letter;
    letter->producer = producer;
    letter->number = number;
    mailbox_post(&r->box, &letter->mail);
}

struct producer {
    struct receiver *to;
    unsigned index;
};

static void produce(void *arg)
{
    const struct producer *p = arg;
    for (unsigned i = 1; i <= MAILS; i++)
        post(p->to, p->index, i);
}

static void mail_of_two_threads_arrives_complete_and_in_order(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct receiver r = {.close_at = PRODUCERS * MAILS};
    struct producer producers[PRODUCERS];
    uv_thread_t threads[PRODUCERS];
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(mailbox_open(&r.box, &loop, &r), ERR_OK);
    for (unsigned i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){.to = &r, .index = i};
        assert_int_equal(uv_thread_create(&threads[i], produce, &producers[i]), 0);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    for (unsigned i = 0; i < PRODUCERS; i++)
        uv_thread_join(&threads[i]);
    assert_int_equal(r.seen, PRODUCERS * MAILS);
    assert_false(r.out_of_order);
    mailbox_deinit(&r.box);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void mail_left_at_close_is_delivered(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct receiver r = {0};
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(mailbox_open(&r.box, &loop, &r), ERR_OK);
    post(&r, 0, 1);
    post(&r, 0, 2);
    mailbox_close(&r.box);
    mailbox_close(&r.box); /* twice is harmless */
    assert_int_equal(r.seen, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(r.seen, 2);
    mailbox_deinit(&r.box);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void a_mail_that_closes_the_box_does_not_reorder_the_others(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct receiver r = {.close_at = 1};
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(mailbox_open(&r.box, &loop, &r), ERR_OK);
    for (unsigned i = 1; i <= 5; i++)
        post(&r, 0, i);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(r.seen, 5);
    assert_false(r.out_of_order);
    mailbox_deinit(&r.box);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mail_of_two_threads_arrives_complete_and_in_order),
        cmocka_unit_test(mail_left_at_close_is_delivered),
        cmocka_unit_test(a_mail_that_closes_the_box_does_not_reorder_the_others),
    };
    return cmocka_run_group_tests_name("mailbox", tests, NULL, NULL);
}
