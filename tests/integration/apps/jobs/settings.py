# SPDX-License-Identifier: BSD-3-Clause
import os

SECRET_KEY = "only-for-tests"
INSTALLED_APPS = ["channels"]
ROOT_URLCONF = "jobs.asgi"
ASGI_APPLICATION = "jobs.asgi.application"
USE_TZ = True
TIME_ZONE = "UTC"
CHANNEL_LAYERS = {
    "default": {"BACKEND": os.environ["JOBS_BACKEND"], "CONFIG": {"hosts": [os.environ["JOBS_REDIS"]]}},
}
