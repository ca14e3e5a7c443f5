import { hostPrefix, parseIp } from "@axoneme/base";
import { Ipcache } from "@axoneme/identity";
import { describe, expect, it } from "vitest";
import { GonePods } from "../src/gone-pods.ts";

const ip = parseIp("10.0.0.1");
const pod = (name: string) => ({ namespace: "default", name });

describe("pods that are gone", () => {
  it("keep their name for flows of their identity, not for others", () => {
    const ipcache = new Ipcache();
    const gone = new GonePods(ipcache);
    ipcache.upsert(hostPrefix(ip), "local", "a", { identity: 1000, pod: pod("a") });
    expect(gone.get(ip, 1000)).toBeUndefined();
    ipcache.delete(hostPrefix(ip), "local", "a");
    expect(gone.get(ip, 1000)?.pod).toEqual(pod("a"));
    expect(gone.get(ip, 2000)).toBeUndefined();
    ipcache.upsert(hostPrefix(ip), "local", "b", { identity: 2000, pod: pod("b") });
    expect(gone.get(ip, 1000)?.pod).toEqual(pod("a"));
    expect(gone.get(ip, 2000)).toBeUndefined();
  });

  it("are forgotten, the oldest first, when there are many", () => {
    const ipcache = new Ipcache();
    const gone = new GonePods(ipcache);
    const address = (i: number) => parseIp(`10.1.${i >> 8}.${i & 255}`);
    for (let i = 0; i < 4097; i++) {
      ipcache.upsert(hostPrefix(address(i)), "local", `${i}`, { identity: 1000, pod: pod(`p${i}`) });
      ipcache.delete(hostPrefix(address(i)), "local", `${i}`);
    }
    expect(gone.get(address(0), 1000)).toBeUndefined();
    expect(gone.get(address(1), 1000)?.pod).toEqual(pod("p1"));
    expect(gone.get(address(4096), 1000)?.pod).toEqual(pod("p4096"));
  });
});
