import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigFlags, PolicyVerdict } from "@axoneme/abi";
import { type Ip, type Prefix, parseMac } from "@axoneme/base";
import { type BpfMap, BpfObject, type Entries, type LoadedObject } from "@axoneme/bpf";
import { applyPolicyChanges, type DatapathMaps, openMaps } from "@axoneme/datapath";
import type { CidrMatch } from "@axoneme/policy";
import { addressesOf, type World, type Write } from "../../packages/policy/test/world.ts";
import { compileBpf } from "../../scripts/build-bpf.mjs";
import { defaultConfig } from "./datapath.ts";
import { hostMac, podMac } from "./packet.ts";

/** A question to the maps: what the policy of the pod at `subject` says of a packet from or to `peer`. */
export interface Question {
  readonly subject: Ip;
  readonly peer: Ip;
  readonly ingress: boolean;
  readonly proto: number;
  readonly port: number;
}

const CELL = 48;
const MOST_CELLS = 4096;
const NO_ROW = 0x100;

/** Words for a decision of `policy_decide`. */
function wordOf(decision: number): "allow" | "deny" | "audit" {
  const verdict = decision & 0xffff & ~NO_ROW;
  if (verdict === PolicyVerdict.AUDIT) return "audit";
  return verdict === PolicyVerdict.ALLOW ? "allow" : "deny";
}

const flagsOf = {
  address: 0,
  nodes: ConfigFlags.CIDR_NOT_PODS,
  identity: ConfigFlags.CIDR_NOT_PODS | ConfigFlags.CIDR_NOT_NODES,
} as const;

function ipcacheKey({ ip, length }: Prefix): { prefixlen: number; addr: Ip } {
  return { prefixlen: length, addr: ip };
}

/**
 * Kernel maps of a node, written by the agent's own writer, and judged by the datapath's `resolve` and `policy_decide`:
 * all cells of a matrix in one test run.
 */
export class KernelMaps {
  readonly pinDir: string;
  readonly maps: DatapathMaps;
  readonly #object: LoadedObject;
  readonly #cells: BpfMap;
  readonly #answers: BpfMap;
  readonly #scratch: string;
  readonly #close: () => void;
  #asked = 0;
  #dump: Entries | undefined;

  constructor(name: string) {
    this.pinDir = `/sys/fs/bpf/${name}-${process.pid}`;
    this.#scratch = mkdtempSync(join(tmpdir(), name));
    const source = join(import.meta.dirname, "matrix.bpf.c");
    const output = join(this.#scratch, "matrix.bpf.o");
    compileBpf(source, output);
    mkdirSync(join(this.pinDir, "maps"), { recursive: true });
    const maxEntries = { ax_ct: 1024, ax_nat: 1024, ax_frags: 64, ax_events: 1 << 20 };
    this.#object = BpfObject.open(output).configure({ pinDir: this.pinDir, maxEntries }).load();
    this.#cells = this.#object.map("test_cells");
    this.#answers = this.#object.map("test_answers");
    const { maps, close } = openMaps(join(this.pinDir, "maps"));
    this.maps = maps;
    this.#close = close;
    maps.config.put(0, defaultConfig);
  }

  close(): void {
    this.#close();
    this.#object.close();
    rmSync(this.pinDir, { recursive: true, force: true });
    rmSync(this.#scratch, { recursive: true, force: true });
  }

  /** As after the load; rules on prefixes match as told. */
  clear(match: CidrMatch = "address"): void {
    const { policy, policyHeads, endpoints, ipcache, cidrs } = this.maps;
    for (const map of [policy, policyHeads, endpoints, ipcache, cidrs]) (map.raw as BpfMap).clear();
    this.maps.config.put(0, { ...defaultConfig, flags: defaultConfig.flags | flagsOf[match] });
  }

  /** The identity of an address, as the agent writes it. */
  identify(prefix: Prefix, identity: number): void {
    this.maps.ipcache.put(ipcacheKey(prefix), { identity, flags: 0, nodeIp: new Uint8Array(16) });
  }

  /** What the next `judge` asks. */
  ask(questions: readonly Question[]): void {
    if (questions.length > MOST_CELLS) throw new Error(`${questions.length} cells`);
    const values = new Uint8Array(questions.length * CELL);
    const view = new DataView(values.buffer);
    questions.forEach(({ subject, peer, ingress, proto, port }, i) => {
      const at = i * CELL;
      values.set(subject, at);
      values.set(peer, at + 16);
      view.setUint32(at + 32, ingress ? 0 : 1, true);
      view.setUint32(at + 36, proto, true);
      view.setUint32(at + 40, port, true);
    });
    const keys = new Uint8Array(Uint32Array.from(questions, (_, i) => i).buffer);
    if (questions.length > 0) this.#cells.putBatch(keys, values, questions.length);
    this.#asked = questions.length;
  }

  /** What the kernel says now, in the order of the questions. */
  judge(): ("allow" | "deny" | "audit")[] {
    if (this.#asked === 0) return [];
    const ctx = new Uint8Array(192);
    new DataView(ctx.buffer).setUint32(8, this.#asked, true);
    const { retval } = this.#object.program("matrix").testRun({ data: new Uint8Array(64), ctx });
    if (retval !== this.#asked) throw new Error(`${retval} of ${this.#asked} cells answered`);
    this.#dump = this.#answers.dump(this.#dump);
    const { buffer, byteOffset, byteLength } = this.#dump.values;
    const view = new DataView(buffer, byteOffset, byteLength);
    return Array.from({ length: this.#asked }, (_, i) => wordOf(view.getUint32(i * 8, true)));
  }

  /** One write of a world, as the agent does it. */
  write(write: Write): void {
    if (write.op === "putCidr") this.maps.cidrs.put(ipcacheKey(write.prefix), write.number);
    else if (write.op === "deleteCidr") this.maps.cidrs.delete(ipcacheKey(write.prefix));
    else if (write.op === "putPod") {
      const { id, identity, policyId } = write;
      const macs = { mac: parseMac(podMac), hostMac: parseMac(hostMac) };
      for (const ip of addressesOf(write.pod))
        this.maps.endpoints.put(ip, { ifindex: 1, identity, policyId, id, flags: 0, ...macs });
    } else if (write.op === "deletePod") {
      for (const ip of addressesOf(write.pod)) this.maps.endpoints.delete(ip);
    } else if (write.op !== "setEndpoint") applyPolicyChanges(this.maps, [write], () => undefined);
  }

  /** Follows a world from now on. */
  follow(world: World): void {
    world.onWrite = (write) => this.write(write);
  }
}
