# SPDX-License-Identifier: BSD-3-Clause
"""The project whose requests are traced with and without acceleration."""

import os

SECRET_KEY = "traced"
DEBUG = False
ALLOWED_HOSTS = ["localhost"]
ROOT_URLCONF = "urls"
MIDDLEWARE = []
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
MESSAGE_STORAGE = "django.contrib.messages.storage.fallback.FallbackStorage"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("TRACED_DATABASE", ":memory:"),
        "ATOMIC_REQUESTS": os.environ.get("TRACED_ATOMIC") == "1",
        "CONN_MAX_AGE": int(os.environ.get("TRACED_MAX_AGE", "0")),
        "CONN_HEALTH_CHECKS": True,
    }
}
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": {}}]
FILE_UPLOAD_MAX_MEMORY_SIZE = 2000
DATA_UPLOAD_MAX_NUMBER_FIELDS = 20
USE_TZ = True
STATIC_URL = "/static/"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"traced": {"class": "middleware.Traced"}},
    "loggers": {name: {"handlers": ["traced"], "propagate": False} for name in ("django.request", "django.security")},
}
