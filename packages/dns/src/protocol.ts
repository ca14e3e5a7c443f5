import { AxonError } from "@axoneme/base";

/**
 * What the agent and the DNS proxy of a node say to each other: one JSON object a line, UTF-8, over the UNIX
 * socket `dns.sock` that the proxy serves. One agent at a time: a new connection takes the place of the old one.
 *
 *   agent                                    proxy
 *   hello {version}             ->
 *                               <-           welcome {version, build, pid, lost}
 *   config, rules..., synced    ->
 *                               <-           answer {seq, ...}, query {...}, in any order from welcome on
 *   ack {seq}                   ->           the pod gets its answer
 *
 * After `synced` the proxy forgets rule sets that were not repeated since `hello`. It keeps the rest, and the
 * configuration, in a file: it needs no agent to start. Answers given while no agent was connected are kept
 * (bounded) and told after `welcome`, with `replayed`; so are those that an agent did not ack before it went.
 */
export const PROTOCOL_VERSION = 1;

/** The longest line, bytes. Who sends a longer one is disconnected. */
export const MAX_LINE = 64 * 1024;

/** Rule set ids are 1 to this: `proxy_port` of a policy row. */
export const MAX_RULES_ID = 0xffff;

export interface HelloMessage {
  t: "hello";
  version: number;
}

export interface ConfigMessage {
  t: "config";
  /** What a pod hears about a name it may not ask for: REFUSED or NXDOMAIN. */
  rejectCode: "refused" | "nameError";
  /** How long an answer with addresses waits for its `ack`, milliseconds. */
  budgetMs: number;
  /** Queries of one pod, and of all, whose answer has not come; more are dropped, and counted. */
  inFlightPerPod?: number;
  inFlight?: number;
}

/** A set of DNS rules: a name matches if one of `names` or `patterns` (of names.ts) does. Long sets come in parts. */
export interface RulesMessage {
  t: "rules";
  id: number;
  names: string[];
  patterns: string[];
  /** Goes with the set that came before under this id, in the same line order. The first part has no `more`. */
  more?: boolean;
}

export interface DropMessage {
  t: "drop";
  id: number;
}

export interface SyncedMessage {
  t: "synced";
}

export interface AckMessage {
  t: "ack";
  seq: number;
}

export type AgentMessage =
  | HelloMessage
  | ConfigMessage
  | RulesMessage
  | DropMessage
  | SyncedMessage
  | AckMessage;

export interface WelcomeMessage {
  t: "welcome";
  version: number;
  /** Of the proxy's bundle: an agent of another build may start its own in the proxy's place. */
  build: string;
  pid: number;
  /** Answers that could not be kept while no agent was connected. */
  lost: number;
  /** Why servers see the node as their client; absent: they see the pod. */
  asNode?: string;
}

/** Who asked whom: the pod, and what it dialled. */
export interface Exchange {
  /** Of the proxy's clock, milliseconds since 1970. */
  time: number;
  client: string;
  clientPort: number;
  server: string;
  serverPort: number;
  proto: "udp" | "tcp";
  /** The question: lower case with the final dot; escapes of RFC 1035 5.1 for what is no letter, digit, '-' or '_'. */
  name: string;
  /** Of the question: `A`, `AAAA`, or `TYPE65`. */
  type: string;
}

export interface LearnedAddress {
  ip: string;
  /** The least along the chain of CNAMEs, seconds. */
  ttl: number;
}

export interface AnswerMessage extends Exchange {
  t: "answer";
  seq: number;
  rcode: number;
  /** The chain from `name`, which is not in it, to the owner of the addresses. */
  cnames: string[];
  addresses: LearnedAddress[];
  /** Since the query was sent to the server, microseconds. */
  latencyUs: number;
  /** The pod has its answer already: the budget is over, or nobody was there to be asked. */
  replayed?: boolean;
}

export interface QueryMessage extends Exchange {
  t: "query";
  rules: number;
  /** `audit`: of a pod whose policy only reports; it would have been refused. */
  verdict: "forwarded" | "refused" | "audit";
}

export type ProxyMessage = WelcomeMessage | AnswerMessage | QueryMessage;

/** One message as a line. */
export function encodeLine(message: AgentMessage | ProxyMessage): string {
  return `${JSON.stringify(message)}\n`;
}

/** Cuts a stream of bytes into lines; holds at most one line of {@link MAX_LINE} bytes. */
export class LineReader {
  private readonly decoder = new TextDecoder();
  private rest: Uint8Array = new Uint8Array(0);

  /** The lines that these bytes complete, empty ones left out. Throws `dns.line` when one is too long. */
  push(bytes: Uint8Array): string[] {
    const lines: string[] = [];
    let start = 0;
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
      const line = this.decoder.decode(this.join(bytes.subarray(start, end)));
      if (line !== "") lines.push(line);
      this.rest = new Uint8Array(0);
      start = end + 1;
    }
    if (start < bytes.length) this.rest = this.join(bytes.subarray(start));
    return lines;
  }

  private join(bytes: Uint8Array): Uint8Array {
    const length = this.rest.length + bytes.length;
    if (length > MAX_LINE) throw new AxonError("dns.line", `a line is longer than ${MAX_LINE} bytes`);
    if (this.rest.length === 0) return bytes.slice();
    const joined = new Uint8Array(length);
    joined.set(this.rest);
    joined.set(bytes, this.rest.length);
    return joined;
  }
}
