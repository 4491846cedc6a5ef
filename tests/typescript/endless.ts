import { todo } from "./todo.js";

export type Task = { id: string; title: string; due_on: string | null; due_time: string | null; time_zone: string | null };
type Page = { tasks: Task[]; next_cursor: string | null };

/** `shown` has the tasks so far, in order; `more` reads the next page and says whether there is another one. */
export function endlessList(token: string, filters: Record<string, string> = {}) {
  const shown = new Map<string, Task>(); // by id: a task that changes its place between two pages may come twice
  let cursor: string | null | undefined;
  let loading: Promise<boolean> | undefined;
  async function load(): Promise<boolean> {
    const query = new URLSearchParams({ ...filters, limit: "50", ...(cursor ? { cursor } : {}) });
    const page = await todo<Page>("GET", `/api/tasks?${query}`, token); // an error leaves the cursor: more() tries again
    for (const task of page.tasks) shown.set(task.id, task);
    cursor = page.next_cursor;
    return cursor !== null;
  }
  async function more(): Promise<boolean> {
    if (cursor === null) return false;
    loading ??= load().finally(() => (loading = undefined)); // one request at a time, however often a page scrolls
    return loading;
  }
  return { shown, more };
}
