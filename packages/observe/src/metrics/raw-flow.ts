import {
  at,
  directionOf,
  eventFlag,
  eventType,
  type FlowResolver,
  ipProtocol,
  isRedirect,
  matchTypeOf,
  type Part,
  traceReasonReply,
  traceReasonUnknown,
} from "@axoneme/flow";
import { direction } from "./context.ts";

/** Numbers of `flow.Verdict`. */
export const verdict = {
  forwarded: 1,
  dropped: 2,
  audit: 4,
  redirected: 5,
  traced: 6,
  translated: 7,
} as const;

/** What metrics are about, as bits: most flows concern few of them. */
export const about = { all: 1, dropped: 2, decision: 4, tcp: 8, icmp: 16, request: 32 } as const;
/** Sets of these bits there are. */
export const aboutSets = 64;

const policyDenied = 133;
const policyDenyRule = 181;
const worldLabels = new Set(["reserved:world", "reserved:world-ipv4", "reserved:world-ipv6"]);
/** Rules, and identities, remembered between two epochs. */
const maxRules = 4096;

type Names = Pick<FlowResolver, "ruleById" | "identityById">;

/** One flow of a record while it is counted: raw fields, read when asked for. One object for all. */
export class RawFlow {
  readonly #resolver: Names;
  /** Rule -> match types of allowed and other outcomes, drop reason; see #rule. */
  readonly #rules = new Map<number, number>();
  /** Identity -> whether it is of the world: CIDRs are, too. */
  readonly #worlds = new Map<number, boolean>();
  #view: DataView = new DataView(new ArrayBuffer(0));
  #o = 0;
  type = 0;
  subtype = 0;
  proto = 0;
  flags = 0;
  part: Part = { kind: "event", type: 0 };
  verdict = 0;
  /** Bits of `about`: `tcp` and `request` only of what was forwarded. */
  about = 0;

  constructor(resolver: Names) {
    this.#resolver = resolver;
  }

  /** Rules and identities may have changed. */
  forget(): void {
    this.#rules.clear();
    this.#worlds.clear();
  }

  /** Looks at the record at `o`. */
  read(view: DataView, o: number): void {
    this.#view = view;
    this.#o = o;
    this.type = view.getUint8(o + at.type);
    this.subtype = view.getUint8(o + at.subtype);
    this.flags = view.getUint8(o + at.flags);
    this.proto = view.getUint8(o + at.proto);
  }

  /** Looks at one of the flows that the record stands for. */
  choose(part: Part): void {
    this.part = part;
    this.verdict = verdictNumber(part, this.subtype);
    const { proto } = this;
    const isDecision = part.kind === "verdict" || part.type === eventType.l7;
    let bits: number = isDecision ? about.all | about.decision : about.all;
    if (this.verdict === verdict.dropped) bits |= about.dropped;
    const { forwarded, redirected } = verdict;
    if (this.verdict === forwarded && proto === ipProtocol.tcp) bits |= about.tcp;
    if ((this.verdict === forwarded || this.verdict === redirected) && this.#isRequest())
      bits |= about.request;
    if (proto === ipProtocol.icmp || proto === ipProtocol.icmpv6) bits |= about.icmp;
    this.about = bits;
  }

  /** A number of `direction`. */
  get direction(): number {
    const text = directionOf(this.#view, this.#o, this.part);
    if (text === undefined) return direction.unknown;
    return text === "INGRESS" ? direction.ingress : direction.egress;
  }

  get ipv6(): number {
    return (this.flags & eventFlag.ipv6) === 0 ? 0 : 1;
  }

  get tcpFlags(): number {
    return this.#view.getUint8(this.#o + at.tcpFlags);
  }

  /** Type in the low byte, code above. */
  get icmp(): number {
    return this.#view.getUint8(this.#o + at.icmpType) | (this.#view.getUint8(this.#o + at.icmpCode) << 8);
  }

  get destinationPort(): number {
    return this.#view.getUint16(this.#o + at.dport);
  }

  get sourceIdentity(): number {
    return this.#view.getUint32(this.#o + at.srcIdentity, true);
  }

  /** Known not to be a reply: an allowed decision, or a trace whose connection is known. */
  #isRequest(): boolean {
    if (this.part.kind === "verdict") return this.part.outcome === "allowed";
    if (this.part.type !== eventType.trace) return false;
    const reason = this.#view.getUint8(this.#o + at.reason) & 0x7f;
    return reason !== traceReasonReply && reason !== traceReasonUnknown;
  }

  /** Whether the destination is outside the cluster. */
  get toWorld(): boolean {
    const identity = this.#view.getUint32(this.#o + at.dstIdentity, true);
    const known = this.#worlds.get(identity);
    if (known !== undefined) return known;
    const labels = this.#resolver.identityById(identity)?.labels ?? [];
    const toWorld = labels.some((label) => worldLabels.has(label));
    if (this.#worlds.size >= maxRules) this.#worlds.clear();
    this.#worlds.set(identity, toWorld);
    return toWorld;
  }

  /** Match type of a decision, as `matchTypeOf` has it. */
  get matchType(): number {
    const rule = this.#rule();
    const allowed = this.part.kind === "verdict" && this.part.outcome === "allowed";
    return allowed ? rule & 7 : (rule >> 3) & 7;
  }

  /** Reason of a dropped flow. */
  get dropReason(): number {
    return this.type === eventType.drop ? this.subtype : this.#rule() >> 6;
  }

  /** What a rule means, packed: naming it costs a search through its policy, and few rules decide most flows. */
  #rule(): number {
    const egress = this.part.kind === "verdict" && this.part.direction === "EGRESS";
    const id = this.#view.getUint32(this.#o + (egress ? at.ruleEgress : at.ruleIngress), true);
    const known = this.#rules.get(id);
    if (known !== undefined) return known;
    const rule = this.#resolver.ruleById(id);
    const reason = rule === undefined || rule.defaultDeny === true ? policyDenied : policyDenyRule;
    const packed = (reason << 6) | (matchTypeOf(rule, "denied") << 3) | matchTypeOf(rule, "allowed");
    if (this.#rules.size >= maxRules) this.#rules.clear();
    this.#rules.set(id, packed);
    return packed;
  }
}

function verdictNumber(part: Part, subtype: number): number {
  if (part.kind === "verdict") {
    if (part.outcome === "denied") return verdict.dropped;
    if (part.outcome === "audit") return verdict.audit;
    return isRedirect(part, subtype) ? verdict.redirected : verdict.forwarded;
  }
  if (part.outcome === "denied") return verdict.dropped;
  if (part.outcome === "audit") return verdict.audit;
  if (part.type === eventType.drop) return verdict.dropped;
  if (part.type === eventType.trace || part.type === eventType.l7) return verdict.forwarded;
  return subtype === 2 || subtype === 4 ? verdict.translated : verdict.traced;
}
