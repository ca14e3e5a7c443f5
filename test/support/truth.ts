/** A lab's connections as a truth table: policies put in force on every node, and all cells asked at once. */
import { waitFor } from "@axoneme/base";
import { type KubeObject, type Resource, resources, tierPolicyResources } from "@axoneme/kube";
import type { RawPolicy } from "../../packages/policy/test/generate.ts";
import { type Objects, type Party, type Pod, verdict } from "../../packages/policy/test/oracle.ts";
import type { Place, TestLab } from "./lab.ts";

/** A place and who it is to policies. */
export interface Corner {
  readonly name: string;
  readonly place: Place;
  /** Where it is a pod's node, "" for the world. */
  readonly node: string;
  /** What pods on a node take it for. */
  party(seenFrom: string): Party;
  /** Addresses: the place's own, or one of the world's. */
  readonly addresses: readonly string[];
}

/** One connection: from a corner to an address of another one. */
export interface Cell {
  readonly from: Corner;
  readonly to: Corner;
  readonly source: string;
  readonly address: string;
  readonly proto: "tcp" | "udp" | "ping";
  readonly port: number;
}

const numbers: Readonly<Record<number, Cell["proto"]>> = { 6: "tcp", 17: "udp", 1: "ping", 58: "ping" };

/** A pod of the lab. */
export function podCorner(place: Place & { readonly node: string }, pod: () => Pod): Corner {
  const { name, node, v4, v6 } = place;
  return { name, place, node, party: pod, addresses: [v4, v6] };
}

/** A node of the lab. */
export function nodeCorner(place: Place): Corner {
  const party = (seenFrom: string): Party => ({ kind: seenFrom === place.name ? "host" : "remote-node" });
  return { name: place.name, place, node: place.name, party, addresses: [place.v4, place.v6] };
}

/** An address of the world. */
export function worldCorner(place: Place, ip: string): Corner {
  return { name: ip, place, node: "", party: () => ({ kind: "world", ip }), addresses: [ip] };
}

const isV6 = (address: string): boolean => address.includes(":");

/** All connections between pods, and between pods and the others, on some ports. */
export function cellsBetween(
  pods: readonly Corner[],
  others: readonly Corner[],
  ports: readonly (readonly [proto: number, port: number])[],
): Cell[] {
  const cells: Cell[] = [];
  const link = (from: Corner, to: Corner): void => {
    for (const source of from.addresses) {
      for (const address of to.addresses) {
        if (isV6(source) !== isV6(address)) continue;
        for (const [number, port] of ports) {
          const proto = numbers[number];
          const matches = number === 1 ? !isV6(address) : number === 58 ? isV6(address) : true;
          // The probe pings from whatever address the kernel chooses: the world has several.
          if (proto === "ping" && from.node === "") continue;
          if (proto !== undefined && matches) cells.push({ from, to, source, address, proto, port });
        }
      }
    }
  };
  for (const pod of pods) {
    for (const peer of pods) if (peer !== pod) link(pod, peer);
    for (const other of others) {
      link(pod, other);
      link(other, pod);
    }
  }
  return cells;
}

/** What a world of policies says of a connection: both ends have to agree. */
export function isAllowed(policies: readonly RawPolicy[], cell: Cell, objects: Objects): boolean {
  const { from, to, source, address, proto, port } = cell;
  const number = proto === "tcp" ? 6 : proto === "udp" ? 17 : isV6(cell.address) ? 58 : 1;
  const says = (subject: Corner, peer: Corner, ip: string, ingress: boolean): boolean => {
    const pod = subject.party(subject.node);
    if (pod.kind !== "pod") return true;
    const party = { ...peer.party(subject.node), ip };
    return verdict([...policies], pod, party, ingress, number, port, objects) !== "deny";
  };
  return says(from, to, address, false) && says(to, from, source, true);
}

export function cellText({ from, to, source, address, proto, port }: Cell): string {
  return `${proto} from ${from.name} (${source}) to ${to.name} (${address}) ${port}`;
}

/** Asks all cells at once: one probe a place. */
export async function ask(lab: TestLab, cells: readonly Cell[], timeoutMs: number): Promise<boolean[]> {
  const byPlace = new Map<Place, Cell[]>();
  for (const cell of cells) {
    const { place } = cell.from;
    byPlace.set(place, [...(byPlace.get(place) ?? []), cell]);
  }
  const answers = new Map<Cell, boolean>();
  await Promise.all(
    [...byPlace].map(async ([place, asked]) => {
      const isWorld = place === lab.world;
      const stdin = asked
        .map(({ proto, address, port, source }) =>
          [proto, address, port, ...(isWorld ? [source] : [])].join(" "),
        )
        .join("\n");
      const args = ["matrix", "--timeout", String(timeoutMs)];
      const { code, stdout, stderr } = await lab.start(place, args, { stdin: `${stdin}\n` }).ended;
      if (code !== 0 || stdout.trim().length !== asked.length)
        throw new Error(`${place.name}: ${code} ${stderr}`);
      for (const [i, cell] of asked.entries()) answers.set(cell, stdout[i] === "1");
    }),
  );
  return cells.map((cell) => answers.get(cell) === true);
}

const apis: Readonly<Record<string, string>> = {
  NetworkPolicy: "networking.k8s.io/v1",
  CiliumNetworkPolicy: "cilium.io/v2",
  CiliumClusterwideNetworkPolicy: "cilium.io/v2",
  CiliumCIDRGroup: "cilium.io/v2",
  ClusterNetworkPolicy: "policy.networking.k8s.io/v1alpha2",
};

function resourceOf(kind: string): Resource<KubeObject> {
  const all = [...Object.values(resources), ...tierPolicyResources] as readonly Resource<KubeObject>[];
  const found = all.find((resource) => resource.kind === kind);
  if (found === undefined) throw new Error(`no resource of kind ${kind}`);
  return found;
}

/** What tells objects apart. */
export const keyOf = ({
  kind,
  metadata,
}: {
  kind?: string;
  metadata?: { namespace?: string; name?: string };
}) => `${kind}/${metadata?.namespace ?? ""}/${metadata?.name}`;

/** Policies in force in a lab, as its agents say. */
export class InForce {
  readonly #lab: TestLab;
  readonly #now = new Map<string, { raw: RawPolicy; version: string }>();

  constructor(lab: TestLab) {
    this.#lab = lab;
  }

  get policies(): RawPolicy[] {
    return [...this.#now.values()].map(({ raw }) => raw);
  }

  /** Whether the cluster has such objects. */
  knows(kind: string): boolean {
    return apis[kind] !== undefined;
  }

  /** Writes an object; when this returns the API has it, agents may not. */
  async put(raw: RawPolicy): Promise<void> {
    const resource = resourceOf(raw.kind);
    const object = { apiVersion: apis[raw.kind], ...raw } as KubeObject;
    const made = await this.#lab.client
      .resource(resource)
      .apply(object, { fieldManager: "test", force: true });
    this.#now.set(keyOf(raw), { raw, version: made.metadata?.resourceVersion ?? "" });
  }

  async drop(raw: RawPolicy): Promise<void> {
    const { name, namespace } = raw.metadata;
    await this.#lab.client.resource(resourceOf(raw.kind)).deleteIfExists(name, { namespace });
    this.#now.delete(keyOf(raw));
  }

  async dropAll(): Promise<void> {
    for (const raw of this.policies) await this.drop(raw);
  }

  /** Waits until every agent enforces exactly these. */
  async settled(): Promise<void> {
    for (const node of this.#lab.nodes.keys()) {
      await waitFor(() => this.#isSettled(node), {
        timeoutMs: 45_000,
        everyMs: 10,
        what: `${node} to enforce ${[...this.#now.keys()].join(", ") || "nothing"}`,
      });
    }
  }

  async #isSettled(node: string): Promise<boolean> {
    const known = await this.#lab.agent(node).policies();
    const wanted = [...this.#now].filter(([key]) => !key.startsWith("CiliumCIDRGroup"));
    if (known.length !== wanted.length) return false;
    const versions = new Map(
      known.map(({ kind, namespace, name, object }) => [
        keyOf({ kind, metadata: { ...(namespace === "" ? {} : { namespace }), name } }),
        generationOf(object),
      ]),
    );
    return wanted.every(([key, { version }]) => (versions.get(key) ?? -1) >= Number(version));
  }
}

/** Later than the write: a status may have been written since. */
function generationOf(object: unknown): number {
  return Number((object as KubeObject | undefined)?.metadata?.resourceVersion ?? -1);
}

/**
 * Compares a matrix with the evaluator's. Whatever differs is asked again, slower: a machine under load loses packets, a
 * policy does not.
 * @returns how many of the connections were open, and how many shut.
 */
export async function compare(
  lab: TestLab,
  cells: readonly Cell[],
  wanted: readonly boolean[],
): Promise<{ open: number; shut: number }> {
  let left = cells.map((cell, i) => ({ cell, wanted: wanted[i] === true }));
  for (const timeoutMs of [300, 800, 2500]) {
    const is = await ask(
      lab,
      left.map(({ cell }) => cell),
      timeoutMs,
    );
    left = left.filter((one, i) => is[i] !== one.wanted);
    if (left.length === 0) break;
  }
  const wrong = left.map((one) => `${cellText(one.cell)} should be ${one.wanted ? "open" : "shut"}`);
  if (wrong.length > 0) throw new Error(`${wrong.length} cells differ:\n${wrong.slice(0, 20).join("\n")}`);
  const open = wanted.filter(Boolean).length;
  return { open, shut: wanted.length - open };
}
