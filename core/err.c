/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/err.h"

#include <uv.h>

#include <stdarg.h>
#include <stdio.h>

const char *err_str(enum err err)
{
    switch (err) {
    case ERR_OK:
        return "ok";
#define X(code, text) \
    case code:        \
        return text;
        ERR_LIST(X)
#undef X
    }
    return "unknown error";
}

enum err err_from_uv(int status)
{
    if (status >= 0)
        return ERR_OK;
    switch (status) {
    case UV_ENOMEM:
    case UV_ENOBUFS:
        return ERR_NOMEM;
    case UV_EINVAL:
    case UV_ENAMETOOLONG:
        return ERR_INVALID;
    case UV_EOF:
    case UV_EPIPE:
    case UV_ECONNRESET:
    case UV_ECONNABORTED:
    case UV_ENOTCONN:
    case UV_ECANCELED:
        return ERR_CLOSED;
    case UV_ETIMEDOUT:
        return ERR_TIMEOUT;
    case UV_EADDRINUSE:
        return ERR_ADDR_IN_USE;
    case UV_EACCES:
    case UV_EPERM:
    case UV_EROFS:
        return ERR_ACCESS;
    case UV_EMFILE:
    case UV_ENFILE:
        return ERR_NO_FILES;
    case UV_ENOENT:
    case UV_ENOTDIR:
        return ERR_NOT_FOUND;
    case UV_EAGAIN:
        return ERR_AGAIN;
    default:
        return ERR_IO;
    }
}

enum err err_from_errno(int errnum)
{
    return errnum == 0 ? ERR_OK : err_from_uv(uv_translate_sys_error(errnum));
}

enum err err_fail(struct err_text *out, enum err code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    out->code = code;
    (void)vsnprintf(out->text, sizeof(out->text), format, args);
    va_end(args);
    return code;
}
