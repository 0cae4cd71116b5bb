# SPDX-License-Identifier: BSD-3-Clause
"""Where a node's socket is: as told, or found by default (docs/layer.md). And connecting to it."""

import errno
import hashlib
import logging
import os
import socket
import stat
import struct
import sys
import time

from .errors import ChannelLayerUnavailable
from .settings import TIMEOUT

logger = logging.getLogger("channelsd.layer")

VARIABLE = "CHANNELSD_LAYER_SOCKET"
GENERAL = "layer.sock"


def folders():
    """The folders that may have sockets, the first of which is where a node makes its own."""
    found = []
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isabs(runtime):
        found.append(os.path.join(runtime, "channelsd"))
    # A folder that the service manager made for a node can be used by everybody who may read what is in it.
    if os.access("/run/channelsd" if os.path.isdir("/run/channelsd") else "/run", os.W_OK):
        found.append("/run/channelsd")
    found.append(f"/tmp/channelsd-{os.getuid()}")
    return found


def settings_file():
    """The file of Django's settings module, which stands for the project; None if there is none."""
    conf = sys.modules.get("django.conf")
    if conf is None or not conf.settings.configured:
        return None
    # Settings that were configured by hand have no module.
    module = sys.modules.get(getattr(conf.settings, "SETTINGS_MODULE", None) or "")
    file = getattr(module, "__file__", None)
    return os.path.realpath(file) if file else None


def project_name(file):
    """The name of the socket of the project with this settings file."""
    return hashlib.sha256(os.fsencode(file)).hexdigest()[:12] + ".sock"


def project_path():
    """Where the node of this project is to listen; None if this is no project."""
    file = settings_file()
    return os.path.join(folders()[0], project_name(file)) if file else None


def candidates():
    """All default paths, the project's before the general ones."""
    file = settings_file()
    names = [project_name(file), GENERAL] if file else [GENERAL]
    return [os.path.join(folder, name) for name in names for folder in folders()]


def _is_trusted(uid):
    return uid in (0, os.getuid())


def _check_folder(path):
    """Raises OSError for a default path that somebody else may have made."""
    state = os.stat(os.path.dirname(path))
    if not _is_trusted(state.st_uid) or stat.S_IMODE(state.st_mode) & 0o022:
        raise PermissionError(errno.EPERM, "its folder belongs to, or can be written by, another user")


def _peer_uid(sock):
    """Who listens there; our own where the system cannot tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return os.getuid()
    return struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]


def _connect(path, is_default):
    """A connected socket that does not block. Raises OSError."""
    if is_default:
        _check_folder(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | getattr(socket, "SOCK_CLOEXEC", 0))
    try:
        sock.setblocking(False)
        sock.connect(path)
        if is_default and not _is_trusted(_peer_uid(sock)):
            raise PermissionError(errno.EPERM, "another user listens there")
    except BaseException:
        sock.close()
        raise
    return sock


class Endpoint:
    """The node of one layer. `path`: CONFIG's socket, or None. `timeout`: seconds for which a node that was in use may be away
    before one that comes later in the order is taken, whose groups are others."""

    def __init__(self, path, timeout=TIMEOUT):
        self.path = os.fspath(path) if path is not None else None
        self._timeout = timeout
        self._last = None  # the path of the node that was reached last
        self._away_since = None  # when that was first missed; None if it was not
        self.is_down = False  # a call has waited for it in vain, and none was reached since

    @property
    def key(self):
        return self.path or os.environ.get(VARIABLE)

    def connect(self):
        """A connected socket. Raises ChannelLayerUnavailable, which tells what was tried."""
        told = self.key
        tried = []
        for path in [told] if told else candidates():
            try:
                sock = _connect(path, not told)
            except OSError as error:
                tried.append(f"{path} ({error.strerror or error})")
                if path == self._last and self._is_awaited():
                    break
            else:
                self._reached(path)
                return sock
        source = f" (${VARIABLE})" if told else ""
        if self.path:
            source = " (CHANNEL_LAYERS: socket)"
        raise ChannelLayerUnavailable(
            f"no channel layer answers at {', '.join(tried)}{source}. Start channelsd for this project, or `channelsd layer "
            f'serve`, as this user; or name its --layer-socket by CHANNEL_LAYERS\' CONFIG["socket"] or ${VARIABLE}'
        )

    def _is_awaited(self):
        """The node that was in use is away: whether it may only be restarting."""
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
        return now - self._away_since < self._timeout

    def _reached(self, path):
        if self._last not in (None, path):
            logger.warning(
                "The channel layer's node is now that at %s, no longer that at %s; they do not share their groups",
                path,
                self._last,
            )
        self._last = path
        self._away_since = None
        self.is_down = False
