/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_daemon: real redis-servers with settings of their own, to be killed, stopped and restarted.
 *
 * Why: what a server that is away, stopped or misconfigured does to a connection is only found out
 * with one. Each has a folder and a port of its own and dies with the test.
 *
 * The server is the redis-server on the PATH, of any version from 5. What an old one lacks ends a
 * test as skipped, but only where scripts/check_server.sh runs it (CHANNELSD_OTHER_REDIS is set):
 * the usual server lacks nothing.
 */
#ifndef TESTS_SUPPORT_REDIS_DAEMON_H
#define TESTS_SUPPORT_REDIS_DAEMON_H

#include "tests/support/unit.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DAEMON_ARGS = 48, DAEMON_START_MS = 5000, DAEMON_POLL_MS = 5 };

struct redis_daemon {
    pid_t pid;        /* 0: not running */
    unsigned version; /* 602 for 6.2 */
    unsigned port;
    char port_text[8];
    char folder[64];
    const char *args[DAEMON_ARGS]; /* kept, so that it can be started again */
};

/* Whether what a program says, that ends by itself, has @words; then *@after is what follows. */
static inline bool daemon_says(const char *command, const char *words, char *after, size_t size)
{
    char said[4096];
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    const size_t len = fread(said, 1, sizeof(said) - 1, pipe);
    said[len] = '\0';
    (void)pclose(pipe);
    const char *found = strstr(said, words);
    if (found != NULL)
        snprintf(after, size, "%s", found + strlen(words));
    return found != NULL;
}

/* The version of the redis-server on the PATH: 602 for 6.2. Valkey's is its own: it began with 7.2
 * and can what Redis of that version can. */
static inline unsigned daemon_version(void)
{
    char text[32];
    unsigned major = 0;
    unsigned minor = 0;
    if (!daemon_says("redis-server --version", " v=", text, sizeof(text)) ||
        sscanf(text, "%u.%u", &major, &minor) != 2 || minor > 99)
        fail_msg("redis-server --version tells none: is it installed?");
    return major * 100 + minor;
}

static inline bool daemon_has_tls(void)
{
    char
        text[8]; /* without a certificate it ends at once, and says so when it knows what that is */
    return daemon_says("redis-server --port 0 --tls-port 1 2>&1", "No tls-cert-file", text,
                       sizeof(text));
}

/* Ends the test as skipped when the server does not have @what: see the top of this file. */
static inline void daemon_need(bool has, const char *what)
{
    if (has)
        return;
    if (getenv("CHANNELSD_OTHER_REDIS") == NULL)
        fail_msg("the redis-server on the PATH lacks %s", what);
    print_message("    skipped: %s lacks %s\n", getenv("CHANNELSD_OTHER_REDIS"), what);
    skip();
}

static inline void daemon_need_version(unsigned version, const char *what)
{
    daemon_need(daemon_version() >= version, what);
}

/* Arguments that make a server forget HELLO; one before 6 never knew it. */
static inline const char *const *daemon_without_hello(void)
{
    static const char *const no_hello[] = {"--rename-command", "HELLO", "", NULL};
    return daemon_version() >= 600 ? no_hello : no_hello + 3;
}

/* A port of 127.0.0.1 that nobody uses at this moment. */
static inline unsigned daemon_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    close(fd);
    return ntohs(address.sin_port);
}

/* Starts a program in @folder; what it says goes to the file "log" there. It dies with the test. */
static inline pid_t daemon_spawn(const char *folder, const char *const *argv)
{
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (chdir(folder) != 0)
        _exit(126);
    const int log = open("log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

/* Runs a program to its end, which must be a good one. */
static inline void daemon_run(const char *folder, const char *const *argv)
{
    int status = 0;
    const pid_t pid = daemon_spawn(folder, argv);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0)
        fail_msg("%s %s ended with %#x: see %s/log", argv[0], argv[1], (unsigned)status, folder);
}

/* Sends @command, a line, to the port and reads what is answered; "" when nothing is. */
static inline void daemon_ask(unsigned port, const char *command, char *out, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    const struct timeval limit = {.tv_sec = 2};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    out[0] = '\0';
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
        dprintf(fd, "%s\r\n", command);
        const ssize_t len = read(fd, out, size - 1);
        out[len > 0 ? len : 0] = '\0';
    }
    close(fd);
}

/* The same, for a command that must succeed. */
static inline void daemon_do(const struct redis_daemon *d, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline void daemon_do(const struct redis_daemon *d, const char *format, ...)
{
    char command[512];
    char said[256];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    daemon_ask(d->port, command, said, sizeof(said));
    if (said[0] == '\0' || said[0] == '-')
        fail_msg("%s: %s", command, said);
}

/* Starts it, again, with its arguments, and waits until it answers. */
static inline void daemon_restart(struct redis_daemon *d)
{
    const struct timespec poll = {.tv_nsec = DAEMON_POLL_MS * 1000L * 1000L};
    char said[64];
    assert_int_equal(d->pid, 0);
    d->pid = daemon_spawn(d->folder, d->args);
    for (int waited_ms = 0; waited_ms < DAEMON_START_MS; waited_ms += DAEMON_POLL_MS) {
        daemon_ask(d->port, "PING", said, sizeof(said));
        if (said[0] != '\0') /* an error, such as NOAUTH, is an answer too */
            return;
        nanosleep(&poll, NULL);
        if (waitpid(d->pid, NULL, WNOHANG) == d->pid)
            break;
    }
    d->pid = 0;
    fail_msg("%s did not start: see %s/log", d->args[0], d->folder);
}

static inline void daemon_folder(struct redis_daemon *d)
{
    snprintf(d->folder, sizeof(d->folder), "/tmp/channelsd-redis-XXXXXX");
    assert_non_null(mkdtemp(d->folder));
}

/* Starts a redis-server; @more: further arguments up to NULL, which stay the caller's. When @d has
 * a folder already (daemon_folder()), that is used. */
static inline void daemon_start(struct redis_daemon *d, const char *const *more)
{
    const char *const base[] = {"redis-server", "--bind", "127.0.0.1", "--save",     "",
                                "--appendonly", "no",     "--port",    d->port_text, NULL};
    size_t count = 0;
    d->version = daemon_version();
    d->port = daemon_free_port();
    snprintf(d->port_text, sizeof(d->port_text), "%u", d->port);
    if (d->folder[0] == '\0')
        daemon_folder(d);
    for (size_t i = 0; base[i] != NULL; i++)
        d->args[count++] = base[i];
    for (size_t i = 0; more != NULL && more[i] != NULL; i++) {
        assert_true(count + 1 < DAEMON_ARGS);
        d->args[count++] = more[i];
    }
    d->args[count] = NULL;
    daemon_restart(d);
}

static inline void daemon_kill(struct redis_daemon *d)
{
    if (d->pid == 0)
        return;
    kill(d->pid, SIGKILL);
    assert_int_equal(waitpid(d->pid, NULL, 0), d->pid);
    d->pid = 0;
}

/* Ends it and removes its folder. */
static inline void daemon_remove(struct redis_daemon *d)
{
    int status = 0;
    const char *const argv[] = {"rm", "-rf", d->folder, NULL};
    daemon_kill(d);
    const pid_t pid = daemon_spawn(d->folder, argv);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    memset(d, 0, sizeof(*d));
}

#endif
