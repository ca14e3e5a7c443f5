import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Cluster } from "../cluster.ts";
import { Discovery } from "../discovery.ts";
import { ApiError, internal, methodNotAllowed, noSuchResource, unauthorized } from "../errors.ts";
import { OpenApi, openApiV2 } from "../openapi.ts";
import { requireObject } from "../operations/write.ts";
import type { Rbac } from "../security/rbac.ts";
import { authenticate, type Tokens, type User } from "../security/users.ts";
import { type Exchange, sendError, sendJson } from "./exchange.ts";
import { proxyUpgrade, refusal } from "./kubelet.ts";
import { Lister } from "./list.ts";
import { parsePath } from "./request.ts";
import { ResourceRoutes } from "./resources.ts";
import { isReview, requestToken, review } from "./reviews.ts";

/** What /version reports: the Kubernetes release whose API this server follows. */
const serverVersion = {
  major: "1",
  minor: "32",
  gitVersion: "v1.32.0+axoneme",
  gitCommit: "",
  gitTreeState: "clean",
  buildDate: "1970-01-01T00:00:00Z",
  goVersion: "none",
  compiler: "node",
  platform: `${process.platform}/${process.arch === "x64" ? "amd64" : process.arch}`,
};

const open = new Set(["/healthz", "/livez", "/readyz", "/version"]);
const anonymous: User = { name: "system:anonymous", groups: ["system:unauthenticated"] };

/** Takes every HTTP request to what serves it. */
export class Router {
  readonly #cluster: Cluster;
  readonly #tokens: Tokens;
  readonly #rbac: Rbac | undefined;
  readonly #discovery: Discovery;
  readonly #openApi: OpenApi;
  readonly #resources: ResourceRoutes;

  /** @param rbac who may do what; undefined: whoever is known may do everything. */
  constructor(cluster: Cluster, tokens: Tokens, rbac?: Rbac) {
    this.#rbac = rbac;
    this.#cluster = cluster;
    this.#tokens = tokens;
    this.#discovery = new Discovery(cluster.registry);
    this.#openApi = new OpenApi(cluster.registry);
    this.#resources = new ResourceRoutes(cluster, new Lister(cluster));
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "https://server");
    const exchange: Exchange = {
      request,
      response,
      path: url.pathname,
      query: url.searchParams,
      user: anonymous,
      warnings: [],
    };
    try {
      await this.#route(exchange);
    } catch (error) {
      const shown = error instanceof ApiError ? error : internal(error);
      if (!(error instanceof ApiError)) {
        this.#cluster.logger.error(
          { error, method: request.method, url: request.url },
          "a request failed inside the API server",
        );
      }
      sendError(exchange, shown);
    } finally {
      // A body nobody read would keep the connection from being used again.
      if (!request.readableEnded) request.resume();
    }
  }

  async #route(exchange: Exchange): Promise<void> {
    const { path } = exchange;
    if (this.#open(exchange)) return;
    const user = authenticate(exchange.request, this.#tokens);
    if (user === undefined) throw unauthorized();
    exchange.user = user;
    if (this.#describe(exchange)) return;
    const info = parsePath(path, exchange.query);
    if (info === undefined) throw noSuchResource();
    if (isReview(info)) return review(exchange, info, this.#tokens);
    this.#rbac?.check(user, exchange.request, info, exchange.query);
    if (info.resource === "serviceaccounts" && info.subresource === "token") {
      if (exchange.request.method !== "POST") throw methodNotAllowed();
      const resource = this.#cluster.registry.find("", "v1", "serviceaccounts");
      if (resource !== undefined) requireObject(this.#cluster, resource, info.namespace, info.name);
      return requestToken(exchange, info, this.#tokens);
    }
    return this.#resources.serve(exchange, info);
  }

  #open(exchange: Exchange): boolean {
    const { path } = exchange;
    if (path === "/version") sendJson(exchange, 200, serverVersion);
    else if (open.has(path) || /^\/(livez|readyz|healthz)\//.test(path)) {
      sendJson(exchange, 200, "ok", { "content-type": "text/plain" });
    } else return false;
    return true;
  }

  /** Discovery and OpenAPI. */
  #describe(exchange: Exchange): boolean {
    const parts = exchange.path.split("/").filter((part) => part !== "");
    if (parts[0] === "openapi") {
      this.#sendOpenApi(exchange, parts.slice(1));
      return true;
    }
    if (parts.length === 0) {
      sendJson(exchange, 200, {
        paths: ["/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"],
      });
      return true;
    }
    if (parts[0] === "api" && parts.length <= 2) {
      return this.#sendDiscovery(
        exchange,
        parts.length === 1 ? this.#discovery.coreVersions() : this.#discovery.resources("", parts[1] ?? ""),
        parts.length === 1,
      );
    }
    if (parts[0] !== "apis" || parts.length > 3) return false;
    const [, group = "", version = ""] = parts;
    if (parts.length === 1) return this.#sendDiscovery(exchange, this.#discovery.groupList(), true);
    return this.#sendDiscovery(
      exchange,
      parts.length === 2 ? this.#discovery.group(group) : this.#discovery.resources(group, version),
      false,
    );
  }

  #sendDiscovery(exchange: Exchange, document: unknown, root: boolean): boolean {
    if (document === undefined) throw noSuchResource();
    const accept = exchange.request.headers.accept ?? "";
    const match =
      /application\/json;[^,]*g=apidiscovery\.k8s\.io;[^,]*v=(v2beta1|v2)|application\/json;[^,]*v=(v2beta1|v2);[^,]*g=apidiscovery\.k8s\.io/.exec(
        accept,
      );
    const version = match?.[1] ?? match?.[2];
    if (!root || version === undefined) {
      sendJson(exchange, 200, document);
      return true;
    }
    sendJson(
      exchange,
      200,
      this.#discovery.aggregated(exchange.path.startsWith("/api/") || exchange.path === "/api", version),
      {
        "content-type": `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`,
        vary: "Accept",
      },
    );
    return true;
  }

  #sendOpenApi(exchange: Exchange, parts: string[]): void {
    if (parts[0] === "v2") {
      const protobuf = /openapi\.spec\.v2@v1\.0\+protobuf/.test(
        (exchange.request.headers.accept ?? "").replaceAll("-", "."),
      );
      if (protobuf) {
        sendJson(exchange, 200, openApiV2.protobuf, {
          "content-type": "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
        });
      } else sendJson(exchange, 200, openApiV2.json);
      return;
    }
    if (parts[0] !== "v3") throw noSuchResource();
    if (parts.length === 1) {
      sendJson(exchange, 200, this.#openApi.index());
      return;
    }
    const document = this.#openApi.document(parts.slice(1).join("/"));
    if (document === undefined) throw noSuchResource();
    sendJson(exchange, 200, document.text, { etag: `"${document.hash}"` });
  }

  /** A request to switch protocols: exec and the like. */
  upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const url = new URL(request.url ?? "/", "https://server");
    try {
      if (authenticate(request, this.#tokens) === undefined) throw unauthorized();
      const info = parsePath(url.pathname, url.searchParams);
      if (info === undefined) throw noSuchResource();
      proxyUpgrade(this.#cluster, request, socket, head, info, url.searchParams);
    } catch (error) {
      socket.end(refusal(error instanceof ApiError ? error : internal(error)));
    }
  }
}
