/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Happy path: log_sink_add() copies a record into the ring and wakes the thread; the thread takes a
 * batch of whole records out under the lock, gives the lock up, and writes.
 *
 * What can go wrong: the write blocks (the ring fills, and adds are counted as lost); it fails with
 * ENOSPC, EPIPE or EIO (the rest of the batch is lost, nothing is tried twice); it fails after half
 * a line (the next batch begins with a newline, so that no line is glued to the stump); somebody
 * made the descriptor non-blocking (the thread polls); the end comes while it blocks (the thread is
 * left behind, detached, and frees the sink if it ever returns).
 */
#include "core/log_sink.h"

#include "core/log.h"
#include "core/mem.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    NOTICE_MAX = 2048,
    BATCH_CAP = 1 + NOTICE_MAX + LOG_LINE_MAX, /* newline after a stump, notice, records */
    STACK_BYTES = 256 * 1024,
};

struct record {
    uint32_t len;   /* bytes that follow */
    uint32_t lines; /* for the count when they are lost */
};

struct log_sink {
    struct log_sink_config config;
    pthread_t thread;
    pthread_cond_t changed; /* something to write, or closing, or the thread is done */
    size_t batch_max;       /* bytes of records that go into one write() */

    /* guarded by the lock */
    uint8_t *ring; /* LOG_QUEUE_MAX */
    size_t start;
    size_t used;
    unsigned long lost; /* not reported yet, from a full ring */
    unsigned long lost_in_all;
    unsigned long batch_lines; /* in the thread's hands */
    bool is_closing;
    bool is_done;      /* the thread touches the sink no more */
    bool is_abandoned; /* the thread frees the sink */

    /* the thread's own */
    unsigned long unwritten; /* not reported yet, from failed writes */
    bool is_torn;            /* the last thing written was half a line */
    bool has_failed;         /* and it was told */
    int failure;             /* errno of the last batch that was not written whole, else 0 */
    uint8_t batch[BATCH_CAP];
    size_t batch_len;
    size_t batch_records_at; /* before them: what take_batch() put there itself */
};

/* ---- ring ---- */

static void ring_write(struct log_sink *sink, const void *data, size_t len)
{
    const size_t end = (sink->start + sink->used) % LOG_QUEUE_MAX;
    const size_t first = len < LOG_QUEUE_MAX - end ? len : LOG_QUEUE_MAX - end;
    memcpy(sink->ring + end, data, first);
    memcpy(sink->ring, (const uint8_t *)data + first, len - first);
    sink->used += len;
}

static void ring_peek(const struct log_sink *sink, void *out, size_t len)
{
    const size_t first = len < LOG_QUEUE_MAX - sink->start ? len : LOG_QUEUE_MAX - sink->start;
    memcpy(out, sink->ring + sink->start, first);
    memcpy((uint8_t *)out + first, sink->ring, len - first);
}

static void ring_drop(struct log_sink *sink, size_t len)
{
    sink->used -= len;
    /* An empty ring starts over, so that a quiet log touches few pages. */
    sink->start = sink->used == 0 ? 0 : (sink->start + len) % LOG_QUEUE_MAX;
}

static size_t ring_room(const struct log_sink *sink)
{
    return LOG_QUEUE_MAX - sink->used;
}

static void add_record(struct log_sink *sink, const void *data, size_t len, unsigned long lines)
{
    const struct record record = {.len = (uint32_t)len, .lines = (uint32_t)lines};
    ring_write(sink, &record, sizeof(record));
    ring_write(sink, data, len);
}

static unsigned long count_lines(struct slice bytes)
{
    unsigned long lines = 0;
    const uint8_t *at = bytes.ptr;
    const uint8_t *end = bytes.ptr + bytes.len;
    while ((at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        lines++;
        at++;
    }
    return lines > 0 ? lines : 1;
}

void log_sink_add(struct log_sink *sink, struct slice line)
{
    assert(line.len <= LOG_LINE_MAX);
    if (line.len == 0)
        return;
    const unsigned long lines = count_lines(line);
    char notice[NOTICE_MAX];
    size_t notice_len = 0;
    size_t need = sizeof(struct record) + line.len;
    if (sink->lost > 0) {
        notice_len = sink->config.notice(notice, sizeof(notice), sink->lost);
        need += sizeof(struct record) + notice_len;
    }
    if (need > ring_room(sink)) {
        sink->lost += lines;
        sink->lost_in_all += lines;
        return;
    }
    const bool was_empty = sink->used == 0;
    if (notice_len > 0)
        add_record(sink, notice, notice_len, 0);
    sink->lost = 0;
    add_record(sink, line.ptr, line.len, lines);
    if (was_empty)
        pthread_cond_broadcast(&sink->changed);
}

/* ---- the thread ---- */

/* Moves records that fit into one write() from the ring to the batch; at least one. */
static void take_batch(struct log_sink *sink)
{
    size_t taken = 0;
    sink->batch_len = 0;
    sink->batch_lines = 0;
    if (sink->is_torn)
        sink->batch[sink->batch_len++] = '\n';
    if (sink->unwritten > 0)
        sink->batch_len +=
            sink->config.notice((char *)sink->batch + sink->batch_len, NOTICE_MAX, sink->unwritten);
    sink->batch_records_at = sink->batch_len;
    while (sink->used > 0) {
        struct record record;
        ring_peek(sink, &record, sizeof(record));
        if (taken > 0 && taken + record.len > sink->batch_max)
            break;
        ring_drop(sink, sizeof(record));
        ring_peek(sink, sink->batch + sink->batch_len, record.len);
        ring_drop(sink, record.len);
        sink->batch_len += record.len;
        sink->batch_lines += record.lines;
        taken += record.len;
    }
}

/* Writes the batch. Returns how many bytes of it went out; fewer than all means that the descriptor
 * takes no more now, and waiting would not help. */
static size_t write_batch(struct log_sink *sink)
{
    size_t at = 0;
    sink->failure = 0;
    while (at < sink->batch_len) {
        const ssize_t rc = write(sink->config.fd, sink->batch + at, sink->batch_len - at);
        if (rc > 0) {
            at += (size_t)rc;
        } else if (rc < 0 && errno == EAGAIN) {
            struct pollfd writable = {.fd = sink->config.fd, .events = POLLOUT};
            (void)poll(&writable, 1, -1);
        } else if (rc == 0 || errno != EINTR) {
            sink->failure = rc == 0 ? EIO : errno;
            break;
        }
    }
    return at;
}

/* Lines of the batch that are not wholly among its first @written bytes. */
static unsigned long lines_behind(const struct log_sink *sink, size_t written)
{
    const struct slice rest = slice_make(sink->batch + written, sink->batch_len - written);
    const unsigned long lines = count_lines(rest);
    return lines < sink->batch_lines ? lines : sink->batch_lines;
}

static void tell_failure(struct log_sink *sink)
{
    const bool had_failed = sink->has_failed;
    sink->has_failed = sink->failure != 0;
    if (sink->has_failed && !had_failed)
        sink->config.failed(sink->config.name, sink->failure);
}

/* Called and returns with the lock held. */
static void write_once(struct log_sink *sink)
{
    take_batch(sink);
    pthread_mutex_unlock(sink->config.lock);
    const size_t written = write_batch(sink);
    pthread_mutex_lock(sink->config.lock);
    if (written > 0)
        sink->is_torn = written < sink->batch_len && sink->batch[written - 1] != '\n';
    if (written >= sink->batch_records_at)
        sink->unwritten = 0; /* the notice is out */
    if (written < sink->batch_len) {
        const unsigned long lines = lines_behind(sink, written);
        sink->unwritten += lines;
        sink->lost_in_all += lines;
    }
    sink->batch_lines = 0;
    tell_failure(sink);
}

static void sink_destroy(struct log_sink *sink)
{
    pthread_cond_destroy(&sink->changed);
    if (sink->config.owns_fd)
        close(sink->config.fd);
    mem_free(sink->ring);
    mem_free(sink);
}

static void *run(void *arg)
{
    struct log_sink *sink = arg;
    pthread_mutex_t *lock = sink->config.lock;
    pthread_mutex_lock(lock);
    while (!sink->is_abandoned) {
        if (sink->used > 0)
            write_once(sink);
        else if (sink->is_closing)
            break;
        else
            pthread_cond_wait(&sink->changed, lock);
    }
    const bool is_abandoned = sink->is_abandoned;
    sink->is_done = true;
    pthread_cond_broadcast(&sink->changed);
    pthread_mutex_unlock(lock);
    if (is_abandoned)
        sink_destroy(sink);
    return NULL;
}

/* Signals are for the threads that run loops: none is delivered to this one. */
static int start_thread(struct log_sink *sink)
{
    sigset_t all;
    sigset_t before;
    pthread_attr_t attr;
    int rc = pthread_attr_init(&attr);
    if (rc != 0)
        return rc;
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&sink->thread, &attr, run, sink);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return rc;
}

enum err log_sink_new(struct log_sink **out, const struct log_sink_config *config)
{
    struct log_sink *sink = mem_alloc(sizeof(*sink));
    struct stat status;
    pthread_condattr_t attr;
    sink->config = *config;
    sink->ring = mem_alloc(LOG_QUEUE_MAX);
    /* Only a file takes more than PIPE_BUF bytes without mixing them with what others write. */
    sink->batch_max =
        fstat(config->fd, &status) == 0 && S_ISREG(status.st_mode) ? LOG_LINE_MAX : PIPE_BUF;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&sink->changed, &attr);
    pthread_condattr_destroy(&attr);
    const int rc = start_thread(sink);
    if (rc != 0) {
        sink->config.owns_fd = false; /* on error it stays the caller's */
        sink_destroy(sink);
        return err_from_errno(rc);
    }
    *out = sink;
    return ERR_OK;
}

/* No line may follow that could say how many were lost before it: says so now. */
static void report_at_end(struct log_sink *sink)
{
    char notice[NOTICE_MAX];
    if (sink->lost == 0)
        return;
    const size_t len = sink->config.notice(notice, sizeof(notice), sink->lost);
    if (sizeof(struct record) + len <= ring_room(sink))
        add_record(sink, notice, len, 0);
}

/* Lines that are still in the ring; empties it. */
static unsigned long count_left(struct log_sink *sink)
{
    unsigned long lines = 0;
    while (sink->used > 0) {
        struct record record;
        ring_peek(sink, &record, sizeof(record));
        ring_drop(sink, sizeof(record));
        ring_drop(sink, record.len);
        lines += record.lines;
    }
    return lines;
}

enum err log_sink_free(struct log_sink *sink, const struct timespec *deadline, unsigned long *lost)
{
    pthread_mutex_t *lock = sink->config.lock;
    report_at_end(sink);
    sink->is_closing = true;
    pthread_cond_broadcast(&sink->changed);
    int rc = 0;
    while (!sink->is_done && rc == 0)
        rc = pthread_cond_timedwait(&sink->changed, lock, deadline);
    *lost += sink->lost_in_all;
    if (!sink->is_done) {
        *lost += count_left(sink) + sink->batch_lines;
        sink->is_abandoned = true;
        pthread_detach(sink->thread);
        return ERR_TIMEOUT;
    }
    pthread_mutex_unlock(lock);
    pthread_join(sink->thread, NULL); /* at once: is_done is the last thing it says */
    pthread_mutex_lock(lock);
    sink_destroy(sink);
    return ERR_OK;
}
