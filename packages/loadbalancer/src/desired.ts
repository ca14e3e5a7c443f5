import type { Ip, Prefix } from "@axoneme/base";
import type { FrontendKey } from "./rows.ts";

/** What the compiler must know of its node. */
export interface NodeContext {
  /** For traffic policy Local and node hints; undefined = not known, every endpoint counts as local. */
  readonly name: string | undefined;
  /** Label topology.kubernetes.io/zone, for zone hints. */
  readonly zone: string | undefined;
}

/** A socket behind a Service port, as its EndpointSlice tells it. */
export interface DesiredBackend {
  /** Canonical text; with the port it names the backend within its unit. */
  readonly address: string;
  readonly v4: boolean;
  readonly port: number;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly local: boolean;
  readonly node: string | undefined;
  readonly zone: string | undefined;
  readonly hints: Hints | undefined;
  /** Maglev weight; 0 = no new connections. */
  readonly weight: number;
}

/** Where an endpoint's controller wants it to be used. */
export interface Hints {
  readonly forZones?: readonly { readonly name?: string }[];
  readonly forNodes?: readonly { readonly name?: string }[];
}

/** Why a list holds what it holds; shared objects. */
export interface Locality {
  /** For people, as in "ready endpoints of this node". */
  readonly text: string;
  readonly localOnly: boolean;
  /** Narrowed by hints. */
  readonly topology: boolean;
}

/** Backends a frontend chooses from. */
export interface DesiredList {
  readonly backends: readonly DesiredBackend[];
  readonly locality: Locality;
}

/** A row of `ax_services` as it should be. */
export interface DesiredFrontend {
  readonly key: FrontendKey;
  /** Bits of `ServiceFlag`; those that the list decides are among them. */
  readonly flags: number;
  readonly algorithm: number;
  readonly forwarding: number;
  readonly list: DesiredList;
}

/** A port of a Service, a hostPort or a redirected address: what has one service id. */
export interface DesiredUnit {
  /** Protocol and port: names the unit within its owner. */
  readonly key: string;
  readonly port: number;
  readonly proto: number;
  readonly portName: string;
  readonly affinityTimeoutS: number;
  readonly frontends: readonly DesiredFrontend[];
  /** Every endpoint there is: those not usable keep their row for the connections they have. */
  readonly backends: readonly DesiredBackend[];
  /** Clients LoadBalancer frontends are for. */
  readonly ranges: readonly Prefix[];
  /** Clients that are not redirected. */
  readonly skips: readonly Ip[];
}

/** Something that could not be programmed, before it is known whose it is. */
export interface Finding {
  readonly port: string;
  readonly reason: string;
}

/** What one owner wants in the maps. */
export interface Desired {
  readonly units: readonly DesiredUnit[];
  readonly findings: readonly Finding[];
}
