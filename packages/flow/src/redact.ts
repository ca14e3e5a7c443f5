import type { FlowHttp, FlowHttpHeader, FlowLayer7 } from "./flow.ts";

/** What stands in a flow for what is not to be read; the field's word. */
export const redacted = "HUBBLE_REDACTED";

/** What of a message of layer 7 is not to be read. The field's `hubble.redact.*`. */
export interface RedactionOptions {
  /** `http.urlQuery`: URLs lose query and fragment. */
  readonly urlQuery: boolean;
  /** `http.userInfo`: passwords in URLs. */
  readonly userInfo: boolean;
  /** `http.headers.allow`: headers whose values are kept, all others are not. In any case of letters. */
  readonly headersAllow: readonly string[];
  /** `http.headers.deny`: headers whose values are not kept; without an allow list all others are. */
  readonly headersDeny: readonly string[];
  /** `kafka.apiKey` */
  readonly kafkaApiKey: boolean;
}

/** Takes what is secret out of a message; what has nothing secret is given back as it is. */
export type Redaction = (detail: FlowLayer7) => FlowLayer7;

/** Compiles a redaction. Without lists of headers the value of every header is secret. */
export function compileRedaction(options: RedactionOptions): Redaction {
  const keepsHeader = headerTest(options);
  const url = (text: string): string => {
    const bare = options.urlQuery ? withoutQuery(text) : text;
    return options.userInfo ? withoutPassword(bare) : bare;
  };
  return (detail) => {
    let safe = detail;
    if (detail.http !== undefined) safe = { ...safe, http: redactHttp(detail.http, url, keepsHeader) };
    if (options.kafkaApiKey && detail.kafka?.api_key !== undefined)
      safe = { ...safe, kafka: { ...detail.kafka, api_key: redacted } };
    return safe;
  };
}

function redactHttp(
  http: FlowHttp,
  url: (text: string) => string,
  keepsHeader: (name: string) => boolean,
): FlowHttp {
  const safe: FlowHttp = { ...http };
  if (http.url !== undefined) safe.url = url(http.url);
  if (http.headers !== undefined) {
    const header = (of: FlowHttpHeader): FlowHttpHeader =>
      keepsHeader(of.key ?? "") ? of : { ...of, value: redacted };
    safe.headers = http.headers.map(header);
  }
  return safe;
}

/** A name that stands in both lists is secret. */
function headerTest({ headersAllow, headersDeny }: RedactionOptions): (name: string) => boolean {
  const lower = (names: readonly string[]): Set<string> => new Set(names.map((name) => name.toLowerCase()));
  const allow = lower(headersAllow);
  const deny = lower(headersDeny);
  return (name) => {
    const key = name.toLowerCase();
    if (deny.has(key)) return false;
    return allow.size > 0 ? allow.has(key) : deny.size > 0;
  };
}

function withoutQuery(url: string): string {
  const end = url.search(/[?#]/);
  return end < 0 ? url : url.slice(0, end);
}

/**
 * `http://user:HUBBLE_REDACTED@host/`. By the text and not by a parser of URLs, which refuses some that servers take; up to
 * the last `@` before the path, as a client with a careless password means it.
 */
function withoutPassword(url: string): string {
  const authority = /^([a-z][a-z0-9+.-]*:)?[/\\]{2}/i.exec(url)?.[0].length;
  if (authority === undefined) return url;
  const path = url.slice(authority).search(/[/\\?#]/);
  const end = path < 0 ? url.length : authority + path;
  const at = url.lastIndexOf("@", end - 1);
  const colon = url.indexOf(":", authority);
  if (at < authority || colon < 0 || colon > at) return url;
  return `${url.slice(0, colon + 1)}${redacted}${url.slice(at)}`;
}
