# SPDX-License-Identifier: BSD-3-Clause
"""What is no ASGI 3 application."""

number = 5


def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [b""]


class Asgi2:
    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        pass


def asgi2(scope):
    async def instance(receive, send):
        pass

    return instance


class Namespace:
    class inner:
        @staticmethod
        async def application(scope, receive, send):
            if scope["type"] == "lifespan":
                raise NotImplementedError
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"dotted"})
