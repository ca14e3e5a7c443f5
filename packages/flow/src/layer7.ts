import { encodeEvent } from "@axoneme/abi";
import type { Ip } from "@axoneme/base";
import { isV4 } from "@axoneme/base";
import type { FlowLayer7 } from "./flow.ts";
import { eventFlag, eventType } from "./names.ts";
import type { Outcome } from "./parts.ts";
import { recordSize } from "./record.ts";

/** Protocols above the transport, as records number them: the upper half of `subtype`. */
export const layer7Protocols = ["", "DNS", "HTTP"] as const;

/** One side of a message. */
export interface Layer7Side {
  readonly ip: Ip;
  readonly port: number;
  /** Local endpoint id; 0 = not local. */
  readonly endpoint: number;
  readonly identity: number;
}

/** What a proxy saw of a message: a question goes from the client to the server, an answer the other way. */
export interface Layer7Event {
  /** Wall time, nanoseconds. */
  readonly timeNs: bigint;
  readonly source: Layer7Side;
  readonly destination: Layer7Side;
  /** IP protocol number. */
  readonly proto: number;
  readonly direction: "EGRESS" | "INGRESS";
  readonly outcome: Outcome;
  readonly detail: FlowLayer7;
}

/** Details kept; those of older records are gone, and with them their flows. */
const capacity = 8192;

/**
 * What records of layer 7 are about. A record in the store is bytes of one size; what was asked and answered is an object
 * here, under the number in the record's `len`.
 */
export class Layer7Details {
  readonly #details: (FlowLayer7 | undefined)[] = new Array<undefined>(capacity).fill(undefined);
  #next = 0;

  /** Keeps a detail; its number. */
  put(detail: FlowLayer7): number {
    const number = this.#next;
    this.#details[number % capacity] = detail;
    this.#next = (number + 1) >>> 0;
    return number;
  }

  /** The detail of a number, undefined when it is too old. */
  get(number: number): FlowLayer7 | undefined {
    const age = (this.#next - number) >>> 0;
    return age >= 1 && age <= capacity ? this.#details[number % capacity] : undefined;
  }
}

const denied = { EGRESS: eventFlag.deniedEgress, INGRESS: eventFlag.deniedIngress } as const;
const audited = { EGRESS: eventFlag.auditEgress, INGRESS: eventFlag.auditIngress } as const;
const seen = { EGRESS: eventFlag.egress, INGRESS: eventFlag.ingress } as const;
const none = new Uint8Array(16);

/** Writes the record of an event at `offset`; `number` is that of its detail. */
export function encodeLayer7(event: Layer7Event, number: number, view: DataView, offset: number): void {
  const { source, destination, direction, outcome, detail } = event;
  const protocol = detail.dns === undefined ? 2 : 1;
  let flags = seen[direction] | (isV4(source.ip) ? 0 : eventFlag.ipv6);
  if (outcome === "denied") flags |= denied[direction];
  if (outcome === "audit") flags |= audited[direction];
  new Uint8Array(view.buffer, view.byteOffset + offset, recordSize).fill(0);
  encodeEvent(
    {
      timeNs: event.timeNs,
      type: eventType.l7,
      subtype: (protocol << 4) | (detail.type === "RESPONSE" ? 2 : 1),
      reason: 0,
      flags,
      proto: event.proto,
      tcpFlags: 0,
      icmpType: 0,
      icmpCode: 0,
      len: number,
      ifindex: 0,
      srcIdentity: source.identity,
      dstIdentity: destination.identity,
      srcEp: source.endpoint,
      dstEp: destination.endpoint,
      sport: source.port,
      dport: destination.port,
      saddr: source.ip,
      daddr: destination.ip,
      ruleEgress: 0,
      ruleIngress: 0,
      origDaddr: none,
      origDport: 0,
      cpu: 0,
      smac: none.subarray(0, 6),
      dmac: none.subarray(0, 6),
      srcProcess: 0,
      dstProcess: 0,
    },
    view,
    offset,
  );
}

/** Name of the protocol of a layer-7 record by its subtype. */
export function layer7ProtocolOf(subtype: number): string {
  return layer7Protocols[subtype >> 4] ?? "";
}
