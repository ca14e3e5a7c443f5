/** Where text goes. `write` resolves when more may follow (a reader that is slow holds us back). */
export interface Output {
  write(text: string): Promise<void>;
  readonly isTty: boolean;
}

/** Everything of the outside that the commands touch, so that tests own it. */
export interface Context {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: Output;
  readonly stderr: Output;
  /** Aborts on Ctrl-C or SIGTERM. */
  /** Asks the user; true is yes. Undefined where nobody can answer: no terminal. */
  readonly confirm: ((question: string) => Promise<boolean>) | undefined;
  readonly signal: AbortSignal;
  readonly version: string;
  /** Milliseconds since the epoch, for --since and ages. */
  now(): number;
  /** The exit code of a command that printed its result and yet has something to say. */
  setExitCode(code: number): void;
}
