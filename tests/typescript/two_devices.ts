import { todo } from "./todo.js";

export type Task = { id: string; title: string; version: number; is_completed: boolean };
type Change = { id: string; version: number; task: Task | null };
type Page = { changes: Change[]; cursor: string; has_more: boolean };

/** A copy of all tasks of a user. `refresh` reads what other devices have changed since the last time. */
export function replica(token: string) {
  const tasks = new Map<string, Task>();
  let cursor: string | undefined; // keep it with the tasks, if they are kept
  async function refresh(): Promise<void> {
    for (let more = true; more; ) {
      const query = new URLSearchParams(cursor ? { cursor } : {});
      const page = await todo<Page>("GET", `/api/changes?${query}`, token).catch((error) => {
        if (error.code !== "CURSOR_EXPIRED" || !cursor) throw error;
        return undefined;
      });
      if (!page) tasks.clear(); // the cursor was too old: begin again with everything
      for (const { id, task } of page?.changes ?? []) {
        if (task) tasks.set(id, task);
        else tasks.delete(id);
      }
      cursor = page?.cursor;
      more = page?.has_more ?? true;
    }
  }
  return { tasks, refresh };
}
