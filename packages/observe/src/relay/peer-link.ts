import { backoff, Emitter, errorText } from "@axoneme/base";
import { type ClientTls, Connection, parseTarget, type TlsSource } from "@axoneme/grpc";
import type { HubblePeer } from "../grpc/options.ts";

/** Waits between attempts to reach a node. */
const waits = { baseMs: 250, maxMs: 30_000 };
/** A connection that held for so long was a good one. */
const calmMs = 5000;

/** How connections to nodes are secured. */
export interface LinkSecurity {
  /** Certificates by which nodes know the relay; undefined: nodes are spoken to in plain text. */
  readonly tls: TlsSource | undefined;
}

/** The connection to one node, kept up for as long as the node is a peer. */
export class PeerLink {
  /** Fires when the connection comes or goes. */
  readonly changes = new Emitter<PeerLink>();
  readonly #security: LinkSecurity;
  #peer: HubblePeer;
  #connection: Connection | undefined;
  #problem = "not reached yet";
  #ended = new AbortController();
  #wake: () => void = () => undefined;

  constructor(peer: HubblePeer, security: LinkSecurity) {
    this.#peer = peer;
    this.#security = security;
    void this.#run();
  }

  get peer(): HubblePeer {
    return this.#peer;
  }

  /** The connection while it stands. */
  get connection(): Connection | undefined {
    return this.#connection;
  }

  /** Why there is no connection; "" while there is one. */
  get problem(): string {
    return this.#connection === undefined ? this.#problem : "";
  }

  /** The node moved to another address or name: it is connected to there. */
  update(peer: HubblePeer): void {
    const isSame = peer.address === this.#peer.address && peer.serverName === this.#peer.serverName;
    this.#peer = peer;
    if (isSame) return;
    this.#connection?.close();
    this.#wake();
  }

  stop(): void {
    this.#ended.abort();
    this.#connection?.close();
    this.#wake();
  }

  async #run(): Promise<void> {
    const retry = backoff(waits);
    const { signal } = this.#ended;
    while (!signal.aborted) {
      const since = performance.now();
      try {
        const connection = await this.#connect(signal);
        await this.#use(connection);
        if (performance.now() - since >= calmMs) retry.reset();
      } catch (error) {
        this.#problem = errorText(error);
      }
      if (!signal.aborted) await this.#pause(retry.next());
    }
  }

  /** For as long as it stands. */
  async #use(connection: Connection): Promise<void> {
    this.#connection = connection;
    this.changes.emit(this);
    const reason = await connection.closed;
    this.#problem = reason === undefined ? "the connection was closed" : errorText(reason);
    this.#connection = undefined;
    this.changes.emit(this);
  }

  #connect(signal: AbortSignal): Promise<Connection> {
    const target = parseTarget(this.#peer.address, 4244);
    const tls = this.#tls();
    return Connection.open({ target, ...(tls === undefined ? {} : { tls }) }, signal);
  }

  #tls(): ClientTls | undefined {
    const { tls } = this.#security;
    if (tls === undefined) return undefined;
    const { serverName } = this.#peer;
    // A node that says it speaks plain text may be anybody who can answer at its address.
    if (serverName === undefined) throw new Error("it offers no TLS, and disableClientTls is not set");
    if (tls.current === undefined) throw new Error(tls.problem ?? "there are no client certificates yet");
    return { ...tls.current, serverName };
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(done, ms);
      timer.unref();
      const off = this.#security.tls?.changes.on(done);
      function done(): void {
        clearTimeout(timer);
        off?.();
        resolve();
      }
      this.#wake = done;
    });
  }
}
