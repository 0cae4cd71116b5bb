// SPDX-License-Identifier: BSD-3-Clause
//
// The list of sessions, and a form that does what a workstation does with an access code.

import { byId, clock, connect, element, request, toast } from "./page.js";
import { SessionPanel } from "./session_panel.js";

const STATUS_TEXT = { en_attente: "Waiting", active: "Running", terminee: "Ended" };

function row(session) {
  const line = element("tr");
  const link = element("a", "", session.code_acces);
  link.href = `/sessions/${session.id}/`;
  const code = element("td");
  code.append(link);
  const badge = element("span", "badge", STATUS_TEXT[session.statut] ?? session.statut);
  badge.dataset.status = session.statut;
  const status = element("td");
  status.append(badge);
  line.append(
    code,
    element("td", "", session.utilisateur),
    element("td", "", session.poste ?? "–"),
    status,
    element("td", "number", clock(session.temps_restant)),
  );
  return line;
}

async function refresh() {
  const { sessions } = await request("/api/sessions/");
  byId("session-rows").replaceChildren(...sessions.map(row));
  const own = sessions.find((session) => session.id === panel.sessionId);
  if (own) {
    panel.show(own);
  }
}

function receive(message) {
  panel.receive(message);
  switch (message.type) {
    case "code_valid":
      if (message.session.code_acces !== lastCode?.code.trim().toUpperCase()) {
        break; // Somebody else's code, told to the group: not a session to play the workstation of.
      }
      byId("code-error").textContent = "";
      panel.show(message.session);
      panel.playWorkstation();
      break;
    case "error":
      byId("code-error").textContent = message.message;
      break;
    case "session_started":
    case "session_terminated":
      refresh().catch((error) => toast("List not refreshed", error.message, "error"));
      break;
    default:
      break;
  }
}

const panel = new SessionPanel((message) => socket.send(message));
const socket = connect("/ws/sessions/", {
  onMessage: receive,
  onOpen: () => {
    refresh().catch((error) => toast("List not refreshed", error.message, "error"));
    if (lastCode) {
      socket.send(lastCode); // A new connection does not know the code yet.
    }
  },
  poll: refresh,
});
let lastCode = null;

byId("code-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const message = { type: "validate_code", code: form.get("code") };
  if (form.get("ip_address")) {
    message.ip_address = form.get("ip_address");
  }
  if (socket.send(message)) {
    lastCode = message;
  } else {
    byId("code-error").textContent = "Not connected.";
  }
});

refresh().catch((error) => toast("List not refreshed", error.message, "error"));
