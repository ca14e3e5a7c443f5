import type { Kernel } from "@axoneme/datapath";
import { type Labels, reserved } from "@axoneme/identity";
import { hostLabels } from "@axoneme/policy";
import type { PolicyModule } from "../state/policy.ts";

/** The endpoint id of the node itself; pods have those below. */
export const hostEndpointId = 65_535;

/** The node itself as an endpoint: policies select it by the labels of its Node object, the datapath knows it by its addresses. */
export class HostEndpoint {
  readonly #policy: PolicyModule;
  readonly #kernel: Kernel;
  readonly #enabled: boolean;
  readonly created = new Date();
  #own: Readonly<Record<string, string>> = {};
  #isApiServer = false;

  /** @param enabled whether host policies are enforced; else the node is under none. */
  constructor(policy: PolicyModule, kernel: Kernel, enabled: boolean) {
    this.#policy = policy;
    this.#kernel = kernel;
    this.#enabled = enabled;
    if (enabled) this.#state();
  }

  get labels(): Labels {
    return hostLabels(this.#own, this.#isApiServer);
  }

  /** The policy it falls under; 0: none. */
  get policyId(): number {
    return this.#enabled ? this.#policy.policyOf(hostEndpointId) : 0;
  }

  /** States by which labels the node is selected. When this returns, the policy that follows from it is in force. */
  setLabels(labels: Readonly<Record<string, string>>): void {
    this.#own = labels;
    if (this.#enabled) this.#state();
  }

  /** States whether an API server runs on the node. */
  setApiServer(isApiServer: boolean): void {
    if (this.#isApiServer === isApiServer) return;
    this.#isApiServer = isApiServer;
    if (this.#enabled) this.#state();
  }

  /** The rows of its policy are in the kernel. */
  policyChanged(): void {
    this.#kernel.useHostPolicy(this.policyId);
  }

  #state(): void {
    this.#policy.setEndpoint({
      id: hostEndpointId,
      identity: reserved.host,
      labels: this.labels,
      namedPorts: [],
    });
  }
}
