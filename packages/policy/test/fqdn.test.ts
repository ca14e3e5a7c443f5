/** DNS names in policies: what is read, and what rows let which names through. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fqdnSelectors, type Policy, parseCiliumPolicy, type Rule, Verdict } from "../src/index.ts";
import { pod, type RawPolicy } from "./generate.ts";
import { parse, World } from "./world.ts";

const web = pod("web", "red", { app: "web" });
const db = pod("db", "red", { app: "db" });
const other = pod("other", "red", { app: "other" });

const cnp = (name: string, spec: object, metadata: object = {}): RawPolicy => ({
  kind: "CiliumNetworkPolicy",
  metadata: { name, namespace: "red", ...metadata },
  spec: { endpointSelector: { matchLabels: { app: "web" } }, ...spec },
});
const egress = (...entries: object[]): Policy => parseCiliumPolicy(cnp("p", { egress: entries }));
const rules = (policy: Policy): readonly Rule[] => policy.specs.flatMap((spec) => spec.rules);
const problems = ({ problems: all }: Policy) => all.map(({ severity, path }) => `${severity} ${path}`);
const dns53 = (dns: unknown, protocol = "UDP") => ({ ports: [{ port: "53", protocol }], rules: { dns } });

describe("what is read", () => {
  it("takes names and patterns in one form", () => {
    const policy = egress({
      toFQDNs: [{ matchName: "WWW.Example.com." }, { matchPattern: "*.Example.com" }],
    });
    expect(problems(policy)).toEqual([]);
    expect(fqdnSelectors(rules(policy))).toEqual(["www.example.com", "*.example.com"]);
  });

  it("makes a rule of its own of each port rule with DNS rules, named by its place", () => {
    const http = { ports: [{ port: "80", protocol: "TCP" }] };
    const policy = egress({
      toEndpoints: [{}],
      toPorts: [dns53([{ matchName: "a.b" }, { matchPattern: "*.C" }], "ANY"), http],
    });
    expect(
      rules(policy).map(({ path, l4, dns }) => [path, l4.map((l) => `${l.proto}/${l.port}`), dns]),
    ).toEqual([
      ["spec.egress[0]", ["6/80"], undefined],
      ["spec.egress[0].toPorts[0]", ["6/53", "17/53"], { names: ["a.b"], patterns: ["*.c"] }],
    ]);
    expect(policy.specs[0]?.defaultDeny).toEqual({ ingress: false, egress: true });
  });

  it("keeps a name in an entry beside its pattern, and every name for a star", () => {
    const [, both] = rules(egress({ toPorts: [dns53([{ matchName: "a.b", matchPattern: "*.b" }])] }));
    expect(both?.dns).toEqual({ names: ["a.b"], patterns: ["*.b"] });
    const [, all] = rules(egress({ toPorts: [dns53([{ matchName: "a.b" }, { matchPattern: "**" }])] }));
    expect(all?.dns).toEqual({ names: [], patterns: ["*"] });
  });

  it("restricts no name in a policy that only adds", () => {
    const policy = parseCiliumPolicy(
      cnp("p", {
        enableDefaultDeny: { egress: false },
        egress: [{ toPorts: [dns53([{ matchName: "a.b" }])] }],
      }),
    );
    expect(rules(policy).at(-1)?.dns).toEqual({ names: [], patterns: ["*"] });
  });

  it.each<[string, object]>([
    ["invalid spec.egress[0].toFQDNs[0]", { toFQDNs: [{}] }],
    ["invalid spec.egress[0].toFQDNs[0]", { toFQDNs: [{ matchName: "a.b", matchPattern: "*.b" }] }],
    ["invalid spec.egress[0].toFQDNs[0].matchName", { toFQDNs: [{ matchName: "*.b" }] }],
    ["invalid spec.egress[0].toFQDNs[0].matchName", { toFQDNs: [{ matchName: "a..b" }] }],
    ["invalid spec.egress[0].toFQDNs[0].matchName", { toFQDNs: [{ matchName: ["a.b"] }] }],
    ["invalid spec.egress[0].toFQDNs[0].matchPattern", { toFQDNs: [{ matchPattern: `${"a".repeat(256)}` }] }],
    [
      "unsupported spec.egress[0].toFQDNs[0].matchRegex",
      { toFQDNs: [{ matchName: "a.b", matchRegex: ".*" }] },
    ],
    ["invalid spec.egress[0]", { toFQDNs: [{ matchName: "a.b" }], toCIDR: ["10.0.0.0/8"] }],
    ["invalid spec.egress[0].toPorts[0].rules.dns", { toPorts: [dns53({})] }],
    [
      "invalid spec.egress[0].toPorts[0].rules.dns[0].matchPattern",
      { toPorts: [dns53([{ matchPattern: "a b" }])] },
    ],
    [
      "invalid spec.egress[0].toPorts[0].ports[0].protocol",
      { toPorts: [dns53([{ matchName: "a" }], "SCTP")] },
    ],
    [
      "invalid spec.egress[0].toPorts[0].ports[0].endPort",
      { toPorts: [{ ports: [{ port: "53", endPort: 60 }], rules: { dns: [{ matchName: "a" }] } }] },
    ],
    [
      "invalid spec.egress[0].toPorts[0].ports[0].port",
      { toPorts: [{ ports: [{ port: "0" }], rules: { dns: [{ matchName: "a" }] } }] },
    ],
  ])("%s opens nothing", (problem, entry) => {
    const policy = egress(entry);
    expect(problems(policy)).toContain(problem);
    for (const { peers, l4, named, dns } of rules(policy)) {
      const names = dns === undefined ? 1 : dns.names.length + dns.patterns.length;
      expect(peers.length * (l4.length + named.length) * names).toBe(0);
    }
  });

  it("refuses DNS rules where nothing goes out or something is denied", () => {
    const policy = parseCiliumPolicy(
      cnp("p", { ingress: [{ toPorts: [dns53([{}])] }], egressDeny: [{ toPorts: [dns53([{}])] }] }),
    );
    expect(problems(policy)).toEqual([
      "invalid spec.ingress[0].toPorts[0].rules.dns",
      "invalid spec.egressDeny[0].toPorts[0].rules.dns",
    ]);
    const deny = parseCiliumPolicy(cnp("p", { egressDeny: [{ toFQDNs: [{ matchName: "a.b" }] }] }));
    expect(problems(deny)).toEqual(["unsupported spec.egressDeny[0].toFQDNs"]);
  });

  it("reads no name that is written to be slow", () => {
    const started = performance.now();
    egress({ toFQDNs: [{ matchName: `${"a".repeat(254)}!` }, { matchPattern: `${"*a".repeat(127)}!` }] });
    expect(performance.now() - started).toBeLessThan(1000);
  });
});

/** What a pod's connection may ask for: undefined = the connection is refused, "any" = it does not go to the proxy. */
function names(world: World, peer: typeof db, proto = 17, port = 53): string[] | "any" | undefined {
  const { verdict, row } = world.decide(web, peer, false, proto, port);
  if (verdict !== Verdict.ALLOW) return undefined;
  if (row === undefined || row.proxyPort === 0) return "any";
  const set = [...world.engine.dnsRules.all()].find(({ id }) => id === row.proxyPort);
  return [...(set?.names ?? ["?"]), ...(set?.patterns ?? [])];
}

function world(...policies: RawPolicy[]): World {
  const made = new World();
  for (const one of [web, db, other]) made.setPod(one);
  for (const policy of policies) made.setPolicy(policy);
  return made;
}

const toDb = { toEndpoints: [{ matchLabels: { app: "db" } }] };
const asks = (name: string, ...dns: object[]) => cnp(name, { egress: [{ ...toDb, toPorts: [dns53(dns)] }] });

describe("names over a connection", () => {
  it("are those of all its DNS rules together", () => {
    const made = world(
      asks("a", { matchName: "a.b" }),
      asks("b", { matchName: "b.b" }, { matchPattern: "*.c" }),
    );
    expect(names(made, db)).toEqual(["a.b", "b.b", "*.c"]);
    expect(names(made, other)).toBeUndefined();
    made.deletePolicy(asks("b"));
    expect(names(made, db)).toEqual(["a.b"]);
  });

  it.each<[string, object]>([
    ["on the same port", { ...toDb, toPorts: [{ ports: [{ port: "53", protocol: "UDP" }] }] }],
    ["on all ports", toDb],
    ["for everybody", { toPorts: [{ ports: [{ port: "53", protocol: "UDP" }] }] }],
    ["for all", { toEntities: ["all"] }],
  ])("are all, but learned from, when another rule allows the connection %s", (_what, entry) => {
    const made = world(asks("a", { matchName: "a.b" }), cnp("plain", { egress: [entry] }));
    expect(names(made, db)).toEqual(["*"]);
    made.deletePolicy(cnp("plain", {}));
    expect(names(made, db)).toEqual(["a.b"]);
  });

  it("do not open what is denied", () => {
    const made = world(asks("a", { matchName: "a.b" }), cnp("deny", { egressDeny: [toDb] }));
    expect(names(made, db)).toBeUndefined();
  });

  it("are not restricted by a policy on trial, nor by one under an agent that only reports", () => {
    const trial = { annotations: { "policy.axoneme.io/audit": "true" } };
    const made = world(cnp("a", { egress: [{ ...toDb, toPorts: [dns53([{ matchName: "a.b" }])] }] }, trial));
    expect(names(made, db)).toEqual(["*"]);
    const audit = new World({ audit: true });
    for (const one of [web, db]) audit.setPod(one);
    audit.setPolicy(asks("a", { matchName: "a.b" }));
    expect(names(audit, db)).toEqual(["*"]);
  });

  it("have one id wherever they are the same, and ids given up are told", () => {
    const made = world(asks("a", { matchName: "a.b" }));
    const before = [...made.engine.dnsRules.all()];
    made.setPod(pod("web2", "red", { app: "web" }));
    made.setPolicy(
      cnp("c", {
        egress: [
          { toEndpoints: [{ matchLabels: { app: "other" } }], toPorts: [dns53([{ matchName: "a.b" }])] },
        ],
      }),
    );
    expect([...made.engine.dnsRules.all()]).toEqual(before);
    made.deletePolicy(asks("a"));
    made.deletePolicy(cnp("c", {}));
    expect([...made.engine.dnsRules.all()]).toEqual([]);
  });

  it("keep their ids over a restart, and give up those that nothing names any more", () => {
    const made = world(asks("a", { matchName: "a.b" }));
    const { dnsRules } = new World().engine;
    dnsRules.restore([{ id: 77, names: ["z"], patterns: [] }, ...made.engine.dnsRules.all()]);
    expect(dnsRules.acquire({ names: ["a.b"], patterns: [] })).toBe([...made.engine.dnsRules.all()][0]?.id);
    expect(dnsRules.acquire({ names: ["new"], patterns: [] })).toBe(78);
    expect(dnsRules.dropUnused()).toEqual([77]);
  });
});

describe("domain names of a ClusterNetworkPolicy", () => {
  const server = {
    ...pod("dns", "kube-system", { "k8s-app": "kube-dns" }),
    ports: [{ name: "dns", proto: 17, port: 5353 }],
  };
  const policy = (action = "Accept"): RawPolicy => ({
    kind: "ClusterNetworkPolicy",
    metadata: { name: "names" },
    spec: {
      tier: "Admin",
      priority: 1,
      subject: { namespaces: {} },
      egress: [{ action, to: [{ domainNames: ["*.example.com", "a.b."] }] }],
    },
  });

  it("are peers, and may be asked of the cluster's DNS servers; others are left to the other policies", () => {
    const made = world(policy());
    made.setPod(server);
    expect(fqdnSelectors(rules(parse(policy())))).toEqual(["a.b", "**.example.com"]);
    expect(names(made, server, 17, 5353)).toEqual(["*"]); // nothing isolates the pod
    made.setPolicy(cnp("isolated", { egress: [{}] }));
    expect(names(made, server, 17, 5353)).toEqual(["a.b", "**.example.com"]);
    const more = { toEndpoints: [{ matchLabels: { "k8s:io.kubernetes.pod.namespace": "kube-system" } }] };
    const dns = { ports: [{ port: "5353", protocol: "UDP" }], rules: { dns: [{ matchName: "c.d" }] } };
    made.setPolicy(cnp("more", { egress: [{ ...more, toPorts: [dns] }] }));
    expect(names(made, server, 17, 5353)).toEqual(["a.b", "c.d", "**.example.com"]);
  });

  it("cannot be denied: the rule denies everything, as the API has it", () => {
    const denies = parse(policy("Deny"));
    expect(problems(denies)).toEqual(["invalid spec.egress[0].to"]);
    expect(rules(denies)).toMatchObject([{ verdict: Verdict.DENY, peers: [{ kind: "all" }] }]);
  });
});

describe("generated rules", () => {
  const ports = fc.constantFrom<[string, (proto: number, port: number) => boolean]>(
    ["none", () => true],
    ["53/UDP", (proto, port) => proto === 17 && port === 53],
    ["53/TCP", (proto, port) => proto === 6 && port === 53],
    ["50-63/ANY", (proto, port) => [6, 17, 132].includes(proto) && port >= 50 && port <= 63],
  );
  const entry = fc.record({
    peer: fc.constantFrom("db", "other", "all"),
    ports,
    dns: fc.option(fc.subarray(["a.b", "b.b", "*.c"], { minLength: 1 }), { nil: undefined, freq: 2 }),
    deniesIf: fc.integer({ min: 0, max: 7 }),
  });
  type Entry = typeof entry extends fc.Arbitrary<infer T> ? T : never;

  const hasDns = ({ ports: [text], dns }: Entry) =>
    dns !== undefined && (text === "53/UDP" || text === "53/TCP");
  const isDeny = (one: Entry) => one.deniesIf === 0 && !hasDns(one);

  function object(one: Entry, n: number): RawPolicy {
    const [text] = one.ports;
    const [range = "", protocol] = text.split("/");
    const [port, last] = range.split("-");
    const where = { port, protocol, ...(last === undefined ? {} : { endPort: Number(last) }) };
    const toPorts =
      text === "none"
        ? []
        : [
            {
              ports: [where],
              ...(hasDns(one)
                ? { rules: { dns: (one.dns ?? []).map((matchPattern) => ({ matchPattern })) } }
                : {}),
            },
          ];
    const peer =
      one.peer === "all" ? { toEntities: ["all"] } : { toEndpoints: [{ matchLabels: { app: one.peer } }] };
    return cnp(`p${n}`, { [isDeny(one) ? "egressDeny" : "egress"]: [{ ...peer, toPorts }] });
  }

  /** The same question, answered the long way. */
  function expected(
    entries: readonly Entry[],
    peer: string,
    proto: number,
    port: number,
  ): string[] | "any" | undefined {
    const matching = entries.filter(
      (one) => (one.peer === peer || one.peer === "all") && one.ports[1](proto, port),
    );
    if (entries.length === 0) return "any";
    if (matching.length === 0 || matching.some(isDeny)) return undefined;
    if (!matching.some(hasDns)) return "any";
    if (!matching.every(hasDns)) return ["*"];
    return [...new Set(matching.flatMap(({ dns }) => dns ?? []))].sort();
  }

  it("let the names through that a plain reading of them does, also after changes", () => {
    const plan = fc.array(fc.tuple(fc.nat(5), entry), { maxLength: 10 });
    fc.assert(
      fc.property(plan, (steps) => {
        const made = world();
        const now = new Map<number, Entry>();
        for (const [slot, one] of steps) {
          if (now.delete(slot)) made.deletePolicy(object(one, slot));
          else {
            now.set(slot, one);
            made.setPolicy(object(one, slot));
          }
          for (const peer of [db, other]) {
            for (const [proto, port] of [
              [17, 53],
              [6, 53],
              [17, 60],
              [132, 53],
            ] as const) {
              const app = peer === db ? "db" : "other";
              const got = names(made, peer, proto, port);
              const want = expected([...now.values()], app, proto, port);
              expect(Array.isArray(got) ? [...got].sort() : got).toEqual(want);
            }
          }
        }
        const inUse = new Set([...made.maps.rows()].map(({ row }) => row.proxyPort).filter((id) => id !== 0));
        expect(new Set([...made.engine.dnsRules.all()].map(({ id }) => id))).toEqual(inUse);
      }),
      { numRuns: 300 },
    );
  }, 60_000);
});
