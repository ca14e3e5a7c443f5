import { request } from "node:http";

/** Bytes of an agent's answer at most. */
const mostBytes = 64 << 20;
const withinMs = 10_000;

/** What an agent's API answers, as JSON. @throws Error naming socket and path */
export async function askAgent<T>(socketPath: string, path: string): Promise<T> {
  return JSON.parse(await readAgent(socketPath, path)) as T;
}

/** The same, as text. */
export function readAgent(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, path, timeout: withinMs }, (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on("data", (chunk: Buffer) => {
        size += chunk.length;
        if (size > mostBytes) call.destroy(new Error(`${socketPath}${path}: the answer is too large`));
        else chunks.push(chunk);
      });
      response.on("error", reject);
      response.on("end", () => {
        if (response.statusCode === 200) resolve(Buffer.concat(chunks).toString());
        else reject(new Error(`${socketPath}${path}: status ${response.statusCode}`));
      });
    });
    call.on("timeout", () => call.destroy(new Error(`${socketPath}: no answer within ${withinMs} ms`)));
    call.on("error", reject);
    call.end();
  });
}
