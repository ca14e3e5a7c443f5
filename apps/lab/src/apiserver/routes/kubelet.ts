import type { IncomingMessage } from "node:http";
import { request as httpRequest } from "node:http";
import { connect, type Socket } from "node:net";
import type { Cluster } from "../cluster.ts";
import { ApiError, badRequest, methodNotAllowed } from "../errors.ts";
import { arrayOf, at, type KubeObject, stringOf } from "../object.ts";
import type { Resource } from "../operations/prepare.ts";
import { requireObject } from "../operations/write.ts";
import type { Exchange } from "./exchange.ts";
import type { RequestInfo } from "./request.ts";

/** The annotation by which a node says where its kubelet listens: `unix:<socket path>` or `http://host:port`. */
export const kubeletAnnotation = "axoneme.io/kubelet";

type Address = { socketPath: string } | { host: string; port: number };

function kubeletOf(cluster: Cluster, pod: KubeObject): Address {
  const nodeName = stringOf(at(pod, "spec", "nodeName"));
  if (nodeName === "") throw badRequest(`pod ${pod.metadata.name} does not have a host assigned`);
  const node = cluster.store.bucket("/nodes").get(nodeName)?.object;
  const url = node?.metadata.annotations?.[kubeletAnnotation];
  if (url === undefined) {
    throw new ApiError(
      500,
      "InternalError",
      `node ${nodeName} has no kubelet to ask: its annotation ${kubeletAnnotation} is not set`,
    );
  }
  const socketPath = /^(?:http\+)?unix:(?:\/\/)?(.+)$/.exec(url)?.[1];
  if (socketPath !== undefined) return { socketPath };
  const parsed = new URL(url);
  return { host: parsed.hostname, port: Number(parsed.port || 80) };
}

function containerOf(pod: KubeObject, query: URLSearchParams): string {
  const asked = query.get("container") ?? "";
  const all = ["containers", "initContainers", "ephemeralContainers"].flatMap((field) =>
    arrayOf(at(pod, "spec", field)),
  );
  const names = all.map((container) => stringOf(at(container, "name")));
  const main = arrayOf(at(pod, "spec", "containers")).map((container) => stringOf(at(container, "name")));
  if (asked === "") {
    if (main.length === 1) return main[0] ?? "";
    throw badRequest(
      `a container name must be specified for pod ${pod.metadata.name}, choose one of: [${main.join(" ")}]`,
    );
  }
  if (!names.includes(asked))
    throw badRequest(`container ${asked} is not valid for pod ${pod.metadata.name}`);
  return asked;
}

function kubeletPath(verb: string, pod: KubeObject, container: string, query: URLSearchParams): string {
  const parts = [
    verb,
    pod.metadata.namespace ?? "",
    pod.metadata.name,
    ...(container === "" ? [] : [container]),
  ];
  const text = query.toString();
  return `/${parts.map(encodeURIComponent).join("/")}${text === "" ? "" : `?${text}`}`;
}

/** GET pods/<name>/log: the kubelet's answer, streamed through. */
export async function podLogs(
  cluster: Cluster,
  exchange: Exchange,
  info: RequestInfo,
  resource: Resource,
): Promise<void> {
  if (exchange.request.method !== "GET") throw methodNotAllowed();
  const pod = requireObject(cluster, resource, info.namespace, info.name);
  const container = containerOf(pod, exchange.query);
  const address = kubeletOf(cluster, pod);
  const path = kubeletPath("containerLogs", pod, container, exchange.query);
  await new Promise<void>((resolve, reject) => {
    const upstream = httpRequest({ ...address, path, method: "GET" }, (answer) => {
      exchange.response.writeHead(answer.statusCode ?? 502, {
        "content-type": answer.headers["content-type"] ?? "text/plain",
      });
      exchange.response.flushHeaders();
      answer.pipe(exchange.response);
      answer.once("end", resolve);
      answer.once("close", resolve);
    });
    upstream.once("error", (error) => {
      if (exchange.response.headersSent) resolve();
      else reject(unreachable(pod, error));
    });
    exchange.response.once("close", () => upstream.destroy());
    upstream.end();
  });
}

function unreachable(pod: KubeObject, error: Error): ApiError {
  const node = stringOf(at(pod, "spec", "nodeName"));
  return new ApiError(
    502,
    "InternalError",
    `cannot reach the kubelet of node ${node}: ${error.message}`,
    undefined,
    error,
  );
}

const upgrades: Readonly<Record<string, string>> = {
  exec: "exec",
  attach: "attach",
  portforward: "portForward",
};

/**
 * An upgrade request for exec, attach or portforward: the WebSocket handshake and everything after it go to the
 * kubelet byte for byte. Throws ApiError before anything was sent; SPDY is refused.
 */
export function proxyUpgrade(
  cluster: Cluster,
  request: IncomingMessage,
  socket: Socket,
  head: Buffer,
  info: RequestInfo,
  query: URLSearchParams,
): void {
  const verb = upgrades[info.subresource];
  const resource = cluster.registry.find(info.group, info.version, info.resource);
  if (verb === undefined || resource === undefined || info.resource !== "pods")
    throw badRequest("this path takes no upgrade");
  const pod = requireObject(cluster, resource, info.namespace, info.name);
  const container = verb === "portForward" ? "" : containerOf(pod, query);
  const address = kubeletOf(cluster, pod);
  // kubectl turns to SPDY when the WebSocket was refused: what is wrong with pod or container was to be said first.
  if (!/websocket/i.test(request.headers.upgrade ?? "")) throw notSupported(info, request);
  const upstream = connect("socketPath" in address ? { path: address.socketPath } : address);
  const path = kubeletPath(verb, pod, container, query);
  upstream.once("connect", () => {
    upstream.write(requestHead(request, path));
    if (head.length > 0) upstream.write(head);
    upstream.pipe(socket);
    socket.pipe(upstream);
  });
  const close = () => {
    upstream.destroy();
    socket.destroy();
  };
  upstream.once("error", (error) => {
    if (upstream.connecting || !socket.writable) close();
    else socket.end(refusal(unreachable(pod, error)));
  });
  upstream.once("close", () => socket.end());
  socket.once("error", close);
  socket.once("close", () => upstream.destroy());
}

function notSupported({ subresource }: RequestInfo, request: IncomingMessage): ApiError {
  if (subresource !== "exec") return badRequest(`the lab does not support ${subresource}: use exec`);
  const how = request.headers.upgrade ?? "no upgrade";
  return badRequest(`exec over ${how} is not supported: use WebSocket (kubectl 1.30 or later)`);
}

/** The handshake as the client sent it, for the kubelet's path, without the client's credentials. */
function requestHead(request: IncomingMessage, path: string): string {
  const lines = [`GET ${path} HTTP/1.1`];
  for (let i = 0; i + 1 < request.rawHeaders.length; i += 2) {
    const name = request.rawHeaders[i] ?? "";
    if (!/^authorization$/i.test(name)) lines.push(`${name}: ${request.rawHeaders[i + 1] ?? ""}`);
  }
  return `${lines.join("\r\n")}\r\n\r\n`;
}

/** An error as a raw HTTP answer, for sockets that were to be upgraded. */
export function refusal(error: ApiError): string {
  const body = JSON.stringify(error.toStatus());
  return `HTTP/1.1 ${error.status} ${error.reason}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`;
}
