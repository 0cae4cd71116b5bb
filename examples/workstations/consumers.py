# SPDX-License-Identifier: BSD-3-Clause
"""Sessions: one connection per workstation, or per person who looks on.

`/ws/sessions/` is for a workstation that does not know its session yet, and for lists: whoever is there hears of
every session. `/ws/sessions/<id>/` follows one session. A connection that sends heartbeats (or starts a session) speaks for
the session's workstation; when it falls silent or ends, the workstation is marked disconnected.
"""

import asyncio

from django.conf import settings
from django.utils import timezone

from realtime.consumers import JsonConsumer
from realtime.messages import BadInput, id_field, iso, text_field
from workstations import services
from workstations.models import AccessSession

SHORTEST_WAIT = 0.01
# Events of the groups that have a method here; all others are passed on as they are.
HANDLED_EVENTS = {"session_started", "session_terminated"}


class SessionConsumer(JsonConsumer):
    """Opens sessions by code, starts them, tells the time and warns before it is over."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.granted = set()  # Sessions whose code was given on this connection.
        self.watches = {}  # Session id -> the task that waits for its end.
        self.told = None  # The last start or end told of a session that is followed.
        self.current = None  # The session this connection is about.
        self.spoken_for = None  # The workstation this connection speaks for.
        self.heartbeat_deadline = 0.0
        self.heartbeat_task = None

    @property
    def route_session_id(self):
        """Return the id in the path, None on the list's route."""
        return self.scope["url_route"]["kwargs"].get("session_id")

    async def allowed(self):
        """Let everybody use the list's route; a session is followed by its owner and by staff."""
        session_id = self.route_session_id
        return session_id is None or await self.in_database(services.may_see, self.user, session_id)

    def group_names(self):
        """Join one session's group, or the list's on the list's route."""
        if self.route_session_id is not None:
            return [services.session_group(self.route_session_id)]
        return [services.LIST_GROUP]

    async def connect(self):
        """Begin to watch the clock of the session in the path."""
        await super().connect()
        if self.joined and self.route_session_id is not None:
            await self.follow(self.route_session_id)

    async def disconnect(self, code):
        """Mark the workstation of this connection disconnected."""
        await super().disconnect(code)
        await self.give_up_workstation()

    async def handle(self, content):
        """Dispatch on the message's type."""
        kind = content.get("type")
        if kind == "validate_code":
            await self.validate_code(content)
        elif kind == "start_session":
            await self.start_session(content)
        elif kind == "get_time":
            session = await self.readable(id_field(content, "session_id"))
            await self.send_json(services.time_update(session))
        elif kind == "heartbeat":
            await self.heartbeat()
        else:
            raise BadInput("Unknown message type.")

    # Messages of the client

    async def validate_code(self, content):
        """Answer what a code opens, and follow that session from now on."""
        code = text_field(content, "code", 16)
        ip_address = text_field(content, "ip_address", 45, required=False)
        session = await self.in_database(services.find_by_code, self.user.pk, code, ip_address)
        self.granted.add(session.pk)
        await self.follow(session.pk)
        await self.send_json({"type": "code_valid", "session": services.describe(session)})

    async def start_session(self, content):
        """Start a session; the answer comes through the group, to everybody at once."""
        session = await self.readable(id_field(content, "session_id"))
        await self.follow(session.pk)
        await self.in_database(services.start, session.pk)
        await self.speak_for_workstation()

    async def heartbeat(self):
        """Answer, and keep the workstation of the current session marked as connected."""
        if self.current is not None:
            await self.speak_for_workstation()
        await self.send_json({"type": "heartbeat_ack", "timestamp": iso(timezone.now(), "seconds")})

    # Events of the groups

    async def dispatch(self, message):
        """Pass on `time_update`, `time_warning` and whatever else is sent to the groups, from anywhere."""
        kind = message["type"]
        if kind.startswith("websocket.") or kind.replace(".", "_") in HANDLED_EVENTS:
            await super().dispatch(message)
        else:
            await self.send_json(message)

    async def session_started(self, event):
        """Tell the client, and wait for the end that is known now."""
        session_id = (event.get("session") or {}).get("id")
        await self.tell_once(event, session_id)
        if session_id in self.watches:
            self.watch(session_id)

    async def session_terminated(self, event):
        """Tell the client; the watch finds out by itself."""
        await self.tell_once(event, event.get("session_id"))

    async def tell_once(self, event, session_id):
        """Tell the client, unless this is the list's copy of what the followed session's own group just brought."""
        if session_id is None or services.session_group(session_id) in self.joined:
            plain = {name: value for name, value in event.items() if name != "session_id"}
            if services.LIST_GROUP in self.joined and session_id is not None and plain == self.told:
                self.told = None
                return
            self.told = plain
        await self.send_json(event)

    # The clock

    async def follow(self, session_id):
        """Hear of a session's start and end, and watch its clock."""
        self.current = session_id
        await self.join(services.session_group(session_id))
        self.watch(session_id)

    def watch(self, session_id):
        """Watch a session's clock, from what the database says now on."""
        earlier = self.watches.pop(session_id, None)
        if earlier is not None:
            earlier.cancel()
        self.watches[session_id] = self.spawn(self.watch_clock(session_id))

    async def watch_clock(self, session_id):
        """Warn this client as the time runs out, and end the session when it is over.

        Every watcher tries to end it; the database lets one of them. The session is read again at least every
        SESSION_RECHECK seconds, because somebody may have given it more or less time.
        """
        before = None
        while True:
            session = await self.in_database(services.get, session_id)
            if session is None or session.statut == AccessSession.TERMINEE:
                return
            wait = settings.SESSION_RECHECK
            if session.statut == AccessSession.ACTIVE:
                left = session.seconds_left()
                if left <= 0:
                    await self.in_database(services.end, session_id, services.TEMPS_ECOULE)
                    return
                if before is not None and any(left <= mark < before for mark in settings.SESSION_WARNINGS):
                    await self.warn(session)
                next_mark = max((mark for mark in settings.SESSION_WARNINGS if mark < left), default=0)
                wait = min(wait, max(left - next_mark, SHORTEST_WAIT))
                before = left
            await asyncio.sleep(wait)

    async def warn(self, session):
        """Tell the client that little time is left."""
        left = session.temps_restant
        text = f"{left // 60} min" if left >= 60 else f"{left} s"
        await self.send_json(
            {
                "type": "time_warning",
                "temps_restant": left,
                "temps_restant_minutes": left // 60,
                "message": f"Only {text} left.",
            }
        )

    # The workstation

    async def speak_for_workstation(self):
        """Take the workstation over, and expect the next heartbeat in time."""
        poste_id = await self.in_database(services.heartbeat, self.current, self.channel_name)
        if self.spoken_for not in (None, poste_id):
            await self.give_up_workstation()
        self.spoken_for = poste_id
        loop = asyncio.get_running_loop()
        self.heartbeat_deadline = loop.time() + settings.HEARTBEAT_TIMEOUT
        if poste_id is not None and (self.heartbeat_task is None or self.heartbeat_task.done()):
            self.heartbeat_task = self.spawn(self.watch_heartbeats())

    async def watch_heartbeats(self):
        """Wait until a heartbeat is overdue."""
        loop = asyncio.get_running_loop()
        while self.heartbeat_deadline > loop.time():
            await asyncio.sleep(self.heartbeat_deadline - loop.time())
        await self.give_up_workstation()

    async def give_up_workstation(self):
        """Mark the workstation disconnected, if it has not found another connection."""
        poste_id, self.spoken_for = self.spoken_for, None
        if poste_id is not None:
            await self.in_database(services.lost, poste_id, self.channel_name)

    # Private

    async def readable(self, session_id):
        """Return a session this connection may use, or raise BadInput without saying whether it exists."""
        session = await self.in_database(services.get, session_id)
        known = session is not None and (
            session.pk in self.granted or self.user.is_staff or session.utilisateur_id == self.user.pk
        )
        if not known:
            raise BadInput("Unknown session.")
        return session
