# SPDX-License-Identifier: BSD-3-Clause
"""Two people chat, see each other type, and go on talking after the server was killed and started again."""

import pytest
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.timeout(180)

MESSAGES = "#messages .bubble p"

# Connections go where nobody listens until the page is told otherwise; waiting is as short as chance allows.
NO_SOCKETS = """
Math.random = () => 0;
const RealWebSocket = window.WebSocket;
window.WebSocket = class extends RealWebSocket {
  constructor(url) {
    super(window.socketsWork ? url : "ws://127.0.0.1:9/");
  }
};
"""


def until_connected(window):
    """Wait for both connections of the page: messages, and who is typing."""
    window.until_connection("open")
    window.until(lambda: window.find("#typing").get_attribute("data-state") == "open", "typing is connected")


def open_chat(window):
    """Open the one conversation of the demo, from the list."""
    window.driver.get(f"{window.url}/chat/")
    window.find(".tile").click()
    until_connected(window)


def say(window, text):
    """Write a message and send it."""
    window.find("#message").send_keys(text, Keys.ENTER)


def until_said(window, text):
    """Wait until a message is on the page, once."""
    window.until(lambda: window.texts(MESSAGES).count(text) == 1, f"message {text!r}")


@pytest.fixture
def two(open_window):
    """Return the windows of alice and bob, both in their conversation."""
    windows = open_window("alice"), open_window("bob")
    for window in windows:
        open_chat(window)
    return windows


def test_both_see_both_messages(two):
    alice, bob = two
    question, answer = "Hello Bob, <b>this</b> is é", "Hello Alice"
    say(alice, question)
    for window in two:
        until_said(window, question)
    say(bob, answer)
    for window in two:
        until_said(window, answer)
        assert window.texts(MESSAGES)[-2:] == [question, answer]
        assert window.errors() == []


def test_typing_is_shown_to_the_other_only(two):
    alice, bob = two
    alice.find("#message").send_keys("I am wri")
    bob.until(lambda: bob.texts("#typing") == ["alice is typing…"], "bob sees alice type")
    assert alice.texts("#typing") == [""]
    alice.find("#message").send_keys("ting", Keys.TAB)  # Leaves the field without sending.
    bob.until(lambda: bob.texts("#typing") == [""], "bob sees that alice stopped")


def test_pages_reconnect_after_the_server_is_killed(two, server):
    alice, bob = two
    say(alice, "before")
    until_said(bob, "before")
    server.kill()
    for window in two:
        window.until_connection("waiting", "connecting", "failed")
    server.start()
    for window in two:
        until_connected(window)
    say(alice, "after")
    say(bob, "after too")
    for window in two:
        until_said(window, "before")
        until_said(window, "after")
        until_said(window, "after too")
    # Typing has a connection of its own.
    alice.find("#message").send_keys("still h")
    bob.until(lambda: bob.texts("#typing") == ["alice is typing…"], "bob sees alice type again")
    for window in two:
        assert window.errors() == []


def test_page_without_sockets_polls_and_reconnects_on_request(open_window):
    alice, bob = open_window("alice"), open_window("bob")
    open_chat(alice)
    bob.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": NO_SOCKETS})
    bob.driver.get(alice.driver.current_url)
    bob.until_connection("failed")
    say(alice, "can you read this?")
    until_said(bob, "can you read this?")
    say(bob, "yes, but slowly")
    for window in (alice, bob):
        until_said(window, "yes, but slowly")
    bob.driver.execute_script("window.socketsWork = true")
    bob.find("#connection-retry").click()
    until_connected(bob)
    say(bob, "much better")
    for window in (alice, bob):
        until_said(window, "much better")
