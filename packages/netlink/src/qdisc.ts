import { MessageWriter } from "./wire.ts";

/** Queueing disciplines: struct tcmsg and TCA_* (linux/rtnetlink.h, linux/pkt_sched.h). */
const RTM_NEWQDISC = 36;
const RTM_DELQDISC = 37;
const TCMSG = 20;
const TC_H_ROOT = 0xffffffff;
const TCA = { KIND: 1, OPTIONS: 2 } as const;
const TBF = { PARMS: 1, RATE64: 4, BURST: 6 } as const;
/** struct tc_tbf_qopt: two struct tc_ratespec of 12 bytes, then limit, buffer, mtu. */
const TBF_QOPT = 36;
/** TC_LINKLAYER_ETHERNET: the kernel needs no table of rates. */
const LINKLAYER_ETHERNET = 1;

/** A token bucket at a link's root: what it sends is queued until it may go. */
export interface Shaper {
  /** Bytes a second. */
  readonly rate: number;
  /** Bytes that may go at once. At least the longest packet. */
  readonly burst: number;
  /** Bytes that may wait; more is dropped. */
  readonly limit: number;
}

function message(type: number, flags: number, index: number): MessageWriter {
  return new MessageWriter(type, flags).fixed(TCMSG, (view) => {
    view.setInt32(4, index, true);
    view.setUint32(12, TC_H_ROOT, true);
  });
}

export function encodeShaper(flags: number, index: number, shaper: Shaper): Uint8Array {
  const { rate, burst, limit } = shaper;
  const parameters = Buffer.alloc(TBF_QOPT);
  parameters.writeUInt8(LINKLAYER_ETHERNET, 1);
  parameters.writeUInt32LE(Math.min(rate, 0xffffffff), 8);
  parameters.writeUInt32LE(limit, 24);
  const rate64 = Buffer.alloc(8);
  rate64.writeBigUInt64LE(BigInt(rate));
  const writer = message(RTM_NEWQDISC, flags, index).text(TCA.KIND, "tbf");
  writer.nest(TCA.OPTIONS, () => {
    writer.raw(TBF.PARMS, parameters).u32(TBF.BURST, burst);
    if (rate > 0xffffffff) writer.raw(TBF.RATE64, rate64);
  });
  return writer.finish();
}

export function encodeQdiscDel(flags: number, index: number): Uint8Array {
  return message(RTM_DELQDISC, flags, index).finish();
}
