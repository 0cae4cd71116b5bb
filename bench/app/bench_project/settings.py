# SPDX-License-Identifier: BSD-3-Clause
"""What `django-admin startproject` makes, with Channels, and nothing that needs a database.

BENCH_REDIS names the Redis server of the channel layer; without it the layer is in memory. BENCH_LAYER=channelsd takes
channelsd's layer in place of channels_redis or Channels' own."""

import os

SECRET_KEY = "only for measurements on loopback"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "bench_project.urls"
ASGI_APPLICATION = "bench_project.asgi.application"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "channels",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True

redis = os.environ.get("BENCH_REDIS")
if os.environ.get("BENCH_LAYER") == "channelsd":
    backend = "channelsd.layer.ChannelLayer"
else:
    backend = "channels_redis.core.RedisChannelLayer" if redis else "channels.layers.InMemoryChannelLayer"
CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": {"hosts": [redis]} if redis else {}}}
