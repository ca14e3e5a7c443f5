import type { PodRef } from "./cni/request.ts";

/**
 * What the agent remembers of an endpoint, on disk from before its first change to the system until after its last.
 * `creating` and `deleting` records found at start are undone or finished: no step leaks an address, link or row.
 */
export interface EndpointRecord {
  readonly version: 1;
  readonly state: "creating" | "ready" | "deleting";
  /** Endpoint id, 1..65535, unique on the node. */
  readonly id: number;
  readonly containerId: string;
  /** Interface name inside the pod. */
  readonly ifname: string;
  /** Path of the pod's network namespace, as the runtime gave it. */
  readonly netns: string;
  readonly pod: PodRef | undefined;
  /** Addresses in text, IPv4 first. */
  readonly ips: readonly string[];
  /** Host side of the veth pair. */
  readonly hostIfname: string;
  readonly hostIfindex: number;
  readonly mac: string;
  readonly hostMac: string;
  /** Numeric identity last in force; 0 before the first is known. */
  readonly identity: number;
  /** Policy reports what it would drop from and to it, and drops nothing. */
  readonly policyAuditMode?: boolean;
  /** Bits per second that the pod may send, as its interface is set; absent: no limit. */
  readonly egressLimit?: number;
  /** Which of its addresses stay with the pod's name (FixedAddress), and the uid of the pod that holds them. */
  readonly fixed?: { readonly podUid: string; readonly addresses: readonly string[] };
  /** True when another plugin made the interface and we were chained behind it. */
  readonly chained: boolean;
  /** Wall time, milliseconds since the epoch. */
  readonly createdAt: number;
}

/** An attachment is one interface of one container: the specification's unit, and our key. */
export function attachmentKey(containerId: string, ifname: string): string {
  return `${containerId}_${ifname}`;
}

/**
 * Reads a record's text.
 * @returns undefined when the text is not a record of this version: the caller keeps the file and reports it.
 */
export function parseRecord(text: string): EndpointRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const record = value as EndpointRecord;
  const whole =
    typeof value === "object" &&
    value !== null &&
    record.version === 1 &&
    Number.isInteger(record.id) &&
    typeof record.containerId === "string" &&
    typeof record.ifname === "string" &&
    typeof record.hostIfname === "string" &&
    Array.isArray(record.ips);
  return whole ? record : undefined;
}
