// SPDX-License-Identifier: BSD-3-Clause
//
// Notifications as they come, and a form that sends one.

import { byId, connect, element, request, timeOfDay, toast } from "./page.js";

function item(notification) {
  const line = element("li", "notification");
  line.dataset.type = notification.type;
  const head = element("div", "notification-head");
  head.append(
    element("strong", "", notification.title),
    element("span", "badge", notification.type),
    element("time", "", timeOfDay(notification.created_at ?? new Date().toISOString())),
  );
  line.append(head, element("p", "", notification.message));
  const conversation = notification.data?.conversation_id;
  if (notification.type === "message_received" && Number.isInteger(conversation)) {
    const link = element("a", "", "Open the conversation");
    link.href = `/chat/${conversation}/`;
    line.append(link);
  } else {
    line.append(element("code", "", JSON.stringify(notification.data)));
  }
  return line;
}

function showEmptiness() {
  byId("no-notifications").hidden = byId("notifications").children.length > 0;
}

async function refresh() {
  const { notifications } = await request("/api/notifications/");
  byId("notifications").replaceChildren(...notifications.map(item));
  showEmptiness();
}

connect("/ws/notifications/", {
  onMessage: (message) => {
    if (message.type === "error") {
      return;
    }
    byId("notifications").prepend(item(message));
    showEmptiness();
    toast(message.title, message.message);
  },
  onOpen: () => refresh().catch((error) => toast("List not refreshed", error.message, "error")),
  poll: refresh,
});

byId("send-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const body = { type: form.get("type"), user_id: Number(form.get("user_id")) };
  if (form.get("message").trim()) {
    body.message = form.get("message");
  }
  try {
    await request("/api/notifications/send/", body);
    byId("send-result").textContent = "Sent.";
  } catch (error) {
    byId("send-result").textContent = error.message;
  }
});
