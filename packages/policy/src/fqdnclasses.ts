import { AxonError, type Ip, ipKey, isV4, Lpm, type Prefix, parsePrefix, prefixKey } from "@axoneme/base";
import { NameIndex } from "@axoneme/dns";
import { cidrLabels, type Labels } from "@axoneme/identity";
import { fqdnLabel } from "./fqdn.ts";

/** Addresses that no rule tells apart: the same selectors match their names, the same prefix holds them. */
export interface FqdnClass {
  readonly key: string;
  readonly id: number;
  readonly labels: Labels;
  /** Sorted. */
  readonly selectors: readonly string[];
  /** The most specific one that rules name; all of the family's addresses where none does. */
  readonly prefix: Prefix;
  /** How many addresses are in it. */
  readonly size: number;
}

/** An address is to have another identity than before; undefined: none because of its names. */
export interface FqdnMove {
  readonly ip: Ip;
  readonly from: FqdnClass | undefined;
  readonly to: FqdnClass | undefined;
}

/** Where identities of classes come from. */
export interface ClassNumbers {
  mint(labels: Labels): number;
  remint(id: number, labels: Labels): boolean;
  retire(id: number): void;
}

interface Class extends FqdnClass {
  size: number;
}

interface Name {
  selectors: readonly string[];
  readonly addresses: Set<Address>;
}

interface Address {
  readonly ip: Ip;
  readonly names: Set<string>;
  of: Class | undefined;
}

const EVERYTHING = { v4: parsePrefix("0.0.0.0/0"), v6: parsePrefix("::/0") };

/**
 * Which identity each learned address is to have: one for each distinct class, so that addresses that come and go, however
 * many, mint nothing. A change of names, selectors or prefixes touches the addresses that it concerns; `plan` then tells
 * their moves. Identities of new classes have their policy rows before an address moves into them, and a class that has
 * become empty keeps its identity until `sweep`.
 */
export class FqdnClasses {
  readonly #numbers: ClassNumbers;
  readonly #dualStack: boolean;
  readonly #selectors = new Map<string, number>();
  readonly #index = new NameIndex<string>();
  readonly #names = new Map<string, Name>();
  readonly #addresses = new Map<string, Address>();
  readonly #byAddress = new Lpm<Address>();
  readonly #prefixes = new Lpm<true>();
  readonly #classes = new Map<string, Class>();
  readonly #byId = new Map<number, Class>();
  readonly #dirty = new Set<Address>();

  constructor(numbers: ClassNumbers, options: { dualStack: boolean }) {
    this.#numbers = numbers;
    this.#dualStack = options.dualStack;
  }

  /** Distinct selectors in use. */
  get selectorCount(): number {
    return this.#selectors.size;
  }

  // --- what changes ------------------------------------------------------------------------------------------------

  /** A policy names a selector (once more). */
  addSelector(selector: string): void {
    const users = this.#selectors.get(selector) ?? 0;
    this.#selectors.set(selector, users + 1);
    if (users > 0) return;
    this.#index.add({ matchPattern: selector }, selector);
    for (const name of this.#namesUnder(selector)) this.#look(name);
  }

  /** A policy names a selector no more. */
  removeSelector(selector: string): void {
    const users = this.#selectors.get(selector);
    if (users === undefined) return;
    this.#selectors.set(selector, users - 1);
    if (users > 1) return;
    this.#selectors.delete(selector);
    this.#index.delete({ matchPattern: selector }, selector);
    for (const name of this.#namesUnder(selector)) this.#look(name);
  }

  /** Rules name a prefix. */
  addPrefix(prefix: Prefix): void {
    this.#prefixes.set(prefix, true);
    this.#touchInside(prefix);
  }

  /** No rule names a prefix any more. */
  removePrefix(prefix: Prefix): void {
    if (this.#prefixes.delete(prefix)) this.#touchInside(prefix);
  }

  /** An address is known under a name (lower case, final dot). */
  learn(ip: Ip, name: string): void {
    const address = this.#addressOf(ip);
    if (address.names.has(name)) return;
    address.names.add(name);
    const known = this.#names.get(name);
    const entry = known ?? { selectors: this.#matching(name), addresses: new Set() };
    if (known === undefined) this.#names.set(name, entry);
    entry.addresses.add(address);
    if (entry.selectors.length > 0) this.#dirty.add(address);
  }

  /** An address is not known under a name any more. */
  forget(ip: Ip, name: string): void {
    const address = this.#addresses.get(ipKey(ip));
    const entry = this.#names.get(name);
    if (address === undefined || entry === undefined || !address.names.delete(name)) return;
    entry.addresses.delete(address);
    if (entry.addresses.size === 0) this.#names.delete(name);
    this.#dirty.add(address);
  }

  /**
   * Puts a class back as it was before a restart, with those addresses that carry it in the kernel. They leave it, if
   * they have to, with the next plan.
   */
  restore(
    id: number,
    selectors: readonly string[],
    prefix: Prefix,
    members: Iterable<Ip>,
  ): FqdnClass | undefined {
    const key = keyOf(selectors, prefix);
    const labels = this.#labelsOf(selectors, prefix);
    if (this.#classes.has(key) || !this.#numbers.remint(id, labels)) return undefined;
    const restored = this.#insert({ key, id, labels, selectors, prefix, size: 0 });
    for (const ip of members) {
      const address = this.#addressOf(ip);
      if (address.of !== undefined) continue;
      address.of = restored;
      restored.size++;
      this.#dirty.add(address);
    }
    return restored;
  }

  // --- what follows ------------------------------------------------------------------------------------------------

  /**
   * New classes, and the addresses that change theirs, since the last plan. Addresses for whose class no identity is
   * left (`exhausted` says how many) get none.
   */
  plan(): { created: FqdnClass[]; moves: FqdnMove[]; exhausted: number } {
    const created: FqdnClass[] = [];
    const moves: FqdnMove[] = [];
    let exhausted = 0;
    for (const address of this.#dirty) {
      const { to, isLeftOut } = this.#target(address, created);
      if (isLeftOut) exhausted++;
      if (to !== address.of) {
        if (address.of !== undefined) address.of.size--;
        if (to !== undefined) to.size++;
        moves.push({ ip: address.ip, from: address.of, to });
        address.of = to;
      }
      if (address.names.size === 0) this.#drop(address);
    }
    this.#dirty.clear();
    return { created, moves, exhausted };
  }

  #target(address: Address, created: FqdnClass[]): { to: Class | undefined; isLeftOut?: boolean } {
    try {
      return { to: this.#classOf(address, created) };
    } catch (error) {
      if (error instanceof AxonError && error.code === "identity.exhausted")
        return { to: undefined, isLeftOut: true };
      throw error;
    }
  }

  /** Gives up the identities of classes without addresses. No packet may carry them any more. */
  sweep(): FqdnClass[] {
    const empty = [...this.#classes.values()].filter(({ size }) => size === 0);
    for (const { key, id } of empty) {
      this.#classes.delete(key);
      this.#byId.delete(id);
      this.#numbers.retire(id);
    }
    return empty;
  }

  // --- questions ---------------------------------------------------------------------------------------------------

  /** All classes, also those that are empty for the moment. */
  classes(): Iterable<FqdnClass> {
    return this.#classes.values();
  }

  /** The class of an identity. */
  byId(id: number): FqdnClass | undefined {
    return this.#byId.get(id);
  }

  /** The identity a learned address has. */
  classOf(ip: Ip): FqdnClass | undefined {
    return this.#addresses.get(ipKey(ip))?.of;
  }

  /** The selectors in use, each with the names it matches and their addresses. */
  *selectors(): Generator<{ selector: string; names: string[]; addresses: { ip: Ip; id: number }[] }> {
    for (const selector of this.#selectors.keys()) {
      const names: string[] = [];
      const addresses = new Set<Address>();
      for (const [name, entry] of this.#names) {
        if (!entry.selectors.includes(selector)) continue;
        names.push(name);
        for (const address of entry.addresses) addresses.add(address);
      }
      const found = [...addresses].map(({ ip, of }) => ({ ip, id: of?.id ?? 0 }));
      yield { selector, names, addresses: found };
    }
  }

  // --- within ------------------------------------------------------------------------------------------------------

  *#namesUnder(selector: string): Generator<[string, Name]> {
    if (!selector.includes("*")) {
      const key = `${selector}.`;
      const entry = this.#names.get(key);
      if (entry !== undefined) yield [key, entry];
      return;
    }
    const only = new NameIndex<true>();
    only.add({ matchPattern: selector }, true);
    for (const name of this.#names) if (only.matches(name[0])) yield name;
  }

  #look([name, entry]: [string, Name]): void {
    entry.selectors = this.#matching(name);
    for (const address of entry.addresses) this.#dirty.add(address);
  }

  #matching(name: string): string[] {
    return [...this.#index.matching(name)].sort();
  }

  #touchInside(prefix: Prefix): void {
    for (const { value } of this.#byAddress.inside(prefix)) this.#dirty.add(value);
  }

  #addressOf(ip: Ip): Address {
    const key = ipKey(ip);
    const known = this.#addresses.get(key);
    if (known !== undefined) return known;
    const address: Address = { ip, names: new Set(), of: undefined };
    this.#addresses.set(key, address);
    this.#byAddress.set({ ip, length: 128 }, address);
    return address;
  }

  #drop({ ip }: Address): void {
    this.#addresses.delete(ipKey(ip));
    this.#byAddress.delete({ ip, length: 128 });
  }

  #classOf({ ip, names }: Address, created: FqdnClass[]): Class | undefined {
    const matched = new Set([...names].flatMap((name) => this.#names.get(name)?.selectors ?? []));
    if (matched.size === 0) return undefined;
    const selectors = [...matched].sort();
    const prefix = this.#prefixOf(ip);
    const key = keyOf(selectors, prefix);
    const known = this.#classes.get(key);
    if (known !== undefined) return known;
    const labels = this.#labelsOf(selectors, prefix);
    const made = this.#insert({ key, id: this.#numbers.mint(labels), labels, selectors, prefix, size: 0 });
    created.push(made);
    return made;
  }

  #insert(made: Class): Class {
    this.#classes.set(made.key, made);
    this.#byId.set(made.id, made);
    return made;
  }

  #prefixOf(ip: Ip): Prefix {
    const everything = isV4(ip) ? EVERYTHING.v4 : EVERYTHING.v6;
    const found = this.#prefixes.lookup(ip)?.prefix;
    // A prefix of the other family never holds an address, whatever its bits.
    return found !== undefined && found.length > everything.length ? found : everything;
  }

  #labelsOf(selectors: readonly string[], prefix: Prefix): Labels {
    const names = selectors.map((selector) => [fqdnLabel(selector), ""]);
    return { ...Object.fromEntries(names), ...cidrLabels(prefix, this.#dualStack) };
  }
}

function keyOf(selectors: readonly string[], prefix: Prefix): string {
  return `${prefixKey(prefix)} ${selectors.join(" ")}`;
}
