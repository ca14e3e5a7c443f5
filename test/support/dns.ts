/** A name server in a pod whose zone the test changes, addresses outside that all answer, and pods that ask. */
import { AxonError } from "@axoneme/base";
import { dialIn } from "@axoneme/netlink";
import { addresses, askOverTcp, NameServer, type Reply, Resolver } from "../../bpf/test/dns.ts";
import { built, run } from "./command.ts";
import { type Place, port, type TestLab } from "./lab.ts";

export { askOverTcp };

/** Outside of the cluster, each address of these is the world's. */
export const anywhere = { v4: "198.18.0.0/15", v6: "2001:db8:f::/48" } as const;

/** What a name has. */
export interface Records {
  readonly ips: readonly string[];
  readonly ttl?: number;
  /** The addresses belong to this name. */
  readonly cname?: string;
}

/** The cluster's name server: names without the final dot -> records. */
export class Zone {
  readonly records = new Map<string, Records>();
  readonly #servers: NameServer[] = [];

  /** Serves it in a place, on both families, over UDP and TCP. */
  static async serve(at: Place): Promise<Zone> {
    const zone = new Zone();
    for (const host of [at.v4, at.v6]) {
      const server = await NameServer.start(at.netns, host, ({ name, type }) => zone.#answer(name, type));
      zone.#servers.push(server);
    }
    return zone;
  }

  /** Names that were asked for. */
  get asked(): string[] {
    return this.#servers.flatMap(({ asked }) => asked.map(({ name }) => name));
  }

  /** Who asked for a name, by address. */
  askersOf(name: string): string[] {
    return this.#servers.flatMap(({ asked }) =>
      asked.filter((question) => question.name === name).map(({ from }) => from),
    );
  }

  set(name: string, ...ips: string[]): void {
    this.records.set(name, { ips });
  }

  #answer(name: string, type: string) {
    const found = this.records.get(name.toLowerCase());
    if (found === undefined) return { flags: 0x8003 }; // NXDOMAIN
    const { ips, ttl = 60, cname } = found;
    const family = ips.filter((ip) => ip.includes(":") === (type === "AAAA"));
    const owner = cname ?? name;
    const chain = cname === undefined ? [] : [{ type: "CNAME" as const, name, ttl, data: cname }];
    return { answers: [...chain, ...addresses(owner, family, ttl)] };
  }

  stop(): void {
    for (const server of this.#servers) server.stop();
  }
}

/** A pod that asks and connects. */
export class NameClient {
  readonly #place: Place;
  readonly #server: Place;
  readonly #resolver: Resolver;

  private constructor(place: Place, server: Place, resolver: Resolver) {
    this.#place = place;
    this.#server = server;
    this.#resolver = resolver;
  }

  static async open(place: Place, server: Place): Promise<NameClient> {
    return new NameClient(place, server, await Resolver.open(place.netns, "v4"));
  }

  ask(name: string, type: "A" | "AAAA" = "A"): Promise<Reply> {
    return this.#resolver.ask(this.#server.v4, name, type);
  }

  /** The addresses it was told. */
  async resolve(name: string, type: "A" | "AAAA" = "A"): Promise<string[]> {
    const { answers = [] } = await this.ask(name, type);
    return answers.flatMap((a) => (a.type === "A" || a.type === "AAAA" ? [a.data] : []));
  }

  /** Whether the first packet of a connection gets through: sooner than a second one would be sent. */
  async reaches(ip: string, onPort = Number(port)): Promise<boolean> {
    try {
      (await dialIn(this.#place.netns, { host: ip, port: onPort, timeoutMs: 700 })).destroy();
      return true;
    } catch {
      return false;
    }
  }

  /** Asks, and connects to the first address at once. */
  async reachesName(name: string, type: "A" | "AAAA" = "A"): Promise<boolean> {
    const [ip] = await this.resolve(name, type);
    if (ip === undefined) throw new AxonError("test.dns", `${name} has no address`);
    return this.reaches(ip);
  }

  close(): void {
    this.#resolver.close();
  }
}

/** From now on every address of `anywhere` is one of the world's own. */
export async function answerAnywhere(lab: TestLab): Promise<void> {
  for (const [flag, prefix] of [
    ["-4", anywhere.v4],
    ["-6", anywhere.v6],
  ] as const) {
    const args = [
      "--netns",
      lab.world.netns,
      "--",
      "ip",
      flag,
      "route",
      "replace",
      "local",
      prefix,
      "dev",
      "lo",
    ];
    const { code, stderr } = await run(built("axon-exec"), args);
    if (code !== 0) throw new AxonError("test.route", stderr);
  }
}
