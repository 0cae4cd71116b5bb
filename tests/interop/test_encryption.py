# SPDX-License-Identifier: BSD-3-Clause
"""Encrypted messages between channels_redis and channelsd, and what does not decrypt."""

import base64
import hashlib
import time

import msgpack
import pytest
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from layer_rig import MIXED, PAIRS, take, take_until

END = {"type": "end"}
MESSAGE = {"type": "x", "text": "secret \u2713", "bytes": bytes(range(256)) * 300}
PREFIX = 12


def fernet(*keys):
    """wire-format §3.4: what is made of each key."""
    keys = [key.encode() if isinstance(key, str) else key for key in keys]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(hashlib.sha256(key).digest())) for key in keys])


KEYS = {
    "one": ["correct horse"],
    "unicode": ["schl\u00fcssel"],
    "bytes": [b"\x00\xff raw"],
    "empty": [""],
    "several": ["new", b"old", "oldest"],
}


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("name", KEYS)
async def test_encrypted_messages_arrive(layers, kind, name):
    sender, reader = layers.pair(kind, symmetric_encryption_keys=KEYS[name])
    channel = await reader.new_channel()
    await reader.group_add("room", channel)
    await sender.send(channel, MESSAGE)
    assert await take(reader, channel) == MESSAGE
    await sender.group_send("room", MESSAGE)
    assert await take(reader, channel) == MESSAGE
    await sender.send("jobs", MESSAGE)
    assert await take(reader, "jobs") == MESSAGE


@pytest.mark.parametrize("who", ["stock", "ours"])
async def test_what_is_stored_is_a_token_of_the_first_key(layers, redis, who):
    layer = layers.open(who, symmetric_encryption_keys=["new", "old"])
    await layer.send("specific.x!y", {"type": "x"})
    await layer.send("jobs", {"type": "x"})
    await layer.group_add("room", "specific.z!y")
    await layer.group_send("room", {"type": "x"})
    for key, names in (("specific.x!", "specific.x!y"), ("jobs", None), ("specific.z!", ["specific.z!y"])):
        (stored,) = redis.raw("ZRANGE", "asgi" + key, 0, -1)
        token = stored[PREFIX:]
        fernet("new").decrypt(token, ttl=10)  # made now
        plain = msgpack.unpackb(fernet("new").decrypt(token))
        assert plain == {"type": "x", **({"__asgi_channel__": names} if names else {})}
        with pytest.raises(InvalidToken):
            fernet("old").decrypt(token)


@pytest.mark.parametrize("kind", PAIRS)
async def test_keys_are_rotated_without_a_lost_message(layers, kind):
    """First every reader learns the new key, then every sender uses it, then the old one goes."""
    stages = [
        (["old"], ["old"]),
        (["old"], ["new", "old"]),
        (["new", "old"], ["new", "old"]),
        (["new"], ["new", "old"]),
    ]
    for sender_keys, reader_keys in [*stages, (["new"], ["new"])]:
        sender, _ = layers.pair(kind, symmetric_encryption_keys=sender_keys)
        _, reader = layers.pair(kind, symmetric_encryption_keys=reader_keys)
        channel = await reader.new_channel()
        await reader.group_add("room", channel)
        await sender.send(channel, MESSAGE)
        await sender.group_send("room", MESSAGE)
        assert [await take(reader, channel) for _ in range(2)] == [MESSAGE, MESSAGE]
        await reader.group_discard("room", channel)


@pytest.mark.parametrize("kind", ["stock-to-ours", "ours-to-stock"])
async def test_keys_and_json_together(layers, kind):
    pytest.importorskip("channels_redis.serializers", reason="this channels_redis writes msgpack only")
    sender, reader = layers.pair(kind, symmetric_encryption_keys=["key"], serializer_format="json")
    channel = await reader.new_channel()
    message = {"type": "x", "text": "\u2713", "n": [1, 2.5, None]}
    await sender.send(channel, message)
    assert await take(reader, channel) == message


async def test_messages_that_do_not_decrypt_are_passed_over(layers, redis):
    """channels_redis raises out of receive() for each; channelsd counts them and goes on."""
    keys = {"symmetric_encryption_keys": ["right", "also right"]}
    reader = layers.open("ours", **keys)
    channel = await reader.new_channel()
    await reader.group_add("room", channel)
    plain, wrong = layers.open("stock"), layers.open("stock", symmetric_encryption_keys=["wrong"])
    for sender in (plain, wrong):
        for name in (channel, "jobs"):
            await sender.send(name, MESSAGE)
        await sender.group_send("room", MESSAGE)
    body = msgpack.packb({"type": "x", "__asgi_channel__": channel})
    key = "asgi" + channel.partition("!")[0] + "!"
    good = fernet("right").encrypt(body)
    now = int(time.time())
    broken = [
        fernet("right").encrypt_at_time(body, now - 75),  # expiry 60 and 10 more
        fernet("right").encrypt_at_time(body, now + 75),
        good[:-1],
        good[:-4] + b"AAA=",
        good[:30] + b"!" + good[31:],
        good + b"\n",
        b"",
        b"gAAAAA",
        base64.urlsafe_b64encode(b"\x81" + base64.urlsafe_b64decode(good)[1:]),
    ]
    for number, token in enumerate(broken):
        redis.command("ZADD", key, now + number / 1000, b"%012d" % number + token)
        redis.command("ZADD", "asgijobs", now + number / 1000, b"%012d" % number + token)
    accepted = [fernet("also right").encrypt_at_time(body, now - 60), fernet("right").encrypt_at_time(body, now + 45)]
    for number, token in enumerate(accepted):
        redis.command("ZADD", key, now + 1 + number, b"%012d" % number + token)
    sender = layers.open("stock", **keys)
    assert [await take(reader, channel) for _ in accepted] == [{"type": "x"}] * len(accepted)
    for name in (channel, "jobs"):
        await sender.send(name, END)
        assert await take_until(reader, name, END) == []


@pytest.mark.parametrize("kind", MIXED)
async def test_reader_without_keys_is_not_stopped_by_encrypted_messages(layers, kind):
    """The other way round, with channels_redis raising where it reads."""
    sender, _ = layers.pair(kind, symmetric_encryption_keys=["key"])
    plain_sender, reader = layers.pair(kind)
    channel = await reader.new_channel()
    await sender.send(channel, MESSAGE)
    if "to-stock" in kind:
        with pytest.raises(Exception, match=r"ExtraData|unpack|extra data"):
            await take(reader, channel)
    await plain_sender.send(channel, END)
    assert await take_until(reader, channel, END) == []


@pytest.mark.parametrize("who", ["stock", "ours"])
@pytest.mark.parametrize("keys", ["a word", b"bytes"])
def test_keys_that_are_no_list_are_refused(layers, who, keys):
    """At the latest with the first message: a word as list of keys would be a key for each letter."""
    with pytest.raises(ValueError, match="symmetric_encryption_keys"):
        layers.open(who, symmetric_encryption_keys=keys)
