import { connect } from "node:net";
import { CtFlags } from "@axoneme/abi";
import {
  AxonError,
  formatIp,
  type Ip,
  ipCompare,
  type Prefix,
  parsePrefix,
  prefixContains,
} from "@axoneme/base";
import type { Kernel } from "@axoneme/datapath";
import { type Ipcache, reserved } from "@axoneme/identity";
import { Direction, type PolicyEngine, Verdict } from "@axoneme/policy";
import { isLoopback } from "../lb/kernel-rows.ts";
import { hostEndpointId } from "./host-endpoint.ts";
import { distinctSessions, inboundSessions, ownConnections, type TcpSocket, tcpSockets } from "./sockets.ts";

/** Something that a change of host policies must not cut off unasked. */
export interface Lifeline {
  /** For people: `the API server at 192.0.2.1:6443`. */
  readonly what: string;
  /** Whether the policy in force lets it through. */
  isAllowed(): boolean;
  /** Whether it was seen to work under the policy in force. */
  isProven(): Promise<boolean>;
}

/** A port that must stay reachable from a range of addresses. */
export interface ProtectedPort {
  readonly text: string;
  readonly from: Prefix;
  readonly port: number;
}

/** Where lifelines are found. */
export interface LifelineSources {
  readonly engine: PolicyEngine;
  readonly ipcache: Ipcache;
  readonly kernel: Kernel;
  readonly isOwn: (ip: Ip) => boolean;
  /** What rules on prefixes know an address of an identity by. */
  readonly cidrOf: (ip: Ip, identity: number) => number;
  readonly protected: readonly ProtectedPort[];
}

const tcp = 6;
const sshPort = 22;
/** Sessions that are looked at; SSH first. */
const mostSessions = 4096;
const connectTimeoutMs = 1500;

/**
 * Reads `CIDR:PORT`, an IPv6 CIDR in brackets.
 * @throws AxonError `host.protected` for anything else.
 */
export function parseProtectedPort(text: string): ProtectedPort {
  const match = /^(?:\[([^\]]+)\]|([^[\]:]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  const cidr = match?.[1] ?? match?.[2];
  if (cidr === undefined || !(port >= 1 && port <= 65_535)) {
    throw new AxonError(
      "host.protected",
      `hostPolicyProtected: "${text}" is no CIDR:PORT, as in 192.0.2.0/24:22 or [2001:db8::/32]:22`,
    );
  }
  return { text, from: parsePrefix(cidr), port };
}

/** What keeps this node in hand: its own way to the API server, sessions of people and programs to it, and configured ports. */
export class Lifelines {
  readonly #sources: LifelineSources;

  constructor(sources: LifelineSources) {
    this.#sources = sources;
  }

  /** All there are at this moment. */
  current(): Lifeline[] {
    const sockets = tcpSockets().filter(({ peer }) => !isLoopback(peer) && !this.#sources.isOwn(peer));
    const sessions = distinctSessions(inboundSessions(sockets));
    sessions.sort((a, b) => Number(b.localPort === sshPort) - Number(a.localPort === sshPort));
    return [
      ...this.#apiServer(ownConnections(sockets)),
      ...sessions.slice(0, mostSessions).map((session) => this.#session(session)),
      ...this.#sources.protected.map((port) => this.#port(port)),
    ];
  }

  /** One: any of its addresses will do. */
  #apiServer(connections: readonly TcpSocket[]): Lifeline[] {
    const ends = new Map(
      connections.map(({ peer, peerPort }) => [endText(peer, peerPort), { peer, peerPort }]),
    );
    if (ends.size === 0) return [];
    const all = [...ends.values()];
    return [
      {
        what: `the API server at ${[...ends.keys()].join(", ")}`,
        isAllowed: () => all.some(({ peer, peerPort }) => this.#allows(Direction.EGRESS, peer, peerPort)),
        isProven: async () =>
          (await Promise.all(all.map(({ peer, peerPort }) => connects(peer, peerPort)))).some(Boolean),
      },
    ];
  }

  #session(socket: TcpSocket): Lifeline {
    const { peer, peerPort, localPort } = socket;
    return {
      what: `the session of ${endText(peer, peerPort)} with port ${localPort}`,
      isAllowed: () => this.#allows(Direction.INGRESS, peer, localPort),
      isProven: () => Promise.resolve(this.#goesOn(socket)),
    };
  }

  /** Everybody within the range, who is told apart; nothing proves that nobody there would be missed. */
  #port({ text, from, port }: ProtectedPort): Lifeline {
    const peers = () => {
      const inside = [...this.#sources.ipcache.entries()].filter(
        ({ prefix }) => prefix.length >= from.length && prefixContains(from, prefix.ip),
      );
      const all = [from.ip, ...inside.map(({ prefix }) => prefix.ip)].map((ip) => this.#peerOf(ip));
      return new Map(all.map((peer) => [`${peer.identity} ${peer.cidr}`, peer])).values();
    };
    return {
      what: `the protected port ${text}`,
      isAllowed: () => [...peers()].every((peer) => this.#allowsPeer(Direction.INGRESS, peer, port)),
      isProven: () => Promise.resolve(false),
    };
  }

  #peerOf(ip: Ip): { identity: number; cidr: number } {
    const identity = this.#sources.ipcache.lookup(ip)?.identity ?? reserved.world;
    return { identity, cidr: this.#sources.cidrOf(ip, identity) };
  }

  #allows(direction: Direction, peer: Ip, port: number): boolean {
    return this.#allowsPeer(direction, this.#peerOf(peer), port);
  }

  #allowsPeer(direction: Direction, peer: { identity: number; cidr: number }, port: number): boolean {
    if (peer.identity === reserved.host) return true;
    const { engine } = this.#sources;
    const policyId = engine.policyIdOf(hostEndpointId);
    const { verdict } = engine.decide({ policyId, direction, ...peer, proto: tcp, port });
    return verdict === Verdict.ALLOW || verdict === Verdict.AUDIT;
  }

  /** Its packets were let through under the present epoch. */
  #goesOn({ local, localPort, peer, peerPort }: TcpSocket): boolean {
    const { maps } = this.#sources.kernel;
    const order = ipCompare(peer, local) || peerPort - localPort;
    const [a, aport, b, bport] =
      order > 0 ? [local, localPort, peer, peerPort] : [peer, peerPort, local, localPort];
    const entry = maps.ct.get({ a, b, aport, bport, proto: tcp });
    return (
      entry !== undefined &&
      entry.epoch === maps.config.get(0)?.epoch &&
      (entry.flags & CtFlags.REFUSED) === 0
    );
  }
}

function endText(ip: Ip, port: number): string {
  const text = formatIp(ip);
  return text.includes(":") ? `[${text}]:${port}` : `${text}:${port}`;
}

/** Whether a new connection is answered. */
function connects(ip: Ip, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: formatIp(ip), port, timeout: connectTimeoutMs });
    const end = (answered: boolean) => {
      socket.destroy();
      resolve(answered);
    };
    socket.once("connect", () => end(true));
    socket.once("timeout", () => end(false));
    socket.once("error", () => end(false));
  });
}
