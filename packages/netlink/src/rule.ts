import { isV4, type Prefix } from "@axoneme/base";
import {
  AF_INET,
  AF_INET6,
  type Family,
  familyNumber,
  prefixFromWire,
  wireIp,
  wireLength,
} from "./family.ts";
import { Attributes, fixedPart, MessageWriter } from "./wire.ts";

/** Policy routing rules: struct fib_rule_hdr and FRA_* (linux/fib_rules.h). */
export const RTM_NEWRULE = 32;
export const RTM_DELRULE = 33;
const RTM_GETRULE = 34;
const INFO = 12;
const FR_ACT_TO_TBL = 1;

const FRA = {
  DST: 1,
  SRC: 2,
  IIFNAME: 3,
  PRIORITY: 6,
  FWMARK: 10,
  TABLE: 15,
  FWMASK: 16,
  OIFNAME: 17,
  PROTOCOL: 21,
} as const;

/** A rule: packets that match all that is given look into `table`. */
export interface RuleSpec {
  readonly family: Family;
  /** Order, smallest first. */
  readonly priority?: number;
  readonly table: number;
  readonly mark?: number;
  readonly mask?: number;
  readonly src?: Prefix;
  readonly dst?: Prefix;
  readonly iif?: string;
  readonly oif?: string;
  readonly protocol?: number;
}

/** A rule as the kernel tells it. */
export interface Rule {
  readonly family: Family;
  readonly priority: number;
  readonly table: number;
  /** FR_ACT_*: 1 is "look into the table". */
  readonly action: number;
  readonly mark: number | undefined;
  readonly mask: number | undefined;
  readonly src: Prefix | undefined;
  readonly dst: Prefix | undefined;
  readonly iif: string | undefined;
  readonly oif: string | undefined;
  readonly protocol: number | undefined;
}

export function encodeRule(type: number, flags: number, rule: RuleSpec): Uint8Array {
  const message = new MessageWriter(type, flags).fixed(INFO, (view) => {
    view.setUint8(0, familyNumber(rule.family));
    view.setUint8(1, rule.dst === undefined ? 0 : wireLength(rule.dst));
    view.setUint8(2, rule.src === undefined ? 0 : wireLength(rule.src));
    view.setUint8(4, rule.table < 256 ? rule.table : 0);
    view.setUint8(7, FR_ACT_TO_TBL);
  });
  if (rule.dst !== undefined) message.raw(FRA.DST, wireIp(rule.dst.ip));
  if (rule.src !== undefined) message.raw(FRA.SRC, wireIp(rule.src.ip));
  if (rule.iif !== undefined) message.text(FRA.IIFNAME, rule.iif);
  if (rule.oif !== undefined) message.text(FRA.OIFNAME, rule.oif);
  if (rule.priority !== undefined) message.u32(FRA.PRIORITY, rule.priority);
  if (rule.mark !== undefined) message.u32(FRA.FWMARK, rule.mark);
  if (rule.mask !== undefined) message.u32(FRA.FWMASK, rule.mask);
  if (rule.protocol !== undefined) message.u8(FRA.PROTOCOL, rule.protocol);
  return message.u32(FRA.TABLE, rule.table).finish();
}

export function encodeRuleDump(flags: number, family: Family | undefined): Uint8Array {
  return new MessageWriter(RTM_GETRULE, flags)
    .fixed(INFO, (view) => view.setUint8(0, familyNumber(family)))
    .finish();
}

/** Reads the body of RTM_NEWRULE or RTM_DELRULE; undefined for other families. Throws NetlinkError (EBADMSG). */
export function decodeRule(body: Uint8Array): Rule | undefined {
  const info = fixedPart(body, INFO, "fib_rule_hdr");
  const family = info.getUint8(0);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const attributes = new Attributes(body, INFO);
  const prefix = (type: number, length: number): Prefix | undefined => {
    const bytes = attributes.raw(type);
    return bytes === undefined ? undefined : prefixFromWire(family, bytes, length);
  };
  return {
    family: family === AF_INET ? 4 : 6,
    priority: attributes.u32(FRA.PRIORITY) ?? 0,
    table: attributes.u32(FRA.TABLE) ?? info.getUint8(4),
    action: info.getUint8(7),
    mark: attributes.u32(FRA.FWMARK),
    mask: attributes.u32(FRA.FWMASK),
    src: prefix(FRA.SRC, info.getUint8(2)),
    dst: prefix(FRA.DST, info.getUint8(1)),
    iif: attributes.text(FRA.IIFNAME),
    oif: attributes.text(FRA.OIFNAME),
    protocol: attributes.u8(FRA.PROTOCOL),
  };
}

/** The family a prefix belongs to. */
export function prefixFamily(prefix: Prefix): Family {
  return isV4(prefix.ip) ? 4 : 6;
}
