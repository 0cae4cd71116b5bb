# SPDX-License-Identifier: BSD-3-Clause
"""A Django project as other programs than channelsd run it: gunicorn, Celery, a shell."""
