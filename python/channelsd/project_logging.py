# SPDX-License-Identifier: BSD-3-Clause
"""The worker's loggers in a project whose LOGGING names Daphne's.

What `daphne` and `daphne.server` were given there (handlers, filters, a level, whether to propagate) was meant for the
server's lines, of which the most important are the exceptions that leave the application. It holds for `channelsd` and
`channelsd.server`, too, unless LOGGING says something of these.
"""

import logging

# Ours -> Daphne's, from the outermost inwards.
_PAIRS = (("channelsd", "daphne"), ("channelsd.server", "daphne.server"))


def _configured(name):
    """The logger, if somebody has set anything of it; else None."""
    logger = logging.root.manager.loggerDict.get(name)
    if not isinstance(logger, logging.Logger):
        return None
    is_set = logger.handlers or logger.filters or logger.level or not logger.propagate
    return logger if is_set else None


def take_over_daphnes():
    """To be called when the application is imported, and its LOGGING with it; again when that was applied again."""
    # Both exist from here on: one that is made later would be put between the other and what it is given below.
    for ours, _ in _PAIRS:
        logging.getLogger(ours)
    is_taken = False
    for ours, theirs in _PAIRS:
        if _configured(ours) is not None:
            break
        source = _configured(theirs)
        if source is not None:
            logger = logging.getLogger(ours)
            logger.parent = source
            logger.setLevel(logging.NOTSET)  # it is that already; loggers remember levels, and forget them with this
            is_taken = True
    if is_taken:
        _enable()


def _enable():
    """LOGGING disables the loggers that it does not name, unless it has disable_existing_loggers: False."""
    for name, logger in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] == "channelsd" and isinstance(logger, logging.Logger):
            logger.disabled = False
