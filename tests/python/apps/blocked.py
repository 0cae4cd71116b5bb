# SPDX-License-Identifier: BSD-3-Clause
"""An application that blocks its import for ever."""

import threading

print("blocked", flush=True)
threading.Event().wait()
