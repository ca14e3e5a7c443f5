import { type Ip, ipKey } from "@axoneme/base";

/** Key of `ax_services`: what a client dials. Ports are host order. */
export interface FrontendKey {
  readonly addr: Ip;
  readonly port: number;
  /** IP protocol number. */
  readonly proto: number;
  /** 0 external, 1 internal traffic policy. */
  readonly scope: number;
}

/** Value of `ax_services`. */
export interface ServiceRow {
  readonly frontendId: number;
  readonly slotsId: number;
  readonly count: number;
  readonly affinityTimeoutS: number;
  /** Bits of `enum ax_svc_flags`. */
  readonly flags: number;
}

/** Value of `ax_backends` and, without state, of `ax_frontends`. */
export interface BackendRow {
  readonly addr: Ip;
  readonly port: number;
  readonly proto: number;
  /** 0 active, 1 terminating. */
  readonly state: number;
}

/** One write. Changes are to be applied in order; each is a single atomic row operation. */
export type LbChange =
  | { readonly op: "put-backend"; readonly id: number; readonly row: BackendRow }
  | { readonly op: "put-slot"; readonly slotsId: number; readonly slot: number; readonly backendId: number }
  | { readonly op: "put-frontend"; readonly id: number; readonly key: FrontendKey }
  | { readonly op: "put-service"; readonly key: FrontendKey; readonly row: ServiceRow }
  | { readonly op: "delete-service"; readonly key: FrontendKey }
  | { readonly op: "delete-frontend"; readonly id: number }
  | { readonly op: "delete-slots"; readonly slotsId: number; readonly count: number }
  | { readonly op: "delete-backend"; readonly id: number };

/** The rows found in the maps at start, from which ids are taken over. */
export interface ExistingRows {
  readonly services: readonly { readonly key: FrontendKey; readonly row: ServiceRow }[];
  readonly slots: readonly { readonly slotsId: number; readonly slot: number; readonly backendId: number }[];
  readonly backends: readonly { readonly id: number; readonly row: BackendRow }[];
  readonly frontends: readonly { readonly id: number; readonly key: FrontendKey }[];
}

/** Bits of `enum ax_svc_flags`. */
export const ServiceFlag = {
  clusterIp: 1,
  nodePort: 2,
  loadBalancer: 4,
  externalIp: 8,
  hostPort: 16,
  affinity: 32,
} as const;

/** `ax_backend.state`. */
export const BackendState = { active: 0, terminating: 1 } as const;

/** `ax_svc_key.scope`. */
export const Scope = { external: 0, internal: 1 } as const;

/** Text of an (address, port, protocol): a Map key. */
export function socketText(socket: { addr: Ip; port: number; proto: number }): string {
  return `${ipKey(socket.addr)}|${socket.port}|${socket.proto}`;
}

/** Text of a frontend key: a Map key. */
export function frontendText(key: FrontendKey): string {
  return `${socketText(key)}|${key.scope}`;
}

/** Whether two rows of `ax_services` are the same. */
export function sameRow(a: ServiceRow, b: ServiceRow): boolean {
  return (
    a.frontendId === b.frontendId &&
    a.slotsId === b.slotsId &&
    a.count === b.count &&
    a.affinityTimeoutS === b.affinityTimeoutS &&
    a.flags === b.flags
  );
}
