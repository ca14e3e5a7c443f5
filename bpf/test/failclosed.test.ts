import { DropReason } from "@axoneme/abi";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Datapath, Verdict } from "./datapath.ts";
import { type Devices, makeDevices } from "./devices.ts";
import { Tcp, tcp } from "./packet.ts";
import { families, ID, peopled } from "./scene.ts";

/** What is missing or full closes, it does not open. */
let dp: Datapath;
let dev: Devices;

beforeAll(async () => {
  dev = await makeDevices();
  dp = new Datapath("pod");
});
afterAll(async () => {
  dp.close();
  await dev.remove();
});
beforeEach(() => dp.reset());

describe.each(families)("closed, $name", (f) => {
  const send = (sport: number, flags: number) =>
    dp.run("pod_from", tcp({ src: f.a, dst: f.b, sport, dport: 80, flags }), { ifindex: dev.a }).verdict;

  test("a policy whose head is not there denies", () => {
    peopled(dp, dev);
    dp.endpoint(f.b, { ifindex: dev.b, identity: ID.B, id: 2, policyId: 77 });
    expect(send(1000, Tcp.SYN)).toBe(Verdict.DROP);
    expect(dp.events().at(-1)?.subtype).toBe(DropReason.POLICY);
  });

  test("a full connection table refuses new connections and keeps those it has", () => {
    peopled(dp, dev);
    const room = dp.map("ax_ct").maxEntries;
    for (let i = 0; i < room; i++) expect(send(1000 + i, Tcp.SYN)).toBe(Verdict.REDIRECT);
    dp.events();
    expect(send(1000 + room, Tcp.SYN)).toBe(Verdict.DROP);
    expect(dp.events().at(-1)?.subtype).toBe(DropReason.CT_CREATE_FAILED);
    expect([send(1000, Tcp.ACK), send(999 + room, Tcp.ACK)]).toEqual([Verdict.REDIRECT, Verdict.REDIRECT]);
  });
});
