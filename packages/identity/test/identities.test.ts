import { hostPrefix, parseIp, parsePrefix } from "@axoneme/base";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  IdentityCache,
  type IdentityChange,
  Ipcache,
  type IpcacheChange,
  identityObject,
  ipcacheSources,
  LocalIdentities,
  localScope,
  parseIdentityObject,
} from "../src/index.ts";

const web = { "k8s:app": "web" };
const db = { "k8s:app": "db" };

describe("IdentityCache", () => {
  it("knows the reserved ones, and the lower of two numbers for the same labels", () => {
    const cache = new IdentityCache();
    expect(cache.lookup({ "reserved:host": "" })).toBe(1);
    cache.upsert(700, web);
    cache.upsert(400, web);
    expect(cache.lookup(web)).toBe(400);
    cache.delete(400);
    expect(cache.lookup(web)).toBe(700);
    expect(cache.get(700)?.labels).toEqual(web);
  });

  it("proposes the same number on every node, the next one when it is taken, and none twice", () => {
    const [here, there] = [new IdentityCache(), new IdentityCache()];
    const id = here.propose(web);
    expect(there.propose(web)).toBe(id);
    expect(here.propose(web)).toBe(id);
    here.reject(id);
    const next = here.propose(web);
    expect(next).not.toBe(id);
    expect(here.propose(db)).not.toBe(next);
    here.upsert(next, web);
    expect(here.lookup(web)).toBe(next);
  });

  it("says when numbers run out, and takes released ones again", () => {
    const cache = new IdentityCache({ range: { first: 256, last: 257 } });
    cache.upsert(256, web);
    const id = cache.propose(db);
    expect(() => cache.propose({ "k8s:app": "x" })).toThrowError(
      expect.objectContaining({ code: "identity.exhausted" }),
    );
    cache.release(id);
    expect(cache.propose({ "k8s:app": "x" })).toBe(id);
  });

  it("tells changes, and only changes", () => {
    const cache = new IdentityCache();
    const seen: IdentityChange[] = [];
    cache.changes.on((change) => void seen.push(change));
    cache.upsert(300, web);
    cache.upsert(300, { ...web });
    cache.replaceAll([{ id: 301, labels: db }]);
    expect(seen).toEqual([
      { id: 300, labels: web },
      { id: 301, labels: db },
      { id: 300, labels: undefined },
    ]);
    expect(cache.lookup({ "reserved:world": "" })).toBe(2);
  });

  it("reads back its objects and refuses names that are no numbers", () => {
    const object = identityObject(300, { ...web, "k8s:io.kubernetes.pod.namespace": "shop" });
    expect(object.metadata).toEqual({ name: "300", labels: { "io.kubernetes.pod.namespace": "shop" } });
    expect(parseIdentityObject(object)).toEqual({ id: 300, labels: object["security-labels"] });
    for (const name of ["x", "", "0", "16777216", "12a"]) {
      expect(() => parseIdentityObject({ metadata: { name } })).toThrowError(
        expect.objectContaining({ code: "identity.object" }),
      );
    }
  });
});

describe("LocalIdentities", () => {
  const prefix = parsePrefix("10.0.0.0/8");

  it("count uses and do not give a number again at once", () => {
    const local = new LocalIdentities({ dualStack: true });
    const first = local.acquire(prefix);
    expect(first).toMatchObject({ id: localScope.first, created: true });
    expect(local.acquire(prefix)).toMatchObject({ id: first.id, created: false });
    expect(local.release(prefix)).toBeUndefined();
    expect(local.release(prefix)).toMatchObject({ id: first.id });
    expect(local.release(prefix)).toBeUndefined();
    expect(local.acquire(prefix).id).toBe(first.id + 1);
    expect(local.prefixOf(first.id + 1)).toEqual(prefix);
  });

  it("take the world for a /0", () => {
    const local = new LocalIdentities({ dualStack: true });
    expect(local.acquire(parsePrefix("::/0"))).toMatchObject({ id: 10, created: false });
    expect(new LocalIdentities({ dualStack: false }).acquire(parsePrefix("0.0.0.0/0")).id).toBe(2);
    expect(local.size).toBe(0);
  });

  it("keep numbers over a restart, and drop those nobody wants any more", () => {
    const local = new LocalIdentities({ dualStack: true });
    expect(local.restore(prefix, localScope.first + 7)).toBe(true);
    expect(local.restore(parsePrefix("192.0.2.0/24"), localScope.first + 8)).toBe(true);
    expect(local.restore(parsePrefix("192.0.3.0/24"), localScope.first + 8)).toBe(false);
    expect(local.restore(parsePrefix("192.0.3.0/24"), 5)).toBe(false);
    expect(local.acquire(prefix)).toMatchObject({ id: localScope.first + 7, created: false });
    expect(local.dropUnused().map(({ id }) => id)).toEqual([localScope.first + 8]);
    expect(local.acquire(parsePrefix("198.51.100.0/24")).id).toBe(localScope.first + 9);
  });
});

describe("Ipcache", () => {
  const pod = hostPrefix(parseIp("10.0.0.1"));

  it("lets the stronger source win and the weaker take over when it goes", () => {
    const cache = new Ipcache();
    cache.upsert(pod, "k8s", "pod a", { identity: 300 });
    cache.upsert(pod, "local", "endpoint 1", { identity: 301 });
    cache.upsert(pod, "generated", "policy", { identity: 302 });
    expect(cache.get(pod)).toMatchObject({ identity: 301, source: "local" });
    cache.delete(pod, "local", "endpoint 1");
    expect(cache.get(pod)?.identity).toBe(300);
  });

  it("survives the late delete of a pod whose address went to another", () => {
    const cache = new Ipcache();
    cache.upsert(pod, "custom-resource", "shop/old", { identity: 300 });
    cache.upsert(pod, "custom-resource", "shop/new", { identity: 301 });
    expect(cache.get(pod)?.identity).toBe(301);
    cache.delete(pod, "custom-resource", "shop/old");
    expect(cache.get(pod)?.identity).toBe(301);
  });

  it("looks up by longest prefix", () => {
    const cache = new Ipcache();
    cache.upsert(parsePrefix("0.0.0.0/0"), "generated", "world", { identity: 9 });
    cache.upsert(parsePrefix("10.0.0.0/8"), "generated", "policy", { identity: 400 });
    expect(cache.lookup(parseIp("10.1.1.1"))).toMatchObject({ identity: 400 });
    expect(cache.lookup(parseIp("192.0.2.1"))).toMatchObject({ identity: 9 });
    expect(cache.lookup(parseIp("2001:db8::1"))).toBeUndefined();
  });

  it("tells changes of what counts, and keeps who follows them in step, in any history", () => {
    const step = fc.record({
      remove: fc.boolean(),
      ip: fc.constantFrom("10.0.0.1", "10.0.0.2"),
      source: fc.constantFrom(...ipcacheSources),
      owner: fc.constantFrom("a", "b"),
      identity: fc.constantFrom(300, 301),
    });
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const cache = new Ipcache();
        const follower = new Map<string, number>();
        const model = new Map<string, { ip: string; strength: number; at: number; identity: number }>();
        cache.changes.on(({ prefix, previous, entry }: IpcacheChange) => {
          expect(previous?.identity).toBe(follower.get(prefix.ip.join()));
          expect(entry?.identity).not.toBe(previous?.identity);
          if (entry === undefined) follower.delete(prefix.ip.join());
          else follower.set(prefix.ip.join(), entry.identity);
        });
        for (const [at, { remove, ip, source, owner, identity }] of steps.entries()) {
          const prefix = hostPrefix(parseIp(ip));
          if (remove) {
            cache.delete(prefix, source, owner);
            model.delete(`${ip} ${source} ${owner}`);
          } else {
            cache.upsert(prefix, source, owner, { identity });
            model.set(`${ip} ${source} ${owner}`, {
              ip,
              strength: -ipcacheSources.indexOf(source),
              at,
              identity,
            });
          }
        }
        for (const ip of ["10.0.0.1", "10.0.0.2"]) {
          const claims = [...model.values()].filter((claim) => claim.ip === ip);
          claims.sort((a, b) => b.strength - a.strength || b.at - a.at);
          expect(cache.get(hostPrefix(parseIp(ip)))?.identity).toBe(claims[0]?.identity);
          expect(follower.get(parseIp(ip).join())).toBe(claims[0]?.identity);
        }
      }),
    );
  });
});
