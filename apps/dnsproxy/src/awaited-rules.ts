import type { AgentLink } from "./agent-link.ts";
import type { Rules } from "./rules.ts";

/** A set of rules that a row names may be on its way from the agent: a query waits for it, looked at every so many ms. */
const LOOK_MS = 20;
const LOOKS = 5;
const MAX_WAITING = 1024;
/** After its start a proxy expects an agent, milliseconds. */
const EXPECTS_AGENT_MS = 3000;

/** Queries under sets of rules that are not known yet. */
export class AwaitedRules {
  private readonly rules: Rules;
  private readonly link: AgentLink;
  private readonly started = performance.now();
  private waiting = 0;

  constructor(rules: Rules, link: AgentLink) {
    this.rules = rules;
    this.link = link;
  }

  /** Queries that wait. */
  get size(): number {
    return this.waiting;
  }

  /** Whether a query under this set is worth a wait: nobody else is to be asked. */
  isDue(id: number): boolean {
    if (this.rules.has(id) || this.waiting >= MAX_WAITING) return false;
    return this.link.isOpen || performance.now() - this.started < EXPECTS_AGENT_MS;
  }

  /** Calls back when the set is known, or was waited for long enough. */
  wait(id: number, then: () => void): void {
    this.waiting++;
    this.look(id, LOOKS, then);
  }

  private look(id: number, looks: number, then: () => void): void {
    setTimeout(() => {
      if (looks > 1 && !this.rules.has(id)) return this.look(id, looks - 1, then);
      this.waiting--;
      then();
    }, LOOK_MS);
  }
}
