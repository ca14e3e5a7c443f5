import { AxonError } from "@axoneme/base";
import {
  type AnswerHead,
  type Exchange,
  type Learned,
  type Query,
  RCODE,
  readAddresses,
  readAnswerHead,
  typeName,
} from "@axoneme/dns";
import type { AgentLink } from "./agent-link.ts";
import { type Answer, type AnswerGate, keyOf } from "./gate.ts";
import type { Metrics } from "./metrics.ts";

const nothing: Learned = { cnames: [], addresses: [] };

/** The addresses of an answer; none where it cannot be read to its end: the pod gets it as it is, nothing is let in. */
export function learned(bytes: Uint8Array, head: AnswerHead): Learned {
  if (head.rcode !== RCODE.noError || head.question === undefined) return nothing;
  try {
    return readAddresses(bytes, head.question);
  } catch (error) {
    if (error instanceof AxonError) return nothing;
    throw error;
  }
}

/** The head of an answer to what was asked; undefined, and counted, for what is no such thing. */
export function answerTo(
  bytes: Uint8Array,
  asked: Query,
  metrics: Pick<Metrics, "lose">,
): AnswerHead | undefined {
  try {
    const head = readAnswerHead(bytes);
    if (answersTo(head, asked)) return head;
  } catch (error) {
    if (!(error instanceof AxonError)) throw error;
  }
  metrics.lose("spoofed");
  return undefined;
}

/** One that complains of a query it could not read may have no question. */
function answersTo({ question }: AnswerHead, asked: Query): boolean {
  if (question === undefined) return true;
  return question.type === asked.type && question.class === asked.class && question.name === asked.name;
}

/**
 * True: the pod may have its answer at once; else `release` is called when it may. `answer` is asked only where somebody
 * is to hear of it.
 */
export function settle(
  { gate, link }: { gate: AnswerGate; link: AgentLink },
  { endpoint, name }: { endpoint: number; name: string },
  { addresses }: Learned,
  answer: () => Answer,
  release: () => void,
): boolean {
  if (addresses.length > 0) {
    const key = keyOf(endpoint, name, addresses);
    return gate.isKnown(key, addresses) || gate.offer(key, answer(), release);
  }
  if (link.isListening) link.observe({ t: "answer", seq: 0, ...answer() });
  return true;
}

/** The part of a message to the agent that says who asked whom, and what. */
export function exchange(
  query: Pick<Query, "name" | "type">,
  proto: "udp" | "tcp",
  client: { ip: string; port: number },
  server: { ip: string; port: number },
): Exchange {
  return {
    time: Date.now(),
    client: client.ip,
    clientPort: client.port,
    server: server.ip,
    serverPort: server.port,
    proto,
    name: query.name,
    type: typeName(query.type),
  };
}
