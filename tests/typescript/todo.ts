const base = process.env["NEXT_PUBLIC_API_URL"] ?? "http://127.0.0.1:8000"; // the service's FRONTEND_URL names this app

type Headers = Record<string, string>;
export async function todo<T>(method: string, path: string, token?: string, body?: unknown, more: Headers = {}): Promise<T> {
  const headers = { "Content-Type": "application/json", ...(token ? { Authorization: `Bearer ${token}` } : {}), ...more };
  const sent = body === undefined ? {} : { body: JSON.stringify(body) };
  const response = await fetch(base + path, { method, headers, cache: "no-store", ...sent });
  const answer = response.status === 204 ? undefined : await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.error), { code: answer.code, details: answer.details });
  return answer;
}
