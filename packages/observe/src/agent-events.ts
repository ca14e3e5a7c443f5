import { type Clock, Emitter, systemClock } from "@axoneme/base";
import { formatTimestamp, parseTimestamp } from "@axoneme/flow";
import type { AgentEventResponse, EventsRequest } from "./grpc/client-types.ts";
import { checkEventsQuery } from "./query.ts";

/** What an agent did, as the field's `flow.AgentEvent`: the type, and what it is about by the field's name of it. */
export type AgentEvent =
  | { readonly type: "AGENT_STARTED"; readonly agent_start: { readonly time: string } }
  | {
      readonly type: "POLICY_UPDATED" | "POLICY_DELETED";
      readonly policy_update: {
        readonly labels: readonly string[];
        readonly revision: string;
        readonly rule_count: string;
      };
    }
  | {
      readonly type: "ENDPOINT_REGENERATE_SUCCESS";
      readonly endpoint_regenerate: { readonly id: string; readonly labels: readonly string[] };
    }
  | {
      readonly type: "ENDPOINT_CREATED" | "ENDPOINT_DELETED";
      readonly endpoint_update: {
        readonly id?: string;
        readonly labels?: readonly string[];
        readonly pod_name: string;
        readonly namespace: string;
      };
    }
  | {
      readonly type: "IPCACHE_UPSERTED" | "IPCACHE_DELETED";
      readonly ipcache_update: {
        readonly cidr: string;
        readonly identity: number;
        readonly old_identity?: number;
        readonly host_ip?: string;
        readonly old_host_ip?: string;
        readonly namespace?: string;
        readonly pod_name?: string;
      };
    }
  | {
      readonly type: "SERVICE_UPSERTED";
      readonly service_upsert: {
        readonly frontend_address: { readonly ip: string; readonly port: number };
        readonly type: string;
        readonly name: string;
        readonly namespace: string;
        readonly ext_traffic_policy: string;
        readonly int_traffic_policy: string;
      };
    }
  | { readonly type: "SERVICE_DELETED"; readonly service_delete: Readonly<Record<string, never>> };

/** Events kept; the oldest go first. */
const kept = 4096;
/** Events in one batch of a stream at most. */
const batchEvents = 256;

interface Held {
  readonly ms: number;
  readonly event: AgentEvent;
}

/** The last things an agent did, for who asks (GetAgentEvents). */
export class AgentEvents {
  /** Fires with how many events a reader was too slow for. */
  readonly readerLost = new Emitter<number>();
  readonly #clock: Clock;
  readonly #nodeName: string;
  readonly #ring: Held[] = [];
  readonly #added = new Emitter<void>();
  #next = 0;

  constructor(nodeName: string, clock: Clock = systemClock) {
    this.#nodeName = nodeName;
    this.#clock = clock;
  }

  /** Readers that wait. */
  get readers(): number {
    return this.#added.listenerCount;
  }

  add(event: AgentEvent): void {
    this.#ring[this.#next % kept] = { ms: this.#clock.now(), event };
    this.#next++;
    this.#added.emit();
  }

  /**
   * The events a request asks for, with the meanings of GetFlows' fields.
   * @throws AxonError `observe.query_invalid`, `flow.time_invalid` at once
   */
  read(request: EventsRequest, signal: AbortSignal): AsyncGenerator<AgentEventResponse[], void> {
    checkEventsQuery(request);
    const { first = false, follow = false, number = 0 } = request;
    const since = msOf(request.since);
    const until = msOf(request.until);
    return this.#read({ first, follow, number, since, until }, signal);
  }

  async *#read(query: Query, signal: AbortSignal): AsyncGenerator<AgentEventResponse[], void> {
    const { follow, number, since, until } = query;
    const limit = follow || number === 0 ? Number.POSITIVE_INFINITY : number;
    const end = follow ? Number.POSITIVE_INFINITY : this.#next;
    let seq = this.#start(query);
    let sent = 0;
    while (!signal.aborted && seq < end) {
      const oldest = Math.max(0, this.#next - kept);
      if (seq < oldest) {
        this.readerLost.emit(oldest - seq);
        seq = oldest;
      }
      const batch: AgentEventResponse[] = [];
      for (; seq < Math.min(end, this.#next) && batch.length < batchEvents && sent < limit; seq++) {
        const held = this.#ring[seq % kept];
        if (held === undefined || (since !== undefined && held.ms < since)) continue;
        if (until !== undefined && held.ms > until) {
          if (batch.length > 0) yield batch;
          return;
        }
        batch.push(this.#response(held));
        sent++;
      }
      if (batch.length > 0) yield batch;
      if (sent >= limit) return;
      if (seq >= this.#next && seq < end) await this.#more(seq, signal);
    }
  }

  #start({ first, follow, number, since, until }: Query): number {
    const oldest = Math.max(0, this.#next - kept);
    if (since !== undefined || first) return oldest;
    if (number === 0) return follow ? this.#next : oldest;
    let end = this.#next;
    while (until !== undefined && end > oldest && (this.#ring[(end - 1) % kept]?.ms ?? 0) > until) end--;
    return Math.max(oldest, end - number);
  }

  #response({ ms, event }: Held): AgentEventResponse {
    const time = formatTimestamp(BigInt(Math.floor(ms)) * 1_000_000n);
    return { agent_event: event, node_name: this.#nodeName, time };
  }

  #more(seq: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const off = this.#added.on(done);
      function done(): void {
        off();
        signal.removeEventListener("abort", done);
        resolve();
      }
      signal.addEventListener("abort", done);
      if (signal.aborted || this.#next > seq) done();
    });
  }
}

interface Query {
  readonly first: boolean;
  readonly follow: boolean;
  readonly number: number;
  readonly since: number | undefined;
  readonly until: number | undefined;
}

function msOf(time: string | undefined): number | undefined {
  return time === undefined ? undefined : Number(parseTimestamp(time) / 1_000_000n);
}
