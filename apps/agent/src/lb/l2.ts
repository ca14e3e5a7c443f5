import { errorText, type Logger } from "@axoneme/base";
import {
  type CiliumL2AnnouncementPolicy,
  type Election,
  elect,
  type KubeClient,
  type ListWatchHandlers,
  resources,
} from "@axoneme/kube";
import {
  type L2Address,
  L2Announcements,
  type L2Changes,
  type L2Device,
  type L2Entry,
  type L2ServiceObject,
} from "@axoneme/loadbalancer";

/** What carries announcements out. Writes are repeated: each must do no harm when it was done before. */
export interface L2Port {
  /** Answer requests for these from now on, with their MAC address. */
  announce(entries: readonly L2Entry[]): void;
  /** Answer no more; some may not be there. */
  withdraw(entries: readonly L2Address[]): void;
  /** Tell the neighbours where these addresses are now, unasked. */
  tell(entries: readonly L2Entry[]): void;
}

export interface L2Options {
  readonly client: KubeClient;
  /** Who stands for election: the same after a restart, which therefore loses no lead. */
  readonly nodeName: string;
  /** Where the leases are. */
  readonly leaseNamespace: string;
  readonly port: L2Port;
  /** What is announced already, by an agent before this one. */
  readonly restored?: Iterable<L2Address>;
  readonly times?: L2Times;
  readonly log: Logger;
}

/** Of the leases: see ElectionOptions. A node that fails is replaced after `leaseDurationMs`. */
export interface L2Times {
  readonly leaseDurationMs: number;
  readonly renewDeadlineMs: number;
  readonly retryMs: number;
}

/** The field's. */
const defaultTimes: L2Times = { leaseDurationMs: 15_000, renewDeadlineMs: 5_000, retryMs: 2_000 };
/** Neighbours are told twice: a frame may be lost (RFC 5227 1.1 has the same pause twice as long). */
const tellAgainMs = 1000;
const retryMs = 1000;

interface Candidacy {
  readonly election: Election;
  /** Ends the wait for an election of which nothing is heard. */
  readonly undecided: NodeJS.Timeout;
}

/**
 * L2 announcements of this node: stands for election on one lease a Service, and answers ARP and neighbour
 * solicitations for the addresses of those it leads. Decides nothing before {@link synced}.
 */
export class L2Announcer {
  readonly #options: L2Options;
  readonly #times: L2Times;
  readonly #l2: L2Announcements;
  readonly #candidacies = new Map<string, Candidacy>();
  readonly #ending = new Set<Promise<void>>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #decides = false;
  #stopped = false;

  constructor(options: L2Options) {
    this.#options = options;
    this.#times = options.times ?? defaultTimes;
    this.#l2 = new L2Announcements(options.restored);
  }

  /** For a ListWatch of CiliumL2AnnouncementPolicy. */
  policies(): ListWatchHandlers<CiliumL2AnnouncementPolicy> {
    const put = (policy: CiliumL2AnnouncementPolicy): void => this.#act(() => this.#l2.putPolicy(policy));
    return {
      onAdd: put,
      onUpdate: put,
      onDelete: ({ metadata }) => this.#act(() => this.#l2.deletePolicy(metadata?.name ?? "")),
    };
  }

  /** For a ListWatch of Service. */
  services(): ListWatchHandlers<L2ServiceObject> {
    const put = (service: L2ServiceObject): void => this.#act(() => this.#l2.putService(service));
    return {
      onAdd: put,
      onUpdate: put,
      onDelete: (service) => this.#act(() => this.#l2.deleteService(keyOf(service))),
    };
  }

  /** Labels of this node. */
  setNode(labels: Readonly<Record<string, string>>): void {
    this.#act(() => this.#l2.setNode(labels));
  }

  /** The devices that can answer; on a change of a MAC address too. */
  setDevices(devices: readonly L2Device[]): void {
    this.#act(() => this.#l2.setDevices(devices));
  }

  /** Policies, Services, node and devices are known: from now on it decides. */
  synced(): void {
    this.#decides = true;
    this.#flush();
  }

  /** Services this node stands for, and who leads them; "" for nobody yet. */
  status(): { service: string; leader: string; leading: boolean }[] {
    return [...this.#candidacies].map(([service, { election }]) => ({
      ...{ service, leader: election.leader, leading: election.leading },
    }));
  }

  /**
   * Ends. Leases and announcements stay, for the agent that comes next to go on; with `giveUp` both go, so that another
   * node takes over at once.
   */
  async stop({ giveUp = false }: { giveUp?: boolean } = {}): Promise<void> {
    const services = [...this.#candidacies.keys()];
    if (giveUp) for (const service of services) this.#lead(service, false);
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
    for (const service of services) this.#resign(service, { keep: !giveUp });
    await Promise.all(this.#ending);
  }

  #act(change: () => void): void {
    change();
    this.#flush();
  }

  #lead(service: string, leading: boolean): void {
    if (!this.#stopped) this.#act(() => this.#l2.setLeading(service, leading));
  }

  #flush(): void {
    if (!this.#decides || this.#stopped) return;
    const changes = this.#l2.takeChanges();
    for (const service of changes.resign) this.#resign(service, { keep: false });
    this.#carryOut(changes);
    for (const service of changes.stand) this.#stand(service);
  }

  #carryOut({ announce, withdraw }: L2Changes): void {
    const { port } = this.#options;
    if (withdraw.length > 0) this.#attempt("withdraw", withdraw, () => port.withdraw(withdraw));
    if (announce.length === 0 || !this.#attempt("announce", announce, () => port.announce(announce))) return;
    this.#tell(announce);
    this.#later(tellAgainMs, () => this.#tell(announce.filter((entry) => this.#l2.isAnnounced(entry))));
  }

  #attempt(op: string, entries: readonly L2Address[], write: () => void): boolean {
    try {
      write();
      return true;
    } catch (error) {
      this.#options.log.error(
        { err: errorText(error), op, entries: entries.length },
        "L2 announcements failed",
      );
      this.#l2.retry(entries);
      this.#later(retryMs, () => this.#flush());
      return false;
    }
  }

  /** A courtesy: who was not told asks sooner or later. */
  #tell(entries: readonly L2Entry[]): void {
    if (entries.length === 0) return;
    try {
      this.#options.port.tell(entries);
    } catch (error) {
      this.#options.log.warn({ err: errorText(error) }, "could not tell the neighbours where an address is");
    }
  }

  #later(ms: number, run: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, ms);
    this.#timers.add(timer);
  }

  #stand(service: string): void {
    const { client, nodeName, leaseNamespace, log } = this.#options;
    const options = {
      ...{ name: leaseName(service), namespace: leaseNamespace, identity: nodeName, log },
      ...this.#times,
    };
    const election = elect(client, options, {
      onElected: () => this.#lead(service, true),
      onLost: () => this.#lead(service, false),
      onLeader: () => this.#lead(service, false),
    });
    // With the server out of reach, another may have taken over what we go on to announce since before our start.
    const undecided = setTimeout(() => {
      if (!election.leading) this.#lead(service, false);
    }, this.#times.leaseDurationMs);
    this.#candidacies.set(service, { election, undecided });
  }

  #resign(service: string, { keep }: { keep: boolean }): void {
    const candidacy = this.#candidacies.get(service);
    if (candidacy === undefined) return;
    this.#candidacies.delete(service);
    clearTimeout(candidacy.undecided);
    const led = candidacy.election.leading;
    const ended = this.#end(service, candidacy.election, { keep, remove: led && !keep });
    this.#ending.add(ended);
    void ended.finally(() => this.#ending.delete(ended));
  }

  /** The lease of a Service that is gone goes with its leader. */
  async #end(
    service: string,
    election: Election,
    { keep, remove }: { keep: boolean; remove: boolean },
  ): Promise<void> {
    const { client, leaseNamespace, log } = this.#options;
    try {
      await election.stop({ keep });
      if (!remove || this.#l2.has(service)) return;
      await client
        .resource(resources.leases)
        .deleteIfExists(leaseName(service), { namespace: leaseNamespace });
    } catch (error) {
      log.warn({ err: errorText(error), service }, "could not give up the lease of a Service");
    }
  }
}

/** namespace/name to the field's name of the lease. */
function leaseName(service: string): string {
  return `cilium-l2announce-${service.replace("/", "-")}`;
}

function keyOf({ metadata }: L2ServiceObject): string {
  return `${metadata?.namespace ?? ""}/${metadata?.name ?? ""}`;
}
