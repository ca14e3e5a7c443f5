import { describe, expect, it } from "vitest";
import { pod } from "./generate.ts";
import type { Party } from "./oracle.ts";
import { parse, World } from "./world.ts";

const db = pod("p1", "red", { app: "db" });
const web = pod("p2", "red", { app: "web", tier: "front" });
const cache = pod("p3", "red", { app: "cache", tier: "back" });
const stranger = pod("p4", "blue", { app: "web", tier: "front" });

function cnp(name: string, ingress: object[]) {
  return {
    kind: "CiliumNetworkPolicy",
    metadata: { name, namespace: "red" },
    spec: { endpointSelector: { matchLabels: { app: "db" } }, ingress },
  };
}

function reaching(...policies: ReturnType<typeof cnp>[]): string[] {
  const world = new World();
  for (const one of [db, web, cache, stranger]) world.setPod(one);
  for (const policy of policies) world.setPolicy(policy);
  const peers: Party[] = [web, cache, stranger, { kind: "remote-node" }];
  return peers.flatMap((peer) =>
    world.decide(db, peer, true, 6, 80).verdict === 0 ? [peer.kind === "pod" ? peer.name : peer.kind] : [],
  );
}

describe("fromRequires", () => {
  const front = [{ matchLabels: { tier: "front" } }];

  it("lets nobody in by itself, and isolates", () => {
    expect(reaching(cnp("only", [{ fromRequires: front }]))).toEqual([]);
  });

  it("keeps out who lacks it whatever policy lets them in, and says nothing of what is no pod", () => {
    const everybody = cnp("all", [{ fromEntities: ["all"] }]);
    expect(reaching(everybody)).toEqual(["p2", "p3", "p4", "remote-node"]);
    expect(reaching(everybody, cnp("only", [{ fromRequires: front }]))).toEqual(["p2", "remote-node"]);
  });

  it("looks in the policy's namespace unless it names another", () => {
    const anywhere = { matchExpressions: [{ key: "k8s:io.kubernetes.pod.namespace", operator: "Exists" }] };
    const labels = { matchLabels: { tier: "front" } };
    const policy = cnp("front", [{ fromEntities: ["cluster"], fromRequires: [{ ...labels, ...anywhere }] }]);
    expect(reaching(policy)).toEqual(["p2", "p4", "remote-node"]);
  });

  it("keeps all pods out when it is not understood", () => {
    expect(reaching(cnp("all", [{ fromEntities: ["all"], fromRequires: ["tier"] }]))).toEqual([
      "remote-node",
    ]);
  });

  it("does not narrow a denial", () => {
    const all = [{ fromEntities: ["all"] }];
    const raw = cnp("deny", all);
    const ingressDeny = [{ fromEndpoints: [{}], fromRequires: front }];
    const policy = { ...raw, spec: { ...raw.spec, ingressDeny } };
    expect(reaching(policy)).toEqual(["p4", "remote-node"]);
    expect(parse(policy).problems).toMatchObject([
      { severity: "unsupported", path: "spec.ingressDeny[0].fromRequires" },
    ]);
  });
});
