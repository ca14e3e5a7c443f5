import type { Metrics } from "./metrics.ts";
import type { Rules } from "./rules.ts";

/** Unless the agent says otherwise. */
const IN_FLIGHT = 32_768;
const IN_FLIGHT_PER_POD = 2048;

/** Counts queries that are not answered yet, in all and by pod, and says when there are enough. */
export class InFlight {
  private readonly rules: Rules;
  private readonly metrics: Metrics;
  private readonly byPod = new Uint32Array(0x10000);
  total = 0;

  constructor(rules: Rules, metrics: Metrics) {
    this.rules = rules;
    this.metrics = metrics;
  }

  /** False, and counted: one too many. Who gets true calls `leave` once. */
  enter(endpoint: number): boolean {
    const { inFlight = IN_FLIGHT, inFlightPerPod = IN_FLIGHT_PER_POD } = this.rules.config;
    const own = this.byPod[endpoint] ?? 0;
    if (own >= inFlightPerPod || this.total >= inFlight) {
      this.metrics.lose(own >= inFlightPerPod ? "pod-in-flight" : "in-flight");
      return false;
    }
    this.byPod[endpoint] = own + 1;
    this.total++;
    return true;
  }

  leave(endpoint: number): void {
    this.byPod[endpoint] = (this.byPod[endpoint] ?? 1) - 1;
    this.total--;
  }
}
