import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { isObject } from "../object.ts";

/** Who sent a request. */
export interface User {
  name: string;
  groups: string[];
}

/** Bearer tokens and whom they stand for, kept in `tokens.json` of the state directory. */
export class Tokens {
  readonly #file: string;
  readonly #users = new Map<string, User>();

  constructor(dir: string) {
    this.#file = join(dir, "tokens.json");
    if (!existsSync(this.#file)) return;
    const content: unknown = JSON.parse(readFileSync(this.#file, "utf8"));
    for (const [token, user] of Object.entries(isObject(content) ? content : {}))
      this.#users.set(token, user as User);
  }

  find(token: string): User | undefined {
    return this.#users.get(token);
  }

  /** The token of a user; made when it has none. */
  of(user: User): string {
    for (const [token, each] of this.#users) if (each.name === user.name) return token;
    const token = randomBytes(24).toString("base64url");
    this.#users.set(token, user);
    writeFileSync(this.#file, JSON.stringify(Object.fromEntries(this.#users)), { mode: 0o600 });
    return token;
  }
}

/** The groups of the service accounts of a namespace. */
export function serviceAccountGroups(namespace: string): string[] {
  return ["system:serviceaccounts", `system:serviceaccounts:${namespace}`, "system:authenticated"];
}

/** The user of a service account, with the groups Kubernetes gives it. */
export function serviceAccountUser(namespace: string, name: string): User {
  return {
    name: `system:serviceaccount:${namespace}:${name}`,
    groups: serviceAccountGroups(namespace),
  };
}

/** The user a request proves to come from: by client certificate or by bearer token. */
export function authenticate(request: IncomingMessage, tokens: Tokens): User | undefined {
  const header = request.headers.authorization ?? "";
  if (/^bearer /i.test(header)) return tokens.find(header.slice(7).trim());
  const socket = request.socket as TLSSocket;
  if (socket.authorized !== true) return undefined;
  const subject = socket.getPeerCertificate().subject as { CN?: string; O?: string | string[] } | undefined;
  if (subject?.CN === undefined) return undefined;
  const organizations = subject.O === undefined ? [] : [subject.O].flat();
  return { name: subject.CN, groups: [...organizations, "system:authenticated"] };
}
