# SPDX-License-Identifier: BSD-3-Clause
def configure():
    raise ValueError("SECRET_KEY is empty")


configure()
