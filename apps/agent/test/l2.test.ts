import { formatIp, memoryLogger, parseIp, waitFor } from "@axoneme/base";
import { type KubeClient, ListWatch, resources, type Service } from "@axoneme/kube";
import type { L2Address } from "@axoneme/loadbalancer";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { L2Announcer } from "../src/lb/l2.ts";
import { Cluster } from "./cluster.ts";

/** Announcers of several nodes on a real API server; the port writes down what it is told. */

const times = { leaseDurationMs: 2000, renewDeadlineMs: 1200, retryMs: 60 };
const at = { namespace: "default" };
let cluster: Cluster;
const running: Node[] = [];

beforeEach(async () => {
  cluster = await Cluster.start();
  await cluster.installDefinitions();
}, 30_000);
afterEach(async () => {
  for (const node of running.splice(0)) await node.stop({ giveUp: true });
  await cluster.close();
}, 30_000);

const eth0 = { name: "eth0", ifindex: 2, mac: Uint8Array.of(2, 0, 0, 0, 0, 1) };

class Node {
  readonly name: string;
  readonly answers = new Set<string>();
  readonly told: string[] = [];
  /** Writes that fail. */
  broken = 0;
  readonly announcer: L2Announcer;
  readonly #client: KubeClient;
  readonly #watches: { stop(): Promise<void> }[];

  constructor(name: string, answers: readonly string[] = [], restored: readonly L2Address[] = []) {
    this.name = name;
    this.#client = cluster.connect();
    for (const address of answers) this.answers.add(address);
    const text = ({ address }: L2Address): string => formatIp(address);
    this.announcer = new L2Announcer({
      ...{
        client: this.#client,
        nodeName: name,
        leaseNamespace: "kube-system",
        restored,
        times,
        log: memoryLogger(),
      },
      port: {
        announce: (entries) => {
          if (this.broken-- > 0) throw new Error("the map is full");
          for (const entry of entries) this.answers.add(text(entry));
        },
        withdraw: (entries) => {
          for (const entry of entries) this.answers.delete(text(entry));
        },
        tell: (entries) => void this.told.push(...entries.map(text)),
      },
    });
    this.announcer.setNode({ name });
    this.announcer.setDevices([eth0]);
    const policies = new ListWatch(this.#client, resources.ciliuml2announcementpolicies);
    const services = new ListWatch<Service>(this.#client, resources.services);
    policies.start(this.announcer.policies());
    services.start(this.announcer.services());
    this.#watches = [policies, services];
    void Promise.all([policies.synced, services.synced]).then(() => this.announcer.synced());
    running.push(this);
  }

  async stop(options: { giveUp?: boolean } = {}): Promise<void> {
    await Promise.all(this.#watches.splice(0).map((watch) => watch.stop()));
    await this.announcer.stop(options);
    await this.#client.close();
  }

  get leads(): boolean {
    return this.announcer.status().some(({ leading }) => leading);
  }
}

async function makePolicy(spec: object = { loadBalancerIPs: true }): Promise<void> {
  await cluster.client
    .resource(resources.ciliuml2announcementpolicies)
    .create({ metadata: { name: "p" }, spec });
}

async function makeService(name: string, ip: string): Promise<void> {
  const services = cluster.client.resource(resources.services);
  const spec = { type: "LoadBalancer", ports: [{ port: 80 }] };
  await services.create({ metadata: { name, ...at }, spec });
  const status = { loadBalancer: { ingress: [{ ip }] } };
  await services.patch(name, { status }, { ...at, subresource: "status" });
}

const leaseOf = (name: string) =>
  cluster.client
    .resource(resources.leases)
    .find(`cilium-l2announce-default-${name}`, { namespace: "kube-system" });
const onlyOne = (nodes: Node[]) => nodes.filter(({ answers }) => answers.size > 0).length === 1;

describe("announcing nodes", () => {
  test("one node answers and tells the neighbours; when it gives up, another does at once", async () => {
    await makePolicy();
    await makeService("web", "192.0.2.1");
    const nodes = [new Node("n1"), new Node("n2")];
    await waitFor(() => onlyOne(nodes), { what: "one node to answer" });
    const [leader, other] = nodes[0]?.leads ? [nodes[0], nodes[1]] : [nodes[1], nodes[0]];
    expect(leader?.told[0]).toBe("192.0.2.1");
    await waitFor(() => (leader?.told.length ?? 0) === 2, { what: "the neighbours to be told again" });
    expect((await leaseOf("web"))?.spec).toMatchObject({
      holderIdentity: leader?.name,
      leaseDurationSeconds: 2,
    });
    await leader?.stop({ giveUp: true });
    expect(leader?.answers.size).toBe(0);
    await waitFor(() => other?.answers.has("192.0.2.1"), { what: "the other node to answer" });
    expect(other?.told[0]).toBe("192.0.2.1");
  });

  test("a node that is gone without a word is replaced when its lease has run out", async () => {
    await makePolicy();
    await makeService("web", "192.0.2.1");
    const gone = new Node("n1");
    await waitFor(() => gone.leads);
    await gone.stop();
    const other = new Node("n2");
    const began = performance.now();
    await waitFor(() => other.leads, { timeoutMs: 6000 });
    expect(performance.now() - began).toBeGreaterThan(times.leaseDurationMs * 0.8);
  }, 15_000);

  test("a restarted agent goes on answering without a gap, and is not replaced", async () => {
    await makePolicy();
    await makeService("web", "192.0.2.1");
    const first = new Node("n1");
    await waitFor(() => first.answers.has("192.0.2.1"));
    const other = new Node("n2");
    await waitFor(() => other.announcer.status().some(({ leader }) => leader === "n1"));
    await first.stop();
    // As the map in the kernel has them.
    expect([...first.answers]).toEqual(["192.0.2.1"]);
    const restored = [{ address: parseIp("192.0.2.1"), ifindex: eth0.ifindex }];
    const second = new Node("n1", [...first.answers], restored);
    let gaps = 0;
    const watch = setInterval(() => {
      if (!second.answers.has("192.0.2.1")) gaps++;
    }, 1);
    await waitFor(() => second.leads, { what: "the restarted agent to lead on" });
    clearInterval(watch);
    expect([gaps, other.leads, (await leaseOf("web"))?.spec?.leaseTransitions]).toEqual([0, false, 0]);
  });

  test("only nodes that the policy selects stand; the lease goes with the Service", async () => {
    await makePolicy({ loadBalancerIPs: true, nodeSelector: { matchLabels: { name: "n2" } } });
    const nodes = [new Node("n1"), new Node("n2")];
    await makeService("web", "192.0.2.1");
    await waitFor(() => nodes[1]?.answers.has("192.0.2.1"));
    expect(nodes[0]?.announcer.status()).toEqual([]);
    await cluster.client.resource(resources.services).delete("web", at);
    await waitFor(() => nodes[1]?.answers.size === 0, { what: "the address to be withdrawn" });
    await waitFor(async () => (await leaseOf("web")) === undefined, { what: "the lease to go" });
  });

  test("a write that fails is done again", async () => {
    await makePolicy();
    const node = new Node("n1");
    node.broken = 1;
    await makeService("web", "192.0.2.1");
    await waitFor(() => node.answers.has("192.0.2.1"), { what: "the write to be repeated" });
  });

  test("each Service has a leader of its own, and every address one node", async () => {
    await makePolicy();
    const names = Array.from({ length: 12 }, (_, i) => `s${i}`);
    await Promise.all(names.map((name, i) => makeService(name, `192.0.2.${i + 1}`)));
    const nodes = [new Node("n1"), new Node("n2"), new Node("n3")];
    await waitFor(() => nodes.reduce((sum, { answers }) => sum + answers.size, 0) === 12, {
      timeoutMs: 10_000,
    });
    expect(new Set(nodes.flatMap(({ answers }) => [...answers])).size).toBe(12);
  }, 15_000);
});
