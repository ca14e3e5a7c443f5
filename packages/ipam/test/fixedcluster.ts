import { AxonError, parsePrefix } from "@axoneme/base";
import {
  type Binding,
  type Claim,
  type FixedStore,
  freeClaim,
  giveBackFixed,
  type PodName,
  type Stored,
  takeFixed,
} from "../src/index.ts";

/** A process was killed, or an answer of the store was lost: what it had begun ends here. */
class Crash extends Error {}

interface Row<T> extends Stored<T> {
  readonly value: T;
}

/** What the API server holds. */
export class Objects {
  readonly bindings = new Map<string, Row<Binding>>();
  readonly claims = new Map<string, Row<Claim>>();
  #last = 0;

  next<T>(value: T, uid?: string): Row<T> {
    const version = String(++this.#last);
    return { value, version, uid: uid ?? `uid${version}` };
  }
}

interface Endpoint {
  readonly pod: string;
  readonly uid: number;
  readonly addresses: readonly string[];
}

interface Node {
  readonly name: string;
  life: number;
  isDead: boolean;
  /** In the kernel and on disk: outlives the agent. */
  readonly endpoints: Map<string, Endpoint>;
}

export type Step =
  | { readonly do: "create"; readonly pod: number; readonly node: number }
  | { readonly do: "delete" | "force"; readonly pod: number }
  | { readonly do: "restart" | "die"; readonly node: number }
  | { readonly do: "gc" };

const pool = { name: "p", cidrs: [parsePrefix("10.9.0.0/29"), parsePrefix("fd09::/125")] };
const namespace = "default";

/**
 * Agents and an operator on one store. Each call to it is a point at which another process may come first, at which the
 * caller may be killed, or at which the answer may be lost: `choose` decides.
 */
export class FixedCluster {
  readonly objects = new Objects();
  readonly nodes: readonly Node[];
  /** Pods that exist: the uid and node of each name. */
  readonly #pods = new Map<string, { uid: number; node: Node }>();
  readonly #waiting: (() => void)[] = [];
  readonly #tasks = new Set<Promise<void>>();
  readonly #queues = new Map<string, Promise<void>>();
  readonly #choose: (of: number) => number;
  #uid = 0;
  #faults = true;
  #candidates = new Set<string>();
  /** Addresses that two pods had at one time. */
  readonly doubles: string[] = [];
  readonly failures: unknown[] = [];

  /** @param choose a number below `of`. */
  constructor(choose: (of: number) => number, nodes = 3) {
    this.#choose = choose;
    this.nodes = Array.from({ length: nodes }, (_, at) => ({
      name: `n${at}`,
      life: 0,
      isDead: false,
      endpoints: new Map(),
    }));
  }

  start(step: Step): void {
    if (step.do === "gc") this.#spawn(() => this.#collect());
    else if (step.do === "create") this.#create(`p${step.pod}`, this.#node(step.node));
    else if (step.do === "restart") this.#restart(this.#node(step.node));
    else if (step.do === "die") this.#die(this.#node(step.node));
    else if ("pod" in step) this.#end(`p${step.pod}`, step.do === "force");
  }

  /** Lets some calls happen. */
  async run(calls: number): Promise<void> {
    for (let call = 0; call < calls; call++) if (!(await this.#one())) return;
  }

  /** Nothing fails any more, all pods go, agents come back, and the operator sweeps until it finds nothing. */
  async settle(): Promise<void> {
    this.#faults = false;
    for (const node of this.nodes) this.#restart(node);
    await this.run(100_000);
    for (const pod of [...this.#pods.keys()]) this.#end(pod, false);
    await this.run(100_000);
    for (const node of this.nodes) this.#restart(node);
    await this.run(100_000);
    for (let sweep = 0; sweep < 4; sweep++) {
      this.#spawn(() => this.#collect());
      await this.run(100_000);
    }
  }

  #node(at: number): Node {
    return this.nodes[at % this.nodes.length] as Node;
  }

  async #one(): Promise<boolean> {
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
    if (this.#waiting.length === 0) return false;
    const [go] = this.#waiting.splice(this.#choose(this.#waiting.length), 1);
    go?.();
    return true;
  }

  #spawn(work: () => Promise<void>): void {
    const task: Promise<void> = work()
      .catch((error: unknown) => {
        const expected =
          error instanceof Crash || (error instanceof AxonError && error.code === "ipam.fixed");
        if (!expected) this.failures.push(error);
      })
      .finally(() => this.#tasks.delete(task));
    this.#tasks.add(task);
  }

  // ---- what happens to pods ---------------------------------------------------------------------------------------

  #create(pod: string, node: Node): void {
    if (node.isDead || this.#pods.has(pod)) return;
    const uid = ++this.#uid;
    this.#pods.set(pod, { uid, node });
    this.#add(pod, uid, node);
  }

  /** What a kubelet does: it asks until the agent has done it. */
  #add(pod: string, uid: number, node: Node): void {
    this.#inTurn(node, pod, async () => {
      if (this.#pods.get(pod)?.uid !== uid) return;
      const old = node.endpoints.get(pod);
      if (old?.uid === uid) return;
      if (old) {
        node.endpoints.delete(pod);
        this.#giveBack(node, old);
      }
      const life = node.life;
      try {
        const addresses = await takeFixed(this.#store(node), {
          pod: { namespace, name: pod },
          holder: { node: node.name, podUid: String(uid) },
          owner: undefined,
          addresses: [],
          pool,
          families: [4, 6],
          isGone: async (holder) => holder.node === node.name || this.#isDead(holder.node),
        });
        if (node.life !== life) return;
        this.#install(node, { pod, uid, addresses });
      } catch (error) {
        if (node.life === life) this.#giveBack(node, { pod, uid, addresses: [] });
        throw error;
      } finally {
        if (!this.#faults && !node.endpoints.has(pod)) this.#addLater(pod, uid, node);
      }
    });
  }

  #addLater(pod: string, uid: number, node: Node): void {
    if (this.#pods.get(pod)?.uid === uid && this.#retries++ < 50) this.#add(pod, uid, node);
  }
  #retries = 0;

  #install(node: Node, endpoint: Endpoint): void {
    node.endpoints.set(endpoint.pod, endpoint);
    for (const other of this.nodes) {
      if (other.isDead) continue;
      for (const { pod, addresses } of other.endpoints.values()) {
        if (other === node && pod === endpoint.pod) continue;
        const both = addresses.filter((address) => endpoint.addresses.includes(address));
        if (both.length > 0) this.doubles.push(`${both} of ${pod} on ${other.name} and ${endpoint.pod}`);
      }
    }
  }

  #end(pod: string, force: boolean): void {
    const found = this.#pods.get(pod);
    if (!found) return;
    if (force) this.#pods.delete(pod);
    this.#inTurn(found.node, pod, async () => {
      // A kubelet takes its time.
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
      const endpoint = found.node.endpoints.get(pod);
      if (this.#pods.get(pod)?.uid === found.uid) this.#pods.delete(pod);
      if (endpoint?.uid === found.uid) this.#remove(found.node, endpoint);
    });
  }

  /** A DEL: of a kubelet that ends a pod, or comes back and finds that its pod is no more. */
  #remove(node: Node, endpoint: Endpoint): void {
    node.endpoints.delete(endpoint.pod);
    this.#giveBack(node, endpoint);
  }

  #giveBack(node: Node, { pod, uid }: Endpoint): void {
    const life = node.life;
    this.#inTurn(node, pod, async () => {
      // A pod that has the name and the addresses again by now keeps them.
      if (node.life !== life || node.endpoints.get(pod)?.uid === uid) return;
      try {
        const holder = { node: node.name, podUid: String(uid) };
        await giveBackFixed(this.#store(node), { namespace, name: pod }, holder, "2026-01-01T00:00:00Z");
      } catch (error) {
        if (node.life === life) this.#giveBack(node, { pod, uid, addresses: [] });
        throw error;
      }
    });
  }

  /** The agent dies and comes back: it gives back what it holds for nobody, and ends what it no longer holds. */
  #restart(node: Node): void {
    node.life++;
    node.isDead = false;
    for (const [pod, endpoint] of node.endpoints) {
      const held = this.objects.bindings.get(`${namespace}/${pod}`)?.value.holder;
      if (held?.node !== node.name || held.podUid !== String(endpoint.uid)) node.endpoints.delete(pod);
      else if (this.#pods.get(pod)?.uid !== endpoint.uid) this.#remove(node, endpoint);
    }
    for (const [key, { value }] of this.objects.bindings) {
      const pod = key.slice(namespace.length + 1);
      const uid = Number(value.holder?.podUid);
      if (value.holder?.node !== node.name || node.endpoints.get(pod)?.uid === uid) continue;
      this.#giveBack(node, { pod, uid, addresses: [] });
    }
    for (const [pod, { uid, node: where }] of this.#pods) if (where === node) this.#add(pod, uid, node);
  }

  /** Its pods are no longer there for anybody; whoever finds out removes their objects. */
  #die(node: Node): void {
    node.life++;
    node.isDead = true;
    for (const [pod, { node: where }] of this.#pods) if (where === node) this.#pods.delete(pod);
  }

  #isDead(name: string): boolean {
    return this.nodes.find((node) => node.name === name)?.isDead === true;
  }

  #inTurn(node: Node, pod: string, work: () => Promise<void>): void {
    const key = `${node.name} ${pod}`;
    const before = this.#queues.get(key) ?? Promise.resolve();
    const done = before.then(work);
    this.#queues.set(
      key,
      done.catch(() => undefined),
    );
    this.#spawn(() => done);
  }

  // ---- the operator -----------------------------------------------------------------------------------------------

  async #collect(): Promise<void> {
    const store = this.#store(undefined);
    const claims = [...this.objects.claims.values()];
    for (const [key, row] of [...this.objects.bindings]) {
      const pod = key.slice(namespace.length + 1);
      if (row.value.holder || this.#pods.has(pod)) continue;
      await store.deleteBinding({ namespace, name: pod }, row);
    }
    const candidates = new Set<string>();
    for (const claim of claims) {
      const binding = this.objects.bindings.get(`${claim.value.namespace}/${claim.value.name}`);
      if (binding?.uid === claim.value.uid && binding.value.addresses?.includes(claim.value.address))
        continue;
      candidates.add(`${claim.uid} ${claim.version}`);
      if (this.#candidates.has(`${claim.uid} ${claim.version}`)) await freeClaim(store, claim);
    }
    this.#candidates = candidates;
  }

  // ---- the store --------------------------------------------------------------------------------------------------

  /** The store as a process sees it; undefined: the operator. */
  #store(node: Node | undefined): FixedStore {
    const { objects } = this;
    const life = node?.life;
    const call = async <T>(work: () => T): Promise<T> => {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
      const isGone = () => node !== undefined && node.life !== life;
      const fault = this.#faults ? this.#choose(12) : 12;
      // A request of a process that died may still arrive.
      if (fault === 0 || (isGone() && fault > 5)) throw new Crash("the request was lost");
      const result = work();
      this.#check();
      if (fault === 1 || isGone()) throw new Crash("the answer was lost");
      return result;
    };
    const key = ({ namespace: ns, name }: PodName): string => `${ns}/${name}`;
    const isStill = <T>(map: Map<string, Row<T>>, name: string, { version, uid }: Stored<T>): boolean =>
      map.get(name)?.version === version && map.get(name)?.uid === uid;
    const change = <T>(map: Map<string, Row<T>>, name: string, before: Stored<T>, value: T): boolean => {
      if (!isStill(map, name, before)) return false;
      // As the API server does it: a write that changes nothing makes no new version.
      if (JSON.stringify(map.get(name)?.value) !== JSON.stringify(value))
        map.set(name, objects.next(value, before.uid));
      return true;
    };
    const remove = <T>(map: Map<string, Row<T>>, name: string, before: Stored<T>): boolean =>
      isStill(map, name, before) && map.delete(name);
    const make = <T>(map: Map<string, Row<T>>, name: string, value: T): Row<T> | undefined => {
      if (map.has(name)) return undefined;
      const row = objects.next(value);
      map.set(name, row);
      return row;
    };
    const { bindings, claims } = objects;
    return {
      binding: (pod) => call(() => bindings.get(key(pod))),
      createBinding: (pod, value) => call(() => make(bindings, key(pod), value)),
      updateBinding: (pod, before, value) => call(() => change(bindings, key(pod), before, value)),
      deleteBinding: (pod, before) => call(() => remove(bindings, key(pod), before)),
      claim: (address) => call(() => claims.get(address)),
      createClaim: (value) => call(() => make(claims, value.address, value) !== undefined),
      updateClaim: (before, value) => call(() => change(claims, before.value.address, before, value)),
      deleteClaim: (before) => call(() => remove(claims, before.value.address, before)),
      claims: () => call(() => [...claims.values()].map(({ value }) => value)),
    };
  }

  /** Whatever happened: an address that a binding lists is claimed for it, so that nobody else can get it. */
  #check(): void {
    for (const { value, uid } of this.objects.bindings.values()) {
      for (const address of value.addresses ?? []) {
        if (this.objects.claims.get(address)?.value.uid !== uid)
          this.failures.push(new Error(`${address} is bound and not claimed`));
      }
    }
  }
}
