/** Told of one call of a method, by the server. */
export interface CallWatch {
  /** Messages of the request came. */
  received(messages: number): void;
  /** Messages went to the caller, or to nobody if it has gone. */
  sent(messages: number): void;
  /** Once. */
  ended(status: number): void;
}

/** Told of every call, by its path; undefined: nobody wants to know of this one. */
export type CallWatcher = (path: string) => CallWatch | undefined;
