// SPDX-License-Identifier: BSD-3-Clause
//
// The dashboard: counts that change by themselves.

import { byId, connect, request, timeOfDay } from "./page.js";

function show(data) {
  for (const cell of document.querySelectorAll("[data-count]")) {
    const [group, name] = cell.dataset.count.split(".");
    const text = String(data[group][name]);
    if (cell.textContent !== text) {
      cell.textContent = text;
      cell.classList.remove("changed");
      void cell.offsetWidth; // Restarts the animation.
      cell.classList.add("changed");
    }
  }
  byId("updated").textContent = timeOfDay(data.timestamp);
}

byId("updated").textContent = timeOfDay(byId("updated").dateTime);

const socket = connect("/ws/dashboard/", {
  onMessage: (message) => message.type === "stats_update" && show(message.data),
  onOpen: () => socket.send({ type: "get_stats" }),
  poll: async () => show((await request("/api/dashboard/")).data),
  everyMs: 30_000,
});

byId("refresh").addEventListener("click", async () => {
  if (!socket.send({ type: "get_stats" })) {
    await request("/api/dashboard/").then((message) => show(message.data), () => socket.open());
  }
});
