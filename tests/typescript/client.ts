import createClient from "openapi-fetch";
import type { paths } from "./api.js"; // npx openapi-typescript http://127.0.0.1:8000/docs/openapi.json -o api.d.ts

const api = createClient<paths>({ baseUrl: process.env["API"] ?? "http://127.0.0.1:8000" });
const account = { email: `${crypto.randomUUID()}@example.com`, password: "correct horse" };
const { data: session, error } = await api.POST("/api/auth/signup", { body: account });
if (!session) throw new Error(error.error);
const headers = { Authorization: `Bearer ${session.token}` };
const { data: task } = await api.POST("/api/tasks", { headers, body: { title: "Buy milk" } });
const { data: list } = await api.GET("/api/tasks", { headers });
console.log(list?.tasks.map((each) => `${each.title}: ${each.is_completed}`), task?.id === list?.tasks[0]?.id);
