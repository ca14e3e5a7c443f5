import { DropReason } from "@axoneme/abi";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Datapath, Verdict } from "./datapath.ts";
import { type Devices, makeDevices } from "./devices.ts";
import { Proto, Tcp, tcp, udp, unreachable } from "./packet.ts";
import { families, guarded, ID, peopled } from "./scene.ts";

/** Who pretends to be somebody, or profits from who had the address before. */
let pod: Datapath;
let node: Datapath;
let dev: Devices;

beforeAll(async () => {
  dev = await makeDevices();
  pod = new Datapath("pod");
  node = new Datapath("node");
});
afterAll(async () => {
  pod.close();
  node.close();
  await dev.remove();
});
beforeEach(() => {
  pod.reset();
  node.reset();
});

const lastDrop = (dp: Datapath) => dp.events().at(-1)?.subtype;

describe.each(families)("an address that changed hands, $name", (f) => {
  const query = { src: f.b, dst: f.a, sport: 5000, dport: 53 };
  const answer = { src: f.a, dst: f.b, sport: 53, dport: 5000 };

  test("who answered the pod before it cannot speak to the pod that has its address now", () => {
    guarded(pod, dev);
    expect(pod.run("pod_from", udp(query), { ifindex: dev.b }).verdict).toBe(Verdict.REDIRECT);
    expect(pod.run("pod_from", udp(answer), { ifindex: dev.a }).verdict).toBe(Verdict.REDIRECT);
    pod.endpoint(f.b, { ifindex: dev.native, identity: ID.B, id: 3, policyId: 2 });
    pod.nextEpoch();
    expect(pod.run("pod_from", udp(answer), { ifindex: dev.a }).verdict).toBe(Verdict.DROP);
    expect(lastDrop(pod)).toBe(DropReason.POLICY);
  });

  test("the same pod under a new policy still gets its answer", () => {
    guarded(pod, dev);
    pod.run("pod_from", udp(query), { ifindex: dev.b });
    pod.nextEpoch();
    expect(pod.run("pod_from", udp(answer), { ifindex: dev.a }).verdict).toBe(Verdict.REDIRECT);
  });

  test("an error about what the pod before it sent does not reach the pod that has its address now", () => {
    peopled(node, dev);
    const asked = { src: f.c, dst: f.b, sport: 1000, dport: 53 };
    expect(node.run("node_from", udp(asked), { ifindex: dev.native }).verdict).toBe(Verdict.REDIRECT);
    const answered = udp({ src: f.b, dst: f.c, sport: 53, dport: 1000 });
    const error = unreachable({ src: f.c, dst: f.b }, answered.subarray(14));
    expect(node.run("node_from", error, { ifindex: dev.native }).verdict).toBe(Verdict.REDIRECT);
    node.endpoint(f.b, { ifindex: dev.b, identity: ID.B, id: 3 });
    node.nextEpoch();
    expect(node.run("node_from", error, { ifindex: dev.native }).verdict).toBe(Verdict.DROP);
    expect(lastDrop(node)).toBe(DropReason.STALE_OR_UNROUTABLE);
  });
});

describe.each(families)("where nodes speak VXLAN, $name", (f) => {
  beforeEach(() => {
    for (const dp of [pod, node]) {
      peopled(dp, dev);
      dp.configure({ flags: dp.config.flags | 4 });
    }
  });

  test("a service does not open the tunnel's port to pods", () => {
    pod.service(1, { ip: f.service, port: 53, proto: Proto.UDP }, [{ ip: f.otherNode, port: 8472 }]);
    const sent = udp({ src: f.a, dst: f.service, sport: 1, dport: 53 });
    expect(pod.run("pod_from", sent, { ifindex: dev.a }).verdict).toBe(Verdict.DROP);
    expect(lastDrop(pod)).toBe(DropReason.ENCAP_PROHIBITED);
  });

  test("who claims to be a pod of another node, outside of the tunnel, is dropped", () => {
    const sent = tcp({ src: f.c, dst: f.b, sport: 1, dport: 80, flags: Tcp.SYN });
    expect(node.run("node_from", sent, { ifindex: dev.native }).verdict).toBe(Verdict.DROP);
    expect(lastDrop(node)).toBe(DropReason.INVALID_SOURCE_IP);
  });

  test.each([
    ["a pod of this node", f.a],
    ["this node", f.node],
    ["a pod of another node", f.c],
  ])("who claims to be %s is not lent its identity on the way into the tunnel", (_, src) => {
    const sent = tcp({ src, dst: f.c, sport: 1, dport: 80, flags: Tcp.SYN });
    expect(node.run("node_from", sent, { ifindex: dev.native }).verdict).toBe(Verdict.DROP);
    expect(lastDrop(node)).toBe(DropReason.INVALID_SOURCE_IP);
  });

  test("the world on its way into the tunnel is the stack's", () => {
    const sent = tcp({ src: f.world, dst: f.c, sport: 1, dport: 80, flags: Tcp.SYN });
    expect(node.run("node_from", sent, { ifindex: dev.native }).verdict).toBe(Verdict.PASS);
  });
});
