import { spawn } from "node:child_process";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Socket } from "node:net";
import { AxonError, errorText, withDeadline } from "@axoneme/base";
import type { Container, HTTPGetAction, Pod, Probe } from "kubernetes-types/core/v1";
import { connectFrom } from "./connect.ts";
import type { LaunchSpec, NodeContext } from "./context.ts";
import { ProbeLoop, type ProbeResult } from "./probe.ts";

type ExecTarget = (argv: readonly string[]) => Promise<{ spec: LaunchSpec; env: Record<string, string> }>;

export interface ContainerProbesOptions {
  pod: Pod;
  container: Container;
  podIp: string;
  exec: ExecTarget;
  onChange(change: { started?: boolean; ready?: boolean }): void;
  /** The liveness or startup probe gave up: the container must be restarted. */
  onUnhealthy(kind: "liveness" | "startup"): void;
  /** True when the startup probe has passed before (an adopted container). */
  started: boolean;
}

/** The probes of one running container: startup first, then liveness and readiness side by side. */
export class ContainerProbes {
  readonly #context: NodeContext;
  readonly #options: ContainerProbesOptions;
  #loops: ProbeLoop[] = [];

  constructor(context: NodeContext, options: ContainerProbesOptions) {
    this.#context = context;
    this.#options = options;
  }

  start(): void {
    const { container, started } = this.#options;
    if (container.startupProbe === undefined || started) {
      this.#afterStartup();
      return;
    }
    this.#run("startup", container.startupProbe, (passing) => {
      this.stop();
      if (!passing) {
        this.#options.onUnhealthy("startup");
        return;
      }
      this.#options.onChange({ started: true, ready: container.readinessProbe === undefined });
      this.#afterStartup();
    });
  }

  stop(): void {
    for (const loop of this.#loops) loop.stop();
    this.#loops = [];
  }

  #afterStartup(): void {
    const { container } = this.#options;
    if (container.livenessProbe !== undefined) {
      this.#run("liveness", container.livenessProbe, (passing) => {
        if (passing) return;
        this.stop();
        this.#options.onUnhealthy("liveness");
      });
    }
    if (container.readinessProbe !== undefined) {
      this.#run("readiness", container.readinessProbe, (ready) => this.#options.onChange({ ready }));
    }
  }

  #run(
    kind: "startup" | "liveness" | "readiness",
    probe: Probe,
    onVerdict: (passing: boolean) => void,
  ): void {
    const loop = new ProbeLoop({
      probe,
      clock: this.#context.clock,
      check: (_probe, timeoutMs) => this.#check(probe, timeoutMs),
      onVerdict,
      onFailure: (message) => {
        const title = `${kind[0]?.toUpperCase()}${kind.slice(1)} probe failed: ${message}`;
        this.#context.api.event(this.#options.pod, "Warning", "Unhealthy", title);
      },
    });
    this.#loops.push(loop);
    loop.start();
  }

  async #check(probe: Probe, timeoutMs: number): Promise<ProbeResult> {
    const { exec, httpGet, tcpSocket, grpc } = probe;
    if (exec !== undefined) {
      return ContainerProbes.runExec(this.#context, () => this.#options.exec(exec.command ?? []), timeoutMs);
    }
    if (httpGet !== undefined) {
      const scheme = (httpGet.scheme ?? "HTTP").toLowerCase();
      return this.#http(httpGet, scheme === "https", timeoutMs);
    }
    const port = tcpSocket?.port ?? grpc?.port;
    if (port === undefined) return { ok: false, message: "the probe has no action" };
    return this.#tcp(tcpSocket?.host ?? this.#options.podIp, this.#port(port), timeoutMs);
  }

  #port(port: number | string): number {
    if (typeof port === "number") return port;
    const named = this.#options.container.ports?.find((entry) => entry.name === port)?.containerPort;
    if (named !== undefined) return named;
    if (/^\d+$/.test(port)) return Number(port);
    throw new AxonError("pod.probe", `container ${this.#options.container.name} has no port named ${port}`);
  }

  async #tcp(host: string, port: number, timeoutMs: number): Promise<ProbeResult> {
    const socket = await connectFrom(this.#context.netns, host, port, timeoutMs);
    socket.destroy();
    return { ok: true, message: "" };
  }

  async #http(action: HTTPGetAction, secure: boolean, timeoutMs: number): Promise<ProbeResult> {
    const host = action.host ?? this.#options.podIp;
    const port = this.#port(action.port);
    const socket = await connectFrom(this.#context.netns, host, port, timeoutMs);
    try {
      const status = await withDeadline(
        httpStatus(socket, action, { host, port, secure }),
        timeoutMs,
        "the HTTP probe",
      );
      const ok = status >= 200 && status < 400;
      return { ok, message: ok ? "" : `HTTP probe failed with statuscode: ${status}` };
    } finally {
      socket.destroy();
    }
  }

  /** Runs a command in a container and judges it by its exit code. */
  static async runExec(
    context: NodeContext,
    target: () => ReturnType<ExecTarget>,
    timeoutMs: number,
  ): Promise<ProbeResult> {
    const { spec, env } = await target();
    const [program = "", ...args] = context.launch(spec);
    return new Promise((resolve) => {
      const child = spawn(program, args, {
        env,
        stdio: ["ignore", "pipe", "pipe"],
        timeout: timeoutMs,
        killSignal: "SIGKILL",
      });
      let output = "";
      const take = (chunk: Buffer): void => {
        if (output.length < 4096) output += chunk.toString();
      };
      child.stdout.on("data", take);
      child.stderr.on("data", take);
      child.on("error", (error) => resolve({ ok: false, message: errorText(error) }));
      child.on("exit", (code, signal) => {
        const why =
          signal === null ? output.trim().slice(0, 1024) : `command timed out after ${timeoutMs} ms`;
        resolve({ ok: code === 0, message: code === 0 ? "" : why });
      });
    });
  }
}

function httpStatus(
  socket: Socket,
  action: HTTPGetAction,
  { host, port, secure }: { host: string; port: number; secure: boolean },
): Promise<number> {
  const headers: Record<string, string> = { "user-agent": "axon-lab-probe", connection: "close" };
  for (const { name, value } of action.httpHeaders ?? []) headers[name] = value;
  return new Promise((resolve, reject) => {
    const request = (secure ? httpsRequest : httpRequest)({
      host,
      port,
      path: action.path ?? "/",
      headers,
      createConnection: () => socket,
      ...(secure ? { rejectUnauthorized: false, socket } : {}),
    });
    request.on("response", (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    request.on("error", reject);
    request.end();
  });
}
