# SPDX-License-Identifier: BSD-3-Clause
"""channels.auth.get_user: without a hop to the thread for a client that has no session.

The session of such a client has nothing to load, so who it is, an AnonymousUser, is found without the database.
"""

import functools
import importlib


def install_auth(report, stock, is_needless):
    """Replaces get_user in channels.auth. `is_needless`: what install_connections() returned; stock's get_user closes old
    connections too."""
    if is_needless is None:
        return
    auth = stock.module("channels.auth")
    stock_get_user = auth.get_user
    function = getattr(stock_get_user, "func", None)
    if not stock.knows(report, "channels.auth") or type(stock_get_user) is not auth.database_sync_to_async:
        return
    lazy = importlib.import_module("django.utils.functional").LazyObject
    base = importlib.import_module("django.contrib.sessions.backends.base").SessionBase
    methods = tuple((name, getattr(base, name)) for name in ("__getitem__", "_get_session", "_session", "session_key"))

    def has_nothing(session):
        """Whether this is one of Django's own sessions, and of a client that sent no key, and nobody has put anything in it.

        One that was flushed has no key until it is saved: whoever logged in after that is in it nevertheless.
        """
        store = session.__dict__.get("_wrapped") if isinstance(session, lazy) else session
        kind = type(store)
        return (
            kind.__module__.startswith("django.contrib.sessions.backends.")
            and all(getattr(kind, name, None) is method for name, method in methods)
            and store.session_key is None
            and not store.__dict__.get("_session_cache")
        )

    @functools.wraps(function)
    async def get_user(scope):
        if "session" in scope and is_needless() and has_nothing(scope["session"]):
            return function(scope)
        return await stock_get_user(scope)

    auth.get_user = get_user
    report.replaced("channels.auth.get_user")
