# SPDX-License-Identifier: BSD-3-Clause
"""Answers with what a library finds that looks for the program it runs in, and with a number from a process of its own."""

import asyncio
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

import __main__


def ask_a_process():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(abs, -7).result(30)


async def application(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    number = await asyncio.get_running_loop().run_in_executor(None, ask_a_process)
    found = {"file": __main__.__file__, "argv": sys.argv, "number": number}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(found).encode()})
