/** What a relay counts. */
export class RelayFigures {
  messages = 0;
  bytes = 0;
  /** Streams of nodes that failed. */
  failures = 0;
  /** GetFlows being served. */
  streams = 0;
  requests = 0;

  forwarded(messages: number, bytes: number): void {
    this.messages += messages;
    this.bytes += bytes;
  }

  streamFailed(): void {
    this.failures++;
  }
}
