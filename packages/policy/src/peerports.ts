import type { NamedPort } from "./rule.ts";

/** A container port with a name. */
export interface ContainerPort extends NamedPort {
  port: number;
}

/** Text of a named port: Map key. */
export function namedKey({ name, proto }: NamedPort): string {
  return `${name}/${proto}`;
}

/** An identity began or ceased to have a port under a name. */
export interface PeerPortChange {
  named: string;
  identity: number;
  port: number;
  by: 1 | -1;
}

/**
 * Named ports of possible destinations, by identity. Pods of one identity may disagree on a name: then each of
 * their ports goes by it.
 */
export class PeerPorts {
  readonly #sources = new Map<string, { identity: number; ports: readonly ContainerPort[] }>();
  /** named -> identity -> port -> number of pods */
  readonly #ports = new Map<string, Map<number, Map<number, number>>>();

  /** States the named ports of one pod (`source` is any stable text). Returns what changed. */
  set(source: string, identity: number, ports: readonly ContainerPort[]): PeerPortChange[] {
    const old = this.#sources.get(source);
    const added = ports.flatMap((port) => this.#count(identity, port, 1));
    const removed = old?.ports.flatMap((port) => this.#count(old.identity, port, -1)) ?? [];
    if (ports.length > 0) this.#sources.set(source, { identity, ports });
    else this.#sources.delete(source);
    return cancelOut([...added, ...removed]);
  }

  /** Takes back what a pod had. */
  delete(source: string): PeerPortChange[] {
    const old = this.#sources.get(source);
    this.#sources.delete(source);
    return old?.ports.flatMap((port) => this.#count(old.identity, port, -1)) ?? [];
  }

  #count(identity: number, port: ContainerPort, by: 1 | -1): PeerPortChange[] {
    const named = namedKey(port);
    const identities = this.#ports.get(named) ?? new Map<number, Map<number, number>>();
    const counts = identities.get(identity) ?? new Map<number, number>();
    const count = (counts.get(port.port) ?? 0) + by;
    if (count > 0) counts.set(port.port, count);
    else counts.delete(port.port);
    if (counts.size > 0) identities.set(identity, counts);
    else identities.delete(identity);
    if (identities.size > 0) this.#ports.set(named, identities);
    else this.#ports.delete(named);
    const turned = by === 1 ? count === 1 : count === 0;
    return turned ? [{ named, identity, port: port.port, by }] : [];
  }

  /** The ports an identity has under a name. */
  of(named: string, identity: number): Iterable<number> {
    return this.#ports.get(named)?.get(identity)?.keys() ?? [];
  }

  /** All ports that pods of an identity have under names. */
  all(identity: number): ContainerPort[] {
    return [...this.#ports].flatMap(([named, identities]) => {
      const slash = named.lastIndexOf("/");
      const [name, proto] = [named.slice(0, slash), Number(named.slice(slash + 1))];
      return [...(identities.get(identity)?.keys() ?? [])].map((port) => ({ name, proto, port }));
    });
  }

  /** The identities that have a port under a name. */
  identities(named: string): Iterable<number> {
    return this.#ports.get(named)?.keys() ?? [];
  }
}

/** A port that came and went within one call did not change. */
function cancelOut(changes: PeerPortChange[]): PeerPortChange[] {
  const net = new Map<string, { change: PeerPortChange; sum: number }>();
  for (const change of changes) {
    const key = `${change.named}/${change.identity}/${change.port}`;
    const entry = net.get(key) ?? { change, sum: 0 };
    entry.sum += change.by;
    net.set(key, entry);
  }
  return [...net.values()]
    .filter(({ sum }) => sum !== 0)
    .map(({ change, sum }) => ({ ...change, by: sum > 0 ? 1 : -1 }));
}
