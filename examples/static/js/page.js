// SPDX-License-Identifier: BSD-3-Clause
//
// What the pages share: requests, the line that shows the connection, polling in its place, toasts, small DOM helpers.
// Text from people goes into pages as text only, never as HTML.

import { LiveSocket } from "./socket.js";

const TOAST_MS = 6_000;

/** The element with this id; a page without it is a mistake. */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) {
    throw new Error(`no element #${id}`);
  }
  return element;
}

/** Creates an element with a class and a text. */
export function element(tag, className = "", text = "") {
  const created = document.createElement(tag);
  created.className = className;
  created.textContent = text;
  return created;
}

/** The object in a <script type="application/json"> of the page. */
export function pageData(id) {
  return JSON.parse(byId(id).textContent);
}

/** Requests JSON; rejects with the server's own words. With a body (even an empty object) it is a POST. */
export async function request(path, body = null) {
  const options = { headers: { Accept: "application/json" }, credentials: "same-origin" };
  if (body !== null) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.headers["X-CSRFToken"] = document.querySelector("meta[name=csrf-token]").content;
    options.body = JSON.stringify(body);
  }
  const response = await fetch(path, options);
  const content = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Error(content.message ?? `The server answered ${response.status}.`);
  }
  return content;
}

/** Shows a short text in a corner for a while; screen readers say it. */
export function toast(title, text = "", kind = "info") {
  const item = element("div", `toast toast-${kind}`);
  item.append(element("strong", "", title));
  if (text) {
    item.append(element("span", "", text));
  }
  byId("toasts").append(item);
  window.setTimeout(() => item.remove(), TOAST_MS);
}

function describe(socket) {
  switch (socket.state) {
    case "open":
      return "Live";
    case "connecting":
      return "Connecting…";
    case "waiting":
      return `Connection lost; try ${socket.tries} of 5 in ${Math.ceil(socket.waitMs / 1000)} s…`;
    case "failed":
      return "No live connection; asking the server now and then";
    default:
      return "Not connected";
  }
}

/**
 * Opens a socket and shows its state in the page's connection line. When it fails for good, calls poll() every
 * everyMs until it is back; the button in the line tries again at once.
 */
export function connect(path, { onMessage, onOpen = () => {}, poll = null, everyMs = 5_000 }) {
  const socket = new LiveSocket(path);
  const line = byId("connection");
  const retry = byId("connection-retry");
  let timer = null;

  async function ask() {
    try {
      await poll();
    } catch (error) {
      byId("connection-text").textContent = `No live connection; ${error.message}`;
    }
    if (socket.state === "failed") {
      timer = window.setTimeout(ask, everyMs);
    }
  }

  socket.addEventListener("state", () => {
    window.clearTimeout(timer);
    line.dataset.state = socket.state;
    byId("connection-text").textContent = describe(socket);
    retry.hidden = socket.state !== "failed" && socket.state !== "waiting";
    if (socket.state === "open") {
      onOpen();
    } else if (socket.state === "failed" && poll) {
      ask();
    }
  });
  socket.addEventListener("message", (event) => onMessage(event.detail));
  retry.addEventListener("click", () => socket.open());
  socket.open();
  return socket;
}

/** A time of day in the reader's own way of writing. */
export function timeOfDay(iso) {
  return new Date(iso).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** Seconds as h:mm:ss. */
export function clock(seconds) {
  const two = (number) => String(number).padStart(2, "0");
  return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}
