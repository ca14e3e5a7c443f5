import * as abi from "@axoneme/abi";
import { formatPrefix, type Prefix } from "@axoneme/base";
import { applyPolicyChanges, TypedMap, u32 } from "@axoneme/datapath";
import { Datapath } from "../../bpf/test/datapath.ts";
import { Tcp, tcp } from "../../bpf/test/packet.ts";
import { median } from "../net/index.ts";
import { computed } from "./compute.ts";
import { identities, identityOf, policyOf } from "./model.ts";

/** What a packet that opens a connection costs, policy of its ends looked up, with one policy and with many. */
export interface PacketCost {
  readonly name: string;
  /** Nanoseconds, medians over the rounds. */
  readonly one: number;
  readonly many: number;
  /** Median over the rounds of the one against the other in the same round. */
  readonly ratio: number;
}

/** Runs of a program at a time; the ring buffer has room for so many events. */
const repeat = 5000;
/** A test run may name any device that exists. */
const loopback = 1;
/** Identity of prefixes that no policy of the one names. */
const otherPrefix = 0x0200_0000 - 1;
const [pod, peer, node] = ["10.0.0.1", "10.0.0.2", "172.30.0.11"] as const;

interface Case {
  readonly name: string;
  readonly program: "pod_from" | "pod_to";
  readonly packet: Uint8Array;
  /** The pod that the packet leaves. */
  readonly sender: string;
}

const syn = (src: string, dst: string, dport: number) =>
  tcp({ src, dst, sport: 40_000, dport, flags: Tcp.SYN });
const { port, cidr } = policyOf(0);
const outside = cidr.replace("0.0/16", "0.9");

const cases: readonly Case[] = [
  { name: "pod_from, egress to a prefix", program: "pod_from", packet: syn(pod, outside, 443), sender: pod },
  { name: "pod_from, ingress of its peer", program: "pod_from", packet: syn(peer, pod, port), sender: peer },
  { name: "pod_to, ingress from the host", program: "pod_to", packet: syn(node, pod, port), sender: peer },
];

/** A datapath whose maps are those of a node with `policies` and `endpoints`. The first endpoint is under policy 0. */
class Scene {
  readonly #dp = new Datapath("pod");
  readonly #policyId: number;

  constructor(policies: number, endpoints: number, prefixes: readonly Prefix[]) {
    const { engine, changes, cidrs } = computed(policies, endpoints);
    this.#policyId = engine.policyIdOf(1);
    const policyHeads = new TypedMap(this.#dp.map("ax_policy_heads"), u32, {
      size: abi.policyHeadSize,
      encode: abi.encodePolicyHead,
      decode: abi.decodePolicyHead,
    });
    const policy = new TypedMap(
      this.#dp.map("ax_policy"),
      { size: abi.policyKeySize, encode: abi.encodePolicyKey, decode: abi.decodePolicyKey },
      { size: abi.policyRowSize, encode: abi.encodePolicyRow, decode: abi.decodePolicyRow },
    );
    applyPolicyChanges({ policy, policyHeads }, changes, () => undefined);
    for (const prefix of prefixes) this.#dp.ipcache(formatPrefix(prefix), otherPrefix);
    for (const { prefix, id } of cidrs) this.#dp.ipcache(formatPrefix(prefix), id);
    // Pods of the cluster: there are as many of them with one policy.
    for (let i = 0; i < identities; i++)
      this.#dp.ipcache(`10.1.${i >> 8}.${i & 255}/32`, identityOf(i), "172.30.0.12");
    // Entries are over at once: every packet opens its connection again.
    this.#dp.configure({ ctTimeoutTcpSynS: 0xffff_ffff });
    this.#dp.endpoint(node, { identity: 1, flags: 1 });
  }

  /** Nanoseconds of a run. */
  run({ program, packet, sender }: Case): number {
    const device = (ip: string) => (ip === sender ? loopback : loopback + 1);
    const policyId = this.#policyId;
    this.#dp.endpoint(pod, { id: 1, identity: identityOf(0), policyId, ifindex: device(pod) });
    this.#dp.endpoint(peer, { id: 200, identity: peerIdentity, ifindex: device(peer) });
    const ctx = new Uint8Array(192);
    const ifindex = program === "pod_to" ? loopback + 1 : loopback;
    new DataView(ctx.buffer).setUint32(40, ifindex, true);
    this.#dp.events();
    const { durationNs } = this.#dp.object.program(program).testRun({ data: packet, ctx, repeat });
    this.#dp.events();
    return durationNs;
  }

  close(): void {
    this.#dp.close();
  }
}

/** Of the app that policy 0 lets in. */
const peerIdentity = identityOf(Number(policyOf(0).near.slice("app-".length)));

/** Pairs of scenes: where the kernel happens to put the maps of one makes a difference of some percent. */
const scenePairs = 7;

/** Measures both in turn, `rounds` times in all, in several pairs of scenes. */
export function packetCosts(policies: number, endpoints: number, rounds: number): PacketCost[] {
  // How deep the look-up of an address goes is a matter of how many addresses are known, not of policies.
  const prefixes = computed(policies, endpoints).cidrs.map(({ prefix }) => prefix);
  const each = Math.ceil(rounds / scenePairs);
  const pairs = Array.from({ length: scenePairs }, (_, i) => {
    const make = [() => new Scene(1, 1, prefixes), () => new Scene(policies, endpoints, prefixes)] as const;
    const second = i % 2 === 1 ? make[1]() : undefined;
    const one = make[0]();
    const many = second ?? make[1]();
    try {
      return cases.map((of) => pairCost(of, one, many, each));
    } finally {
      one.close();
      many.close();
    }
  });
  return cases.map(({ name }, i) => {
    const all = pairs.flatMap((costs) => costs[i] ?? []);
    const middle = (of: (cost: PacketCost) => number) => median(all.map(of));
    return {
      name,
      one: middle(({ one }) => one),
      many: middle(({ many }) => many),
      ratio: middle(({ ratio }) => ratio),
    };
  });
}

function pairCost(of: Case, one: Scene, many: Scene, rounds: number): PacketCost {
  const runs = Array.from({ length: rounds }, (_, round) => {
    if (round % 2 === 0) return { one: one.run(of), many: many.run(of) };
    const second = many.run(of);
    return { one: one.run(of), many: second };
  });
  return {
    name: of.name,
    one: median(runs.map((run) => run.one)),
    many: median(runs.map((run) => run.many)),
    ratio: median(runs.map((run) => run.many / run.one)),
  };
}
