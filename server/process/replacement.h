/* SPDX-License-Identifier: BSD-3-Clause
 *
 * replacement: how workers that still serve make room for fresh ones.
 *
 * Why: a worker is replaced because somebody asked for it (SIGHUP), because it has taken
 * --max-requests clients, or because it has too much memory. No client may notice but by a
 * WebSocket that is closed with 1012.
 *
 * What it does, for one seat at a time: a fresh worker starts -> it is ready: new clients go to it
 * -> the old one's requests end, its WebSockets are closed over the graceful timeout -> it ends ->
 * the next seat. What goes wrong: the fresh one does not start: the old one goes on serving; a
 * round for SIGHUP stops with that, anything else is tried again after a pause. The old one dies
 * meanwhile: the fresh one takes the seat as it is. The old one does not end: it is killed.
 *
 * A SIGHUP during a round asks for one more round, however many come.
 *
 * Thread: the main loop's.
 */
#ifndef SERVER_PROCESS_REPLACEMENT_H
#define SERVER_PROCESS_REPLACEMENT_H

#include <stdbool.h>

#include "server/process/supervisor.h"

/* The process on @seat should be replaced for the reason @wish. Asking twice is asking once. */
void replacement_want(struct supervisor_seat *seat, enum seat_wish wish);

/* A round over all seats, when the one that is under way is over, and when all workers are ready
 * for the first time. */
void replacement_reload(struct supervisor *s);

/* Begins with the next seat that wants it, if nothing is under way. */
void replacement_next(struct supervisor *s);

/* @p became ready. False: it is not the fresh one of a replacement. */
bool replacement_ready(struct supervisor *s, struct worker_process *p);

/* @p has ended. False: it is neither the fresh nor the retired one of a replacement. */
bool replacement_ended(struct supervisor *s, const struct worker_process *p, int code, int signum);

/* The process on @seat, which was being replaced or should have been, has died by itself. True: its
 * successor was on the way and has the seat now. */
bool replacement_inherit(struct supervisor_seat *seat);

/* The server ends: no more of it. A worker that is being started for it is killed; those that serve
 * go on. */
void replacement_stop(struct supervisor *s);

#endif
