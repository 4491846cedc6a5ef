import type { Task } from "./endless.js";

/** What the clock of a zone shows, like 2026-12-24T09:30. Two such texts compare as their times do. */
function clock(at: number, timeZone: string): string {
  const format = new Intl.DateTimeFormat("sv-SE", { timeZone, dateStyle: "short", timeStyle: "short" });
  return format.format(at).replace(" ", "T");
}

/** The moment at which the clock of a zone shows this. */
function moment(shown: string, timeZone: string): number {
  const asUtc = Date.parse(`${shown}Z`);
  const ahead = (at: number) => Date.parse(`${clock(at, timeZone)}Z`) - at;
  return asUtc - ahead(asUtc - ahead(asUtc)); // twice, for a change of the clocks in between
}

export function groupOf(task: Task, now = Date.now(), zone = Intl.DateTimeFormat().resolvedOptions().timeZone) {
  if (task.due_on === null) return "no date";
  let due = `${task.due_on}T${task.due_time ?? "24:00"}`; // on the user's own clock, wherever that is
  if (task.due_time !== null && task.time_zone !== null) due = clock(moment(due, task.time_zone), zone);
  const here = clock(now, zone);
  if (due < here) return "overdue";
  return due.slice(0, 10) === here.slice(0, 10) ? "today" : "later";
}
