# SPDX-License-Identifier: BSD-3-Clause
"""Conversations, their messages and who is typing."""
