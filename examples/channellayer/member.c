/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A program in C that joins a group of a Django project and tells how large each message is.
 *
 *     cc member.c $(pkg-config --cflags --libs channellayer) -o member
 *     ./member '{"hosts": ["redis://localhost:6379"]}' chat 3
 */
#include <channellayer.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct member {
    struct channellayer *layer;
    long left; /* messages to wait for */
};

static void on_message(void *ctx, const void *body, size_t len)
{
    struct member *m = ctx;
    (void)body; /* one msgpack map: any msgpack library reads it */
    printf("%zu bytes\n", len);
    fflush(stdout);
    if (--m->left == 0)
        channellayer_close(m->layer, NULL, NULL);
}

static void on_joined(void *ctx, enum channellayer_code code, const char *why)
{
    struct member *m = ctx;
    if (code == CHANNELLAYER_OK) {
        printf("joined\n");
        fflush(stdout);
    } else if (code != CHANNELLAYER_CLOSED) {
        fprintf(stderr, "%s\n", why);
        channellayer_close(m->layer, NULL, NULL);
    }
}

int main(int argc, char **argv)
{
    struct channellayer_error why;
    struct member m = {.left = argc > 3 ? strtol(argv[3], NULL, 10) : 1};
    if (argc < 3) {
        fprintf(stderr, "usage: member CONFIG GROUP [MESSAGES]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* a Redis that is gone is an error of write() */
    if (channellayer_open(&m.layer, uv_default_loop(), argv[1], &why) != CHANNELLAYER_OK) {
        fprintf(stderr, "%s\n", why.text);
        return 1;
    }
    struct channellayer_channel *channel = channellayer_channel_open(m.layer, on_message, &m, &why);
    if (channel == NULL) {
        fprintf(stderr, "%s\n", why.text);
        channellayer_close(m.layer, NULL, NULL);
    } else {
        channellayer_group_add(m.layer, argv[2], channellayer_channel_name(channel), on_joined, &m);
    }
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    return uv_loop_close(uv_default_loop()) == 0 && m.left == 0 ? 0 : 1;
}
