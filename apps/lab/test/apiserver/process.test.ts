import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { Agent, request } from "undici";
import { afterAll, beforeAll, expect, test } from "vitest";

const dir = mkdtempSync(join(tmpdir(), "ax-process-"));
const bundle = join(dir, "apiserver.mjs");
const state = join(dir, "state");
let child: ChildProcess | undefined;

beforeAll(async () => {
  await build({
    entryPoints: [join(import.meta.dirname, "../../src/apiserver/main.ts")],
    outfile: bundle,
    bundle: true,
    platform: "node",
    target: "node20",
    format: "esm",
    logLevel: "silent",
    banner: {
      js: 'import { createRequire as __cr } from "node:module"; const require = __cr(import.meta.url);',
    },
  });
}, 60_000);
afterAll(() => {
  child?.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  return typeof address === "object" && address !== null ? address.port : 0;
}

async function start(port: number): Promise<void> {
  child = spawn(process.execPath, [bundle, "--state-dir", state, "--port", String(port)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  for await (const chunk of child.stdout ?? []) {
    text += String(chunk);
    if (text.includes("is ready")) return;
  }
  throw new Error(`the server ended: ${text}`);
}

interface Config {
  clusters: { cluster: Record<string, string> }[];
  users: { user: Record<string, string> }[];
}

function client(
  port: number,
): (method: "GET" | "POST", path: string, body?: unknown) => Promise<{ status: number; text: string }> {
  const config = JSON.parse(readFileSync(join(state, "kubeconfig"), "utf8")) as Config;
  const decode = (text: string | undefined) => Buffer.from(text ?? "", "base64").toString();
  const user = config.users[0]?.user;
  const connect = {
    ca: decode(config.clusters[0]?.cluster["certificate-authority-data"]),
    cert: decode(user?.["client-certificate-data"]),
    key: decode(user?.["client-key-data"]),
  };
  const dispatcher = new Agent({ connect });
  return async (method, path, body) => {
    const text = body === undefined ? null : JSON.stringify(body);
    const headers = text === null ? {} : { "content-type": "application/json" };
    const answer = await request(`https://127.0.0.1:${port}${path}`, {
      method,
      dispatcher,
      body: text,
      headers,
    });
    return { status: answer.statusCode, text: await answer.body.text() };
  };
}

test("kill -9 in the middle of writes loses nothing that was answered", { timeout: 60_000 }, async () => {
  const port = await freePort();
  const answered = new Set<string>();
  for (let round = 0; round < 4; round++) {
    await start(port);
    const call = client(port);
    const list = JSON.parse((await call("GET", "/api/v1/namespaces/default/configmaps")).text) as {
      items: { metadata: { name: string } }[];
    };
    const found = new Set(list.items.map((each) => each.metadata.name));
    for (const name of answered) expect(found.has(name), `${name} after ${round} kills`).toBe(true);
    let sent = 0;
    const writer = async (id: number) => {
      for (let i = 0; ; i++) {
        const name = `r${round}-${id}-${i}`;
        sent++;
        const { status } = await call("POST", "/api/v1/namespaces/default/configmaps", {
          metadata: { name },
          data: { x: "y".repeat(500) },
        });
        if (status === 201) answered.add(name);
        if (sent > 60 + round * 37) child?.kill("SIGKILL");
      }
    };
    // The writers end when the server does.
    const ended = await Promise.allSettled([0, 1, 2, 3].map(writer));
    expect(ended.every((each) => each.status === "rejected")).toBe(true);
  }
  expect(answered.size).toBeGreaterThan(200);
});
