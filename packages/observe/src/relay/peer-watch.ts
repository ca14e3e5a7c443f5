import { backoff, Emitter, errorText, type Logger } from "@axoneme/base";
import { Connection, parseTarget } from "@axoneme/grpc";
import {
  type ChangeNotification,
  ChangeNotificationSchema,
  ChangeNotificationType,
  Peer,
} from "@axoneme/proto";
import { fromBinary } from "@bufbuild/protobuf";
import type { HubblePeer, PeerChange, PeerSource } from "../grpc/options.ts";
import { pathOf } from "../grpc/service.ts";

/** How long after a fresh list what it did not name is kept: the first answers come one by one. */
const settleMs = 2000;

/** The peers that an agent announces (`peer.Peer/Notify`), followed for as long as it takes. */
export class PeerWatch implements PeerSource {
  readonly changes = new Emitter<PeerChange>();
  readonly #target: string;
  readonly #log: Logger;
  readonly #peers = new Map<string, HubblePeer>();
  readonly #ended = new AbortController();
  #problem: string | undefined = "not reached yet";
  #wake: () => void = () => undefined;

  /** @param target the agent's socket, or host:port */
  constructor(target: string, log: Logger) {
    this.#target = target;
    this.#log = log;
    void this.#run();
  }

  /** Why the list may be old; undefined while it is followed. */
  get problem(): string | undefined {
    return this.#problem;
  }

  list(): readonly HubblePeer[] {
    return [...this.#peers.values()];
  }

  stop(): void {
    this.#ended.abort();
    this.#wake();
  }

  async #run(): Promise<void> {
    const retry = backoff({ baseMs: 250, maxMs: 10_000 });
    const { signal } = this.#ended;
    while (!signal.aborted) {
      try {
        await this.#follow(signal, () => retry.reset());
        this.#problem = "the agent ended the list";
      } catch (error) {
        this.#problem = errorText(error);
      }
      if (signal.aborted) return;
      this.#log.debug({ why: this.#problem, target: this.#target }, "the list of peers is asked for again");
      await this.#pause(retry.next());
    }
  }

  /** Peers of a former list that this one does not name are gone. */
  async #follow(signal: AbortSignal, onLife: () => void): Promise<void> {
    const connection = await Connection.open({ target: parseTarget(this.#target, 4244) }, signal);
    const unseen = new Set(this.#peers.keys());
    const settle = setTimeout(() => {
      for (const name of unseen) this.#remove(name);
    }, settleMs);
    settle.unref();
    try {
      this.#problem = undefined;
      for await (const messages of connection.stream(pathOf(Peer.method.notify), new Uint8Array(0), signal)) {
        onLife();
        for (const bytes of messages) {
          const change = fromBinary(ChangeNotificationSchema, bytes);
          unseen.delete(change.name);
          this.#take(change);
        }
      }
    } finally {
      clearTimeout(settle);
      connection.close();
    }
  }

  #take({ name, address, type, tls }: ChangeNotification): void {
    if (type === ChangeNotificationType.PEER_DELETED) {
      this.#remove(name);
      return;
    }
    const serverName = tls?.serverName ?? "";
    const peer: HubblePeer = { name, address, ...(serverName === "" ? {} : { serverName }) };
    const before = this.#peers.get(name);
    this.#peers.set(name, peer);
    if (before?.address === address && before.serverName === peer.serverName) return;
    this.changes.emit({ type: before === undefined ? "PEER_ADDED" : "PEER_UPDATED", peer });
  }

  #remove(name: string): void {
    const peer = this.#peers.get(name);
    if (peer === undefined) return;
    this.#peers.delete(name);
    this.changes.emit({ type: "PEER_DELETED", peer });
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      timer.unref();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
