/** How long the series of a pod that is gone stay: the last scrape shall see them. */
const lingerMs = 60_000;
/** Pods remembered as gone: a flow told late must not bring their series back for ever. */
const remembered = 8192;

/** Pods (`namespace/name`) whose series are to go. */
export class PodEnds {
  readonly #now: () => number;
  /** When the series go. */
  readonly #due = new Map<string, number>();
  readonly #gone = new Set<string>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** The pod is there (again). */
  begin(pod: string): void {
    this.#due.delete(pod);
    this.#gone.delete(pod);
  }

  /** The pod is gone. */
  end(pod: string): void {
    this.#gone.delete(pod);
    this.#gone.add(pod);
    this.#due.set(pod, this.#now() + lingerMs);
    const [oldest] = this.#gone;
    if (this.#gone.size > remembered && oldest !== undefined) this.#gone.delete(oldest);
  }

  /** A value was made for the pod: if it was gone before, it goes once more. */
  used(pod: string): void {
    if (this.#gone.has(pod) && !this.#due.has(pod)) this.#due.set(pod, this.#now() + lingerMs);
  }

  /** Pods whose series go now; told once. */
  take(): Set<string> {
    const taken = new Set<string>();
    const now = this.#now();
    for (const [pod, due] of this.#due) {
      if (due > now) continue;
      taken.add(pod);
      this.#due.delete(pod);
    }
    return taken;
  }
}
