import { createServer } from "node:http";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { toNodeHandler } from "better-auth/node";
import { jwt } from "better-auth/plugins";

const port = Number(process.env.PORT);
const data = { user: [], session: [], account: [], verification: [], jwks: [] };
const auth = betterAuth({
  baseURL: `http://127.0.0.1:${port}`,
  secret: "a-secret-of-better-auth-that-only-it-knows",
  database: memoryAdapter(data),
  emailAndPassword: { enabled: true },
  plugins: [jwt()],
});
const handle = toNodeHandler(auth);

createServer((request, response) => {
  if (request.url === "/rotate") {
    data.jwks.length = 0; // the next token is signed with a key that did not exist before
    response.end();
  } else {
    handle(request, response);
  }
}).listen(port, "127.0.0.1", () => console.log("ready"));
