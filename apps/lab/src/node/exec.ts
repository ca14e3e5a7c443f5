import { type ChildProcess, spawn } from "node:child_process";
import { errorText } from "@axoneme/base";
import type { WebSocket } from "ws";
import type { LaunchSpec, NodeContext } from "./context.ts";

/** The sub-protocols of `kubectl exec` over WebSocket, the best first. */
export const execProtocols = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

/** The first byte of each message says which stream it belongs to. */
const channel = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;

export interface ExecRequest {
  query: URLSearchParams;
  target(argv: readonly string[]): Promise<{ spec: LaunchSpec; env: Record<string, string> }>;
}

interface Streams {
  stdin: boolean;
  stdout: boolean;
  stderr: boolean;
  tty: boolean;
}

/** Runs a command in a container and carries its streams until it ends. */
export async function execSession(
  context: NodeContext,
  socket: WebSocket,
  request: ExecRequest,
): Promise<void> {
  const argv = request.query.getAll("command");
  const isSet = (name: string): boolean => ["true", "1"].includes(request.query.get(name) ?? "");
  const streams: Streams = {
    stdin: isSet("stdin"),
    stdout: isSet("stdout"),
    stderr: isSet("stderr"),
    tty: isSet("tty"),
  };
  const send = (to: number, data: Buffer): void => {
    if (socket.readyState === socket.OPEN)
      socket.send(Buffer.concat([Buffer.from([to]), data]), { binary: true });
  };
  // An empty message tells the client that the streams stand.
  send(streams.stdout ? channel.stdout : channel.error, Buffer.alloc(0));
  let status: object;
  try {
    const child = await startChild(context, request, argv, streams);
    connect(socket, child, streams, send);
    status = await outcome(child);
  } catch (error) {
    status = failure("InternalError", errorText(error));
  }
  send(channel.error, Buffer.from(JSON.stringify(status)));
  socket.close(1000);
}

async function startChild(
  context: NodeContext,
  request: ExecRequest,
  argv: readonly string[],
  streams: Streams,
): Promise<ChildProcess> {
  const { spec, env } = await request.target(argv);
  const line = context.launch(spec);
  // `script` lends its pseudo-terminal: it runs on the host, the launcher below it enters the pod.
  const [program = "", ...args] = streams.tty
    ? ["script", "-qefc", line.map(quoted).join(" "), "/dev/null"]
    : line;
  const child = spawn(program, args, {
    env: streams.tty ? { TERM: "xterm", ...env } : env,
    stdio: [streams.stdin ? "pipe" : "ignore", "pipe", "pipe"],
    detached: true,
  });
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", reject);
  });
  return child;
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

function connect(
  socket: WebSocket,
  child: ChildProcess,
  streams: Streams,
  send: (to: number, data: Buffer) => void,
): void {
  const forward = (wanted: boolean, to: number) => (data: Buffer) => {
    if (wanted) send(to, data);
  };
  child.stdout?.on("data", forward(streams.stdout, channel.stdout));
  child.stderr?.on(
    "data",
    forward(streams.stderr || streams.tty, streams.tty ? channel.stdout : channel.stderr),
  );
  child.stdin?.on("error", () => socket.readyState);
  socket.on("message", (message: Buffer) => {
    const data = message.subarray(1);
    if (message[0] === channel.stdin && child.stdin !== null) child.stdin.write(data);
    // v5: the client is done with a stream.
    if (message[0] === channel.close && data[0] === channel.stdin) child.stdin?.end();
  });
  // A client that goes away takes its command along.
  socket.on("close", () => {
    child.stdin?.end();
    if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
      try {
        process.kill(-child.pid, "SIGKILL");
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
      }
    }
  });
}

function outcome(child: ChildProcess): Promise<object> {
  return new Promise((resolve) => {
    child.on("close", (code, signal) => {
      if (code === 0) resolve({ metadata: {}, status: "Success" });
      else if (signal !== null) resolve(failure("InternalError", `command terminated by ${signal}`));
      else {
        const message = `command terminated with non-zero exit code: exit status ${code}`;
        const causes = [{ reason: "ExitCode", message: String(code) }];
        resolve({ ...failure("NonZeroExitCode", message), details: { causes } });
      }
    });
  });
}

function failure(
  reason: string,
  message: string,
): { metadata: object; status: string; reason: string; message: string } {
  return { metadata: {}, status: "Failure", reason, message };
}
