# SPDX-License-Identifier: BSD-3-Clause
"""Behind nginx as docker/nginx.conf sets it up, which is how most projects are deployed."""

import getpass
import json
import shutil
import subprocess

import httpx
import pytest
from server import ROOT
from websockets.sync.client import unix_connect

CLIENT = "203.0.113.9"
CONFIG = """
user {user};
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    {site}
}}
"""


@pytest.fixture
def behind(serve, tmp_path):
    """(path of nginx's socket, the server behind it)."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    assert program, "no nginx: install it (make test does)"
    server = serve("trace:application", "--proxy-headers")
    path = tmp_path / "nginx.sock"
    site = (ROOT / "docker" / "nginx.conf").read_text()
    for name in ("web:8000", "websocket:8001"):
        assert name in site
        site = site.replace(name, f"127.0.0.1:{server.port}")
    assert "listen 80;" in site
    site = site.replace("listen 80;", f"listen unix:{path};")
    config = tmp_path / "nginx.conf"
    config.write_text(CONFIG.format(user=getpass.getuser(), folder=tmp_path, site=site))
    command = [program, "-p", tmp_path, "-c", config, "-e", "stderr", "-g", "error_log stderr notice;"]
    nginx = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        said = []
        for line in nginx.stderr:
            said.append(line)
            if "start worker process" in line:
                break
        assert nginx.poll() is None, "".join(said)
        yield str(path), server
    finally:
        nginx.terminate()
        nginx.communicate(timeout=10)


def test_websocket_passes_with_the_clients_own_address(behind):
    path, server = behind
    headers = {"X-Forwarded-For": CLIENT}
    with unix_connect(path, "ws://site.example/ws/listen/?id=one", additional_headers=headers) as socket:
        socket.send("through")
        trace = json.loads(httpx.get(f"{server.url}/trace?id=one&count=3").text)
    scope = trace[0]["scope"]
    assert scope["client"] == [CLIENT, 0]
    assert (scope["path"], scope["scheme"]) == ("/ws/listen/", "ws")
    assert ["b:host", "b:site.example"] in scope["headers"]
    assert trace[2]["event"]["text"] == "through"


def test_request_and_upload_pass_with_the_clients_own_address(behind):
    path, server = behind
    with httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://site.example") as client:
        answer = client.post("/upload?id=two", content=b"x" * 3_000_000, headers={"X-Forwarded-For": CLIENT})
        assert (answer.status_code, answer.text) == (200, "3000000")
        trace = json.loads(client.get("/trace?id=two&count=1").text)
    assert trace[0]["scope"]["client"] == [CLIENT, 0]
    server.access_has(rf'{CLIENT}:0 - - \[[^]]*\] "POST /upload\?id=two" 200 7\n')
