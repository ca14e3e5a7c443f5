import { silentLogger, waitFor } from "@axoneme/base";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { type PeerChange, type WatchedPeers, watchPeers } from "../../src/index.ts";
import { TestCluster } from "./cluster.ts";

// Connections, certificates and pauses of the code itself: on a busy machine they add up.
vi.setConfig({ testTimeout: 20_000 });

let cluster: TestCluster;
let watched: WatchedPeers | undefined;

beforeEach(() => {
  cluster = new TestCluster();
});
afterEach(async () => {
  watched?.stop();
  await cluster.close();
});

it("follows the peers that an agent announces, through its restarts", { timeout: 20_000 }, async () => {
  const agent = await cluster.node("a");
  watched = await watchPeers(`unix://${cluster.dir}/a.sock`, silentLogger);
  const names = (): string => (watched?.list() ?? []).map(({ name }) => name).join();
  await waitFor(() => names() === "a", { what: "the first peer" });
  const seen: string[] = [];
  watched.changes.on(({ type, peer }: PeerChange) => seen.push(`${type} ${peer.name}`));
  cluster.announce("b");
  await waitFor(() => names() === "a,b", { what: "the second" });
  cluster.remove("b");
  await waitFor(() => names() === "a", { what: "it to go" });
  cluster.announce("c");
  await waitFor(() => names() === "a,c", { what: "the third" });
  // Gone while nobody could tell: known from the next list, in which it is missing.
  await agent.server?.stop();
  await waitFor(() => watched?.problem !== undefined, { what: "the trouble to be told" });
  expect(names()).toBe("a,c");
  cluster.remove("c");
  await cluster.serve(agent);
  await waitFor(() => names() === "a", { timeoutMs: 10_000, what: "the third to go" });
  expect(watched.problem).toBeUndefined();
  expect(seen).toEqual(["PEER_ADDED b", "PEER_DELETED b", "PEER_ADDED c", "PEER_DELETED c"]);
});
