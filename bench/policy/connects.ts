import { bareVethPair } from "../net/index.ts";
import { backendPort } from "../services/model.ts";
import { measureRates, type RateFigure, type RateSubject, startServers } from "../services/rates.ts";
import { type Place, policyObject } from "./model.ts";
import type { PolicyNode } from "./node.ts";
import { type Peer, peers } from "./peers.ts";

/** Policies of the peers: as many as their rule sets take before a load lasts minutes. */
const peerPolicies = 1000;
const peerPods = 100;
const peerChanges = 10;

/** What a peer took. */
export interface PeerFigures {
  readonly name: string;
  readonly loadMs: number;
  /** Milliseconds of a change of one policy, sorted. */
  readonly changes: readonly number[];
}

/** Connections through policies, ours and the peers', side by side. */
export interface ConnectFigures {
  readonly rates: readonly RateFigure[];
  readonly peers: readonly PeerFigures[];
}

export const ours = "ours";
export const bare = "bare veth";

/** Lets a new client into a pod of the node and measures; the peers stand beside it on nodes of their own. */
export async function connectFigures(
  node: PolicyNode,
  server: { readonly name: string; readonly place: Place },
  rounds: number,
  seconds: number,
): Promise<ConnectFigures> {
  const cleanUp: (() => Promise<void>)[] = [];
  try {
    const client = { name: "client", place: { ...server.place, app: "client" } };
    await node.createPods([client]);
    await node.createPolicies([
      policyObject({
        ...server.place,
        name: "bench-rate",
        near: client.place.app,
        far: "nobody",
        port: backendPort,
        cidr: "10.98.0.0/16",
      }),
    ]);
    const [from, to] = [await node.podEnd(client), await node.podEnd(server)];
    const pair = await bareVethPair();
    cleanUp.push(() => pair.close());
    const others: Peer[] = await peers();
    for (const { topology } of others) cleanUp.push(() => topology.close());
    const figures: PeerFigures[] = [];
    for (const peer of others) {
      const loadMs = await peer.load(peerPolicies, peerPods, backendPort);
      figures.push({ name: peer.name, loadMs, changes: await peer.changes(peerChanges) });
    }
    const subject = (name: string, clientNs: string, ip: string): RateSubject => ({
      name,
      clientNs,
      targets: () => ({ hosts: [ip], port: backendPort }),
    });
    const ends = [
      { name: bare, client: pair.client, server: pair.server },
      { name: ours, client: from, server: to },
      ...others.map(({ name, topology }) => ({
        name,
        client: topology.client,
        server: topology.servers[0] ?? topology.client,
      })),
    ];
    cleanUp.push(await startServers(ends.map((end) => ({ netns: end.server.netns, ip: end.server.ipv4 }))));
    const subjects = ends.map((end) => subject(end.name, end.client.netns, end.server.ipv4));
    return { rates: await measureRates(subjects, rounds, seconds), peers: figures };
  } finally {
    for (const close of cleanUp.reverse()) await close();
  }
}
