import { createHash } from "node:crypto";
import { join } from "node:path";
import { backoff, delay, errorText } from "@axoneme/base";
import { createCgroup } from "../lab/cgroup.ts";
import type { CniAttachment } from "./cni.ts";
import { podAddresses } from "./cniresult.ts";
import type { NodeContext } from "./context.ts";
import type { PodState } from "./podstate.ts";

/** Where a pod keeps its state: read, and changed on disk before and after each step. */
export interface StateKeeper {
  readonly state: PodState;
  save(change: Partial<PodState>): void;
}

/** A pod's namespace, its attachment by the CNI plugins, and the end of both. */
export class PodNetwork {
  readonly #context: NodeContext;
  readonly #keeper: StateKeeper;
  #stopped = false;

  constructor(context: NodeContext, keeper: StateKeeper) {
    this.#context = context;
    this.#keeper = keeper;
  }

  /** The namespace the pod's processes run in. */
  get netns(): string {
    const { hostNetwork, uid } = this.#keeper.state;
    return hostNetwork ? this.#context.netns : this.#context.paths.netns(`pod-${uid}`);
  }

  get cgroup(): string {
    return join(this.#context.cgroup, "pods", this.#keeper.state.uid);
  }

  get attachment(): CniAttachment {
    const { uid, namespace, name } = this.#keeper.state;
    return {
      containerId: createHash("sha256").update(uid).digest("hex"),
      netns: this.netns,
      ifname: "eth0",
      podNamespace: namespace,
      podName: name,
      podUid: uid,
    };
  }

  /** No more tries: the runner stops. */
  stop(): void {
    this.#stopped = true;
  }

  /** Gives the pod its network. When it throws, nothing is left of the attempt. */
  async attach(): Promise<void> {
    if (this.#keeper.state.network === "attaching") await this.#undo();
    createCgroup(this.cgroup);
    if (this.#keeper.state.hostNetwork) {
      this.#keeper.save({ network: "attached", podIps: [...this.#context.hostIps] });
      return;
    }
    // On disk first: after a crash in the middle the next runner knows that there may be something to undo.
    this.#keeper.save({ network: "attaching" });
    try {
      await this.#context.sandbox.create(this.netns);
      const cniResult = await this.#context.cni.add(this.attachment);
      this.#keeper.save({ network: "attached", cniResult, podIps: podAddresses(cniResult) });
    } catch (error) {
      await this.#undo();
      throw error;
    }
  }

  async #undo(): Promise<void> {
    await this.#context.cni.del(this.attachment).catch((error: unknown) => {
      this.#warn(error, "DEL after a failed ADD failed too");
    });
    await this.#context.sandbox.remove(this.netns);
  }

  /** Takes the network away, trying until the plugins agree; false when the runner stopped before. */
  async release(): Promise<boolean> {
    const { network, hostNetwork, cniResult } = this.#keeper.state;
    if (network === "none") return true;
    const retry = backoff({ baseMs: 200, maxMs: 10_000 });
    while (!hostNetwork) {
      try {
        await this.#context.slots.run(() => this.#context.cni.del(this.attachment, cniResult));
        await this.#context.sandbox.remove(this.netns);
        break;
      } catch (error) {
        this.#warn(error, "DEL failed; it is tried again");
        await delay(retry.next());
      }
      if (this.#stopped) return false;
    }
    this.#keeper.save({ network: "none" });
    return true;
  }

  #warn(error: unknown, message: string): void {
    const { namespace, name } = this.#keeper.state;
    this.#context.log.warn({ pod: `${namespace}/${name}`, err: errorText(error) }, message);
  }
}
