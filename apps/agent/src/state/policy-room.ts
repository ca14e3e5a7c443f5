import type { PolicyTables } from "@axoneme/datapath";
import type { EventRecorder } from "@axoneme/kube";
import type { PolicyEngine, PolicyRef } from "@axoneme/policy";
import type { MapFill } from "../metrics/maps.ts";

const apiVersions: Readonly<Record<PolicyRef["kind"], string>> = {
  NetworkPolicy: "networking.k8s.io/v1",
  CiliumNetworkPolicy: "cilium.io/v2",
  CiliumClusterwideNetworkPolicy: "cilium.io/v2",
  ClusterNetworkPolicy: "policy.networking.k8s.io/v1alpha2",
  AdminNetworkPolicy: "policy.networking.k8s.io/v1alpha1",
  BaselineAdminNetworkPolicy: "policy.networking.k8s.io/v1alpha1",
  Builtin: "",
};

/** One row in a hundred stays free: the kernel counts rows by CPU and may take a map for full a little early. */
const spare = 0.01;

/** How many rows the maps of policies take. */
export function policyCapacity({ policy, policyHeads }: PolicyTables): { rows: number; heads: number } {
  const usable = ({ raw }: { raw: { maxEntries: number } }) =>
    raw.maxEntries - Math.ceil(raw.maxEntries * spare);
  return { rows: usable(policy), heads: usable(policyHeads) };
}

/** What the room of a node's maps is judged by. */
export interface RoomSources {
  readonly engine: PolicyEngine;
  readonly capacity: { readonly rows: number; readonly heads: number };
  readonly ipcache: { readonly size: number };
  readonly ipcacheCapacity: number;
  /** Where it is said that a policy was refused. */
  readonly events: Pick<EventRecorder, "record">;
}

/** Whether the maps have room for what policies ask: asked before anything is written. */
export class PolicyRoom {
  readonly #sources: RoomSources;

  constructor(sources: RoomSources) {
    this.#sources = sources;
  }

  /** Why prefixes that rules are about to name find no room; undefined: they do. */
  forPrefixes(count: number): string | undefined {
    const { ipcache, ipcacheCapacity } = this.#sources;
    if (count === 0 || ipcache.size + count <= ipcacheCapacity) return undefined;
    const room = Math.max(0, ipcacheCapacity - ipcache.size);
    return `it names ${count} new prefixes, and ax_ipcache has room for ${room}`;
  }

  /** Why the rows of the next commit find no room; undefined: they do. */
  forRows(): string | undefined {
    const { engine, capacity } = this.#sources;
    const [wanted, used] = [engine.demand(), engine.used];
    if (wanted.rows > used.rows && wanted.rows > capacity.rows)
      return lack("ax_policy", wanted.rows - used.rows, capacity.rows - used.rows);
    if (wanted.heads > used.heads && wanted.heads > capacity.heads)
      return lack("ax_policy_heads", wanted.heads - used.heads, capacity.heads - used.heads);
    return undefined;
  }

  /** A policy was not put in force: says so on its object. */
  refused({ kind, namespace = "", name, uid }: PolicyRef, why: string): void {
    const subject = { apiVersion: apiVersions[kind], kind, namespace, name, uid };
    this.#sources.events.record(subject, "Warning", "NoRoom", `not enforced on this node: ${why}`);
  }

  /** Rows and prefixes in use: less of them, and what was refused may fit. */
  get used(): number {
    return this.#sources.engine.used.rows + this.#sources.ipcache.size;
  }

  /** How full the maps are. */
  fills(): MapFill[] {
    const { engine, capacity, ipcache, ipcacheCapacity } = this.#sources;
    const { rows, heads } = engine.used;
    return [
      { name: "ax_policy", entries: rows, capacity: capacity.rows },
      { name: "ax_policy_heads", entries: heads, capacity: capacity.heads },
      { name: "ax_ipcache", entries: ipcache.size, capacity: ipcacheCapacity },
    ];
  }
}

function lack(map: string, more: number, room: number): string {
  return `it needs ${more} more rows of ${map}, which has room for ${room}`;
}
