import { join } from "node:path";
import type { Lifecycle } from "@axoneme/app";
import { formatIp, type Ip, type Logger, parseIp, tryParseIp } from "@axoneme/base";
import { connectedPairs, type Kernel, pairKey } from "@axoneme/datapath";
import type { AnswerMessage, CacheEntry } from "@axoneme/dns";
import type { Ipcache, LocalIdentities } from "@axoneme/identity";
import type { DnsProxyStatus, FlowMetrics, Observer } from "@axoneme/observe";
import type { PolicyEngine } from "@axoneme/policy";
import type { Registry } from "prom-client";
import type { ConntrackCollector } from "../collector.ts";
import type { PolicyModule } from "../state/policy.ts";
import { type DnsEvent, dnsFlows } from "./flows.ts";
import { HeldRedirects } from "./held-redirects.ts";
import { NameJournal } from "./journal.ts";
import { LearnedNames } from "./learned-names.ts";
import { DnsMeters } from "./meters.ts";
import { type CacheConfig, cacheLimits } from "./options.ts";
import { ProxyClient } from "./proxy-client.ts";
import type { ProxyProcess } from "./proxy-process.ts";

/** How often what was learned is written to disk as a whole, if it changed. */
const saveEveryMs = 60_000;

/** The part of the configuration that DNS needs. */
export interface DnsConfig extends CacheConfig {
  readonly runDir: string;
  readonly dnsProxy: "start" | "external" | "off";
  readonly tofqdnsDNSRejectResponseCode: "refused" | "nameError";
  readonly tofqdnsProxyResponseMaxDelay: number;
}

/** What DNS is composed of. */
export interface DnsDeps {
  readonly config: DnsConfig;
  readonly dualStack: boolean;
  readonly engine: PolicyEngine;
  readonly localIdentities: LocalIdentities;
  readonly ipcache: Ipcache;
  readonly kernel: Kernel;
  readonly registry: Registry;
  readonly proxy: ProxyProcess;
  readonly log: Logger;
}

/** What else of the agent it works with. */
export interface DnsSurroundings {
  readonly policy: PolicyModule;
  /** The endpoints of this node. */
  readonly endpoints: () => Iterable<NameUser>;
  readonly collector: Pick<ConntrackCollector, "onSwept">;
  readonly observer: Observer;
  readonly metrics: FlowMetrics;
}

/** An endpoint as far as names are concerned. */
export interface NameUser {
  readonly id: number;
  readonly ips: readonly string[];
}

/**
 * DNS names on this node: what the proxy tells becomes identities of addresses, written to the kernel before the pod
 * gets its answer; what policies say of names goes to the proxy.
 */
export class Dns {
  readonly names: LearnedNames;
  readonly client: ProxyClient;
  readonly #deps: DnsDeps;
  readonly #journal: NameJournal;
  readonly #meters: DnsMeters;
  #policy: PolicyModule | undefined;
  #endpoints: () => Iterable<NameUser> = () => [];
  #saveTimer: NodeJS.Timeout | undefined;
  #isChanged = false;
  #sweeping = false;
  #isSettled = false;
  #tell: (events: readonly DnsEvent[]) => void = () => undefined;

  constructor(deps: DnsDeps) {
    const { config, engine, log } = deps;
    this.#deps = deps;
    this.#journal = new NameJournal(join(config.runDir, "dns-names.json"), log);
    this.names = new LearnedNames({ ...deps, limits: cacheLimits(config), journal: this.#journal });
    this.client = new ProxyClient({
      path: join(config.runDir, "dns.sock"),
      config: () => ({
        t: "config",
        rejectCode: config.tofqdnsDNSRejectResponseCode,
        budgetMs: config.tofqdnsProxyResponseMaxDelay,
      }),
      rules: () => engine.dnsRules.all(),
      onAnswers: (answers) => this.#answered(answers),
      onQueries: (queries) => this.#tell(queries.map((message) => ({ kind: "query", message }))),
      mode: config.dnsProxy,
      log,
    });
    this.client.onLost = () => this.#deps.proxy.look();
    this.names.onRules = (added, removed) => {
      if (added.length > 0) this.client.sendRules(added);
      if (removed.length > 0) this.client.dropRules(removed);
    };
    this.#meters = new DnsMeters(deps.registry, this.names);
  }

  /** Takes in what an earlier agent left: before anything looks at the identities that the kernel has. */
  restore(): void {
    const carried: [Ip, number][] = [];
    for (const [key, { identity }] of this.#deps.kernel.maps.ipcache.entries()) {
      if (key.prefixlen === 128) carried.push([key.addr.slice(), identity]);
    }
    this.names.restore(this.#journal.load(), carried, Date.now());
  }

  /** Takes its place among the agent's modules. */
  addTo(lifecycle: Lifecycle, { policy, endpoints, collector, observer, metrics }: DnsSurroundings): void {
    this.#policy = policy;
    const { ipcache, kernel, log } = this.#deps;
    policy.redirects = new HeldRedirects(this.client, (held) => policy.enforce(held), log);
    this.#endpoints = endpoints;
    collector.onSwept = () => void this.#afterSweep();
    const endpointAt = (ip: Ip) => kernel.maps.endpoints.get(ip);
    this.#tell = dnsFlows({ observer, metrics, ipcache, endpointAt });
    lifecycle.add({
      name: "dns-names",
      start: (health) => {
        health.ok();
        this.#saveTimer = setInterval(() => this.#save(), saveEveryMs);
        this.#saveTimer.unref();
      },
      stop: () => {
        clearInterval(this.#saveTimer);
        this.#isChanged = true;
        this.#save();
        this.#journal.close();
      },
    });
    lifecycle.add(this.#deps.proxy);
    lifecycle.add(this.client);
  }

  /** Policies and endpoints are known, and their rows are written: names that were restored are put to rights. */
  open(): void {
    const known = new Set([...this.#endpoints()].map(({ id }) => id));
    this.names.keepEndpoints((endpoint) => known.has(endpoint));
    this.#policy?.openNames();
  }

  /** Rows of an earlier agent are gone: the proxy may forget the rule sets that only they named. */
  settled(): void {
    this.names.dropUnusedRules();
    this.#isSettled = true;
    this.#isChanged = true;
    this.#save();
    this.client.open();
  }

  /** The proxy, as `axon status` tells of it. */
  status(): DnsProxyStatus {
    const { config, engine } = this.#deps;
    const { pid, build, asNode } = this.client.serving ?? {};
    return {
      mode: config.dnsProxy,
      serving: pid !== undefined,
      ...(pid !== undefined && { pid }),
      ...(build !== undefined && { build }),
      ruleSets: [...engine.dnsRules.all()].length,
      ...(asNode !== undefined && { asNode }),
    };
  }

  // ---- answers ----------------------------------------------------------------------------------------------------

  /** Learns, writes, and only then lets the pods have their answers. */
  #answered(answers: readonly AnswerMessage[]): void {
    const started = performance.now();
    const now = Date.now();
    const fresh: CacheEntry[] = [];
    for (const { client, name, addresses } of answers) {
      const ip = tryParseIp(client);
      const endpoint = ip && this.#deps.kernel.maps.endpoints.get(ip)?.id;
      if (endpoint === undefined || addresses.length === 0) continue;
      fresh.push(...this.names.learn(endpoint, name, addresses.flatMap(canonical), now));
      this.#isChanged = true;
    }
    this.#journal.append({ entries: fresh });
    this.#policy?.settleNames();
    this.client.ack(answers);
    this.#meters.answered(answers.length, (performance.now() - started) / 1000);
    this.#tell(answers.map((message) => ({ kind: "answer", message })));
  }

  // ---- clearing up ------------------------------------------------------------------------------------------------

  /** Connections that are over were removed: addresses whose TTL is over and that no connection uses go, too. */
  async #afterSweep(): Promise<void> {
    if (this.#sweeping || !this.#isSettled) return;
    this.#sweeping = true;
    try {
      await this.#sweep();
    } catch (error) {
      this.#deps.log.error({ err: error }, "addresses of DNS names whose time is over were not removed");
    } finally {
      this.#sweeping = false;
    }
  }

  async #sweep(): Promise<void> {
    const dead = this.names.cache.dead(Date.now());
    if (dead.length > 0) {
      const ips = new Map([...this.#endpoints()].map(({ id, ips: own }) => [id, own.map(parseIp)]));
      const pairs = dead.flatMap((entry) =>
        (ips.get(entry.endpoint) ?? []).map((client) => ({ client, address: parseIp(entry.ip) })),
      );
      const found = await connectedPairs(this.#deps.kernel.maps.connections, pairs);
      const isUsed = ({ endpoint, ip }: CacheEntry) =>
        (ips.get(endpoint) ?? []).some((client) => found.has(pairKey(client, parseIp(ip))));
      const removed = this.names.sweep(dead, isUsed, Date.now());
      this.#meters.removed(removed);
      this.#isChanged ||= removed > 0;
      this.#policy?.settleNames();
    }
    if (this.#policy && this.names.dropEmptyClasses()) this.#policy.identitiesGone();
    if (this.#journal.isDue) this.#save();
  }

  /** Removes what was learned, in use or not; how many entries went. */
  clean(isMeant: (entry: CacheEntry) => boolean): number {
    const removed = this.names.remove(isMeant);
    this.#isChanged ||= removed > 0;
    this.#policy?.settleNames();
    if (removed > 0) this.client.repeat();
    return removed;
  }

  #save(): void {
    if (!this.#isChanged) return;
    this.#isChanged = false;
    this.#journal.rewrite(this.names.saved());
  }

  /** Names under which an endpoint knows an address. */
  namesOf(ip: Ip, endpoint: number): readonly string[] {
    return this.names.cache.namesOf(endpoint, formatIp(ip));
  }
}

/** The one text form of an address; none for what is no address. */
function canonical({ ip, ttl }: { ip: string; ttl: number }): { ip: string; ttl: number }[] {
  const parsed = tryParseIp(ip);
  return parsed === undefined ? [] : [{ ip: formatIp(parsed), ttl }];
}
