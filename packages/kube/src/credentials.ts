import { FileContent } from "./filewatch.ts";

/** What authenticates a request at this moment. PEM texts. */
export interface Credentials {
  authorization?: string;
  certificate?: string;
  key?: string;
}

/** Gives credentials that may change over time. */
export interface CredentialSource {
  current(): Promise<Credentials>;
  /** Told that the server answered 401; true when asking again may give other credentials. */
  refused(): boolean;
}

/** A text that is fixed or read from a file which may be replaced. */
export type Material = { text: string } | { file: FileContent };

export function materialText(material: Material): string {
  return "text" in material ? material.text : material.file.read();
}

/** A fixed text, or a file; undefined when neither is given. Data wins over a file, as kubectl has it. */
export function material(text: string | undefined, file: string | undefined): Material | undefined {
  if (text !== undefined && text !== "") return { text };
  if (file !== undefined && file !== "") return { file: new FileContent(file) };
  return undefined;
}

/** No credentials: a server that knows us otherwise, or not at all. */
export const anonymous: CredentialSource = { current: async () => ({}), refused: () => false };

/** Name and password (HTTP basic). */
export function basicAuth(username: string, password: string): CredentialSource {
  const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
  return { current: async () => ({ authorization }), refused: () => false };
}

/** A bearer token; a file is read again when it changes, and at once after a 401. */
export function bearerToken(token: Material): CredentialSource {
  let refusedToken: string | undefined;
  const text = (): string => materialText(token).trim();
  return {
    current: async () => ({ authorization: `Bearer ${text()}` }),
    refused() {
      if (!("file" in token)) return false;
      const before = refusedToken;
      refusedToken = text();
      token.file.expire();
      return text() !== before;
    },
  };
}

/** A client certificate and its key. */
export function clientCertificate(certificate: Material, key: Material): CredentialSource {
  return {
    current: async () => ({ certificate: materialText(certificate), key: materialText(key) }),
    refused: () => false,
  };
}

/** Several sources as one, for a user entry with both a certificate and a token. */
export function combined(sources: readonly CredentialSource[]): CredentialSource {
  const [only] = sources;
  if (only === undefined) return anonymous;
  if (sources.length === 1) return only;
  return {
    async current() {
      const all = await Promise.all(sources.map((source) => source.current()));
      return Object.assign({}, ...all) as Credentials;
    },
    refused: () => sources.map((source) => source.refused()).some(Boolean),
  };
}
