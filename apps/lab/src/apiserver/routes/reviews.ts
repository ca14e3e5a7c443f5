import { randomUUID } from "node:crypto";
import { reviews } from "../discovery.ts";
import { noSuchResource } from "../errors.ts";
import { at, isObject, type JsonObject, stringOf, timestamp } from "../object.ts";
import { groupVersion } from "../resources/resource.ts";
import { serviceAccountUser, type Tokens } from "../security/users.ts";
import { type Exchange, readDocument, sendJson } from "./exchange.ts";
import type { RequestInfo } from "./request.ts";

/** Whether the path asks for a review: an object that is answered, not stored. */
export function isReview(info: RequestInfo): boolean {
  return (reviews[groupVersion(info.group, info.version)] ?? []).some(
    (each) => each.plural === info.resource,
  );
}

/** Everyone authenticated may do everything: the lab's authorization. */
export async function review(exchange: Exchange, info: RequestInfo, tokens: Tokens): Promise<void> {
  const kind = (reviews[groupVersion(info.group, info.version)] ?? []).find(
    (each) => each.plural === info.resource,
  )?.kind;
  if (kind === undefined || exchange.request.method !== "POST") throw noSuchResource();
  const body = await readDocument(exchange.request);
  const object: JsonObject = {
    kind,
    apiVersion: groupVersion(info.group, info.version),
    metadata: { creationTimestamp: timestamp(Date.now()) },
    ...(isObject(at(body, "spec")) ? { spec: at(body, "spec") } : {}),
    status: statusOf(kind, body, exchange, tokens),
  };
  sendJson(exchange, 201, object);
}

function statusOf(kind: string, body: unknown, exchange: Exchange, tokens: Tokens): JsonObject {
  const { name: username, groups } = exchange.user;
  if (kind === "SelfSubjectReview") return { userInfo: { username, groups } };
  if (kind === "TokenReview") {
    const user = tokens.find(stringOf(at(body, "spec", "token")));
    return user === undefined
      ? { authenticated: false, error: "unknown token" }
      : { authenticated: true, user: { username: user.name, groups: user.groups } };
  }
  if (kind === "SelfSubjectRulesReview") {
    const all = { verbs: ["*"] };
    return {
      resourceRules: [{ ...all, apiGroups: ["*"], resources: ["*"] }],
      nonResourceRules: [{ ...all, nonResourceURLs: ["*"] }],
      incomplete: false,
    };
  }
  return { allowed: true, reason: "the lab allows everything to everyone it knows" };
}

/** POST serviceaccounts/<name>/token. */
export async function requestToken(exchange: Exchange, info: RequestInfo, tokens: Tokens): Promise<void> {
  const body = await readDocument(exchange.request);
  const seconds = Number(at(body, "spec", "expirationSeconds") ?? 3600);
  sendJson(exchange, 201, {
    kind: "TokenRequest",
    apiVersion: "authentication.k8s.io/v1",
    metadata: {
      name: info.name,
      namespace: info.namespace,
      uid: randomUUID(),
      creationTimestamp: timestamp(Date.now()),
    },
    spec: at(body, "spec") ?? {},
    status: {
      token: tokens.of(serviceAccountUser(info.namespace, info.name)),
      expirationTimestamp: timestamp(Date.now() + seconds * 1000),
    },
  });
}
