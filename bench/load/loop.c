/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/loop.h"

#include "bench/load/clock.h"
#include "bench/load/stream.h"
#include "core/mem.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { EVENTS_AT_ONCE = 256 };

enum err loop_init(struct loop *loop)
{
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0)
        return err_from_errno(errno);
    loop->read_buf = mem_alloc(LOOP_READ_BYTES);
    return ERR_OK;
}

void loop_deinit(struct loop *loop)
{
    close(loop->epoll_fd);
    mem_free(loop->read_buf);
}

static struct epoll_event event_for(struct stream *s, bool writes)
{
    return (struct epoll_event){
        .events = writes ? EPOLLIN | EPOLLOUT : EPOLLIN,
        .data.ptr = s,
    };
}

enum err loop_watch(struct loop *loop, struct stream *s, bool writes)
{
    struct epoll_event event = event_for(s, writes);

    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, s->fd, &event) != 0)
        return err_from_errno(errno);
    return ERR_OK;
}

void loop_rewatch(struct loop *loop, struct stream *s, bool writes)
{
    struct epoll_event event = event_for(s, writes);

    epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, s->fd, &event);
}

void loop_turn(struct loop *loop, uint64_t until_ns)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    const uint64_t now = clock_now_ns();
    const uint64_t left = until_ns > now ? until_ns - now : 0;
    const struct timespec timeout = {
        .tv_sec = (time_t)(left / NS_PER_SECOND),
        .tv_nsec = (long)(left % NS_PER_SECOND),
    };
    const int count = epoll_pwait2(loop->epoll_fd, events, EVENTS_AT_ONCE, &timeout, NULL);

    /* A stream that an earlier event of this batch closed says so itself; none is opened anew
     * before the batch ends (load.h), so no event reaches the wrong connection. */
    for (int i = 0; i < count; i++)
        stream_on_event(events[i].data.ptr, events[i].events);
}
