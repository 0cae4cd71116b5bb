# SPDX-License-Identifier: BSD-3-Clause
"""Lets the conformance tests import what all tests share."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
