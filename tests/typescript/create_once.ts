import { todo } from "./todo.js";

const again = ["DATABASE_ERROR", "OVERLOADED", "INTERNAL_ERROR"];

/** Creates a task once, however often the request has to be sent until there is an answer. */
export async function createOnce<T>(token: string, task: { title: string }, tries = 5): Promise<T> {
  const key = { "Idempotency-Key": crypto.randomUUID() }; // the same for all tries
  for (let pause = 500; ; pause *= 2) {
    try {
      return await todo<T>("POST", "/api/tasks", token, task, key);
    } catch (error) {
      const { code } = error as { code?: string }; // none: the connection was lost
      if (--tries === 0 || (code && !again.includes(code))) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}
