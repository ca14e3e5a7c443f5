import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "../../..");
const plugin = join(root, "build/bin/axoneme-cni");
const dir = mkdtempSync(join(tmpdir(), "axon-cni-"));
const socketPath = join(dir, "cni.sock");

interface Run {
  code: number | null;
  stdout: string;
}

function call(command: string | undefined, stdin: string, env: Record<string, string> = {}): Promise<Run> {
  const variables = command === undefined ? {} : { CNI_COMMAND: command };
  const child = spawn(plugin, [], { env: { ...variables, ...env }, stdio: ["pipe", "pipe", "inherit"] });
  let stdout = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  // The plugin stops reading what is too large; the broken pipe is expected then.
  child.stdin.on("error", () => undefined);
  child.stdin.end(stdin);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stdout }));
  });
}

const config = (more: object = {}): string =>
  JSON.stringify({ cniVersion: "1.1.0", name: "n", type: "axoneme-cni", axonSocket: socketPath, ...more });

/** What the agent does: reads a whole request, hands it to `answer` with the connection. */
let server: Server | undefined;
function agent(answer: (socket: Socket, variables: string[], stdin: Buffer) => void): Promise<void> {
  server = createServer((socket) => {
    let got = Buffer.alloc(0);
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => {
      got = Buffer.concat([got, chunk]);
      if (got.length < 4 || got.length < 4 + got.readUInt32LE(0)) return;
      const body = got.subarray(4);
      const variables: string[] = [];
      let at = 0;
      for (let end = body.indexOf(0); end > at; end = body.indexOf(0, at)) {
        variables.push(body.subarray(at, end).toString());
        at = end + 1;
      }
      answer(socket, variables, body.subarray(at + 1));
    });
  });
  return new Promise((resolve) => server?.listen(socketPath, resolve));
}

function answerBytes(code: number, text: string): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(code, 0);
  head.writeUInt32LE(Buffer.byteLength(text), 4);
  return Buffer.concat([head, Buffer.from(text)]);
}

beforeAll(() => {
  execFileSync(process.execPath, [join(root, "apps/cni/build.mjs")], { stdio: "inherit" });
  return () => rmSync(dir, { recursive: true });
});

afterEach(async () => {
  const closing = server;
  server = undefined;
  if (closing !== undefined) await new Promise((resolve) => closing.close(resolve));
});

describe("with an agent", () => {
  it("forwards the CNI variables and stdin, prints the answer, exits with its code", async () => {
    let seen: { variables: string[]; stdin: string } | undefined;
    await agent((socket, variables, stdin) => {
      seen = { variables, stdin: stdin.toString() };
      socket.end(answerBytes(0, '{"cniVersion":"1.1.0"}'));
    });
    const env = { CNI_CONTAINERID: "c1", CNI_ARGS: "K8S_POD_NAME=a;B=ü", PATH: "/bin", XCNI_NO: "1" };
    expect(await call("ADD", config(), env)).toEqual({ code: 0, stdout: '{"cniVersion":"1.1.0"}' });
    expect(seen?.variables.sort()).toEqual([
      "CNI_ARGS=K8S_POD_NAME=a;B=ü",
      "CNI_COMMAND=ADD",
      "CNI_CONTAINERID=c1",
    ]);
    expect(seen?.stdin).toBe(config());
  });

  it("passes an error of the agent on as it is", async () => {
    const text = '{"cniVersion":"1.1.0","code":7,"msg":"bad","details":""}';
    await agent((socket) => socket.end(answerBytes(1, text)));
    expect(await call("CHECK", config())).toEqual({ code: 1, stdout: text });
  });

  it("carries large input and large answers, and answers that come byte by byte", async () => {
    const large = config({ padding: "x".repeat(900_000) });
    await agent((socket, _variables, stdin) => {
      const bytes = answerBytes(3, "y".repeat(1_000_000) + stdin.length);
      let at = 0;
      const next = (): void => {
        if (at === 12) socket.end(bytes.subarray(12));
        else socket.write(bytes.subarray(at, ++at), () => setImmediate(next));
      };
      next();
    });
    const run = await call("DEL", large);
    expect(run.code).toBe(3);
    expect(run.stdout).toBe("y".repeat(1_000_000) + large.length);
  });

  it("takes an empty answer", async () => {
    await agent((socket) => socket.end(answerBytes(0, "")));
    expect(await call("DEL", config())).toEqual({ code: 0, stdout: "" });
  });

  it("prints nothing of half an answer, and does not repeat an ADD", async () => {
    let calls = 0;
    await agent((socket) => {
      calls++;
      socket.end(answerBytes(0, "whole answer").subarray(0, 12));
    });
    const run = await call("ADD", config(), { AXON_CNI_TIMEOUT_MS: "500" });
    expect(run.code).toBe(1);
    expect(JSON.parse(run.stdout)).toMatchObject({ code: 11, msg: "the agent ended before it answered" });
    expect(calls).toBe(1);
  });

  it("repeats a DEL when the agent died over it", async () => {
    let calls = 0;
    await agent((socket) => {
      if (++calls < 3) socket.destroy();
      else socket.end(answerBytes(0, "{}"));
    });
    expect(await call("DEL", config())).toEqual({ code: 0, stdout: "{}" });
    expect(calls).toBe(3);
  });

  it("gives up on an agent that is silent", async () => {
    await agent(() => undefined);
    const run = await call("ADD", config(), { AXON_CNI_TIMEOUT_MS: "100" });
    expect(JSON.parse(run.stdout)).toMatchObject({ code: 11, msg: "the agent did not answer in time" });
  });

  it("refuses an answer larger than any can be", async () => {
    const head = Buffer.alloc(8);
    head.writeUInt32LE(0xffffffff, 4);
    await agent((socket) => socket.end(head));
    expect(JSON.parse((await call("ADD", config())).stdout)).toMatchObject({
      code: 11,
      msg: "the agent's answer is too large",
    });
  });

  it("finds the socket by variable when the configuration names none", async () => {
    await agent((socket) => socket.end(answerBytes(0, "ok")));
    const nested = JSON.stringify({ a: { axonSocket: "/nowhere" }, b: ["axonSocket", '\\"axonSocket":1'] });
    expect((await call("DEL", nested, { AXON_CNI_SOCKET: socketPath })).stdout).toBe("ok");
  });
});

describe("without an agent", () => {
  it("answers VERSION itself", async () => {
    const run = await call("VERSION", config());
    expect(run.code).toBe(0);
    expect(JSON.parse(run.stdout)).toEqual({
      cniVersion: "1.1.0",
      supportedVersions: ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    });
  });

  it("says which socket it tried and what to check", async () => {
    const run = await call("ADD", config(), { AXON_CNI_TIMEOUT_MS: "50" });
    expect(run.code).toBe(1);
    const error = JSON.parse(run.stdout) as { details: string };
    expect(error).toMatchObject({ cniVersion: "1.1.0", code: 11, msg: "the agent does not answer" });
    expect(error.details).toContain(socketPath);
    expect(error.details).toContain("axonSocket");
  });

  it("tells STATUS that the plugin is not available", async () => {
    const run = await call("STATUS", config(), { AXON_CNI_TIMEOUT_MS: "50" });
    expect(JSON.parse(run.stdout)).toMatchObject({ code: 50 });
  });

  const container = { CNI_CONTAINERID: "c1", CNI_IFNAME: "eth0", AXON_CNI_TIMEOUT_MS: "50" };

  it("a DEL does not wait: it is kept beside the socket as it would have been sent", async () => {
    rmSync(join(dir, "deletes"), { recursive: true, force: true });
    expect(await call("DEL", config(), container)).toEqual({ code: 0, stdout: "" });
    expect(readdirSync(join(dir, "deletes"))).toEqual(["c1_eth0"]);
    const bytes = readFileSync(join(dir, "deletes", "c1_eth0"));
    expect(bytes.readUInt32LE(0)).toBe(bytes.length - 4);
    const [variables = "", stdin] = bytes.subarray(4).toString().split("\0\0");
    expect(variables.split("\0").sort()).toEqual([
      "CNI_COMMAND=DEL",
      "CNI_CONTAINERID=c1",
      "CNI_IFNAME=eth0",
    ]);
    expect(stdin).toBe(config());
  });

  it("a kept DEL that the agent answers after all is not kept", async () => {
    rmSync(join(dir, "deletes"), { recursive: true, force: true });
    const running = call("DEL", config(), { ...container, AXON_CNI_TIMEOUT_MS: "5000" });
    await agent((socket) => socket.end(answerBytes(0, "done")));
    expect(await running).toEqual({ code: 0, stdout: "done" });
    expect(existsSync(join(dir, "deletes", "c1_eth0"))).toBe(false);
  });

  it("a DEL where no agent has ever been has nothing to do", async () => {
    const nowhere = config({ axonSocket: join(dir, "nowhere", "cni.sock") });
    expect(await call("DEL", nowhere, container)).toEqual({ code: 0, stdout: "" });
    expect(existsSync(join(dir, "nowhere"))).toBe(false);
  });

  it("a DEL whose names cannot be a file's is refused", async () => {
    for (const names of [{ CNI_CONTAINERID: "../x" }, { CNI_IFNAME: "a/b" }, { CNI_CONTAINERID: "" }]) {
      const run = await call("DEL", config(), { ...container, ...names });
      expect(JSON.parse(run.stdout)).toMatchObject({ code: 11 });
    }
  });

  it("waits for an agent that comes up", async () => {
    const running = call("ADD", config());
    await agent((socket) => socket.end(answerBytes(0, "late")));
    expect(await running).toEqual({ code: 0, stdout: "late" });
  });

  it.each([
    ["a number", '{"axonSocket": 1}', 7],
    ["a path with escapes", '{"axonSocket": "/a\\u0041"}', 7],
    ["a path too long for a socket", `{"axonSocket": "/${"a".repeat(107)}"}`, 7],
    ["an unfinished text", '{"axonSocket": "/run/x', 7],
    ["more than a mebibyte", `{"x":"${"a".repeat(1 << 20)}"}`, 6],
  ])("refuses %s", async (_what, stdin, code) => {
    const run = await call("ADD", stdin, { AXON_CNI_TIMEOUT_MS: "50" });
    expect(JSON.parse(run.stdout)).toMatchObject({ code });
    expect(run.code).toBe(1);
  });

  it("wants to be called by a runtime", async () => {
    const run = await call(undefined, "");
    expect(JSON.parse(run.stdout)).toMatchObject({ code: 4 });
  });
});
