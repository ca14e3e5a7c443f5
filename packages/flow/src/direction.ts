import type { TrafficDirection } from "./flow.ts";
import { eventFlag, eventType, traceReasonEncrypted, traceReasonReply, traceReasonUnknown } from "./names.ts";
import type { Part } from "./parts.ts";
import { at } from "./record.ts";

/**
 * Direction of the flow that a part of the record at `o` stands for, seen from the endpoint whose program reports it;
 * undefined when nobody knows. Looks at raw bytes and allocates nothing.
 */
export function directionOf(view: DataView, o: number, part: Part): TrafficDirection | undefined {
  if (part.kind === "verdict") return part.direction;
  const srcEp = view.getUint16(o + at.srcEp, true);
  const dstEp = view.getUint16(o + at.dstEp, true);
  if (part.type === eventType.drop) return dropDirection(view.getUint8(o + at.flags), srcEp, dstEp);
  if (part.type === eventType.l7)
    return (view.getUint8(o + at.flags) & eventFlag.egress) !== 0 ? "EGRESS" : "INGRESS";
  if (part.type !== eventType.trace) return undefined;
  const reason = view.getUint8(o + at.reason) & ~traceReasonEncrypted;
  if (reason === traceReasonUnknown) return undefined;
  return traceDirection(view.getUint8(o + at.subtype), reason === traceReasonReply, srcEp, dstEp);
}

/** Where a drop happened: at the side that refused, else at the endpoint whose program saw the packet. */
export function dropDirection(flags: number, srcEp: number, dstEp: number): TrafficDirection | undefined {
  if ((flags & eventFlag.deniedEgress) !== 0) return "EGRESS";
  if ((flags & eventFlag.deniedIngress) !== 0) return "INGRESS";
  if (srcEp !== 0) return "EGRESS";
  return dstEp !== 0 ? "INGRESS" : undefined;
}

/** Direction of the connection (not of the packet) as seen from the endpoint whose program reports it. */
export function traceDirection(
  point: number,
  isReply: boolean,
  srcEp: number,
  dstEp: number,
): TrafficDirection | undefined {
  const atDestination = point === 0;
  const reporter = atDestination ? dstEp : srcEp !== 0 ? srcEp : dstEp;
  if (reporter === 0) return undefined;
  const reporterIsSource = reporter === srcEp;
  return reporterIsSource !== isReply ? "EGRESS" : "INGRESS";
}
