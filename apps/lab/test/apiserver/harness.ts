import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ApiServer, type ApiServerOptions } from "../../src/apiserver/index.ts";

/** An answer of the server, parsed. */
export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into objects of every kind.
  body: any;
}

/** A server with its own state directory, and ways to talk to it. */
export class TestServer {
  readonly dir: string;
  readonly options: Partial<ApiServerOptions>;
  server: ApiServer;

  private constructor(dir: string, options: Partial<ApiServerOptions>, server: ApiServer) {
    this.dir = dir;
    this.options = options;
    this.server = server;
  }

  static async start(options: Partial<ApiServerOptions> = {}): Promise<TestServer> {
    const dir = mkdtempSync(join(tmpdir(), "ax-apiserver-"));
    const all = { serviceCidrs: ["10.96.0.0/16", "fd96::/112"], ...options };
    const server = await ApiServer.start({ stateDir: dir, ...all });
    const made = new TestServer(dir, all, server);
    await made.writeKubeconfig();
    return made;
  }

  async writeKubeconfig(): Promise<void> {
    writeFileSync(join(this.dir, "kubeconfig"), await this.server.kubeconfig());
  }

  async restart(): Promise<void> {
    await this.server.stop();
    this.server = await ApiServer.start({ stateDir: this.dir, ...this.options });
    await this.writeKubeconfig();
  }

  async stop(): Promise<void> {
    await this.server.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }

  get auth(): { ca: string; headers: { authorization: string } } {
    const token = this.server.token({ name: "tester", groups: ["system:masters"] });
    return { ca: this.server.ca, headers: { authorization: `Bearer ${token}` } };
  }

  request(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const text = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
    const { ca, headers: auth } = this.auth;
    return new Promise((resolve, reject) => {
      const sent = httpsRequest(
        `${this.server.url}${path}`,
        {
          method,
          ca,
          headers: {
            ...auth,
            ...(text === undefined
              ? {}
              : { "content-type": "application/json", "content-length": String(Buffer.byteLength(text)) }),
            ...headers,
          },
        },
        (answer) => {
          const chunks: Buffer[] = [];
          answer.on("data", (chunk: Buffer) => chunks.push(chunk));
          answer.on("error", reject);
          answer.on("end", () => {
            const raw = Buffer.concat(chunks).toString();
            const json = (answer.headers["content-type"] ?? "").startsWith("application/json");
            resolve({
              status: answer.statusCode ?? 0,
              headers: answer.headers,
              body: json ? JSON.parse(raw) : raw,
            });
          });
        },
      );
      sent.on("error", reject);
      sent.end(text);
    });
  }

  get(path: string, headers: Record<string, string> = {}): Promise<Answer> {
    return this.request("GET", path, undefined, headers);
  }

  post(path: string, body: unknown): Promise<Answer> {
    return this.request("POST", path, body);
  }

  patch(path: string, type: "json" | "merge" | "strategic-merge" | "apply", body: unknown): Promise<Answer> {
    const media = type === "apply" ? "application/apply-patch+yaml" : `application/${type}-patch+json`;
    return this.request("PATCH", path, body, { "content-type": media });
  }

  /** Opens a watch; its events can be awaited one by one. */
  watch(path: string, headers: Record<string, string> = {}): Promise<WatchStream> {
    const { ca, headers: auth } = this.auth;
    return new Promise((resolve, reject) => {
      const sent = httpsRequest(
        `${this.server.url}${path}`,
        { ca, headers: { ...auth, ...headers } },
        (answer) => {
          const stream = new WatchStream(answer.statusCode ?? 0, () => sent.destroy());
          answer.setEncoding("utf8");
          answer.on("data", (chunk: string) => stream.feed(chunk));
          answer.on("close", () => stream.end());
          answer.on("error", () => stream.end());
          resolve(stream);
        },
      );
      sent.on("error", reject);
      sent.end();
    });
  }

  /** Runs kubectl against the server. */
  kubectl(
    args: readonly string[],
    input?: string,
  ): Promise<{ code: number; stdout: string; stderr: string }> {
    return new Promise((resolve) => {
      const env = {
        ...process.env,
        KUBECONFIG: join(this.dir, "kubeconfig"),
        KUBECACHEDIR: join(this.dir, "cache"),
      };
      const child = execFile("kubectl", args, { env, timeout: 25_000 }, (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === "number" ? error.code : 1;
        resolve({ code, stdout, stderr });
      });
      child.stdin?.end(input ?? "");
    });
  }
}

/** What a watch sends. */
export interface WatchEvent {
  type: string;
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  object: any;
}

export class WatchStream {
  readonly status: number;
  readonly close: () => void;
  readonly #events: WatchEvent[] = [];
  #buffer = "";
  #ended = false;
  #wake: (() => void) | undefined;

  constructor(status: number, close: () => void) {
    this.status = status;
    this.close = close;
  }

  feed(chunk: string): void {
    this.#buffer += chunk;
    const lines = this.#buffer.split("\n");
    this.#buffer = lines.pop() ?? "";
    for (const line of lines) this.#events.push(JSON.parse(line) as WatchEvent);
    this.#wake?.();
  }

  end(): void {
    // Clients take a line without its end for one that was cut, and drop it.
    if (this.#buffer.trim() !== "") this.#events.push({ type: "CUT", object: this.#buffer });
    this.#buffer = "";
    this.#ended = true;
    this.#wake?.();
  }

  /** The next event; undefined when the server ended the stream. Rejects after five seconds. */
  async next(): Promise<WatchEvent | undefined> {
    const deadline = Date.now() + 5000;
    while (this.#events.length === 0) {
      if (this.#ended) return undefined;
      const left = deadline - Date.now();
      if (left <= 0) throw new Error("no watch event within 5 s");
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.#events.shift();
  }

  /** `TYPE name` of the next events. */
  async names(count: number): Promise<string[]> {
    const result: string[] = [];
    for (let i = 0; i < count; i++) {
      const event = await this.next();
      result.push(`${event?.type} ${event?.object?.metadata?.name}`);
    }
    return result;
  }
}

export function pod(
  name: string,
  spec: Record<string, unknown> = {},
  metadata: Record<string, unknown> = {},
): Record<string, unknown> {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, ...metadata },
    spec: { containers: [{ name: "c", image: "host" }], ...spec },
  };
}

export function configMap(
  name: string,
  data: Record<string, string> = {},
  metadata: Record<string, unknown> = {},
): Record<string, unknown> {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, ...metadata }, data };
}

export const widgetCrd = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: "widgets.example.com" },
  spec: {
    group: "example.com",
    scope: "Namespaced",
    names: { plural: "widgets", kind: "Widget", shortNames: ["wd"], categories: ["all"] },
    versions: [
      {
        name: "v1",
        served: true,
        storage: true,
        subresources: {
          status: {},
          scale: { specReplicasPath: ".spec.replicas", statusReplicasPath: ".status.replicas" },
        },
        additionalPrinterColumns: [
          { name: "Size", type: "integer", jsonPath: ".spec.size" },
          { name: "Ready", type: "string", jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
        ],
        schema: {
          openAPIV3Schema: {
            type: "object",
            required: ["spec"],
            properties: {
              spec: {
                type: "object",
                required: ["size"],
                properties: {
                  size: { type: "integer", minimum: 1, maximum: 10, description: "How big the widget is." },
                  color: { type: "string", enum: ["red", "blue"], default: "red" },
                  replicas: { type: "integer", default: 1 },
                  port: { "x-kubernetes-int-or-string": true },
                  free: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
                  items: {
                    type: "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    items: {
                      type: "object",
                      required: ["name"],
                      properties: { name: { type: "string" }, v: { type: "string", pattern: "^a" } },
                    },
                  },
                },
              },
              status: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
            },
          },
        },
      },
      {
        name: "v1beta1",
        served: true,
        storage: false,
        schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
      },
    ],
  },
};
