/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Descriptors 1 and 2 are pipes while a test runs; an assertion that fails then is reported by the
 * test's name only. Reads block until a line is there: nothing here waits for a time to pass.
 */
#include "core/log.h"

#include "tests/support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SOON_MS = 5000,    /* for closes that must succeed: as long as a slow machine needs */
    LINE_BYTES = 1000, /* of the numbered lines */
    MANY_LINES = 3 * LOG_QUEUE_MAX / LINE_BYTES,
};

/* A reader of one pipe, line by line. */
struct reader {
    int fd;
    FILE *file;
    char *line;
    size_t size;
};

struct fixture {
    struct reader out;
    struct reader err;
    int saved_out;
    int saved_err;
    char dir[64];
    char path[96]; /* of a FIFO in dir */
};

static void redirect(int fd, struct reader *r, int *saved)
{
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    *saved = fcntl(fd, F_DUPFD_CLOEXEC, 10);
    assert_true(*saved >= 0);
    assert_int_equal(dup2(fds[1], fd), fd);
    close(fds[1]);
    r->fd = fds[0];
    r->file = fdopen(fds[0], "r");
    assert_non_null(r->file);
}

static void restore(int fd, struct reader *r, int saved)
{
    assert_int_equal(dup2(saved, fd), fd);
    close(saved);
    if (r->file != NULL)
        fclose(r->file);
    free(r->line);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/test_log.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof(f->path), "%s/fifo", f->dir);
    fflush(NULL);
    redirect(STDOUT_FILENO, &f->out, &f->saved_out);
    redirect(STDERR_FILENO, &f->err, &f->saved_err);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    (void)log_close(SOON_MS);
    restore(STDOUT_FILENO, &f->out, f->saved_out);
    restore(STDERR_FILENO, &f->err, f->saved_err);
    unlink(f->path);
    rmdir(f->dir);
    free(f);
    return 0;
}

static void open_log(const char *access_path)
{
    struct err_text why;
    const struct log_config config = {
        .level = LOG_INFO, .format = "%(levelname)s %(message)s", .access_path = access_path};
    assert_int_equal(log_open(&config, &why), ERR_OK);
}

static void open_fifo(struct fixture *f, struct reader *r)
{
    assert_int_equal(mkfifo(f->path, 0600), 0);
    r->file = fopen(f->path, "r+"); /* so that neither side waits for the other */
    assert_non_null(r->file);
    r->fd = fileno(r->file);
    open_log(f->path);
}

static void close_reader(struct reader *r)
{
    fclose(r->file);
    free(r->line);
}

static const char *next_line(struct reader *r)
{
    assert_true(getline(&r->line, &r->size, r->file) > 0);
    return r->line;
}

/* Sends line @number of LINE_BYTES bytes to the access log. */
static void send_numbered(unsigned number)
{
    char line[LINE_BYTES + 1];
    (void)snprintf(line, sizeof(line), "%-*u\n", LINE_BYTES - 1, number);
    log_access(slice_str(line));
}

static void lines_go_straight_to_stderr_before_the_log_is_open(void **state)
{
    struct fixture *f = *state;
    log_event(LOG_WARN, "worker.exit", "pid=%d", 5);
    const char *line = next_line(&f->err);
    assert_non_null(strstr(line, " WARNING  worker.exit pid=5\n"));
    log_pass_through(STDOUT_FILENO, slice_str("from a worker\n"));
    assert_string_equal(next_line(&f->out), "from a worker\n");
    assert_int_equal(log_close(0), 0);
}

static void each_line_goes_where_it_belongs(void **state)
{
    struct fixture *f = *state;
    open_log("-");
    assert_true(log_has_access());
    log_line(LOG_INFO, "Listening on %s", "here");
    log_event(LOG_ERROR, "redis.lost", "host=%s", "a");
    log_access(slice_str("GET /\n"));
    log_pass_through(STDOUT_FILENO, slice_str("print\n"));
    log_pass_through(STDERR_FILENO, slice_str("warn\n"));
    assert_string_equal(next_line(&f->err), "INFO Listening on here\n");
    assert_string_equal(next_line(&f->err), "ERROR redis.lost host=a\n");
    assert_string_equal(next_line(&f->err), "warn\n");
    assert_string_equal(next_line(&f->out), "GET /\n");
    assert_string_equal(next_line(&f->out), "print\n");
    assert_int_equal(log_close(SOON_MS), 0);
    assert_false(log_has_access());
}

static void lines_below_the_level_are_not_made(void **state)
{
    struct fixture *f = *state;
    open_log(NULL);
    assert_false(log_is_on(LOG_DEBUG));
    assert_true(log_is_on(LOG_INFO));
    log_line(LOG_DEBUG, "no");
    log_event(LOG_DEBUG, "no", "%s", "");
    log_text(LOG_DEBUG, "no", slice_str("no"));
    log_access(slice_str("no\n")); /* there is no access log */
    log_line(LOG_INFO, "yes");
    assert_int_equal(log_close(SOON_MS), 0);
    assert_string_equal(next_line(&f->err), "INFO yes\n");
}

static void a_peer_cannot_forge_lines(void **state)
{
    struct fixture *f = *state;
    open_log(NULL);
    log_event(LOG_INFO, "ws.open", "path=%s", "/a\nERROR forged\x1b[2J");
    log_line(LOG_INFO, "%s", "x\r\ny");
    log_text(LOG_ERROR, "worker.error", slice_str("Traceback:\n\tline\x1b[0m 1\r\nValueError\n"));
    log_text(LOG_ERROR, "worker.error", (struct slice){0});
    assert_int_equal(log_close(SOON_MS), 0);
    assert_string_equal(next_line(&f->err), "INFO ws.open path=/a\\nERROR forged\\x1b[2J\n");
    assert_string_equal(next_line(&f->err), "INFO x\\r\\ny\n");
    assert_string_equal(next_line(&f->err), "ERROR worker.error\n");
    assert_string_equal(next_line(&f->err), "Traceback:\n");
    assert_string_equal(next_line(&f->err), "\tline\\x1b[0m 1\\r\n");
    assert_string_equal(next_line(&f->err), "ValueError\n");
    assert_string_equal(next_line(&f->err), "ERROR worker.error\n");
}

static void a_line_over_the_ceiling_is_cut_and_says_so(void **state)
{
    struct fixture *f = *state;
    static const char mark[] = " [cut]\n";
    char *text = malloc(LOG_LINE_MAX + 2);
    assert_non_null(text);
    for (size_t i = 0; i < LOG_LINE_MAX + 2; i++)
        text[i] = "\xc3\xa9"[i % 2];
    open_log("-");
    for (unsigned shift = 0; shift < 2; shift++) { /* the cut in and before a character */
        log_line(LOG_INFO, "%s%.*s", shift == 0 ? "" : "x", LOG_LINE_MAX, text);
        const char *line = next_line(&f->err);
        const size_t len = strlen(line);
        assert_in_range(len, LOG_LINE_MAX - 1, LOG_LINE_MAX);
        assert_string_equal(line + len - strlen(mark), mark);
        assert_memory_equal(line + len - strlen(mark) - 2, "\xc3\xa9", 2);
    }
    log_text(LOG_INFO, "text", slice_make(text, LOG_LINE_MAX));
    assert_string_equal(next_line(&f->err), "INFO text\n");
    assert_in_range(strlen(next_line(&f->err)), LOG_LINE_MAX - 20, LOG_LINE_MAX);
    log_access(slice_make(text, LOG_LINE_MAX + 1));
    assert_int_equal(strlen(next_line(&f->out)), LOG_LINE_MAX);
    free(text);
}

static void a_pipe_that_nobody_reads_blocks_neither_callers_nor_the_close(void **state)
{
    struct fixture *f = *state;
    struct reader r = {0};
    open_fifo(f, &r);
    for (unsigned i = 0; i < MANY_LINES; i++)
        send_numbered(i);
    log_line(LOG_INFO, "stderr still moves");
    assert_string_equal(next_line(&f->err), "INFO stderr still moves\n");
    const unsigned long lost = log_close(10);
    /* All but what the pipe holds: that is counted as lost only if it is. */
    assert_in_range(lost, MANY_LINES - 200, MANY_LINES);
    log_line(LOG_INFO, "dropped: the log was left stuck");
    close_reader(&r);
}

/* Where in the numbered lines a reader is, and what notices said. */
struct progress {
    unsigned next;
    unsigned long lost;
};

/* Takes one line. Each number must be the next one, after what was said to be lost. */
static void take_line(struct progress *p, const char *line)
{
    unsigned long lost = 0;
    if (sscanf(line, "WARNING log.dropped count=%lu", &lost) == 1) {
        p->next += (unsigned)lost;
        p->lost += lost;
        return;
    }
    assert_int_equal(strlen(line), LINE_BYTES);
    assert_int_equal(strtoul(line, NULL, 10), p->next);
    p->next++;
}

static void the_next_line_that_fits_says_how_many_were_lost_each_time(void **state)
{
    struct fixture *f = *state;
    struct reader r = {0};
    unsigned long lost = 0;
    open_fifo(f, &r);
    for (unsigned round = 0; round < 2; round++) {
        struct progress p = {0};
        for (unsigned i = 0; i < MANY_LINES; i++)
            send_numbered(i);
        for (unsigned i = 0; i < 500; i++) /* makes room in the queue */
            take_line(&p, next_line(&r));
        log_access(slice_str("after\n"));
        while (strcmp(next_line(&r), "after\n") != 0)
            take_line(&p, r.line);
        assert_int_equal(p.next, MANY_LINES);
        assert_true(p.lost > 0);
        lost += p.lost;
    }
    assert_int_equal(log_close(SOON_MS), lost);
    close_reader(&r);
}

static void losses_are_told_at_the_end_when_no_line_follows(void **state)
{
    struct fixture *f = *state;
    struct reader r = {0};
    struct progress p = {0};
    open_fifo(f, &r);
    for (unsigned i = 0; i < MANY_LINES; i++)
        send_numbered(i);
    for (unsigned i = 0; i < 1000; i++)
        take_line(&p, next_line(&r));
    assert_true(fcntl(r.fd, F_SETPIPE_SZ, 256 * 1024) > 0); /* takes all the rest */
    const unsigned long told = log_close(SOON_MS);
    while (p.next < MANY_LINES)
        take_line(&p, next_line(&r));
    assert_int_equal(p.lost, told);
    close_reader(&r);
}

/* One of two threads writes @told, once; the other lines are ours. */
static void expect_fine_and(struct fixture *f, const char *told)
{
    char first[256];
    (void)snprintf(first, sizeof(first), "%s", next_line(&f->err));
    const char *second = next_line(&f->err);
    const bool is_told_first = strcmp(first, told) == 0;
    assert_string_equal(is_told_first ? first : second, told);
    assert_string_equal(is_told_first ? second : first, "INFO fine\n");
    log_line(LOG_INFO, "last");
    assert_string_equal(next_line(&f->err), "INFO last\n");
}

static void a_full_disk_loses_lines_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    open_log("/dev/full");
    for (unsigned i = 0; i < 50; i++)
        send_numbered(i);
    log_line(LOG_INFO, "fine");
    expect_fine_and(f, "ERROR log.write_failed sink=access reason=\"No space left on device\"\n");
    assert_int_equal(log_close(SOON_MS), 50);
}

static void a_reader_that_is_gone_loses_lines_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    open_log("-");
    fclose(f->out.file);
    f->out.file = NULL;
    log_access(slice_str("one\n"));
    log_pass_through(STDOUT_FILENO, slice_str("two\nthree\n"));
    log_line(LOG_INFO, "fine");
    expect_fine_and(f, "ERROR log.write_failed sink=stdout reason=\"Broken pipe\"\n");
    assert_int_equal(log_close(SOON_MS), 3);
}

static void a_descriptor_that_another_made_nonblocking_loses_nothing(void **state)
{
    struct fixture *f = *state;
    open_log("-");
    assert_int_equal(fcntl(STDOUT_FILENO, F_SETFL, fcntl(STDOUT_FILENO, F_GETFL) | O_NONBLOCK), 0);
    for (unsigned i = 0; i < 500; i++) /* many times what the pipe holds */
        send_numbered(i);
    for (unsigned i = 0; i < 500; i++)
        assert_int_equal(strtoul(next_line(&f->out), NULL, 10), i);
    assert_int_equal(log_close(SOON_MS), 0);
}

static void output_of_workers_is_passed_on_as_it_is(void **state)
{
    struct fixture *f = *state;
    enum { BYTES = 3 * LOG_LINE_MAX + 17 };
    char *bytes = malloc(BYTES);
    char *got = malloc(BYTES);
    assert_true(bytes != NULL && got != NULL);
    uint64_t seed = 3;
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (char)(unit_random(&seed) % 256);
    memset(bytes + LOG_LINE_MAX, 'x', LOG_LINE_MAX + 5); /* no newline for a whole line's length */
    open_log(NULL);
    log_pass_through(STDOUT_FILENO, slice_make(bytes, BYTES));
    assert_int_equal(fread(got, 1, BYTES, f->out.file), BYTES);
    assert_memory_equal(got, bytes, BYTES);
    free(bytes);
    free(got);
}

static void one_file_for_both_outputs_keeps_their_order(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(dup2(STDERR_FILENO, STDOUT_FILENO), STDOUT_FILENO);
    open_log("-");
    for (unsigned i = 0; i < 50; i++) {
        log_line(LOG_INFO, "%u", i);
        log_access(slice_str("access\n"));
        log_pass_through(STDOUT_FILENO, slice_str("worker\n"));
    }
    assert_int_equal(log_close(SOON_MS), 0);
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(strtoul(next_line(&f->err) + strlen("INFO "), NULL, 10), i);
        assert_string_equal(next_line(&f->err), "access\n");
        assert_string_equal(next_line(&f->err), "worker\n");
    }
}

static void *log_thousand_lines(void *arg)
{
    const char *name = arg;
    for (unsigned i = 0; i < 1000; i++)
        log_line(LOG_INFO, "%s %u", name, i);
    return NULL;
}

static void lines_of_two_threads_are_whole_and_in_order(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[2];
    unsigned next[2] = {0};
    char names[2][2] = {"a", "b"};
    open_log(NULL);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_thousand_lines, names[i]), 0);
    for (unsigned i = 0; i < 2000; i++) {
        char name = 0;
        unsigned number = 0;
        assert_int_equal(sscanf(next_line(&f->err), "INFO %c %u\n", &name, &number), 2);
        assert_true(name == 'a' || name == 'b');
        assert_int_equal(number, next[name - 'a']++);
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(log_close(SOON_MS), 0);
}

static void what_cannot_be_opened_is_named(void **state)
{
    struct fixture *f = *state;
    struct err_text why;
    struct log_config config = {.level = LOG_INFO, .format = "%(nope)s"};
    assert_int_equal(log_open(&config, &why), ERR_INVALID);
    assert_non_null(strstr(why.text, "%(nope)"));
    config = (struct log_config){.level = LOG_INFO, .access_path = "/nowhere/at/all.log"};
    assert_int_equal(log_open(&config, &why), ERR_NOT_FOUND);
    assert_non_null(strstr(why.text, "/nowhere/at/all.log"));
    config.access_path = f->dir;
    assert_int_equal(log_open(&config, &why), ERR_IO);
    assert_non_null(strstr(why.text, f->dir));
    open_log(NULL); /* and it still can be */
}

static void an_access_file_is_appended_to(void **state)
{
    struct fixture *f = *state;
    char got[64] = {0};
    for (unsigned i = 0; i < 2; i++) {
        open_log(f->path);
        log_access(slice_str("line\n"));
        assert_int_equal(log_close(SOON_MS), 0);
    }
    FILE *file = fopen(f->path, "r");
    assert_non_null(file);
    assert_int_equal(fread(got, 1, sizeof(got) - 1, file), 10);
    assert_string_equal(got, "line\nline\n");
    fclose(file);
}

int main(void)
{
#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        LOG_TEST(lines_go_straight_to_stderr_before_the_log_is_open),
        LOG_TEST(each_line_goes_where_it_belongs),
        LOG_TEST(lines_below_the_level_are_not_made),
        LOG_TEST(a_peer_cannot_forge_lines),
        LOG_TEST(a_line_over_the_ceiling_is_cut_and_says_so),
        LOG_TEST(a_pipe_that_nobody_reads_blocks_neither_callers_nor_the_close),
        LOG_TEST(the_next_line_that_fits_says_how_many_were_lost_each_time),
        LOG_TEST(losses_are_told_at_the_end_when_no_line_follows),
        LOG_TEST(a_full_disk_loses_lines_and_nothing_else),
        LOG_TEST(a_reader_that_is_gone_loses_lines_and_nothing_else),
        LOG_TEST(a_descriptor_that_another_made_nonblocking_loses_nothing),
        LOG_TEST(output_of_workers_is_passed_on_as_it_is),
        LOG_TEST(one_file_for_both_outputs_keeps_their_order),
        LOG_TEST(lines_of_two_threads_are_whole_and_in_order),
        LOG_TEST(what_cannot_be_opened_is_named),
        LOG_TEST(an_access_file_is_appended_to),
    };
    signal(SIGPIPE, SIG_IGN); /* as the program does */
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
