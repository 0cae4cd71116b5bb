# SPDX-License-Identifier: BSD-3-Clause
"""A process with one channel layer, whose methods another process calls (layer_rig.Puppet): a line for each call,
(number, method, arguments), and one for each answer, (number, None, value) or (number, class of the error, its text), all
of them Python literals. The method None cancels the call of that number. Ends at the end of its input."""

import ast
import asyncio
import sys

from layer_rig import close_layer, make_layer


async def call(layer, number, method, arguments):
    try:
        answer = (number, None, await getattr(layer, method)(*arguments))
    except Exception as error:
        answer = (number, type(error).__name__, str(error))
    # Written before anything else can happen: what was answered is told although the process is killed the moment after.
    sys.stdout.write(repr(answer) + "\n")
    sys.stdout.flush()


async def main():
    who, config = ast.literal_eval(sys.argv[1])
    layer = make_layer(who, config)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=64 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks = {}
    while line := await reader.readline():
        number, method, arguments = ast.literal_eval(line.decode())
        if method is not None:
            tasks[number] = task = asyncio.ensure_future(call(layer, number, method, arguments))
            task.add_done_callback(lambda _, number=number: tasks.pop(number, None))
        elif number in tasks:
            tasks[number].cancel()
    left = list(tasks.values())
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await close_layer(layer)


asyncio.run(main())
