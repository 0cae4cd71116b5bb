# SPDX-License-Identifier: BSD-3-Clause
"""A Django project with Channels (tests/integration/project) behaves the same under channelsd and under Daphne."""

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar

import pytest
from server import ROOT, Channelsd, Daphne
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

PROJECT = ROOT / "tests" / "integration" / "project"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The database, with the users ada and bob."""
    env = {"PROJECT_DB": str(tmp_path_factory.mktemp("project") / "db.sqlite3")}
    subprocess.run([sys.executable, "prepare.py"], cwd=PROJECT, env={**os.environ, **env}, check=True)
    return env


@pytest.fixture(scope="module", params=[Channelsd, Daphne], ids=["channelsd", "daphne"])
def server(request, environment):
    server = request.param("config.asgi:application", cwd=PROJECT, env=environment)
    try:
        yield server
    except BaseException:
        server.kill_group()
        raise
    if request.param is Channelsd:
        server.stop()
    else:
        server.kill_group()  # with threads of sync consumers about, Daphne may never end


class Browser:
    """Keeps cookies, as a browser does, for HTTP and WebSockets."""

    def __init__(self, server):
        self.server = server
        self.jar = CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def ask(self, path, data=None, headers=None, method=None):
        """(status, headers, body)."""
        request = urllib.request.Request(self.server.url + path, data, headers or {}, method=method)
        try:
            with self.opener.open(request, timeout=10) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def json(self, path, form=None):
        data = urllib.parse.urlencode(form).encode() if form is not None else None
        status, _, body = self.ask(path, data)
        assert status == 200, body
        return json.loads(body)

    def log_in(self, name):
        assert self.json("/login/", {"username": name, "password": "secret"}) == {"user": name}
        return self

    def websocket(self, path, **keywords):
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.jar)
        keywords.setdefault("origin", self.server.url)
        headers = {"Cookie": cookies} if cookies else {}
        return connect(self.server.ws_url + path, additional_headers=headers, open_timeout=10, **keywords)


@pytest.fixture
def browser(server):
    return Browser(server)


# ---- HTTP ----


def test_login_by_cookie(browser):
    assert browser.json("/whoami/") == {"user": "", "authenticated": False}
    browser.log_in("bob")
    assert browser.json("/whoami/") == {"user": "bob", "authenticated": True}
    assert browser.json("/async/") == {"user": "bob"}


def test_wrong_password(browser):
    form = urllib.parse.urlencode({"username": "bob", "password": "guess"}).encode()
    assert browser.ask("/login/", form)[0] == 403


def test_session_counts(browser):
    assert [browser.json("/session/")["visits"] for _ in range(3)] == [1, 2, 3]
    assert Browser(browser.server).json("/session/") == {"visits": 1}


def test_admin_login_and_pages(browser):
    _, _, page = browser.ask("/admin/login/")
    token = re.search(rb'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1].decode()
    form = {"username": "ada", "password": "secret", "csrfmiddlewaretoken": token, "next": "/admin/"}
    status, _, page = browser.ask(
        "/admin/login/", urllib.parse.urlencode(form).encode(), {"Referer": browser.server.url + "/admin/login/"}
    )
    assert status == 200
    assert b"Site administration" in page
    status, _, page = browser.ask("/admin/auth/user/")
    assert (status, b"bob" in page) == (200, True)


def test_post_without_a_csrf_token_is_refused(browser):
    assert browser.ask("/admin/login/", b"username=ada")[0] == 403


def test_host_that_is_not_allowed(browser):
    assert browser.ask("/whoami/", headers={"Host": "evil.example"})[0] == 400


def test_static_files(browser):
    status, headers, body = browser.ask("/static/hello.css")
    assert (status, headers["Content-Type"]) == (200, "text/css")
    assert body == (PROJECT / "assets" / "hello.css").read_bytes()
    status, headers, body = browser.ask("/static/admin/css/base.css")
    assert (status, headers["Content-Type"], len(body)) == (200, "text/css", int(headers["Content-Length"]))
    assert browser.ask("/static/nothing.txt")[0] == 404


@pytest.mark.parametrize("path", ["/stream/", "/stream-sync/"])
def test_streaming_response(browser, path):
    status, headers, body = browser.ask(path)
    assert (status, headers["Content-Type"]) == (200, "text/plain")
    assert body == b"".join(b"line %d\n" % number for number in range(10))


def test_file_response(browser):
    status, headers, body = browser.ask("/file/")
    assert (status, headers["Content-Length"], body) == (200, "300000", b"x" * 300000)
    assert headers["Content-Disposition"] == 'attachment; filename="x.bin"'


@pytest.mark.parametrize("size", [0, 1, 8192, 100000, 5_000_000])
def test_upload(browser, size):
    content = os.urandom(size)
    boundary = "boundary-of-parts"
    data = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="note"\r\n\r\nfür dich\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
        f"Content-Type: application/octet-stream\r\n\r\n"
    ).encode() + content
    data += f"\r\n--{boundary}--\r\n".encode()
    status, _, body = browser.ask("/upload/", data, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
    assert status == 200, body
    want = {"name": "a.bin", "size": size, "sha256": hashlib.sha256(content).hexdigest(), "note": "für dich"}
    assert json.loads(body) == want


def test_request_as_a_view_sees_it(browser):
    headers = {"X-Test": "a value", "X_Test": "spoofed", "Content-Type": "application/x-www-form-urlencoded"}
    status, _, body = browser.ask("/echo/?a=1&a=2&%C3%A9=%20", b"p=1&p=2&q=%C3%BC", headers)
    assert status == 200
    assert json.loads(body) == {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/echo/",
        "SCRIPT_NAME": "",
        "QUERY_STRING": "a=1&a=2&%C3%A9=%20",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "HTTP_X_TEST": "a value",
        "get": {"a": ["1", "2"], "é": [" "]},
        "post": {"p": ["1", "2"], "q": ["ü"]},
        "body": 16,
        "secure": False,
    }


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods(browser, method):
    status, _, body = browser.ask("/echo/", b"abc", {"Content-Type": "text/plain"}, method=method)
    got = json.loads(body)
    assert (status, got["REQUEST_METHOD"], got["body"]) == (200, method, 3)


def test_head(browser):
    status, headers, body = browser.ask("/file/", method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, "300000", b"")


def test_cookies_stay_apart(browser):
    _, headers, _ = browser.ask("/cookies/")
    assert headers.get_all("Set-Cookie") == ["one=1; HttpOnly; Path=/", 'two="zwei\\073 drei"; Path=/']
    assert headers.get_all("X-Several") == ["a, b"]


@pytest.mark.parametrize("path", ["/raise/", "/nothing/here/", "/whoami"])
def test_answers_of_django_itself(browser, path):
    want = {"/raise/": 500, "/nothing/here/": 404, "/whoami": 200}  # the last by a redirect to /whoami/
    assert browser.ask(path)[0] == want[path]


@pytest.mark.parametrize("code", [200, 204, 400, 404, 418, 503])
def test_status_codes(browser, code):
    assert browser.ask(f"/status/{code}/")[0] == code


# ---- WebSockets ----


def test_websocket_knows_the_user_of_the_cookie(browser):
    browser.log_in("bob")
    with browser.websocket("/ws/chat/who/") as bob:
        assert json.loads(bob.recv(5)) == {"by": "bob", "text": "joined"}
        with Browser(browser.server).websocket("/ws/chat/who/") as stranger:
            assert json.loads(bob.recv(5)) == {"by": "nobody", "text": "joined"}
            assert json.loads(stranger.recv(5)) == {"by": "nobody", "text": "joined"}


def test_group_reaches_everybody_in_order(browser):
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(5):
            clients.append(stack.enter_context(browser.websocket("/ws/chat/many/")))
            for client in clients:  # those who joined before, and itself
                assert json.loads(client.recv(5))["text"] == "joined"
        for number in range(20):
            clients[0].send(json.dumps({"text": f"message {number}"}))
        for client in clients:
            assert [json.loads(client.recv(5))["text"] for _ in range(20)] == [f"message {n}" for n in range(20)]
        clients[4].close(4001)
        assert json.loads(clients[0].recv(5)) == {"by": "nobody", "text": "left 4001"}


def test_sync_consumer(browser):
    with browser.websocket("/ws/sync/a/") as one, browser.websocket("/ws/sync/a/") as other:
        one.send("grüße")
        assert one.recv(5) == other.recv(5) == "grüße"
        one.send(b"\x00\x01\xff")
        assert one.recv(5) == b"\xff\x01\x00"


def test_session_is_shared_between_http_and_websockets(browser):
    browser.log_in("bob")
    assert browser.json("/session/") == {"visits": 1}
    with browser.websocket("/ws/session/") as client:
        assert client.recv(5) == "bob 2"
    assert browser.json("/session/") == {"visits": 3}


@pytest.mark.parametrize("path", ["/ws/refuse/", "/ws/deny/"])
def test_refused_websocket_is_403(browser, path):
    with pytest.raises(InvalidStatus) as caught, browser.websocket(path):
        pass
    assert caught.value.response.status_code == 403


def test_origin_that_is_not_allowed_is_403(browser):
    with pytest.raises(InvalidStatus) as caught, browser.websocket("/ws/chat/x/", origin="http://evil.example"):
        pass
    assert caught.value.response.status_code == 403


def test_path_without_a_consumer_is_500(browser):
    with pytest.raises(InvalidStatus) as caught, browser.websocket("/ws/nothing/"):
        pass
    assert caught.value.response.status_code == 500


@pytest.mark.parametrize(("offered", "chosen"), [(["v1", "v2"], "v2"), (["v1"], None)])
def test_subprotocol(browser, offered, chosen):
    with browser.websocket("/ws/protocol/", subprotocols=offered) as client:
        assert client.subprotocol == chosen
        assert client.recv(5) == ",".join(offered)


@pytest.mark.parametrize("code", [1000, 3000, 4000, 4999])
def test_close_code_of_a_consumer(browser, code):
    with browser.websocket(f"/ws/close/{code}/") as client:
        with pytest.raises(ConnectionClosed):
            client.recv(5)
        assert client.close_code == code


@pytest.mark.parametrize("path", ["/ws/odd/", "/ws/odd-sync/"])
@pytest.mark.parametrize("what", ["code", "text", "lazy", "error"])
def test_refusal_takes_any_code_and_reason(browser, path, what):
    """Nothing of them is sent; close(code=401) before accept() is what many projects say."""
    with pytest.raises(InvalidStatus) as caught, browser.websocket(f"{path}?refused-{what}"):
        pass
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize("path", ["/ws/odd/", "/ws/odd-sync/"])
@pytest.mark.parametrize(("what", "code"), [("code", 1011), ("text", 1011), ("lazy", 4001), ("error", 4001)])
def test_close_with_what_no_frame_can_have(browser, path, what, code):
    with browser.websocket(f"{path}?accepted-{what}") as client:
        with pytest.raises(ConnectionClosed):
            client.recv(5)
        assert client.close_code == code


@pytest.mark.parametrize("path", ["/ws/lazy/", "/ws/lazy-sync/"])
def test_lazy_translation_is_text(browser, path):
    with browser.websocket(path) as client:
        assert client.recv(5) == "text of a translation"


@pytest.mark.parametrize("kind", [Channelsd, Daphne])
def test_http_consumer_is_told_once_that_its_client_left(kind):
    """One that does not stop then is left in peace until the close timeout cancels it."""
    with kind("stays:application", "--application-close-timeout", 1) as server:
        with server.connect() as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            while b"begun" not in sock.recv(65536):
                pass
        server.log_has(rb"took too long to shut down")
        assert server.stderr.text().count("stays: http.disconnect") == 1


def test_consumer_that_raises_is_1011(browser):
    with browser.websocket("/ws/raise/") as client:
        client.send("x")
        with pytest.raises(ConnectionClosed):
            client.recv(5)
        assert client.close_code == 1011


def test_large_messages_both_ways(browser):
    data = os.urandom(900_000)
    with browser.websocket("/ws/sync/large/", max_size=None) as client:
        client.send(data)
        assert client.recv(5) == data[::-1]


def test_many_clients_come_and_go(browser):
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(browser.websocket("/ws/sync/crowd/")) for _ in range(20)]
            clients[0].send("all")
            assert [client.recv(5) for client in clients] == ["all"] * 20
