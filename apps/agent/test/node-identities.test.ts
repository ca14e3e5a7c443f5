import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseIp } from "@axoneme/base";
import { labelLines, reserved } from "@axoneme/identity";
import { parseCiliumPolicy } from "@axoneme/policy";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { NodeClasses } from "../src/node/node-identities.ts";
import { quiet } from "./logger.ts";

/** Identities of nodes: minted only for what rules name, and never named by an address before their rows are there. */

const fromNodes = (name: string, role: string) =>
  parseCiliumPolicy({
    kind: "CiliumNetworkPolicy",
    metadata: { namespace: "default", name },
    spec: { endpointSelector: {}, ingress: [{ fromNodes: [{ matchLabels: { role } }] }] },
  });

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "axon-nodes-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** An agent's life: what it did, in order, and what addresses have. */
function agent(before: ReadonlyMap<string, number> = new Map()) {
  const done: string[] = [];
  const known = new Map<number, string>();
  const has = new Map<string, number>();
  const classes = new NodeClasses({
    sink: {
      addIdentities: (all) => {
        for (const { id, labels } of all) {
          if (!known.has(id)) done.push(`rows ${labelLines(labels).join()}`);
          known.set(id, labelLines(labels).join());
        }
      },
      deleteIdentities: (ids) => {
        for (const id of ids) {
          done.push(`gone ${known.get(id)}`);
          expect([...has.values()]).not.toContain(id);
          known.delete(id);
        }
      },
    },
    flush: () => undefined,
    before: (ip) => before.get(ip.join()),
    path: join(dir, "ids.json"),
    log: quiet,
  });
  const node = (name: string, labels: Record<string, string>, entity = "remote-node" as const) =>
    classes.set(name, { entity, labels, addresses: [parseIp(`172.30.0.${name}`)] }, (identity) => {
      if (identity > 255) expect(known.has(identity)).toBe(true);
      if (has.get(name) !== identity) done.push(`${name} is ${known.get(identity) ?? identity}`);
      has.set(name, identity);
    });
  return { classes, done, has, node };
}

describe("identities of nodes", () => {
  it("come with the first rule that names labels, in order, and go with the last", () => {
    const { classes, done, has, node } = agent();
    classes.open(() => undefined);
    node("2", { role: "db", zone: "a" });
    node("3", { role: "db", zone: "b" });
    node("4", { role: "web" });
    expect([...has.values()]).toEqual([6, 6, 6]);
    done.length = 0;
    const policy = fromNodes("p", "db");
    classes.coming(policy);
    expect(done).toEqual([
      "rows node:role=db,reserved:remote-node",
      "2 is node:role=db,reserved:remote-node",
      "3 is node:role=db,reserved:remote-node",
    ]);
    expect(classes.identities.size).toBe(1);
    done.length = 0;
    classes.gone(policy);
    expect(done).toEqual(["2 is 6", "3 is 6", "gone node:role=db,reserved:remote-node"]);
  });

  it("follow the labels of a live node", () => {
    const { classes, has, node } = agent();
    classes.open(() => undefined);
    classes.coming(fromNodes("p", "db"));
    node("2", { role: "web" });
    expect(has.get("2")).toBe(reserved.remoteNode);
    node("2", { role: "db" });
    expect(has.get("2")).toBe(0x0200_0001);
    node("2", {});
    expect([has.get("2"), classes.identities.size]).toEqual([reserved.remoteNode, 0]);
  });

  it("an API server's node is told apart, too", () => {
    const { classes, has } = agent();
    classes.open(() => undefined);
    classes.coming(fromNodes("p", "db"));
    const claim = { entity: "kube-apiserver", labels: { role: "db" }, addresses: [] } as const;
    classes.set("api", claim, (identity) => has.set("api", identity));
    expect(classes.identities.get(has.get("api") ?? 0)?.labels).toEqual({
      ...{ "reserved:kube-apiserver": "", "reserved:remote-node": "", "node:role": "db" },
    });
  });

  it("keep their numbers over a restart, and until the policies are known", () => {
    const first = agent();
    first.classes.open(() => undefined);
    first.classes.coming(fromNodes("q", "web"));
    first.node("9", { role: "web" });
    first.classes.coming(fromNodes("p", "db"));
    first.node("2", { role: "db" });
    const number = first.has.get("2");
    expect(number).toBe(0x0200_0002);

    const second = agent(new Map([[parseIp("172.30.0.2").join(), number ?? 0]]));
    second.node("2", { role: "db" });
    expect(second.has.get("2")).toBe(number);
    second.classes.coming(fromNodes("p", "db"));
    second.classes.open(() => second.done.push("open"));
    expect(second.has.get("2")).toBe(number);
    expect(second.done).toEqual([
      "rows node:role=db,reserved:remote-node",
      "2 is node:role=db,reserved:remote-node",
      "open",
      "gone undefined",
    ]);
    expect(second.classes.identities.size).toBe(1);
  });
});
