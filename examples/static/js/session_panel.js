// SPDX-License-Identifier: BSD-3-Clause
//
// One session on a page: what it is, the time left counting down between updates, and its buttons.

import { byId, clock, element, request, timeOfDay, toast } from "./page.js";

const HEARTBEAT_MS = 10_000;
const ASK_TIME_MS = 30_000;
const STATUS_TEXT = { en_attente: "Waiting", active: "Running", terminee: "Ended" };

export class SessionPanel {
  #send;
  #session = null;
  #endsAt = 0;
  #spoke = false;

  /** @send takes an object for the socket and says whether it went out. */
  constructor(send) {
    this.#send = send;
    byId("session-start").addEventListener("click", () => this.#start());
    byId("session-time").addEventListener("click", () => this.askTime());
    byId("session-end").addEventListener("click", () => this.#end());
    byId("session-heartbeat").addEventListener("change", () => this.#beat());
    window.setInterval(() => this.#tick(), 250);
    window.setInterval(() => this.#beat(), HEARTBEAT_MS);
    window.setInterval(() => this.#session?.statut === "active" && this.askTime(), ASK_TIME_MS);
  }

  get sessionId() {
    return this.#session?.id ?? null;
  }

  /** Shows a session as it comes in code_valid. */
  show(session) {
    this.#session = { ...session };
    byId("session-code").textContent = session.code_acces;
    byId("session-user").textContent = session.utilisateur;
    byId("session-poste").textContent = session.poste ?? "none yet";
    byId("session-panel").hidden = false;
    this.#update(session);
  }

  /** Takes a message of the socket that may be about this session. */
  receive(message) {
    if (message.type === "heartbeat_ack") {
      byId("session-last-heartbeat").textContent = timeOfDay(message.timestamp);
      return;
    }
    // The list's route brings messages about all sessions, which name theirs; one that names none can only be ours.
    const about = message.session_id ?? message.session?.id ?? this.sessionId;
    if (this.#session === null || about !== this.sessionId) {
      return;
    }
    switch (message.type) {
      case "session_started":
        this.#update(message.session);
        this.#log(`Started at ${timeOfDay(message.session.debut_session)}`);
        this.#beat();
        break;
      case "time_update":
        this.#update(message);
        this.#log(`${clock(message.temps_restant)} left, ${message.pourcentage_utilise} % used since the start`);
        break;
      case "time_warning":
        toast("Time is running out", message.message, "warning");
        this.#log(message.message);
        break;
      case "session_terminated":
        this.#update({ statut: "terminee", temps_restant: 0 });
        this.#log(message.message);
        toast("Session ended", message.message, "warning");
        break;
      default:
        break;
    }
  }

  /** Asks for the time over the socket. */
  askTime() {
    return this.#say("get_time");
  }

  /** Makes this page play the workstation of the session: it sends heartbeats from now on. */
  playWorkstation() {
    byId("session-heartbeat").checked = true;
    this.#beat();
  }

  /** Catches up after a reconnection. */
  resume() {
    this.askTime();
    this.#beat();
  }

  #start() {
    this.#say("start_session");
    this.playWorkstation();
  }

  #say(type) {
    return this.#session !== null && this.#send({ type, session_id: this.#session.id });
  }

  async #end() {
    try {
      await request(`/api/sessions/${this.#session.id}/end/`, {});
    } catch (error) {
      toast("Not ended", error.message, "error");
    }
  }

  #beat() {
    // A page that only looks on leaves the workstation alone; one that spoke for it does so until it is told not to.
    const wanted = byId("session-heartbeat").checked && (this.#session?.statut === "active" || this.#spoke);
    if (wanted && this.#send({ type: "heartbeat" })) {
      this.#spoke = true;
    }
  }

  #update({ statut, temps_restant: left }) {
    this.#session.statut = statut;
    this.#endsAt = Date.now() + left * 1000;
    this.#session.temps_restant = left;
    const badge = byId("session-status");
    badge.textContent = STATUS_TEXT[statut] ?? statut;
    badge.dataset.status = statut;
    byId("session-start").disabled = statut !== "en_attente";
    byId("session-end").disabled = statut !== "active";
    this.#tick();
  }

  #tick() {
    if (!this.#session) {
      return;
    }
    const running = this.#session.statut === "active";
    const left = running ? Math.max(0, Math.ceil((this.#endsAt - Date.now()) / 1000)) : this.#session.temps_restant;
    byId("session-left").textContent = clock(left);
    byId("session-progress").max = this.#session.duree_initiale;
    byId("session-progress").value = this.#session.duree_initiale - left;
  }

  #log(text) {
    const item = element("li");
    item.append(element("time", "", timeOfDay(new Date().toISOString())), element("span", "", text));
    byId("session-log").prepend(item);
  }
}
