import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { Context } from "../src/context.ts";
import { run } from "../src/run.ts";

export const now = Date.parse("2026-11-20T12:00:00Z");

/** What a fake agent answers: a JSON value by path, or a function that writes by itself. */
export type Routes = Record<string, unknown | ((req: IncomingMessage, res: ServerResponse) => void)>;

export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Labs in a temporary directory, their agents in this process. Gone when the test is. */
export class FakeLabs {
  readonly dir = mkdtempSync(join(tmpdir(), "axon-cli-"));
  readonly #servers: Server[] = [];

  constructor() {
    onTestFinished(async () => {
      for (const server of this.#servers) {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
      rmSync(this.dir, { recursive: true, force: true });
    });
  }

  socket(lab: string, node: string): string {
    return join(this.dir, lab, "nodes", node, "agent.sock");
  }

  /** A node whose agent answers; without routes, a node whose agent is not running. */
  async node(lab: string, node: string, routes?: Routes): Promise<this> {
    const socket = this.socket(lab, node);
    mkdirSync(join(socket, ".."), { recursive: true });
    if (routes === undefined) return this;
    const server = createServer((req, res) => answer(routes, req, res));
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    return this;
  }

  /** Runs `axon` with these arguments. */
  axon(...args: string[]): Promise<Outcome> {
    return this.run(args, {});
  }

  async run(
    args: readonly string[],
    options: {
      signal?: AbortSignal;
      env?: Record<string, string>;
      onOut?: (text: string) => void;
      tty?: boolean;
      /** The user's answer; without one there is nobody to ask. */
      confirm?: (question: string) => boolean;
    },
  ): Promise<Outcome> {
    let out = "";
    let err = "";
    const context: Context = {
      env: { AXON_RUN_DIR: this.dir, ...options.env },
      stdout: {
        isTty: options.tty ?? false,
        write: async (text) => {
          out += text;
          options.onOut?.(text);
        },
      },
      stderr: {
        isTty: false,
        write: async (text) => {
          err += text;
        },
      },
      confirm: options.confirm && (async (question) => options.confirm?.(question) ?? false),
      signal: options.signal ?? new AbortController().signal,
      version: "9.9.9",
      now: () => now,
      setExitCode: () => undefined,
    };
    const code = await run(args, context);
    return { code, out, err };
  }
}

function answer(routes: Routes, req: IncomingMessage, res: ServerResponse): void {
  const path = decodeURIComponent((req.url ?? "").split("?")[0] ?? "");
  const route = routes[req.url ?? ""] ?? routes[path];
  if (typeof route === "function") {
    route(req, res);
    return;
  }
  res.writeHead(route === undefined ? 404 : 200, { "content-type": "application/json" });
  res.end(JSON.stringify(route ?? { code: "not_found", message: `no such thing: ${path}` }));
}

/** A minute ago, as the API writes it. */
export function ago(seconds: number): string {
  return new Date(now - seconds * 1000).toISOString();
}
