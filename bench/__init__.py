# SPDX-License-Identifier: BSD-3-Clause
"""Measures channelsd beside other servers: `make bench`, or `python3 -m bench --help`."""
