import { type Ip, ipKey, type Prefix } from "@axoneme/base";

/** Key of `ax_services`: what a client dials. Ports are host order. */
export interface FrontendKey {
  /** All zero (`::`, or `::ffff:0.0.0.0` for IPv4): any NodePort address of this node. */
  readonly addr: Ip;
  readonly port: number;
  /** IP protocol number. */
  readonly proto: number;
  /** One of `Scope`. */
  readonly scope: number;
}

/** Value of `ax_services`. */
export interface ServiceRow {
  /** One per Service port and protocol, shared by all its frontends; never used again. */
  readonly serviceId: number;
  /** Where its slots begin in `ax_slots`. */
  readonly slotsOff: number;
  /** What is chosen among: the number of backends, or the entries of the Maglev table. 0 = no usable backend. */
  readonly slots: number;
  /** Backends, with which the slots begin. */
  readonly count: number;
  /** Seconds; 0 = no affinity. */
  readonly affinityTimeoutS: number;
  /** Bits of `ServiceFlag`. */
  readonly flags: number;
  /** One of `Algorithm`. */
  readonly algorithm: number;
  /** One of `Forwarding`. */
  readonly forwarding: number;
}

/** Value of `ax_backends`. */
export interface BackendRow {
  readonly addr: Ip;
  readonly port: number;
  readonly proto: number;
  /** One of `BackendState`. */
  readonly state: number;
  /** The Service port it belongs to: backends are never shared. */
  readonly serviceId: number;
  /** Bits of `BackendFlag`. */
  readonly flags: number;
}

/** A backend as a slot names it: what never changes while its id is in use. */
export interface SlotBackend {
  readonly id: number;
  /** Canonical text. */
  readonly address: string;
  readonly port: number;
}

/** Entries of a Maglev table in one slot: `AX_SLOT_ENTRIES`. */
export const slotEntries = 14;

/** Slots that a list takes: its backends, and the table behind them. */
export function slotsTaken({
  algorithm,
  count,
  slots,
}: Pick<ServiceRow, "algorithm" | "count" | "slots">): number {
  return algorithm === Algorithm.maglev ? count + Math.ceil(slots / slotEntries) : slots;
}

/** `ax_slots`, to be read. */
export interface SlotSource {
  /** The backend ids of `count` slots. */
  ids(offset: number, count: number): Uint32Array;
  /** The `entries` of a Maglev table that begins with slot `offset`: indexes of backends. */
  table(offset: number, entries: number): Uint16Array;
}

/** The backend ids that a row chooses among: of a Maglev table, one for each entry. */
export function choicesOf(row: ServiceRow, slots: SlotSource): Uint32Array {
  const ids = slots.ids(row.slotsOff, row.count);
  if (row.algorithm !== Algorithm.maglev) return ids;
  return Uint32Array.from(slots.table(row.slotsOff + row.count, row.slots), (index) => ids[index] ?? 0);
}

/** One write. Changes are to be applied in order; each is a single atomic row operation or goes before the flip. */
export type LbChange =
  | { readonly op: "put-backend"; readonly id: number; readonly row: BackendRow }
  | {
      readonly op: "put-slots";
      readonly offset: number;
      /** Whose they are. */
      readonly serviceId: number;
      readonly backends: readonly SlotBackend[];
      /** Of a Maglev list: indexes of `backends`. */
      readonly table: Uint16Array | undefined;
    }
  /** `fresh`: nothing stood under this key before. */
  | {
      readonly op: "put-service";
      readonly key: FrontendKey;
      readonly row: ServiceRow;
      readonly fresh?: boolean;
    }
  | { readonly op: "delete-service"; readonly key: FrontendKey }
  | { readonly op: "put-range"; readonly serviceId: number; readonly prefix: Prefix }
  | { readonly op: "delete-range"; readonly serviceId: number; readonly prefix: Prefix }
  | { readonly op: "put-skip"; readonly serviceId: number; readonly client: Ip }
  | { readonly op: "delete-skip"; readonly serviceId: number; readonly client: Ip }
  | { readonly op: "delete-backend"; readonly id: number; readonly row: BackendRow };

/** The rows found in the maps at start, from which ids are taken over. */
export interface ExistingRows {
  readonly services: readonly { readonly key: FrontendKey; readonly row: ServiceRow }[];
  /** `ax_slots`; only what `services` name is read. */
  readonly slots: SlotSource;
  /** Slots up to the last one that holds something. */
  readonly slotsUsed: number;
  readonly backends: readonly { readonly id: number; readonly row: BackendRow }[];
  readonly ranges: readonly { readonly serviceId: number; readonly prefix: Prefix }[];
  readonly skips: readonly { readonly serviceId: number; readonly client: Ip }[];
}

/** Bits of `enum ax_svc_flags`. */
export const ServiceFlag = {
  clusterIp: 1,
  nodePort: 2,
  loadBalancer: 4,
  externalIp: 8,
  hostPort: 16,
  affinity: 32,
  /** Clients inside look again under `Scope.internal`. */
  twoScopes: 64,
  /** Clients must match `ax_src_ranges`. */
  sourceRanges: 128,
  /** This row's list has backends of this node only. */
  localOnly: 256,
  localRedirect: 512,
  /** Clients in `ax_lrp_skip` look again under `Scope.original`. */
  skip: 1024,
  /** A hostPort bound to a loopback address: socket layer only. */
  loopbackOnly: 2048,
  /** The list was narrowed by zone or node hints. */
  topology: 4096,
} as const;

/** `ax_backend.state`. */
export const BackendState = { active: 0, terminating: 1 } as const;

/** Bits of `ax_backend.flags`. */
export const BackendFlag = { local: 1 } as const;

/** `ax_svc_key.scope`. */
export const Scope = { external: 0, internal: 1, original: 2 } as const;

/** `ax_svc.algorithm`. */
export const Algorithm = { random: 0, maglev: 1 } as const;

/** `ax_svc.forwarding`. */
export const Forwarding = { snat: 0, dsr: 1 } as const;

/** Text of a frontend key: a Map key. */
export function frontendText(key: FrontendKey): string {
  return ipKey(key.addr) + String.fromCharCode(key.port, key.proto | (key.scope << 8));
}

/** Whether two rows of `ax_services` are the same. */
export function sameRow(a: ServiceRow, b: ServiceRow): boolean {
  return (
    a.serviceId === b.serviceId &&
    a.slotsOff === b.slotsOff &&
    a.slots === b.slots &&
    a.count === b.count &&
    a.affinityTimeoutS === b.affinityTimeoutS &&
    a.flags === b.flags &&
    a.algorithm === b.algorithm &&
    a.forwarding === b.forwarding
  );
}
