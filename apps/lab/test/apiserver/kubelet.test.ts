import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type WebSocket, WebSocketServer } from "ws";
import { kubeletAnnotation } from "../../src/apiserver/index.ts";
import { pod, TestServer } from "./harness.ts";

let server: TestServer;
const seen: string[] = [];
const kubelet = createServer((request, response) => {
  seen.push(request.url ?? "");
  if (request.url?.includes("missing") === true) {
    response.writeHead(404, { "content-type": "text/plain" }).end("no such log\n");
    return;
  }
  response.writeHead(200, { "content-type": "text/plain" });
  response.write("first\n");
  response.end("second\n");
});
const sockets = new WebSocketServer({
  noServer: true,
  handleProtocols: (offered) => (offered.has("v5.channel.k8s.io") ? "v5.channel.k8s.io" : false),
});
kubelet.on("upgrade", (request, socket, head) => {
  seen.push(request.url ?? "");
  sockets.handleUpgrade(request, socket, head, (ws) => serveExec(ws, request));
});

/** Echoes standard input (channel 0) on standard output (1), then succeeds on the status channel (3). */
function serveExec(ws: WebSocket, request: IncomingMessage): void {
  const send = (channel: number, text: string) =>
    ws.send(Buffer.concat([Buffer.from([channel]), Buffer.from(text)]));
  const finish = () => {
    send(3, JSON.stringify({ metadata: {}, status: "Success" }));
    ws.close(1000);
  };
  if (new URL(request.url ?? "", "http://k").searchParams.get("stdin") !== "true") {
    send(1, "hello\n");
    finish();
    return;
  }
  ws.on("message", (data: Buffer) => {
    // 255: the client closes a channel, here its standard input.
    if (data[0] === 255) finish();
    else if (data[0] === 0 && data.length > 1) send(1, `echo ${data.subarray(1).toString()}`);
  });
}

beforeAll(async () => {
  server = await TestServer.start();
  const path = join(server.dir, "kubelet.sock");
  kubelet.listen(path);
  await once(kubelet, "listening");
  await server.post("/api/v1/nodes", {
    metadata: { name: "n1", annotations: { [kubeletAnnotation]: `unix:${path}` } },
  });
  await server.post("/api/v1/nodes", { metadata: { name: "mute" } });
  const two = {
    nodeName: "n1",
    containers: [
      { name: "a", image: "x" },
      { name: "b", image: "x" },
    ],
  };
  await server.post("/api/v1/namespaces/default/pods", pod("p", { nodeName: "n1" }));
  await server.post("/api/v1/namespaces/default/pods", pod("two", two));
  await server.post("/api/v1/namespaces/default/pods", pod("loose"));
  await server.post("/api/v1/namespaces/default/pods", pod("silent", { nodeName: "mute" }));
});
afterAll(async () => {
  kubelet.close();
  await server.stop();
});

test("logs are the kubelet's answer, with the query passed on", { timeout: 20_000 }, async () => {
  const { stdout } = await server.kubectl(["logs", "p", "--tail=5"]);
  expect(stdout).toBe("first\nsecond\n");
  expect(seen.at(-1)).toBe("/containerLogs/default/p/c?container=c&tailLines=5");
  expect((await server.kubectl(["logs", "two", "-c", "b"])).stdout).toBe("first\nsecond\n");
});

test("logs that cannot be had say why", async () => {
  const log = async (name: string) =>
    (await server.get(`/api/v1/namespaces/default/pods/${name}/log`)).body.message;
  expect(await log("loose")).toMatch(/does not have a host assigned/);
  expect(await log("silent")).toMatch(/annotation axoneme.io\/kubelet is not set/);
  expect(await log("two")).toMatch(/choose one of: \[a b\]/);
  const missing = await server.get("/api/v1/namespaces/default/pods/p/log?since=missing");
  expect([missing.status, missing.body]).toEqual([404, "no such log\n"]);
});

test("kubectl exec runs over a WebSocket through the server", { timeout: 20_000 }, async () => {
  const plain = await server.kubectl(["exec", "p", "--", "echo", "hello"]);
  expect([plain.stdout, plain.stderr]).toEqual(["hello\n", ""]);
  expect(seen.at(-1)).toBe(
    "/exec/default/p/c?command=echo&command=hello&container=c&stderr=true&stdout=true",
  );
  const typed = await server.kubectl(["exec", "-i", "p", "--", "cat"], "abc");
  expect(typed.stdout).toBe("echo abc");
});

test("a container that is not there is named, though kubectl turns to SPDY after the refusal", async () => {
  const { stderr } = await server.kubectl(["exec", "p", "-c", "nope", "--", "x"]);
  expect(stderr).toMatch(/container nope is not valid for pod p/);
});

test("an upgrade without credentials, or to something else than WebSocket, is refused", async () => {
  const upgrade = (protocol: string, headers: Record<string, string>) =>
    new Promise<{ status: number; text: string }>((resolve, reject) => {
      const sent = httpsRequest(`${server.server.url}/api/v1/namespaces/default/pods/p/exec?command=x`, {
        ca: server.server.ca,
        headers: { connection: "upgrade", upgrade: protocol, ...headers },
      });
      sent.on("response", (answer) => {
        let text = "";
        answer.on("data", (chunk: Buffer) => {
          text += chunk.toString();
        });
        answer.on("end", () => resolve({ status: answer.statusCode ?? 0, text }));
      });
      sent.on("error", reject);
      sent.end();
    });
  expect((await upgrade("websocket", {})).status).toBe(401);
  const spdy = await upgrade("SPDY/3.1", server.auth.headers);
  expect(spdy.status).toBe(400);
  expect(spdy.text).toMatch(/use WebSocket/);
});
