import { IpcacheFlags, PolicyVerdict } from "@axoneme/abi";
import type { Datapath } from "./datapath.ts";
import type { Devices } from "./devices.ts";
import { Proto } from "./packet.ts";

/**
 * The cast of the tables. Pods a and b on this node, c on another one, the world. Identities 300, 400, 500.
 * Policy 1 lets a speak and listen to anybody on TCP 80 only, policy 2 is b's: ingress from a on TCP 80, ICMP echo.
 */
export interface Family {
  name: string;
  a: string;
  b: string;
  c: string;
  node: string;
  otherNode: string;
  world: string;
  service: string;
  prefix: string;
  worldIdentity: number;
  echoType: number;
  icmp: number;
  masquerade: number;
}

export const v4: Family = {
  name: "IPv4",
  a: "10.0.0.1",
  b: "10.0.0.2",
  c: "10.0.1.3",
  node: "172.30.0.11",
  otherNode: "172.30.0.12",
  world: "192.0.2.1",
  service: "10.96.0.10",
  prefix: "10.0.1.0/24",
  worldIdentity: 9,
  echoType: 8,
  icmp: Proto.ICMP,
  masquerade: 8,
};

export const v6: Family = {
  name: "IPv6",
  a: "fd10::1",
  b: "fd10::2",
  c: "fd10:0:0:1::3",
  node: "fd00:172:30::11",
  otherNode: "fd00:172:30::12",
  world: "2001:db8::1",
  service: "fd96::10",
  prefix: "fd10:0:0:1::/64",
  worldIdentity: 10,
  echoType: 128,
  icmp: Proto.ICMPV6,
  masquerade: 16,
};

export const families = [v4, v6];

export const ID = { A: 300, B: 400, C: 500 } as const;
export const RULE = { A_HTTP: 11, A_DEFAULT: 12, B_HTTP: 21, B_ECHO: 22, B_DEFAULT: 23, B_DENY: 24 } as const;

/** Both families, no policy: everybody may speak to everybody. */
export function peopled(dp: Datapath, dev: Devices): void {
  dp.configure({ deviceIfindex: dev.native, tunnelIfindex: dev.tunnel });
  for (const f of families) {
    dp.endpoint(f.a, { ifindex: dev.a, identity: ID.A, id: 1 });
    dp.endpoint(f.b, { ifindex: dev.b, identity: ID.B, id: 2 });
    dp.endpoint(f.node, { identity: 1, flags: 1 });
    dp.ipcache(`${f.c}/${f.name === "IPv4" ? 32 : 128}`, ID.C, f.otherNode, IpcacheFlags.DIRECT);
    dp.ipcache(`${f.otherNode}/${f.name === "IPv4" ? 32 : 128}`, 6);
  }
}

/** Adds b's ingress policy. */
export function guarded(dp: Datapath, dev: Devices): void {
  peopled(dp, dev);
  for (const f of families) {
    dp.endpoint(f.b, { ifindex: dev.b, identity: ID.B, id: 2, policyId: 2 });
    dp.policyRow({
      policy: 2,
      dir: "ingress",
      peer: ID.A,
      proto: f.icmp,
      port: f.echoType,
      rule: RULE.B_ECHO,
    });
  }
  dp.policyHead(2, "ingress", RULE.B_DEFAULT);
  dp.policyHead(2, "egress", 0, PolicyVerdict.ALLOW);
  dp.policyRow({ policy: 2, dir: "ingress", peer: ID.A, proto: Proto.TCP, port: 80, rule: RULE.B_HTTP });
}

/** Adds a's egress policy too. */
export function guardedBothWays(dp: Datapath, dev: Devices): void {
  guarded(dp, dev);
  for (const f of families) dp.endpoint(f.a, { ifindex: dev.a, identity: ID.A, id: 1, policyId: 1 });
  dp.policyHead(1, "egress", RULE.A_DEFAULT);
  dp.policyHead(1, "ingress", 0, PolicyVerdict.ALLOW);
  dp.policyRow({ policy: 1, dir: "egress", proto: Proto.TCP, port: 80, rule: RULE.A_HTTP });
}
