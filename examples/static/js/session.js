// SPDX-License-Identifier: BSD-3-Clause
//
// One session: its socket follows nothing else.

import { connect, pageData, request, toast } from "./page.js";
import { SessionPanel } from "./session_panel.js";

const session = pageData("session-data");
const panel = new SessionPanel((message) => socket.send(message));
panel.show(session);

const socket = connect(`/ws/sessions/${session.id}/`, {
  onMessage: (message) =>
    message.type === "error" ? toast("Refused", message.message, "error") : panel.receive(message),
  onOpen: () => panel.resume(),
  poll: async () => panel.receive(await request(`/api/sessions/${session.id}/`)),
});
