# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of the browser tests: the example project on a real server, and Chromium windows of its users.

The server is the built channelsd; CHANNELSD_BIN and CHANNELSD_PYTHON name other ones. EXAMPLE_SERVER runs the same
tests under any other ASGI server: EXAMPLE_SERVER="daphne -b 127.0.0.1 -p {port} config.asgi:application".
"""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"
CHROMEDRIVER = os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver")
START_SECONDS = 30
STOP_SECONDS = 15
WAIT_SECONDS = 30
CHROMIUM_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,900",
]


def server_command(port):
    """Return the command line of the server to test."""
    other = os.environ.get("EXAMPLE_SERVER")
    if other:
        return shlex.split(other.format(port=port))
    binary = Path(os.environ.get("CHANNELSD_BIN") or REPOSITORY / "build/release/channelsd")
    if not binary.is_file():
        pytest.fail(f"{binary} is not there: build it, or set CHANNELSD_BIN (or EXAMPLE_SERVER)", pytrace=False)
    return [
        str(binary),
        "-b",
        "127.0.0.1",
        "-p",
        str(port),
        "--python",
        os.environ.get("CHANNELSD_PYTHON", sys.executable),
        "config.asgi:application",
    ]


def free_port():
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ExampleServer:
    """The example project with a database of its own, started and stopped as often as a test likes."""

    def __init__(self, directory):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = directory / "server.log"
        self.environ = dict(os.environ, EXAMPLE_DB=str(directory / "db.sqlite3"), PYTHONUNBUFFERED="1")
        self.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), self.environ.get("PATH", "")])
        self.process = None

    def manage(self, *arguments):
        """Run a management command."""
        python = os.environ.get("CHANNELSD_PYTHON", sys.executable)
        subprocess.run([python, "manage.py", *arguments], cwd=EXAMPLES, env=self.environ, check=True)

    def start(self):
        """Start the server and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                server_command(self.port),
                cwd=EXAMPLES,
                env=self.environ,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.url}/login/", timeout=5):
                    return
            except urllib.error.HTTPError as error:
                pytest.fail(f"the server answers {error.code}:\n{self.log.read_text()}", pytrace=False)
            except OSError:
                time.sleep(0.05)  # Between two looks at a port that is not open yet.
        pytest.fail(f"the server did not start:\n{self.log.read_text()}", pytrace=False)

    def kill(self):
        """End the server as a crash would, with all its processes."""
        self._end(signal.SIGKILL)

    def stop(self):
        """End the server in the ordinary way."""
        if self.process is not None and self.process.poll() is None:
            self._end(signal.SIGTERM)

    def _end(self, number):
        group = self.process.pid
        os.killpg(group, number)
        try:
            self.process.wait(STOP_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            self.process = None


@pytest.fixture
def server(tmp_path):
    """Return the running example project with its demo data."""
    example = ExampleServer(tmp_path)
    server_command(example.port)  # Fails at once when there is no server to test.
    example.manage("migrate", "--verbosity", "0")
    example.manage("demo")
    example.start()
    yield example
    example.stop()


class Window:
    """One person's browser."""

    def __init__(self, profile, url):
        options = webdriver.ChromeOptions()
        options.binary_location = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        for argument in [*CHROMIUM_ARGUMENTS, f"--user-data-dir={profile}"]:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.url = url
        self.driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))

    def log_in(self, name):
        """Log in by the form; the demo's passwords are the names."""
        self.driver.get(f"{self.url}/login/")
        self.find("#id_username").send_keys(name)
        self.find("#id_password").send_keys(name)
        self.find("main button[type=submit]").click()
        self.until(lambda: self.find("#who").text == name, f"{name} is logged in")

    def find(self, selector):
        """Return the one element that a CSS selector names."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector):
        """Return the texts of all elements that a CSS selector names."""
        script = "return [...document.querySelectorAll(arguments[0])].map((found) => found.textContent)"
        return self.driver.execute_script(script, selector)

    def until(self, condition, what):
        """Wait until a condition is true."""
        WebDriverWait(self.driver, WAIT_SECONDS, poll_frequency=0.05).until(
            lambda _driver: condition(), f"never: {what}; the page says {self.texts('main')}"
        )

    def until_connection(self, *states):
        """Wait until the page shows one of these states of its connection."""
        self.until(lambda: self.find("#connection").get_attribute("data-state") in states, f"connection {states}")

    def errors(self):
        """Return what scripts complained about; a lost connection is not among it."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] == "SEVERE"
            and entry["source"] in ("javascript", "security")
            and "WebSocket connection" not in entry["message"]
        ]


@pytest.fixture
def open_window(server, tmp_path):
    """Return a function that opens the browser of a user who is logged in."""
    windows = []

    def open_for(name):
        window = Window(tmp_path / f"profile-{name}", server.url)
        windows.append(window)
        window.log_in(name)
        return window

    yield open_for
    for window in windows:
        window.driver.quit()
