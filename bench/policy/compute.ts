import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Prefix } from "@axoneme/base";
import { type PolicyChange, PolicyEngine, parseNetworkPolicy } from "@axoneme/policy";
import { median } from "../net/index.ts";
import { identities, identityOf, labelsOf, placeOf, policyObject, policyOf } from "./model.ts";

/** What it takes to compute all rows of a node from the objects of its cluster. */
export interface ComputeFigures {
  readonly ms: number;
  /** CPU milliseconds of the whole process: other work on the machine is not in them, the collector's threads are. */
  readonly cpuMs: number;
  readonly rows: number;
  readonly distinct: number;
}

/** An engine with everything, what it asks to be written, and the identities that prefixes were given. */
export interface Computed {
  readonly engine: PolicyEngine;
  readonly changes: readonly PolicyChange[];
  readonly cidrs: readonly { readonly prefix: Prefix; readonly id: number }[];
}

const firstCidrIdentity = 0x0100_0001;

/** Computes the rows of policies 0 to `policies` - 1 at so many endpoints, which are of places spread over all. */
export function computed(policies: number, endpoints: number): Computed {
  const engine = new PolicyEngine();
  for (let i = 0; i < identities; i++) engine.addIdentity(identityOf(i), labelsOf(placeOf(i)));
  for (let i = 0; i < policies; i++) engine.upsertPolicy(parseNetworkPolicy(policyObject(policyOf(i))));
  const step = Math.floor(identities / endpoints);
  for (let i = 0; i < endpoints; i++) {
    const place = (i * step + i) % identities;
    engine.upsertEndpoint({ id: i + 1, identity: identityOf(place), labels: labelsOf(placeOf(place)) });
  }
  const cidrs = engine.prepare().map((prefix, i) => ({ prefix, id: firstCidrIdentity + i }));
  for (const { prefix, id } of cidrs) engine.addPrefix(prefix, id);
  const rows = engine.commitRows().changes;
  return { engine, changes: [...rows, ...engine.commit().changes], cidrs };
}

/** Computes in this process, which has done nothing else before. */
export function computeHere(policies: number, endpoints: number): ComputeFigures {
  const cpu = process.cpuUsage();
  const begin = performance.now();
  const { engine, changes } = computed(policies, endpoints);
  const ms = performance.now() - begin;
  const { user, system } = process.cpuUsage(cpu);
  const rows = changes.filter(({ op }) => op === "putRow").length;
  return { ms, cpuMs: (user + system) / 1000, rows, distinct: [...engine.distincts()].length };
}

/** Computes in `rounds` processes of their own, one after the other; medians. */
export async function computeFigures(
  policies: number,
  endpoints: number,
  rounds: number,
): Promise<ComputeFigures> {
  const [script = ""] = process.argv.slice(1);
  const all: ComputeFigures[] = [];
  for (let round = 0; round < rounds; round++) {
    const args = [script, "compute", String(policies), String(endpoints)];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    all.push(JSON.parse(stdout) as ComputeFigures);
  }
  const middle = (of: (figures: ComputeFigures) => number) => median(all.map(of));
  return {
    ms: middle(({ ms }) => ms),
    cpuMs: middle(({ cpuMs }) => cpuMs),
    rows: middle(({ rows }) => rows),
    distinct: middle(({ distinct }) => distinct),
  };
}
