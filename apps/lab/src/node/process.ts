import { spawn } from "node:child_process";
import { closeSync, constants, openSync } from "node:fs";
import { Socket } from "node:net";
import { constants as osConstants } from "node:os";
import { join } from "node:path";
import { AxonError, Deferred, type Timer } from "@axoneme/base";
import { cgroupPids, createCgroup, isGone, isPopulated, killCgroup } from "../lab/cgroup.ts";
import type { ContainerLog } from "./containerlog.ts";
import type { LaunchSpec, NodeContext } from "./context.ts";

/** How a process ended; `known` is false when a former runner had started it, so that nobody was told. */
export interface Exit {
  exitCode: number;
  signal?: number;
  known: boolean;
}

/** A running container: its process, its cgroup, its output. */
export class ContainerProcess {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  readonly #cgroup: string;

  constructor(pid: number, cgroup: string, exited: Promise<Exit>) {
    this.pid = pid;
    this.#cgroup = cgroup;
    this.exited = exited;
  }

  /** Signals the main process, if it still is one of this container's. */
  signal(signal: NodeJS.Signals): void {
    if (!cgroupPids(this.#cgroup).includes(this.pid)) return;
    try {
      process.kill(this.pid, signal);
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }

  /** SIGKILL to all of the container, children and exec sessions included. */
  kill(): void {
    killCgroup(this.#cgroup);
  }
}

export interface StartOptions {
  spec: LaunchSpec;
  env: Readonly<Record<string, string>>;
  /** pods/<uid>/<container>: where the output pipe goes. */
  dir: string;
  log: ContainerLog;
}

/** Starts a container's process in its own session; it outlives this runner. */
export async function startProcess(context: NodeContext, options: StartOptions): Promise<ContainerProcess> {
  const { spec, env, dir, log } = options;
  const fifo = join(dir, "output");
  createCgroup(spec.cgroup);
  await context.fifos.take(fifo);
  // The child's end is open both ways, so that it never sees SIGPIPE while no runner reads.
  const output = openSync(fifo, constants.O_RDWR);
  const drained = readOutput(fifo, log);
  const [program = "", ...args] = context.launch(spec);
  const child = spawn(program, args, { env: { ...env }, stdio: ["ignore", output, output], detached: true });
  closeSync(output);
  const exit = new Deferred<Exit>();
  child.on("exit", (code, signal) => {
    // What the main process leaves behind goes with it, as at the end of a PID namespace.
    killCgroup(spec.cgroup);
    void drained.then(() => exit.resolve(exitOf(code, signal)));
  });
  const started = new Deferred<void>();
  child.on("spawn", () => started.resolve());
  child.on("error", (cause) => {
    started.reject(new AxonError("pod.spawn", `cannot run ${program}: is the launcher built?`, { cause }));
  });
  await started.promise;
  return new ContainerProcess(child.pid ?? -1, spec.cgroup, exit.promise);
}

function exitOf(code: number | null, signal: NodeJS.Signals | null): Exit {
  if (signal === null) return { exitCode: code ?? 1, known: true };
  const number = osConstants.signals[signal];
  return { exitCode: 128 + number, signal: number, known: true };
}

/** Copies a container's output into its log until every writer has closed it. */
function readOutput(fifo: string, log: ContainerLog): Promise<void> {
  const fd = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  const socket = new Socket({ fd, readable: true, writable: false });
  socket.setEncoding("utf8");
  const done = new Deferred<void>();
  socket.on("data", (text: string) => log.append(text));
  socket.on("error", () => socket.destroy());
  socket.on("close", () => done.resolve());
  return done.promise;
}

/** Takes over a process that a former runner started; undefined when it has ended meanwhile. */
export function adoptProcess(
  context: NodeContext,
  run: { pid: number; cgroup: string; dir: string; log: ContainerLog },
): ContainerProcess | undefined {
  const { pid, cgroup, dir, log } = run;
  if (!cgroupPids(cgroup).includes(pid)) {
    killCgroup(cgroup);
    return undefined;
  }
  const drained = readOutput(join(dir, "output"), log);
  const exit = new Deferred<Exit>();
  let timer: Timer | undefined;
  const look = (): void => {
    if (isPopulated(cgroup) && cgroupPids(cgroup).includes(pid)) {
      // Nobody tells a process about the end of what is not its child.
      timer = context.clock.setTimer(250, look);
      return;
    }
    timer?.cancel();
    killCgroup(cgroup);
    void drained.then(() => exit.resolve({ exitCode: 137, known: false }));
  };
  look();
  return new ContainerProcess(pid, cgroup, exit.promise);
}
