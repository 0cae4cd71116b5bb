# SPDX-License-Identifier: BSD-3-Clause
"""Every view by its name."""

from django.urls import path
from views import (
    Async,
    Sync,
    big,
    body,
    closers,
    coroutine,
    database,
    database_async,
    error,
    error_async,
    etag,
    file,
    file_async,
    left_open,
    not_atomic,
    nothing,
    own_policy_async,
    plain,
    plain_async,
    policy_async,
    post,
    post_async,
    stream,
    stream_async,
    stream_error,
    template,
    template_async,
    template_error,
    thread,
    threads,
    threads_async,
    wait,
    wait_async,
    wait_below,
)

_VIEWS = [big, body, closers, coroutine, database, database_async, etag, file, file_async, not_atomic, nothing, plain]
_VIEWS += [plain_async, post, post_async, stream, stream_async, stream_error, template, template_async, template_error]
_VIEWS += [own_policy_async, policy_async]
_VIEWS += [left_open, thread, threads, threads_async, wait, wait_async, wait_below]

urlpatterns = [path(f"{view.__name__}/", view, name=view.__name__) for view in _VIEWS]
urlpatterns += [
    path("plain/<int:number>/", plain),
    path("plain_async/<slug:word>/", plain_async),
    path("class/", Sync.as_view()),
    path("class_async/", Async.as_view()),
    path("error/<kind>/", error),
    path("error_async/<kind>/", error_async),
]
