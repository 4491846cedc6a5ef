import createClient from "openapi-fetch";
import type { paths } from "./api.js";
const headers = { Authorization: `Bearer ${process.env["TOKEN"]}` };
const api = createClient<paths>({ baseUrl: process.env["API"] ?? "http://127.0.0.1:8000", headers });
const ids = new Set<string>();
for (let cursor: string | null | undefined; cursor !== null; ) {
  const query = { limit: 500, sort: "due_on", ...(cursor ? { cursor } : {}) } as const;
  const { data, error } = await api.GET("/api/tasks", { params: { query } });
  if (!data) throw new Error(error.error);
  for (const task of data.tasks) ids.add(task.id);
  cursor = data.next_cursor;
}
console.log(ids.size);
