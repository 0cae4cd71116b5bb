/* SPDX-License-Identifier: BSD-3-Clause
 *
 * err: the one list of error codes that functions of this program return.
 *
 * Why: every library below speaks its own codes; they are translated once, at the file that
 * calls the library, so that everybody else handles one short list.
 *
 * Thread: any.
 */
#ifndef CORE_ERR_H
#define CORE_ERR_H

/* Code and fixed lower-case text. Append only; never renumber. */
#define ERR_LIST(X)                                 \
    X(ERR_NOMEM, "out of memory")                   \
    X(ERR_TOO_BIG, "configured size limit reached") \
    X(ERR_INVALID, "invalid argument or setting")   \
    X(ERR_PROTO, "peer broke the protocol")         \
    X(ERR_CLOSED, "already closed")                 \
    X(ERR_TIMEOUT, "timed out")                     \
    X(ERR_ADDR_IN_USE, "address already in use")    \
    X(ERR_ACCESS, "permission denied")              \
    X(ERR_NO_FILES, "no file descriptors left")     \
    X(ERR_NOT_FOUND, "not found")                   \
    X(ERR_IO, "input/output error")                 \
    X(ERR_AGAIN, "would block")                     \
    X(ERR_FULL, "over capacity")                    \
    X(ERR_UNAVAILABLE, "not available")             \
    X(ERR_UNSUPPORTED, "not supported")

enum err {
    ERR_OK = 0,
#define X(code, text) code,
    ERR_LIST(X)
#undef X
};

#define MUST_CHECK __attribute__((warn_unused_result))

enum { ERR_TEXT_MAX = 512 };

/* What went wrong in words, for the cold paths that a person reads (options, start-up). */
struct err_text {
    enum err code;
    char text[ERR_TEXT_MAX];
};

/* Fixed text of @err. Never NULL; static storage. */
const char *err_str(enum err err);

/* Translates a libuv status. The only place that knows UV_E* codes. A peer that is gone (end of
 * file, reset, broken pipe) and a cancelled request are ERR_CLOSED. */
enum err err_from_uv(int status);

/* Translates a value of errno. */
enum err err_from_errno(int errnum);

/* Fills @out with @code and a formatted text (cut at ERR_TEXT_MAX) and returns @code, so that
 * failing reads as one step: return err_fail(out, ERR_INVALID, "..."). */
enum err err_fail(struct err_text *out, enum err code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
