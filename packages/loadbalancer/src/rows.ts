import { type Ip, ipKey } from "@axoneme/base";

/** Bits of `enum ax_svc_flags`. */
export const ServiceFlag = {
  CLUSTERIP: 1,
  NODEPORT: 2,
  LOADBALANCER: 4,
  EXTERNALIP: 8,
  HOSTPORT: 16,
  AFFINITY: 32,
} as const;

/** `ax_backend.state`. */
export const BackendState = { ACTIVE: 0, TERMINATING: 1 } as const;

/** `ax_svc_key.scope`. */
export const Scope = { EXTERNAL: 0, INTERNAL: 1 } as const;

/** Key of `ax_services`. Ports in host order. */
export interface ServiceKey {
  addr: Ip;
  port: number;
  proto: number;
  scope: number;
}

/** Row of `ax_services`. */
export interface ServiceRow {
  frontendId: number;
  slotsId: number;
  /** Usable backends; 0: reject. */
  count: number;
  affinityTimeoutS: number;
  flags: number;
  /** 0 random, 1 maglev. */
  algorithm: number;
}

/** Row of `ax_backends`. */
export interface BackendRow {
  addr: Ip;
  port: number;
  proto: number;
  state: number;
}

/** Row of `ax_frontends`. */
export interface FrontendRow {
  addr: Ip;
  port: number;
  proto: number;
}

/**
 * One write. A commit's list is in order: what a service row names is there before the row, and goes after it.
 * Neighbouring writes of one kind may be batched.
 */
export type LbChange =
  | { op: "putBackend"; id: number; row: BackendRow }
  | { op: "putSlot"; slotsId: number; slot: number; backendId: number }
  | { op: "putFrontend"; id: number; row: FrontendRow }
  | { op: "putService"; key: ServiceKey; row: ServiceRow }
  | { op: "deleteService"; key: ServiceKey }
  | { op: "deleteFrontend"; id: number }
  | { op: "deleteSlot"; slotsId: number; slot: number }
  | { op: "deleteBackend"; id: number };

/** What the maps hold, for `restore`. */
export interface LbRows {
  services: Iterable<{ key: ServiceKey; row: ServiceRow }>;
  slots: Iterable<{ slotsId: number; slot: number; backendId: number }>;
  backends: Iterable<{ id: number; row: BackendRow }>;
  frontends: Iterable<{ id: number; row: FrontendRow }>;
}

/** Text of an (address, port, protocol): a Map key. */
export function socketKey(socket: { addr: Ip; port: number; proto: number }): string {
  return `${ipKey(socket.addr)}${socket.port}/${socket.proto}`;
}

/** Text of a service key: a Map key. */
export function serviceKey(key: ServiceKey): string {
  return `${socketKey(key)}/${key.scope}`;
}

/** Whether two rows of `ax_services` are the same. */
export function sameService(a: ServiceRow, b: ServiceRow): boolean {
  return (
    a.frontendId === b.frontendId &&
    a.slotsId === b.slotsId &&
    a.count === b.count &&
    a.affinityTimeoutS === b.affinityTimeoutS &&
    a.flags === b.flags &&
    a.algorithm === b.algorithm
  );
}

/** The copy of the four maps that changes make: for tests, previews and dumps. */
export class LbMaps {
  readonly services = new Map<string, { key: ServiceKey; row: ServiceRow }>();
  readonly slots = new Map<string, { slotsId: number; slot: number; backendId: number }>();
  readonly backends = new Map<number, BackendRow>();
  readonly frontends = new Map<number, FrontendRow>();

  apply(change: LbChange): void {
    switch (change.op) {
      case "putBackend":
        this.backends.set(change.id, change.row);
        break;
      case "putSlot":
        this.slots.set(`${change.slotsId}/${change.slot}`, change);
        break;
      case "putFrontend":
        this.frontends.set(change.id, change.row);
        break;
      case "putService":
        this.services.set(serviceKey(change.key), change);
        break;
      case "deleteService":
        this.services.delete(serviceKey(change.key));
        break;
      case "deleteFrontend":
        this.frontends.delete(change.id);
        break;
      case "deleteSlot":
        this.slots.delete(`${change.slotsId}/${change.slot}`);
        break;
      case "deleteBackend":
        this.backends.delete(change.id);
        break;
    }
  }

  /** The form `restore` takes. */
  rows(): LbRows {
    return {
      services: this.services.values(),
      slots: this.slots.values(),
      backends: [...this.backends].map(([id, row]) => ({ id, row })),
      frontends: [...this.frontends].map(([id, row]) => ({ id, row })),
    };
  }
}
