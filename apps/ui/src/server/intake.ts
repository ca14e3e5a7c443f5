import { Ends, type KnownEnd } from "./ends.ts";
import { FlowBytes } from "./flow-bytes.ts";
import { verdictOf } from "./rows.ts";
import type { ServiceMap } from "./service-map.ts";

/** Pairs of ends whose edge is remembered. */
const mostPairs = 100_000;

/** As `TCP/80`; for each port and protocol the same string. */
class PortNames {
  readonly #names = new Map<number, string>();

  of({ protocol, destinationPort: port }: FlowBytes): string {
    if (port === 0) return protocol;
    const key = port * 8 + (protocol === "TCP" ? 1 : protocol === "UDP" ? 2 : 3);
    const known = this.#names.get(key);
    if (known !== undefined) return known;
    const name = `${protocol}/${port}`;
    this.#names.set(key, name);
    return name;
  }
}

/** Adds flows up as they come off the wire. The table's rows are made later, of those that are looked at. */
export class Intake {
  readonly #map: ServiceMap;
  readonly #flow = new FlowBytes();
  readonly #ends = new Ends();
  readonly #edges = new Map<number, string>();
  readonly #ports = new PortNames();

  constructor(map: ServiceMap) {
    this.#map = map;
  }

  /**
   * Counts what a message tells: whether it was a flow, and how many events were lost.
   * @throws AxonError `ui.message_invalid`
   */
  take(message: Uint8Array): { readonly isFlow: boolean; readonly lost: number } {
    const flow = this.#flow;
    flow.read(message);
    if (flow.isFlow && !flow.isReply) this.#count(flow);
    return flow;
  }

  #count(flow: FlowBytes): void {
    const source = this.#ends.of(flow, flow.source, flow.sourceName);
    const target = this.#ends.of(flow, flow.destination, flow.destinationName);
    const verdict = verdictOf(flow.verdict);
    const isDrop = verdict === "dropped" || verdict === "error";
    this.#map.count(
      this.#edge(source, target),
      source.node,
      target.node,
      verdict,
      this.#ports.of(flow),
      isDrop ? flow.text(flow.uuid) : "",
    );
  }

  #edge(source: KnownEnd, target: KnownEnd): string {
    // Of ends one has been learnt after the other: it takes years until a number needs more than 26 bits.
    const pair = source.number * 0x4000000 + target.number;
    const known = this.#edges.get(pair);
    if (known !== undefined) return known;
    if (this.#edges.size >= mostPairs) this.#edges.clear();
    const id = `${source.node.id}>${target.node.id}`;
    this.#edges.set(pair, id);
    return id;
  }
}
