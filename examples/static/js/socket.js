// SPDX-License-Identifier: BSD-3-Clause
//
// A WebSocket that speaks JSON and comes back by itself.
//
// After a loss it tries again up to five times, waiting longer each time and never exactly as long as the other
// clients of a server that has just restarted. Then its state is "failed" until somebody calls open() again.
// The tries are counted anew only once a connection has lasted, so a server that accepts and closes is not hammered.

const MAX_TRIES = 5;
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 10_000;
const LASTING_MS = 5_000;

/** How long to wait before try number @tries (from 1): doubles each time, of which half is left to chance. */
export function backoffMs(tries, random = Math.random) {
  const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** tries);
  return ceiling / 2 + random() * (ceiling / 2);
}

/** The address of a WebSocket path on the server this page came from. */
export function socketUrl(path) {
  const url = new URL(path, window.location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

/**
 * Events: "state" (detail: "connecting", "open", "waiting", "failed" or "closed") and "message" (detail: the object).
 */
export class LiveSocket extends EventTarget {
  #path;
  #socket = null;
  #tries = 0;
  #timer = null;
  #lasting = null;

  constructor(path) {
    super();
    this.#path = path;
    this.state = "closed";
    this.waitMs = 0;
    // A page that is left must not count as a loss; one that comes back from the browser's cache connects again.
    window.addEventListener("pagehide", () => this.close());
    window.addEventListener("pageshow", (event) => event.persisted && this.open());
    window.addEventListener("online", () => (this.state === "waiting" || this.state === "failed") && this.open());
  }

  get tries() {
    return this.#tries;
  }

  /** Connects now, with all tries ahead. Does nothing while connected. */
  open() {
    if (this.state === "open" || this.state === "connecting") {
      return;
    }
    this.#tries = 0;
    this.#connect();
  }

  /** Disconnects and stays so. */
  close() {
    this.#drop();
    this.#enter("closed");
  }

  /** Sends an object; false when there is no connection to send it on. */
  send(content) {
    if (this.state !== "open") {
      return false;
    }
    this.#socket.send(JSON.stringify(content));
    return true;
  }

  #connect() {
    this.#drop();
    this.#enter("connecting");
    const socket = new WebSocket(socketUrl(this.#path));
    this.#socket = socket;
    socket.addEventListener("open", () => {
      if (socket !== this.#socket) {
        return;
      }
      this.#lasting = window.setTimeout(() => (this.#tries = 0), LASTING_MS);
      this.#enter("open");
    });
    socket.addEventListener("message", (event) => {
      if (socket === this.#socket) {
        this.#receive(event.data);
      }
    });
    socket.addEventListener("close", () => {
      if (socket === this.#socket) {
        this.#lost();
      }
    });
  }

  #receive(text) {
    let content;
    try {
      content = JSON.parse(text);
    } catch {
      console.warn("The server sent something that is not JSON.");
      return;
    }
    this.dispatchEvent(new CustomEvent("message", { detail: content }));
  }

  #lost() {
    this.#drop();
    if (this.#tries >= MAX_TRIES) {
      this.#enter("failed");
      return;
    }
    this.#tries += 1;
    this.waitMs = backoffMs(this.#tries);
    this.#timer = window.setTimeout(() => this.#connect(), this.waitMs);
    this.#enter("waiting");
  }

  #drop() {
    window.clearTimeout(this.#timer);
    window.clearTimeout(this.#lasting);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #enter(state) {
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}
