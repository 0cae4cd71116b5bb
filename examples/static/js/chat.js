// SPDX-License-Identifier: BSD-3-Clause
//
// A conversation. What was missed while there was no connection is fetched when it is back, and a message's id keeps
// it from appearing twice.

import { byId, connect, element, pageData, request, timeOfDay, toast } from "./page.js";
import { LiveSocket } from "./socket.js";

const TYPING_AGAIN_MS = 3_000;
const TYPING_FORGOTTEN_MS = 8_000;

const { conversation_id: conversationId, user_id: userId, messages: firstMessages } = pageData("chat-data");
const api = `/api/chat/${conversationId}/messages/`;
const list = byId("messages");
const input = byId("message");
const shown = new Set();
let lastId = 0;

function show(message) {
  if (shown.has(message.message_id)) {
    return;
  }
  shown.add(message.message_id);
  lastId = Math.max(lastId, message.message_id);
  const own = message.sender_id === userId;
  const item = element("li", own ? "bubble own" : "bubble");
  item.dataset.messageId = message.message_id;
  const head = element("div", "bubble-head");
  const time = element("time", "", timeOfDay(message.created_at));
  time.dateTime = message.created_at;
  head.append(element("strong", "", own ? "You" : message.sender_username), time);
  item.append(head, element("p", "", message.content));
  // A reconnection can bring an earlier message after a later one.
  const later = [...list.children].find((other) => Number(other.dataset.messageId) > message.message_id);
  list.insertBefore(item, later ?? null);
  list.scrollTop = list.scrollHeight;
  byId("no-messages").hidden = true;
  typists.delete(message.sender_username);
  showTypists();
}

async function catchUp() {
  const { messages } = await request(`${api}?after=${lastId}`);
  messages.forEach(show);
}

// Who is typing: name -> the timer that forgets it, in case the end is never told.
const typists = new Map();

function showTypists() {
  const names = [...typists.keys()];
  const verb = names.length === 1 ? "is" : "are";
  byId("typing").textContent = names.length ? `${names.join(" and ")} ${verb} typing…` : "";
}

function onTyping({ username, is_typing: isTyping }) {
  window.clearTimeout(typists.get(username));
  typists.delete(username);
  if (isTyping) {
    const forget = () => onTyping({ username, is_typing: false });
    typists.set(username, window.setTimeout(forget, TYPING_FORGOTTEN_MS));
  }
  showTypists();
}

firstMessages.forEach(show);

const chat = connect(`/ws/chat/${conversationId}/`, {
  onMessage: (message) => {
    if (message.type === "message") {
      show(message);
    } else if (message.type === "error") {
      toast("Not sent", message.message, "error");
    }
  },
  onOpen: () => {
    catchUp().catch((error) => toast("Older messages are missing", error.message, "error"));
    typing.open();
  },
  poll: catchUp,
});

let toldAt = 0;
const typing = new LiveSocket(`/ws/typing/${conversationId}/`);
typing.addEventListener("state", (event) => {
  byId("typing").dataset.state = event.detail;
  toldAt = 0; // The others were told that this user stopped, if they knew.
});
typing.addEventListener("message", (event) => event.detail.type === "typing" && onTyping(event.detail));

function tellTyping(isTyping) {
  const now = Date.now();
  if (isTyping ? now - toldAt < TYPING_AGAIN_MS : toldAt === 0) {
    return;
  }
  if (typing.send({ is_typing: isTyping })) {
    toldAt = isTyping ? now : 0;
  }
}

input.addEventListener("input", () => tellTyping(input.value !== ""));
input.addEventListener("blur", () => tellTyping(false));

byId("chat-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = input.value.trim();
  if (!text) {
    return;
  }
  tellTyping(false);
  if (!chat.send({ message: text })) {
    try {
      show(await request(api, { message: text }));
    } catch (error) {
      toast("Not sent", error.message, "error");
      return; // The text stays in the field.
    }
  }
  input.value = "";
  input.focus();
});
