import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { load as parseYaml } from "js-yaml";
import { ApiError, badRequest, unsupportedMediaType } from "../errors.ts";
import type { FieldValidation } from "../operations/prepare.ts";
import type { WriteOptions } from "../operations/write.ts";
import { decodeProtobuf } from "../protobuf.ts";
import type { User } from "../security/users.ts";

const mostBody = 16 << 20;

/** One request and its answer. */
export interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  path: string;
  query: URLSearchParams;
  user: User;
  warnings: string[];
}

export async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += (chunk as Buffer).length;
    if (size > mostBody) {
      throw new ApiError(413, "RequestEntityTooLarge", `the request body is larger than ${mostBody} bytes`);
    }
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

export function mediaType(request: IncomingMessage): string {
  return (request.headers["content-type"] ?? "").split(";")[0]?.trim().toLowerCase() ?? "";
}

/** Parses JSON or YAML text; throws 400 with the parser's words. */
export function parseDocument(text: string, yaml: boolean): unknown {
  try {
    return yaml ? parseYaml(text) : JSON.parse(text);
  } catch (error) {
    throw badRequest(`couldn't parse the body: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** The body as an object, or undefined when it is empty. JSON, YAML or Kubernetes' protobuf; 415 for others. */
export async function readDocument(request: IncomingMessage): Promise<unknown> {
  const body = await readBody(request);
  if (body.length === 0) return undefined;
  const type = mediaType(request);
  if (type === "application/vnd.kubernetes.protobuf") return decodeProtobuf(body);
  if (type !== "" && !/json$|yaml$|^text\/plain$|x-www-form-urlencoded$/.test(type)) {
    throw unsupportedMediaType(type, ["application/json", "application/yaml"]);
  }
  return parseDocument(body.toString("utf8"), type.endsWith("yaml"));
}

/** The options every write has in its query. */
export function writeOptionsOf(exchange: Exchange): WriteOptions {
  const { query, request } = exchange;
  const dryRun = query.getAll("dryRun");
  const unknown = dryRun.find((each) => each !== "All" && each !== "");
  if (unknown !== undefined)
    throw badRequest(`Invalid value: ${JSON.stringify(unknown)}: dryRun: supported values: "All"`);
  const validation = query.get("fieldValidation") ?? "Warn";
  if (!["Ignore", "Warn", "Strict", ""].includes(validation)) {
    throw badRequest(
      `Invalid value: ${JSON.stringify(validation)}: fieldValidation: supported values: "Ignore", "Strict", "Warn"`,
    );
  }
  const agent = request.headers["user-agent"] ?? "unknown";
  return {
    dryRun: dryRun.includes("All"),
    manager: (query.get("fieldManager") ?? "") || (agent.split("/")[0] ?? "unknown").slice(0, 128),
    fieldValidation: (validation || "Warn") as FieldValidation,
    warnings: exchange.warnings,
  };
}

function warningHeaders(exchange: Exchange): string[] {
  return exchange.warnings.map((text) => `299 - ${JSON.stringify(text.replaceAll(/[\r\n]/g, " "))}`);
}

/** Sends JSON: a value, or text that is JSON already. */
export function sendJson(
  exchange: Exchange,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  const text = typeof body === "string" || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  const data = Buffer.isBuffer(text) ? text : Buffer.from(text);
  const { response } = exchange;
  if (response.headersSent) {
    response.end();
    return;
  }
  const warnings = warningHeaders(exchange);
  const all: OutgoingHttpHeaders = {
    "content-type": "application/json",
    "cache-control": "no-cache, private",
    "content-length": String(data.length),
    ...headers,
  };
  if (warnings.length > 0) response.setHeader("warning", warnings);
  response.writeHead(status, all);
  response.end(data);
}

export function sendError(exchange: Exchange, error: ApiError): void {
  const retry = error.details?.retryAfterSeconds;
  sendJson(
    exchange,
    error.status,
    error.toStatus(),
    retry === undefined ? {} : { "retry-after": String(retry) },
  );
}
