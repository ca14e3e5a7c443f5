import { waitFor } from "@axoneme/base";
import { type Election, elect, KubeClient } from "@axoneme/kube";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FakeApi } from "./fakeapi.ts";

let api: FakeApi;
const clients: KubeClient[] = [];
const elections: Election[] = [];

beforeEach(async () => {
  api = await new FakeApi().listen();
});
afterEach(async () => {
  api.intercept = () => false;
  for (const election of elections.splice(0)) await election.stop();
  for (const client of clients.splice(0)) await client.close();
  await api.close();
});

interface Run {
  election: Election;
  log: string[];
  signal: AbortSignal | undefined;
}

function candidate(identity: string): Run {
  const client = new KubeClient(api.config);
  clients.push(client);
  const times = { leaseDurationMs: 1000, renewDeadlineMs: 200, retryMs: 20 };
  const run: Run = { election: undefined as unknown as Election, log: [], signal: undefined };
  run.election = elect(
    client,
    { name: "op", namespace: "kube-system", identity, ...times },
    {
      onElected: (signal) => {
        run.signal = signal;
        run.log.push("elected");
      },
      onLost: (reason) => void run.log.push(`lost: ${reason}`),
      onLeader: (leader) => void run.log.push(`leader ${leader}`),
    },
  );
  elections.push(run.election);
  return run;
}

interface LeaseShape {
  spec?: { holderIdentity?: string; leaseTransitions?: number; acquireTime?: string; renewTime?: string };
}
const lease = (): LeaseShape["spec"] => (api.objects("leases")[0] as LeaseShape | undefined)?.spec;

test("one leads, renews, and gives the lease up to the next at once", async () => {
  const one = candidate("one");
  await waitFor(() => one.election.leading);
  const two = candidate("two");
  await waitFor(() => two.log.includes("leader one"));
  const { acquireTime, renewTime } = lease() ?? {};
  await waitFor(() => lease()?.renewTime !== renewTime);
  expect(lease()?.acquireTime).toBe(acquireTime);
  expect(acquireTime).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  expect(two.election.leading).toBe(false);
  const began = performance.now();
  await one.election.stop();
  expect(one.log).toEqual(["elected", "lost: stopped"]);
  expect(one.signal?.aborted).toBe(true);
  await waitFor(() => two.election.leading);
  expect(performance.now() - began).toBeLessThan(900); // sooner than the lease would run out
  expect(lease()).toMatchObject({ holderIdentity: "two", leaseTransitions: 1 });
});

test("a leader that cannot renew resigns in time, before another may lead", async () => {
  const one = candidate("one");
  await waitFor(() => one.election.leading);
  const two = candidate("two");
  await waitFor(() => two.log.includes("leader one"));
  // The first can no longer be heard; its requests hang.
  api.intercept = (seen) => seen.body.includes('"holderIdentity":"one"');
  await waitFor(() => one.log.includes("lost: could not renew in time"), { timeoutMs: 1000 });
  expect(two.election.leading).toBe(false);
  await waitFor(() => two.election.leading);
  expect(one.election.leading).toBe(false);
});

test("a leader whose lease was taken notices", async () => {
  const one = candidate("one");
  await waitFor(() => one.election.leading);
  const client = new KubeClient(api.config);
  clients.push(client);
  const { resources } = await import("@axoneme/kube");
  await waitFor(async () => {
    const held = await client.resource(resources.leases).get("op", { namespace: "kube-system" });
    await client
      .resource(resources.leases)
      .update({ ...held, spec: { ...held.spec, holderIdentity: "thief", leaseDurationSeconds: 60 } });
    return true;
  });
  await waitFor(() => one.log.includes("lost: thief holds the lease"));
  expect(one.election.leader).toBe("thief");
});

test("a lease that was deleted is made again", async () => {
  const one = candidate("one");
  await waitFor(() => one.election.leading);
  api.remove("leases", "kube-system", "op");
  await waitFor(() => one.log.filter((line) => line === "elected").length === 2);
  expect(lease()?.holderIdentity).toBe("one");
});

test("times that cannot work are refused", () => {
  const client = new KubeClient(api.config);
  clients.push(client);
  const times = { leaseDurationMs: 10, renewDeadlineMs: 20, retryMs: 5 };
  expect(() =>
    elect(client, { name: "x", namespace: "y", ...times }, { onElected: () => undefined }),
  ).toThrow("retryMs <");
});

test("a lease that is kept is led on under the same identity; another has to wait for its end", async () => {
  const one = candidate("one");
  await waitFor(() => one.election.leading);
  await one.election.stop({ keep: true });
  expect(lease()?.holderIdentity).toBe("one");
  const two = candidate("two");
  await waitFor(() => two.log.includes("leader one"));
  const again = candidate("one");
  await waitFor(() => again.election.leading);
  expect(two.election.leading).toBe(false);
  expect(lease()?.leaseTransitions).toBe(0);
});
