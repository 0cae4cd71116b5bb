# SPDX-License-Identifier: BSD-3-Clause
import os

SECRET_KEY = "only-for-tests"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["channels"]
ROOT_URLCONF = "programs.views"
USE_TZ = True
TIME_ZONE = "UTC"
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channelsd.layer.ChannelLayer",
        "CONFIG": {"timeout": float(os.environ.get("PROGRAMS_TIMEOUT", "2"))},
    },
}
