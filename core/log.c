/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/log.h"

#include "core/log_escape.h"
#include "core/log_format.h"
#include "core/log_sink.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum log_mode {
    LOG_DIRECT, /* no threads: lines are written where they are made */
    LOG_QUEUED, /* between log_open() and log_close() */
    LOG_SILENT, /* closing, or closed with a stuck sink: writing could block for ever */
};

enum sink { SINK_OUT, SINK_ERR, SINK_ACCESS, SINKS };
static const char *const sink_names[SINKS] = {"stdout", "stderr", "access"};

static const char cut_mark[] = " [cut]";

enum { BODY_MAX = LOG_LINE_MAX - sizeof(cut_mark) }; /* room for the mark and a newline */

static atomic_int min_level = LOG_INFO;
static atomic_bool has_access;

/* Everything below is guarded by the lock. Lines are laid out under it, in buffers that all callers
 * share: no stack has to be large enough for LOG_LINE_MAX. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    enum log_mode mode;
    struct log_format format;
    struct log_sink *sinks[SINKS]; /* two may be the same; NULL: none */
    int64_t opened_ms;
    int64_t asctime_sec; /* when the seconds of asctime were made */
    char asctime[LOG_ASCTIME_MAX];
    char raw[LOG_LINE_MAX];
    char message[LOG_LINE_MAX];
    char line[LOG_LINE_MAX];
} state;

/* ---- making a line (with the lock held) ---- */

static int64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Asking for the local time is expensive and its answer is good for a second. */
static const char *asctime_of(int64_t time_ms)
{
    const int64_t sec = time_ms / 1000;
    if (sec != state.asctime_sec) {
        log_format_asctime(state.asctime, time_ms);
        state.asctime_sec = sec;
        return state.asctime;
    }
    char *millis = strchr(state.asctime, ',');
    if (millis != NULL)
        (void)snprintf(millis, 5, ",%03u", (unsigned)(time_ms % 1000) % 1000U);
    return state.asctime;
}

/* Before log_open() there is no compiled format: that is a cold path, and compiles one. */
static size_t lay_out(char *out, size_t cap, enum log_level level, struct slice message)
{
    const int64_t now_ms = wall_ms();
    const struct log_record record = {
        .level = level,
        .message = message,
        .asctime = asctime_of(now_ms),
        .time_ms = now_ms,
        .uptime_ms = state.opened_ms > 0 ? now_ms - state.opened_ms : 0,
        .process = getpid(),
        .thread = syscall(SYS_gettid),
    };
    if (state.format.count == 0) {
        struct err_text why;
        const enum err err = log_format_compile(&state.format, LOG_FORMAT_DEFAULT, &why);
        assert(err == ERR_OK);
        (void)err;
    }
    return log_format_write(&state.format, &record, out, cap);
}

/* Length of @text without a UTF-8 character at its end that was cut in two. */
static size_t whole_chars(const char *text, size_t len)
{
    size_t lead = len;
    while (lead > 0 && len - lead < 3 && ((uint8_t)text[lead - 1] & 0xc0U) == 0x80)
        lead--;
    if (lead == 0)
        return len;
    const uint8_t first = (uint8_t)text[--lead];
    const size_t need = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
    return len - lead < need ? lead : len;
}

static void write_direct(int fd, struct slice bytes)
{
    while (bytes.len > 0) {
        const ssize_t rc = write(fd, bytes.ptr, bytes.len);
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc <= 0)
            return; /* there is nobody to tell */
        bytes = slice_make(bytes.ptr + rc, bytes.len - (size_t)rc);
    }
}

static void send_to(enum sink sink, struct slice bytes)
{
    switch (state.mode) {
    case LOG_DIRECT:
        if (sink != SINK_ACCESS)
            write_direct(sink == SINK_OUT ? STDOUT_FILENO : STDERR_FILENO, bytes);
        break;
    case LOG_QUEUED:
        if (state.sinks[sink] != NULL)
            log_sink_add(state.sinks[sink], bytes);
        break;
    case LOG_SILENT:
        break;
    }
}

/* Sends @message, of which the end is missing if @cut, and the lines of @text behind it. */
static void send_line(enum log_level level, struct slice message, struct slice text, bool cut)
{
    size_t len = lay_out(state.line, BODY_MAX, level, message);
    if (len > BODY_MAX) {
        len = BODY_MAX;
        cut = true;
    }
    if (text.len > 0 && text.ptr[text.len - 1] == '\n')
        text.len--;
    if (text.len > 0 && len < BODY_MAX) {
        state.line[len++] = '\n';
        len += log_escape(state.line + len, BODY_MAX - len, text, true, &cut);
    }
    if (cut) {
        len = whole_chars(state.line, len);
        memcpy(state.line + len, cut_mark, sizeof(cut_mark) - 1);
        len += sizeof(cut_mark) - 1;
    }
    state.line[len++] = '\n';
    send_to(SINK_ERR, slice_make(state.line, len));
}

/* Puts @event (NULL: none) and the formatted text into the message buffer, escaped. */
__attribute__((format(printf, 3, 0))) static struct slice
make_message(bool *cut, const char *event, const char *format, va_list args)
{
    size_t len = 0;
    if (event != NULL)
        len = (size_t)snprintf(state.raw, sizeof(state.raw) / 2, "%s%s", event,
                               format[0] != '\0' ? " " : "");
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): false when several files are analysed */
    const int more = vsnprintf(state.raw + len, sizeof(state.raw) - len, format, args);
    if (more > 0)
        len += (size_t)more;
    if (len >= sizeof(state.raw)) {
        len = sizeof(state.raw) - 1;
        *cut = true;
    }
    return slice_make(state.message, log_escape(state.message, sizeof(state.message),
                                                slice_make(state.raw, len), false, cut));
}

static size_t make_notice(char *out, size_t cap, unsigned long lost)
{
    char message[64];
    (void)snprintf(message, sizeof(message), "log.dropped count=%lu", lost);
    const size_t len = lay_out(out, cap - 1, LOG_WARN, slice_str(message));
    const size_t end = len < cap - 1 ? len : cap - 1;
    out[end] = '\n';
    return end + 1;
}

/* From a sink's thread. Standard error cannot complain about itself. */
static void tell_sink_failure(const char *name, int errnum)
{
    char message[128];
    if (strcmp(name, sink_names[SINK_ERR]) == 0)
        return;
    (void)snprintf(message, sizeof(message), "log.write_failed sink=%s reason=\"%s\"", name,
                   strerror(errnum));
    send_line(LOG_ERROR, slice_str(message), (struct slice){0}, false);
}

/* ---- opening and closing ---- */

static enum err open_access(int *out, const char *path, struct err_text *why)
{
    /* Without O_NONBLOCK a FIFO that nobody reads would hold up the start for ever. */
    const int fd =
        open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666);
    if (fd < 0)
        return err_fail(why, err_from_errno(errno), "access log %s: %s", path, strerror(errno));
    const int flags = fcntl(fd, F_GETFL);
    if (flags >= 0)
        (void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK); /* opened here, so shared with nobody */
    *out = fd;
    return ERR_OK;
}

static bool is_same_file(int a, int b)
{
    struct stat first;
    struct stat second;
    return fstat(a, &first) == 0 && fstat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

static enum err open_sink(enum sink sink, int fd, bool owns_fd, struct err_text *why)
{
    const struct log_sink_config config = {
        .name = sink_names[sink],
        .fd = fd,
        .owns_fd = owns_fd,
        .lock = &lock,
        .notice = make_notice,
        .failed = tell_sink_failure,
    };
    const enum err err = log_sink_new(&state.sinks[sink], &config);
    return err == ERR_OK ? ERR_OK
                         : err_fail(why, err, "log: cannot start a thread: %s", err_str(err));
}

/* On error the sinks that were opened are in state.sinks, and an access file is not left open. */
static enum err open_sinks(const char *access_path, struct err_text *why)
{
    int access_fd = -1;
    const bool has_file = access_path != NULL && strcmp(access_path, "-") != 0;
    enum err err = has_file ? open_access(&access_fd, access_path, why) : ERR_OK;
    if (err == ERR_OK)
        err = open_sink(SINK_ERR, STDERR_FILENO, false, why);
    if (err != ERR_OK)
        goto close_fd;
    /* 2>&1: through one queue, lines of both keep their order. */
    if (is_same_file(STDOUT_FILENO, STDERR_FILENO))
        state.sinks[SINK_OUT] = state.sinks[SINK_ERR];
    else
        err = open_sink(SINK_OUT, STDOUT_FILENO, false, why);
    if (err == ERR_OK && has_file)
        err = open_sink(SINK_ACCESS, access_fd, true, why);
    else if (err == ERR_OK && access_path != NULL)
        state.sinks[SINK_ACCESS] = state.sinks[SINK_OUT];
    if (err == ERR_OK)
        return ERR_OK;

close_fd:
    if (access_fd >= 0)
        close(access_fd);
    return err;
}

static struct timespec monotonic_in(unsigned timeout_ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += timeout_ms / 1000;
    at.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

/* Frees the sinks, of which the lock is given up in between. */
static unsigned long close_sinks(unsigned timeout_ms)
{
    const struct timespec deadline = monotonic_in(timeout_ms);
    unsigned long lost = 0;
    bool is_stuck = false;
    struct log_sink *sinks[SINKS];
    memcpy(sinks, state.sinks, sizeof(sinks));
    memset(state.sinks, 0, sizeof(state.sinks));
    atomic_store(&has_access, false);
    state.mode = LOG_SILENT;
    if (sinks[SINK_ACCESS] == sinks[SINK_OUT])
        sinks[SINK_ACCESS] = NULL;
    if (sinks[SINK_OUT] == sinks[SINK_ERR])
        sinks[SINK_OUT] = NULL;
    for (int i = 0; i < SINKS; i++) {
        if (sinks[i] != NULL && log_sink_free(sinks[i], &deadline, &lost) != ERR_OK)
            is_stuck = true;
    }
    state.mode = is_stuck ? LOG_SILENT : LOG_DIRECT;
    return lost;
}

enum err log_open(const struct log_config *config, struct err_text *why)
{
    const char *format = config->format != NULL ? config->format : LOG_FORMAT_DEFAULT;
    struct log_format compiled;
    enum err err = log_format_compile(&compiled, format, why);
    if (err != ERR_OK)
        return err;
    tzset();
    pthread_mutex_lock(&lock);
    assert(state.mode != LOG_QUEUED);
    err = open_sinks(config->access_path, why);
    if (err == ERR_OK) {
        state.format = compiled;
        state.opened_ms = wall_ms();
        state.mode = LOG_QUEUED;
        atomic_store(&min_level, (int)config->level);
        atomic_store(&has_access, config->access_path != NULL);
    } else {
        (void)close_sinks(0);
    }
    pthread_mutex_unlock(&lock);
    return err;
}

unsigned long log_close(unsigned timeout_ms)
{
    pthread_mutex_lock(&lock);
    const unsigned long lost = state.mode == LOG_QUEUED ? close_sinks(timeout_ms) : 0;
    pthread_mutex_unlock(&lock);
    return lost;
}

/* ---- callers ---- */

bool log_is_on(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&min_level, memory_order_relaxed);
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    if (!log_is_on(level))
        return;
    va_list args;
    bool cut = false;
    pthread_mutex_lock(&lock);
    va_start(args, format);
    const struct slice message = make_message(&cut, event, format, args);
    va_end(args);
    send_line(level, message, (struct slice){0}, cut);
    pthread_mutex_unlock(&lock);
}

void log_line(enum log_level level, const char *format, ...)
{
    if (!log_is_on(level))
        return;
    va_list args;
    bool cut = false;
    pthread_mutex_lock(&lock);
    va_start(args, format);
    const struct slice message = make_message(&cut, NULL, format, args);
    va_end(args);
    send_line(level, message, (struct slice){0}, cut);
    pthread_mutex_unlock(&lock);
}

void log_text(enum log_level level, const char *event, struct slice text)
{
    if (!log_is_on(level))
        return;
    pthread_mutex_lock(&lock);
    send_line(level, slice_str(event), text, false);
    pthread_mutex_unlock(&lock);
}

void log_access(struct slice line)
{
    if (!log_has_access() || line.len == 0)
        return;
    pthread_mutex_lock(&lock);
    if (line.len > LOG_LINE_MAX) {
        memcpy(state.line, line.ptr, BODY_MAX);
        memcpy(state.line + BODY_MAX, cut_mark, sizeof(cut_mark) - 1);
        state.line[LOG_LINE_MAX - 1] = '\n';
        line = slice_make(state.line, LOG_LINE_MAX);
    }
    send_to(SINK_ACCESS, line);
    pthread_mutex_unlock(&lock);
}

bool log_has_access(void)
{
    return atomic_load_explicit(&has_access, memory_order_relaxed);
}

/* How much of @bytes goes into one record: up to the last newline that fits, else all that does. */
static size_t record_len(struct slice bytes)
{
    if (bytes.len <= LOG_LINE_MAX)
        return bytes.len;
    const uint8_t *newline = memrchr(bytes.ptr, '\n', LOG_LINE_MAX);
    return newline != NULL ? (size_t)(newline - bytes.ptr) + 1 : LOG_LINE_MAX;
}

void log_pass_through(int fd, struct slice bytes)
{
    pthread_mutex_lock(&lock);
    while (bytes.len > 0) {
        const size_t len = record_len(bytes);
        send_to(fd == STDOUT_FILENO ? SINK_OUT : SINK_ERR, slice_make(bytes.ptr, len));
        bytes = slice_make(bytes.ptr + len, bytes.len - len);
    }
    pthread_mutex_unlock(&lock);
}
