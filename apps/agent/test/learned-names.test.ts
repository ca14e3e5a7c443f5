/** Names, identities and the ipcache together, and what of them outlives the agent. */
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostPrefix, memoryLogger, parseIp, parsePrefix } from "@axoneme/base";
import { Ipcache, LocalIdentities } from "@axoneme/identity";
import { Direction, decide, PolicyEngine, PolicyMaps, parseCiliumPolicy, Verdict } from "@axoneme/policy";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { NameJournal } from "../src/dns/journal.ts";
import { LearnedNames } from "../src/dns/learned-names.ts";

const policy = (name: string, entry: object) =>
  parseCiliumPolicy({
    kind: "CiliumNetworkPolicy",
    metadata: { name, namespace: "default" },
    spec: { endpointSelector: {}, egress: [entry] },
  });
const toNames = policy("names", { toFQDNs: [{ matchName: "a.b" }] });
const toCidr = policy("cidr", { toCIDR: ["192.0.2.0/24"] });
const labels = {
  "k8s:io.kubernetes.pod.namespace": "default",
  "k8s:io.cilium.k8s.policy.cluster": "default",
};

/** An agent without its kernel: rows go to a copy of the maps. */
class Agent {
  readonly maps = new PolicyMaps();
  readonly ipcache = new Ipcache();
  readonly local = new LocalIdentities({ dualStack: true });
  readonly engine = new PolicyEngine();
  readonly log = memoryLogger();
  readonly journal: NameJournal;
  readonly names: LearnedNames;

  constructor(path: string, carried: [Uint8Array, number][] = []) {
    this.journal = new NameJournal(path, this.log);
    this.names = new LearnedNames({
      engine: this.engine,
      localIdentities: this.local,
      ipcache: this.ipcache,
      limits: { perName: 10, perEndpoint: 100, minTtlMs: 0, graceMs: 0 },
      dualStack: true,
      journal: this.journal,
      log: this.log,
    });
    this.names.restore(this.journal.load(), carried, Date.now());
    this.engine.upsertEndpoint({ id: 1, identity: 300, labels });
  }

  commit(): void {
    const { changes, cidrs } = this.engine.commit();
    for (const change of changes) this.maps.apply(change);
    for (const prefix of cidrs.added) {
      const { id, labels: own } = this.local.acquire(prefix);
      this.engine.addIdentity(id, own);
      this.engine.addPrefix(prefix, id);
      this.ipcache.upsert(prefix, "generated", "policy", { identity: id });
      this.names.prefixAdded(prefix);
    }
    if (cidrs.added.length > 0) this.settle();
  }

  /** Whether addresses only gained by it. */
  settle(): boolean {
    this.names.plan();
    this.commit();
    return this.names.publish();
  }

  add(added: ReturnType<typeof policy>): void {
    this.names.hold(added.ref.name, added);
    this.settle();
    this.engine.upsertPolicy(added);
    this.commit();
    this.names.keepOnly(added.ref.name, added);
    this.settle();
  }

  remove(removed: ReturnType<typeof policy>): void {
    this.engine.deletePolicy(removed.ref);
    this.commit();
    this.names.keepOnly(removed.ref.name, undefined);
    this.settle();
  }

  learn(name: string, ...ips: string[]): boolean {
    const fresh = this.names.learn(
      1,
      name,
      ips.map((ip) => ({ ip, ttl: 60 })),
      Date.now(),
    );
    this.journal.append({ entries: fresh });
    return this.settle();
  }

  identityOf(ip: string): number | undefined {
    return this.ipcache.lookup(parseIp(ip))?.identity;
  }

  allows(ip: string): boolean {
    const identity = this.identityOf(ip) ?? 9;
    const cidr = this.engine.cidrOf(parseIp(ip));
    const policyId = this.maps.endpoints.get(1) ?? 0;
    const query = { policyId, direction: Direction.EGRESS, identity, cidr, proto: 6, port: 80 };
    return decide(this.maps, query).verdict === Verdict.ALLOW;
  }
}

describe("names that pods learn", () => {
  let dir: string;
  let path: string;

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "axon-names-"));
    path = join(dir, "names.json");
  });

  afterEach(() => rmSync(dir, { recursive: true }));

  it("open their addresses while a policy names them, whichever comes first", () => {
    const agent = new Agent(path);
    agent.learn("a.b.", "192.0.2.1");
    expect(agent.identityOf("192.0.2.1")).toBeUndefined();
    agent.add(toNames);
    agent.learn("a.b.", "192.0.2.2");
    agent.learn("c.d.", "192.0.2.3");
    expect(["192.0.2.1", "192.0.2.2", "192.0.2.3"].map((ip) => agent.allows(ip))).toEqual([
      true,
      true,
      false,
    ]);
    expect(agent.identityOf("192.0.2.1")).toBe(agent.identityOf("192.0.2.2"));
    agent.remove(toNames);
    expect(agent.identityOf("192.0.2.1")).toBeUndefined();
  });

  it("leave rules on prefixes as they are, with and without names", () => {
    const agent = new Agent(path);
    agent.add(toNames);
    agent.learn("a.b.", "192.0.2.1", "198.51.100.1");
    agent.add(toCidr);
    expect(["192.0.2.1", "192.0.2.9", "198.51.100.1", "198.51.100.2"].map((ip) => agent.allows(ip))).toEqual([
      true,
      true,
      true,
      false,
    ]);
    agent.remove(toNames);
    expect(["192.0.2.1", "198.51.100.1"].map((ip) => agent.allows(ip))).toEqual([true, false]);
  });

  it("say whether an address only gained by what came: then its connections need not be judged again", () => {
    const agent = new Agent(path);
    agent.add(toNames);
    expect(agent.learn("a.b.", "192.0.2.1")).toBe(true);
    agent.add(policy("more", { toFQDNs: [{ matchName: "c.d" }] }));
    expect(agent.learn("c.d.", "192.0.2.1")).toBe(true); // both now
    agent.names.prefixAdded(parsePrefix("192.0.2.0/24"));
    expect(agent.settle()).toBe(false);
    agent.names.endpointGone(1);
    expect(agent.settle()).toBe(false);
  });

  it("mint no identity per address", () => {
    const agent = new Agent(path);
    agent.add(toNames);
    for (let i = 0; i < 1000; i++) agent.learn("a.b.", `203.0.${i >> 8}.${i & 255}`);
    expect(agent.local.size).toBe(1);
    expect([...agent.ipcache.entries()].filter(({ source }) => source === "fqdn")).toHaveLength(
      10 /* perName */ + 90,
    );
  });

  it("are the same after a process that was killed, down to the numbers", () => {
    const before = new Agent(path);
    before.add(toNames);
    before.learn("a.b.", "192.0.2.1");
    const identity = before.identityOf("192.0.2.1") ?? 0;
    appendFileSync(path, '{"e":{"endpoint":1,"na'); // cut by a full disk
    const after = new Agent(path, [[parseIp("192.0.2.1"), identity]]);
    expect(after.ipcache.get(hostPrefix(parseIp("192.0.2.1")))?.identity).toBe(identity);
    expect(after.local.mint({})).not.toBe(identity);
    after.add(toCidr); // other policies come first
    expect(after.identityOf("192.0.2.1")).not.toBe(undefined);
    after.add(toNames);
    after.settle();
    expect(after.allows("192.0.2.1")).toBe(true);
    expect(after.names.cache.namesOf(1, "192.0.2.1")).toEqual(["a.b"]);
    expect(after.log.records.some(({ message }) => message.includes("cannot be read"))).toBe(true);
  });

  it("have the number that their class had last", () => {
    const before = new Agent(path);
    before.add(toNames);
    before.learn("a.b.", "192.0.2.1");
    const first = before.identityOf("192.0.2.1");
    before.remove(toNames);
    before.names.dropEmptyClasses();
    before.add(toNames);
    const identity = before.identityOf("192.0.2.1") ?? 0;
    expect(identity).not.toBe(first);
    const after = new Agent(path, [[parseIp("192.0.2.1"), identity]]);
    expect([...after.names.classes.classes()].map(({ id, size }) => [id, size])).toEqual([[identity, 1]]);
  });

  it("lose what no name or policy holds any more, also after a restart", () => {
    const before = new Agent(path);
    before.add(toNames);
    before.learn("a.b.", "192.0.2.1");
    const identity = before.identityOf("192.0.2.1") ?? 0;
    const after = new Agent(path, [
      [parseIp("192.0.2.1"), identity],
      [parseIp("192.0.2.2"), identity],
    ]);
    after.names.keepEndpoints(() => true);
    after.add(toNames);
    expect(after.allows("192.0.2.1")).toBe(true);
    expect(after.identityOf("192.0.2.2")).toBeUndefined(); // nobody knows why it had it
    after.names.endpointGone(1);
    after.settle();
    expect(after.identityOf("192.0.2.1")).toBeUndefined();
    expect(after.names.dropEmptyClasses()).toBe(true);
    expect(after.local.size).toBe(0);
  });

  it("are written anew as a whole, rule sets included", () => {
    const agent = new Agent(path);
    agent.add(
      policy("dns", {
        toPorts: [{ ports: [{ port: "53", protocol: "UDP" }], rules: { dns: [{ matchName: "a.b" }] } }],
      }),
    );
    agent.names.rulesAdded([...agent.engine.dnsRules.all()]);
    agent.add(toNames);
    agent.learn("a.b.", "192.0.2.1");
    agent.journal.rewrite(agent.names.saved());
    const lines = readFileSync(path, "utf8")
      .trim()
      .split("\n")
      .map((line) => Object.keys(JSON.parse(line) as object)[0]);
    // Port 53 of the name itself is allowed without regard to names: a second set.
    expect(lines).toEqual(["c", "r", "r", "e"]);
    const again = new NameJournal(path, agent.log).load();
    expect(again.rules).toEqual([
      { id: 1, names: ["a.b"], patterns: [] },
      { id: 2, names: [], patterns: ["*"] },
    ]);
    expect(again.classes).toEqual([
      { id: agent.identityOf("192.0.2.1"), selectors: ["a.b"], prefix: "0.0.0.0/0" },
    ]);
    expect(parsePrefix(again.classes[0]?.prefix ?? "")).toBeDefined();
  });
});
