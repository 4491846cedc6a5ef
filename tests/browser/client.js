"use strict";

// Calls the API from another origin as a frontend does, from sign-up to delete, and records every readable answer.
// ?base=http://host:8000/v1 or ?base=http://host:8000 chooses the contract; each step is [name, status, body, headers].

const query = new URLSearchParams(location.search);
const base = query.get("base");
const january = base.endsWith("/v1");
const done = january ? "completed" : "is_completed";
const one = (body) => (january ? body.task : body);
const exposed = ["x-request-id", "location", "www-authenticate", "retry-after", "etag", "link", "idempotency-replayed"];
const steps = [];

async function call(name, method, path, body, token) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const sent = body === undefined ? undefined : JSON.stringify(body);
  const response = await fetch(base + path, { method, headers, body: sent, credentials: "include" });
  const text = await response.text();
  const answer = text ? JSON.parse(text) : null;
  const readable = exposed.filter((header) => response.headers.has(header));
  steps.push([name, response.status, answer, readable]);
  return answer;
}

async function run() {
  const account = { email: `${crypto.randomUUID()}@example.com`, password: "correct horse" };
  await call("sign up", "POST", "/api/auth/signup", account);
  await call("sign up again", "POST", "/api/auth/signup", account);
  await call("log in wrongly", "POST", "/api/auth/login", { ...account, password: "wrong horse" });
  const { token } = await call("log in", "POST", "/api/auth/login", account);
  await call("list without a token", "GET", "/api/tasks");
  await call("create without a title", "POST", "/api/tasks", { title: " " }, token);
  const task = one(await call("create", "POST", "/api/tasks", { title: "Buy milk", description: "two litres" }, token));
  const path = `/api/tasks/${task.id}`;
  await call("list", "GET", "/api/tasks", undefined, token);
  await call("read", "GET", path, undefined, token);
  await call("toggle", "PUT", path, { [done]: true }, token);
  await call("edit", "PUT", path, { title: "Buy bread" }, token);
  await call("clear", "PUT", path, { description: january ? "" : null }, token);
  await call("delete", "DELETE", path, undefined, token);
  await call("read what is gone", "GET", path, undefined, token);
  await call("list nothing", "GET", "/api/tasks", undefined, token);
}

run()
  .catch((error) => steps.push(["failed", String(error), null, []]))
  .finally(() => {
    document.getElementById("report").textContent = JSON.stringify(steps);
    document.title = "done";
  });
