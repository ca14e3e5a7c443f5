import { createHash } from "node:crypto";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { AxonError, type Backoff, backoff, errorText, type Timer } from "@axoneme/base";
import type { Container, Pod, PodStatus } from "kubernetes-types/core/v1";
import { isDeleting, meta, nameOf, timestamp, uidOf } from "../controllers/objects.ts";
import { isPopulated, killCgroup, removeCgroup } from "../lab/cgroup.ts";
import type { CniAttachment } from "./cni.ts";
import {
  backingOff,
  type ContainerRecord,
  isDone,
  nextStep,
  type RestartPolicy,
  running,
  succeeded,
  terminated,
} from "./container.ts";
import { ContainerLog } from "./containerlog.ts";
import { ContainerProbes } from "./containerprobes.ts";
import { containerEnv, launchSpec, type PodPlace } from "./containerspec.ts";
import type { LaunchSpec, NodeContext } from "./context.ts";
import { expand } from "./environment.ts";
import { PodNetwork } from "./podnetwork.ts";
import { freshState, type PodState } from "./podstate.ts";
import { isInitialized, podStatus } from "./podstatus.ts";
import { adoptProcess, type ContainerProcess, type Exit, startProcess } from "./process.ts";
import { StatusPublisher } from "./statuspublisher.ts";
import { prepareVolumes, removeVolumes } from "./volumes.ts";

interface Live {
  process: ContainerProcess;
  probes: ContainerProbes;
}

/**
 * The life of one pod on its node: network, containers, restarts, status, end. Every cause (a new spec, an
 * exit, a probe's verdict, a timer) only asks for another `sync`, which looks at the whole and does the next
 * step; there is one sync at a time.
 */
export class PodWorker {
  readonly uid: string;
  readonly #context: NodeContext;
  readonly #onGone: () => void;
  #pod: Pod;
  #state: PodState;
  readonly #live = new Map<string, Live>();
  readonly #logs = new Map<string, ContainerLog>();
  #volumes: Map<string, string> | undefined;
  #timer: Timer | undefined;
  readonly #sandboxRetry: Backoff = backoff({ baseMs: 500, maxMs: 10_000 });
  #syncing = false;
  #again = false;
  /** Set once the API no longer has the pod, or it must go whatever the API says. */
  #removed = false;
  #ending = false;
  #stopped = false;
  readonly #publisher: StatusPublisher;
  readonly #network: PodNetwork;

  constructor(context: NodeContext, pod: Pod, onGone: () => void, state?: PodState) {
    this.#context = context;
    this.#pod = pod;
    this.uid = uidOf(pod);
    this.#onGone = onGone;
    const read = (): PodState => this.#state;
    this.#network = new PodNetwork(context, {
      get state() {
        return read();
      },
      save: (change) => this.#save(change),
    });
    this.#publisher = new StatusPublisher(
      context,
      () => ({ pod: this.#pod, status: this.#status() }),
      (status) => {
        this.#pod = { ...this.#pod, status };
      },
    );
    this.#state = state ?? freshState(context.node, pod, context.clock.now());
    if (state !== undefined) this.#adopt();
  }

  get pod(): Pod {
    return this.#pod;
  }

  /** What this pod holds of the network, for garbage collection; undefined when it holds nothing. */
  get attachment(): CniAttachment | undefined {
    return this.#state.network === "none" ? undefined : this.#network.attachment;
  }

  /** Takes a new version of the object. */
  update(pod: Pod): void {
    this.#pod = pod;
    this.#state.pod = pod;
    this.#publisher.seen(pod);
    this.wake();
  }

  /** The object is gone from the API: end without writing to it. */
  remove(): void {
    this.#removed = true;
    this.#publisher.stop();
    if (this.#ending) for (const { process } of this.#live.values()) process.kill();
    this.wake();
  }

  /** Lets go of the pod without touching it: the runner stops, the processes stay. */
  stop(): void {
    this.#stopped = true;
    this.#publisher.stop();
    this.#network.stop();
    this.#timer?.cancel();
    for (const live of this.#live.values()) live.probes.stop();
  }

  wake(): void {
    if (this.#stopped) return;
    this.#again = true;
    if (!this.#syncing) void this.#loop();
  }

  /** The log of a container's current run, or of the one before; undefined when there is none. */
  log(container: string, previous: boolean): ContainerLog | undefined {
    const record = this.#record(container);
    if (record === undefined) return undefined;
    // While a container waits out its backoff, its last run is both the present and the previous one.
    const isOver = record.state.is === "waiting" && record.last !== undefined;
    const run = record.restartCount - (previous && !isOver ? 1 : 0);
    return run < 0 ? undefined : this.#logOf(container, run);
  }

  hasContainer(name: string): boolean {
    return this.#record(name) !== undefined;
  }

  /** How to start a further process in a running container. */
  async execSpec(
    container: string,
    argv: readonly string[],
  ): Promise<{ spec: LaunchSpec; env: Record<string, string> }> {
    const record = this.#record(container);
    if (record?.state.is !== "running") {
      throw new AxonError("pod.exec", `container ${container} of pod ${nameOf(this.#pod)} is not running`);
    }
    const definition = this.#definition(container);
    return {
      spec: launchSpec(this.#context, this.#facts(), definition, argv),
      env: await containerEnv(this.#context, this.#facts(), definition),
    };
  }

  /** Container to address by default: as kubectl does, the annotated one, else the first. */
  get defaultContainer(): string {
    const annotated = meta(this.#pod).annotations?.["kubectl.kubernetes.io/default-container"];
    return annotated ?? this.#pod.spec?.containers[0]?.name ?? "";
  }

  // --- the loop ---

  async #loop(): Promise<void> {
    this.#syncing = true;
    try {
      while (this.#again && !this.#stopped) {
        this.#again = false;
        this.#timer?.cancel();
        await this.#sync();
      }
    } catch (error) {
      this.#context.log.error(
        { pod: this.#label(), err: errorText(error) },
        "a pod could not be brought further",
      );
      this.#wakeIn(2_000);
    } finally {
      this.#syncing = false;
    }
  }

  #wakeIn(ms: number): void {
    this.#timer?.cancel();
    this.#timer = this.#context.clock.setTimer(ms, () => this.wake());
  }

  async #sync(): Promise<void> {
    if (this.#removed || isDeleting(this.#pod)) return this.#end();
    if (this.#isOver()) return this.#settle();
    if (!(await this.#ensureNetwork())) return;
    const policy = this.#policy();
    const init = this.#state.containers.filter((record) => record.kind !== "main");
    for (const record of init) {
      if (record.kind === "init" && succeeded(record)) continue;
      if (record.kind === "sidecar" && record.started) continue;
      await this.#advance(record);
      break;
    }
    if (isInitialized(this.#state.containers.filter((record) => record.kind !== "main"))) {
      for (const record of this.#state.containers.filter((entry) => entry.kind !== "init"))
        await this.#advance(record);
    } else if (init.some((record) => record.kind === "init" && isDone(record, policy) && succeeded(record))) {
      const next = this.#state.containers.find(
        (record) => record.kind === "init" && record.state.is === "waiting",
      );
      if (next !== undefined) await this.#advance(next);
    }
    this.#publisher.publish();
  }

  /** A finished pod keeps its object and logs, but neither processes nor network. */
  async #settle(): Promise<void> {
    for (const { process, probes } of this.#live.values()) {
      probes.stop();
      process.kill();
    }
    await this.#network.release();
    this.#publisher.publish();
  }

  #isOver(): boolean {
    const phase = this.#pod.status?.phase;
    if (phase === "Succeeded" || phase === "Failed") return true;
    const computed = this.#status().phase;
    return computed === "Succeeded" || computed === "Failed";
  }

  async #ensureNetwork(): Promise<boolean> {
    if (this.#state.network === "attached") return true;
    try {
      await this.#context.slots.run(() => this.#network.attach());
      this.#sandboxRetry.reset();
      return true;
    } catch (error) {
      const message = `Failed to create pod sandbox: ${errorText(error)}`;
      this.#context.api.event(this.#pod, "Warning", "FailedCreatePodSandBox", message);
      this.#context.log.warn(
        { pod: this.#label(), err: errorText(error) },
        "the pod got no network; it is tried again",
      );
      this.#wakeIn(this.#sandboxRetry.next());
      this.#publisher.publish();
      return false;
    }
  }

  // --- containers ---

  #policy(): RestartPolicy {
    return (this.#pod.spec?.restartPolicy ?? "Always") as RestartPolicy;
  }

  #record(name: string): ContainerRecord | undefined {
    return this.#state.containers.find((record) => record.name === name);
  }

  #definition(name: string): Container {
    const all = [...(this.#pod.spec?.initContainers ?? []), ...(this.#pod.spec?.containers ?? [])];
    const found = all.find((container) => container.name === name);
    if (found === undefined)
      throw new AxonError("pod.container", `pod ${this.#label()} has no container ${name}`);
    return found;
  }

  #save(change: Partial<PodState>): void {
    this.#state = { ...this.#state, ...change };
    this.#context.states.save(this.#state);
  }

  #replace(record: ContainerRecord): void {
    this.#save({
      containers: this.#state.containers.map((old) => (old.name === record.name ? record : old)),
    });
  }

  async #advance(record: ContainerRecord): Promise<void> {
    const step = nextStep(record, this.#policy(), this.#context.clock.now());
    if (step.do === "wait") {
      if (record.state.is === "terminated") {
        this.#replace(backingOff(record, step.ms));
        const message = `Back-off restarting failed container ${record.name}`;
        this.#context.api.event(this.#pod, "Warning", "BackOff", message);
      }
      this.#wakeIn(step.ms);
    }
    if (step.do === "start") await this.#context.slots.run(() => this.#start(record));
  }

  async #start(record: ContainerRecord): Promise<void> {
    try {
      await this.#launch(record);
    } catch (error) {
      const reason =
        error instanceof AxonError && error.code === "pod.image"
          ? "ErrImageNeverPull"
          : "CreateContainerConfigError";
      const message = errorText(error);
      this.#replace({ ...record, state: { is: "waiting", reason, message } });
      this.#context.api.event(this.#pod, "Warning", "Failed", `Error: ${message}`);
      this.#wakeIn(5_000);
    }
  }

  async #launch(record: ContainerRecord): Promise<void> {
    const { clock, api } = this.#context;
    const definition = this.#definition(record.name);
    this.#volumes ??= await prepareVolumes(this.#context, this.#pod, this.#context.states.dir(this.uid));
    const env = await containerEnv(this.#context, this.#facts(), definition);
    const command = [...(definition.command ?? []), ...(definition.args ?? [])].map((word) =>
      expand(word, env),
    );
    if (command.length === 0) {
      throw new AxonError(
        "pod.command",
        `container ${record.name}: no command specified (lab images have no default)`,
      );
    }
    const dir = this.#containerDir(record.name);
    mkdirSync(dir, { recursive: true });
    const isRestart = record.state.is === "terminated" || record.last !== undefined;
    const run = record.restartCount + (isRestart ? 1 : 0);
    this.#forgetOldLogs(record.name, run);
    const log = this.#logOf(record.name, run);
    rmSync(join(dir, "output"), { force: true });
    const process = await startProcess(this.#context, {
      spec: launchSpec(this.#context, this.#facts(), definition, command),
      env,
      dir,
      log,
    });
    const started = definition.startupProbe === undefined;
    const next = running(
      record,
      {
        pid: process.pid,
        startedAt: timestamp(clock.now()),
        containerId: `axon://${createHash("sha256").update(`${this.uid}/${record.name}/${run}`).digest("hex")}`,
      },
      started,
      started && definition.readinessProbe === undefined,
    );
    this.#replace(next);
    api.event(this.#pod, "Normal", "Started", `Started container ${record.name}`);
    this.#watch(next, process);
  }

  #forgetOldLogs(container: string, run: number): void {
    const dir = this.#containerDir(container);
    for (const suffix of ["", ".1"]) rmSync(join(dir, `${run - 2}.log${suffix}`), { force: true });
    this.#logs.delete(`${container}/${run - 2}`);
  }

  #watch(record: ContainerRecord, process: ContainerProcess): void {
    const definition = this.#definition(record.name);
    const probes = new ContainerProbes(this.#context, {
      pod: this.#pod,
      container: definition,
      podIp: this.#state.podIps[0] ?? "127.0.0.1",
      exec: (argv) => this.execSpec(record.name, argv),
      onChange: (change) => {
        const current = this.#record(record.name);
        if (current?.state.is !== "running" || this.#stopped) return;
        this.#replace({ ...current, ...change });
        this.wake();
      },
      onUnhealthy: (reason) => {
        const message = `Container ${record.name} failed ${reason} probe, will be restarted`;
        this.#context.api.event(this.#pod, "Normal", "Killing", message);
        void this.#stopContainer(process, this.#graceSeconds(definition));
      },
      started: record.started,
    });
    this.#live.set(record.name, { process, probes });
    probes.start();
    void process.exited.then((exit) => this.#exited(record.name, process, exit));
  }

  #exited(name: string, process: ContainerProcess, exit: Exit): void {
    const live = this.#live.get(name);
    if (live?.process !== process || this.#stopped) return;
    live.probes.stop();
    this.#live.delete(name);
    const record = this.#record(name);
    if (record?.state.is !== "running") return;
    this.#logs.get(`${name}/${record.restartCount}`)?.close();
    const { startedAt, containerId } = record.state;
    const reason = !exit.known ? "ContainerStatusUnknown" : exit.exitCode === 0 ? "Completed" : "Error";
    this.#replace(
      terminated(record, {
        exitCode: exit.exitCode,
        ...(exit.signal === undefined ? {} : { signal: exit.signal }),
        reason,
        ...(exit.known ? {} : { message: "the container ended while no runner watched it" }),
        startedAt,
        finishedAt: timestamp(this.#context.clock.now()),
        containerId,
      }),
    );
    this.wake();
  }

  #facts(): PodPlace {
    return {
      pod: this.#pod,
      podIps: this.#state.podIps,
      netns: this.#network.netns,
      cgroup: this.#network.cgroup,
      volumes: this.#volumes ?? new Map(),
    };
  }

  #containerDir(container: string): string {
    return join(this.#context.states.dir(this.uid), container);
  }

  #logOf(container: string, run: number): ContainerLog {
    const key = `${container}/${run}`;
    const known = this.#logs.get(key);
    if (known !== undefined) return known;
    const log = new ContainerLog(join(this.#containerDir(container), `${run}.log`));
    this.#logs.set(key, log);
    return log;
  }

  #adopt(): void {
    for (const record of this.#state.containers) {
      if (record.state.is !== "running") continue;
      const process = adoptProcess(this.#context, {
        pid: record.state.pid,
        cgroup: join(this.#network.cgroup, record.name),
        dir: this.#containerDir(record.name),
        log: this.#logOf(record.name, record.restartCount),
      });
      if (process !== undefined) this.#watch(record, process);
      else {
        const { startedAt, containerId } = record.state;
        const finishedAt = timestamp(this.#context.clock.now());
        const end = { exitCode: 137, reason: "ContainerStatusUnknown", startedAt, finishedAt, containerId };
        this.#replace(terminated(record, end));
      }
    }
  }

  // --- the end ---

  #graceSeconds(definition?: Container): number {
    const own = definition?.livenessProbe?.terminationGracePeriodSeconds;
    return (
      own ?? meta(this.#pod).deletionGracePeriodSeconds ?? this.#pod.spec?.terminationGracePeriodSeconds ?? 30
    );
  }

  async #stopContainer(process: ContainerProcess, graceSeconds: number): Promise<void> {
    if (graceSeconds > 0) {
      process.signal("SIGTERM");
      const late = new AbortController();
      const timer = setTimeout(() => late.abort(), graceSeconds * 1000);
      await Promise.race([
        process.exited,
        new Promise<void>((resolve) => late.signal.addEventListener("abort", () => resolve())),
      ]);
      clearTimeout(timer);
    }
    process.kill();
    await process.exited;
  }

  async #end(): Promise<void> {
    if (this.#ending) return;
    this.#ending = true;
    try {
      // A pod that vanished from the API was deleted by force: nobody waits for its grace period.
      const grace = this.#removed ? Math.min(2, this.#graceSeconds()) : this.#graceSeconds();
      for (const { probes } of this.#live.values()) probes.stop();
      await Promise.all(
        [...this.#live].map(async ([name, { process }]) => {
          await this.#preStop(name, grace);
          await this.#stopContainer(process, grace);
        }),
      );
      if (isPopulated(this.#network.cgroup)) killCgroup(this.#network.cgroup);
      if (!this.#removed && this.#state.containers.some((record) => record.state.is === "terminated"))
        this.#publisher.publish();
      if (!(await this.#network.release()) || this.#stopped) return;
      await removeCgroup(this.#network.cgroup);
      removeVolumes(this.#context.states.dir(this.uid));
      if (!this.#removed) await this.#context.api.removePod(this.#pod);
      for (const log of this.#logs.values()) log.close();
      this.#context.states.remove(this.uid);
      this.#stopped = true;
      this.#onGone();
    } finally {
      this.#ending = false;
    }
  }

  async #preStop(name: string, grace: number): Promise<void> {
    const hook = this.#definition(name).lifecycle?.preStop;
    const argv = hook?.exec?.command;
    if (argv !== undefined && grace > 0) {
      const check = ContainerProbes.runExec(this.#context, () => this.execSpec(name, argv), grace * 1000);
      await check.catch((error: unknown) => {
        this.#context.log.warn({ pod: this.#label(), err: errorText(error) }, "the preStop hook failed");
      });
    }
  }

  // --- status ---

  #status(): PodStatus {
    return podStatus({
      pod: this.#pod,
      containers: this.#state.containers,
      podIps: this.#state.network === "attached" || this.#state.podIps.length > 0 ? this.#state.podIps : [],
      hostIps: this.#context.hostIps,
      startedAt: this.#state.startedAt,
      hasSandbox: this.#state.network === "attached",
      now: this.#context.clock.now(),
    });
  }

  #label(): string {
    return `${this.#state.namespace}/${this.#state.name}`;
  }
}
