import type { Netns } from "@axoneme/abi";
import { formatIp, type Ip, parseIp } from "@axoneme/base";
import { describe, expect, test } from "vitest";
import { PodNamespaces } from "../src/endpoint/namespaces.ts";
import { quiet } from "./logger.ts";

/** Rows of namespaces, with the kernel's map played by the test. */
class Stage {
  readonly rows = new Map<bigint, Netns>();
  readonly cookies = new Map([
    ["/ns/a", 1n],
    ["/ns/b", 2n],
  ]);
  readonly namespaces = new PodNamespaces(
    {
      put: (cookie, row) => void this.rows.set(cookie, row),
      delete: (cookie) => this.rows.delete(cookie),
      entries: () => [...this.rows],
    },
    (path) => {
      const cookie = this.cookies.get(path);
      if (cookie === undefined) throw new Error(`no namespace ${path}`);
      return cookie;
    },
    quiet,
  );

  get shown(): [bigint, string, string][] {
    return [...this.rows].map(([cookie, { ip4, ip6 }]) => [cookie, formatIp(ip4 as Ip), formatIp(ip6 as Ip)]);
  }
}

const endpoint = (id: number, netns: string, ...ips: string[]) => ({
  id,
  containerId: `c${id}`,
  ifname: "eth0",
  netns,
  ips,
});

describe("the namespaces of pods", () => {
  test("have the pod's addresses, of both families or of one", () => {
    const stage = new Stage();
    stage.namespaces.put(endpoint(1, "/ns/a", "10.1.0.1", "fd10::1"));
    stage.namespaces.put(endpoint(2, "/ns/b", "fd10::2"));
    expect(stage.shown).toEqual([
      [1n, "10.1.0.1", "fd10::1"],
      [2n, "::", "fd10::2"],
    ]);
    expect(stage.namespaces.pathOf(2n)).toBe("/ns/b");
    stage.namespaces.remove(endpoint(1, "/ns/a"));
    stage.namespaces.remove(endpoint(1, "/ns/a"));
    expect(stage.shown).toEqual([[2n, "::", "fd10::2"]]);
    expect(stage.namespaces.pathOf(1n)).toBeUndefined();
  });

  test("with two attachments have the addresses of the first, whichever is adopted first", () => {
    const stage = new Stage();
    stage.namespaces.put(endpoint(5, "/ns/a", "10.1.0.5"));
    stage.namespaces.put(endpoint(3, "/ns/a", "10.1.0.3"));
    expect(stage.shown).toEqual([[1n, "10.1.0.3", "::"]]);
    stage.namespaces.remove(endpoint(3, "/ns/a"));
    expect(stage.shown).toEqual([[1n, "10.1.0.5", "::"]]);
  });

  test("of an ADD that is repeated in another namespace leave nothing in the first", () => {
    const stage = new Stage();
    stage.namespaces.put(endpoint(1, "/ns/a", "10.1.0.1"));
    stage.namespaces.put(endpoint(1, "/ns/b", "10.1.0.9"));
    expect(stage.shown).toEqual([[2n, "10.1.0.9", "::"]]);
  });

  test("that no endpoint has are pruned", () => {
    const stage = new Stage();
    stage.rows.set(9n, { ip4: parseIp("10.1.0.9"), ip6: new Uint8Array(16) });
    stage.namespaces.put(endpoint(1, "/ns/a", "10.1.0.1"));
    stage.namespaces.prune();
    expect(stage.shown).toEqual([[1n, "10.1.0.1", "::"]]);
  });

  test("that cannot be entered have no row", () => {
    const stage = new Stage();
    stage.namespaces.put(endpoint(1, "/gone", "10.1.0.1"));
    expect(stage.shown).toEqual([]);
  });
});
