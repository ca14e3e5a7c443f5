import { formatPrefix, type Ip, type Logger, type Prefix } from "@axoneme/base";
import { isErrno, type Netlink, type RouteSpec } from "@axoneme/netlink";
import { Reconciler, type ReconcilerHealth, Table } from "@axoneme/state";

/** A route to the pods of another node. */
export interface PodRoute {
  readonly cidr: Prefix;
  readonly gateway: Ip;
  readonly oif: number;
  /** This node's address to speak to those pods from; undefined: the kernel chooses. */
  readonly src: Ip | undefined;
  /** Through the tunnel: the gateway is nowhere on a link and needs no answer to ARP. */
  readonly tunnel: boolean;
}

/** Marks our routes among others (rtnetlink rtm_protocol; 98 is assigned to nobody). */
const ourProtocol = 98;
/** A MAC that stands for "the other end of the tunnel": nobody looks at it, but the kernel wants one. */
const tunnelPeerMac = Uint8Array.from([0x0e, 0, 0, 0, 0, 1]);

/** Routes to other nodes' pods: what is desired is a table, a reconciler brings the kernel to it and retries. */
export class PodRoutes {
  readonly #table = new Table<PodRoute>({ name: "pod-routes", key: ({ cidr }) => formatPrefix(cidr) });
  readonly #reconciler: Reconciler<PodRoute>;
  readonly #netlink: Netlink;

  constructor(netlink: Netlink, log: Logger) {
    this.#netlink = netlink;
    this.#reconciler = new Reconciler({
      name: "pod-routes",
      table: this.#table,
      logger: log,
      ops: {
        update: (routes) => this.#update(routes),
        delete: (routes) => this.#delete(routes.map(({ cidr }) => cidr)),
        prune: (routes) => this.#prune(routes),
      },
    });
    this.#reconciler.start();
  }

  /** Wants a route, replacing the one to the same prefix. */
  want(route: PodRoute): void {
    this.#table.upsert(route);
  }

  /** Wants no route to a prefix. */
  drop(cidr: Prefix): void {
    this.#table.delete(formatPrefix(cidr));
  }

  /** Removes routes of ours that are not wanted: of nodes that went while no agent ran. */
  async prune(): Promise<void> {
    await this.#reconciler.flush();
    await this.#reconciler.prune();
  }

  /** How many are in place, and what keeps the others from it. */
  health(): ReconcilerHealth {
    return this.#reconciler.health();
  }

  /** Stops following; routes stay. */
  async stop(): Promise<void> {
    await this.#reconciler.stop();
  }

  async #update(routes: readonly PodRoute[]): Promise<undefined> {
    await this.#netlink.batch((batch) => {
      for (const { cidr, gateway, oif, src, tunnel } of routes) {
        if (tunnel) void batch.neighReplace({ index: oif, ip: gateway, mac: tunnelPeerMac });
        const route: RouteSpec = { dst: cidr, gateway, oif, onlink: tunnel, protocol: ourProtocol };
        void batch.routeReplace(src ? { ...route, src } : route);
      }
    });
  }

  async #delete(cidrs: readonly Prefix[]): Promise<undefined> {
    for (const dst of cidrs) {
      try {
        await this.#netlink.routeDel({ dst, protocol: ourProtocol });
      } catch (error) {
        if (!isErrno(error, "ESRCH")) throw error;
      }
    }
  }

  async #prune(wanted: readonly PodRoute[]): Promise<undefined> {
    const keep = new Set(wanted.map(({ cidr }) => formatPrefix(cidr)));
    const ours = await this.#netlink.routeList({ protocol: ourProtocol });
    await this.#delete(ours.map(({ dst }) => dst).filter((dst) => !keep.has(formatPrefix(dst))));
  }
}
