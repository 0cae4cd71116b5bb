# SPDX-License-Identifier: BSD-3-Clause
"""Chat, and who is typing; both are for the participants of one conversation."""

from chat import services
from realtime.consumers import JsonConsumer
from realtime.messages import bool_field, text_field


class ConversationConsumer(JsonConsumer):
    """What the two have in common."""

    @property
    def conversation_id(self):
        """Return the id in the path."""
        return self.scope["url_route"]["kwargs"]["conversation_id"]

    async def allowed(self):
        """Let participants in."""
        return await self.in_database(services.is_participant, self.user, self.conversation_id)


class ChatConsumer(ConversationConsumer):
    """Stores what a participant writes and sends it to all of them."""

    def group_names(self):
        """Join the conversation."""
        return [services.chat_group(self.conversation_id)]

    async def handle(self, content):
        """Store and send a message; the sender gets it like everybody else."""
        text = text_field(content, "message", services.MAX_TEXT)
        await self.in_database(services.post_message, self.user.pk, self.conversation_id, text)

    async def message(self, event):
        """Pass a message on."""
        await self.send_json(event)


class TypingConsumer(ConversationConsumer):
    """Tells the other participants who is typing; nothing is stored."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.is_typing = False

    def group_names(self):
        """Join the conversation's second group."""
        return [services.typing_group(self.conversation_id)]

    async def disconnect(self, code):
        """Somebody who is gone does not type any more."""
        await super().disconnect(code)
        if self.is_typing:
            await self.tell(False)

    async def handle(self, content):
        """Tell the others."""
        self.is_typing = bool_field(content, "is_typing")
        await self.tell(self.is_typing)

    async def tell(self, is_typing):
        """Send the state of this user to the group."""
        event = {"type": "typing", "username": self.user.get_username(), "is_typing": is_typing}
        await self.channel_layer.group_send(services.typing_group(self.conversation_id), event)

    async def typing(self, event):
        """Pass on what others do; nobody needs to be told about themselves, in whichever tab."""
        if event["username"] != self.user.get_username():
            await self.send_json(event)
