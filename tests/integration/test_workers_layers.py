# SPDX-License-Identifier: BSD-3-Clause
"""A channel layer that lives in one process, and several workers: start-up says what that means."""

import pytest

SETTINGS = """
import os
SECRET_KEY = "test"
INSTALLED_APPS = ["channels"]
LOGGING = {"version": 1, "disable_existing_loggers": True, "root": {"handlers": [], "level": "CRITICAL"}}
CHANNEL_LAYERS = {
    "default": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
    "shared": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": ["redis://127.0.0.1:1/0"]}},
}
"""
APPLICATION = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "layers_settings"
from django.core.asgi import get_asgi_application
application = get_asgi_application()
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "layers_settings.py").write_text(SETTINGS)
    (tmp_path / "layers_asgi.py").write_text(APPLICATION)
    return {"PYTHONPATH": str(tmp_path)}


def test_in_memory_layer_with_several_workers_is_told_once(serve, project):
    server = serve("layers_asgi:application", "--workers", "3", env=project)
    lines = [line for line in server.stderr.text().splitlines() if "CHANNEL_LAYERS" in line]
    assert len(lines) == 1, "however quiet the project's logging is"
    assert "CHANNEL_LAYERS['default'] is Channels' in-memory layer" in lines[0]
    assert "only the clients of the worker that sends it" in lines[0]
    assert "Use channelsd.layer.ChannelLayer or channels_redis, or --workers 1" in lines[0]


def test_nothing_is_told_with_one_worker(serve, project):
    server = serve("layers_asgi:application", env=project)
    assert "CHANNEL_LAYERS" not in server.stderr.text()
