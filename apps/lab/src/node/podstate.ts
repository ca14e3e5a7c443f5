import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Pod } from "kubernetes-types/core/v1";
import { meta, nameOf, timestamp, uidOf } from "../controllers/objects.ts";
import type { CniResult } from "./cniresult.ts";
import { type ContainerRecord, newContainer } from "./container.ts";

/** What must survive a crash of the runner about one pod. */
export interface PodState {
  version: 1;
  node: string;
  uid: string;
  namespace: string;
  name: string;
  hostNetwork: boolean;
  startedAt: string;
  /** How far the network is: `attaching` means an ADD may or may not have happened. */
  network: "none" | "attaching" | "attached";
  cniResult?: CniResult;
  podIps: string[];
  containers: ContainerRecord[];
  /** The pod as last seen, so that its end can be handled even when the API no longer has it. */
  pod: Pod;
}

/** Keeps pod states as files pods/<uid>/state.json, each written to a new file and renamed. */
export class PodStateStore {
  readonly #dir: string;
  readonly #made = new Set<string>();

  constructor(dir: string) {
    this.#dir = dir;
    mkdirSync(dir, { recursive: true });
  }

  dir(uid: string): string {
    return join(this.#dir, uid);
  }

  save(state: PodState): void {
    const dir = this.dir(state.uid);
    if (!this.#made.has(state.uid)) mkdirSync(dir, { recursive: true });
    this.#made.add(state.uid);
    const file = join(dir, "state.json");
    writeFileSync(`${file}.new`, JSON.stringify(state), { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }

  remove(uid: string): void {
    this.#made.delete(uid);
    rmSync(this.dir(uid), { recursive: true, force: true });
  }

  /** The states of a node's pods. A file that cannot be read belongs to a pod that never got going. */
  load(node: string): PodState[] {
    return readdirSync(this.#dir).flatMap((uid) => {
      const file = join(this.#dir, uid, "state.json");
      if (!existsSync(file)) return [];
      const state = parseState(readFileSync(file, "utf8"));
      return state !== undefined && state.node === node ? [state] : [];
    });
  }
}

function parseState(text: string): PodState | undefined {
  try {
    const state = JSON.parse(text) as Partial<PodState>;
    return state.version === 1 && typeof state.uid === "string" ? (state as PodState) : undefined;
  } catch {
    return undefined;
  }
}

/** The state of a pod that has just come. */
export function freshState(node: string, pod: Pod, now: number): PodState {
  const init = (pod.spec?.initContainers ?? []).map((container) =>
    newContainer(
      container.name,
      container.restartPolicy === "Always" ? "sidecar" : "init",
      container.image ?? "host",
    ),
  );
  const main = (pod.spec?.containers ?? []).map((container) =>
    newContainer(container.name, "main", container.image ?? "host"),
  );
  return {
    version: 1,
    node: node,
    uid: uidOf(pod),
    namespace: meta(pod).namespace ?? "default",
    name: nameOf(pod),
    hostNetwork: pod.spec?.hostNetwork === true,
    startedAt: timestamp(now),
    network: "none",
    podIps: [],
    containers: [...init, ...main],
    pod,
  };
}
