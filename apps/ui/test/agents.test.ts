import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "@axoneme/app";
import { afterEach, beforeEach, expect, it } from "vitest";
import { AgentPolicies } from "../src/server/agents.ts";

/** Agents' answers as the page needs them: policies once, and the mode they are read in. */
let directory: string;
const servers: Server[] = [];
const log = createLogger("ui", "error");

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "axon-ui-agents-"));
});
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
  rmSync(directory, { recursive: true });
});

async function agent(name: string, answers: Record<string, unknown>): Promise<string> {
  const socket = join(directory, name);
  const server = createServer((req, res) => {
    const answer = answers[req.url ?? ""];
    res.statusCode = answer === undefined ? 500 : 200;
    res.end(JSON.stringify(answer ?? {}));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  return socket;
}

const policy = (name: string) => ({ kind: "NetworkPolicy", namespace: "a", name, object: { spec: {} } });

it("tells each policy once, and how the agents match prefixes", async () => {
  const one = await agent("one", {
    "/v1/policy": [policy("x"), policy("y")],
    "/v1/status": { policyCIDRMatchMode: "nodes" },
  });
  const other = await agent("other", { "/v1/policy": [policy("y")] });
  const book = await new AgentPolicies([other, one, join(directory, "gone")], log).book();
  expect(book).toEqual({
    objects: [
      { kind: "NetworkPolicy", spec: {} },
      { kind: "NetworkPolicy", spec: {} },
    ],
    cidrMatch: "nodes",
  });
});

it("takes the default of agents that do not tell", async () => {
  const silent = await agent("silent", { "/v1/policy": [] });
  expect(await new AgentPolicies([silent], log).book()).toEqual({ objects: [], cidrMatch: "address" });
});

it("says when nobody answers, or nobody is known", async () => {
  await expect(new AgentPolicies([join(directory, "gone")], log).book()).rejects.toThrow("no agent answers");
  expect(() => new AgentPolicies([], log).book()).toThrow("no agent is known");
});
