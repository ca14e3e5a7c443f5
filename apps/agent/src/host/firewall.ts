import { join } from "node:path";
import { type Ip, ipEqual, type Logger } from "@axoneme/base";
import type { Kernel } from "@axoneme/datapath";
import type { Ipcache } from "@axoneme/identity";
import { EventRecorder, type KubeClient } from "@axoneme/kube";
import type { AgentConfig } from "../options.ts";
import type { PolicyModule } from "../state/policy.ts";
import { HostEndpoint, hostEndpointId } from "./host-endpoint.ts";
import { HostPolicies } from "./host-policies.ts";
import { Lifelines, parseProtectedPort } from "./lifelines.ts";
import { HostPolicyNotices } from "./notices.ts";
import { readHostRecord, writeHostRecord } from "./record.ts";

/** What the host firewall is composed of that was there before. */
export interface FirewallGivens {
  readonly config: AgentConfig;
  readonly nodeName: string;
  readonly policy: PolicyModule;
  readonly kernel: Kernel;
  readonly ipcache: Ipcache;
  readonly client: KubeClient;
  /** The node's addresses. */
  readonly addresses: () => readonly Ip[];
  readonly log: Logger;
}

/** The parts of host policies and how they are wired. */
export class HostFirewall {
  readonly endpoint: HostEndpoint;
  readonly #policies: HostPolicies | undefined;
  readonly #notices: HostPolicyNotices;

  /** @throws AxonError `host.protected` for an option that makes no sense. */
  constructor(givens: FirewallGivens) {
    const { config, nodeName, policy, kernel, client, log } = givens;
    this.endpoint = new HostEndpoint(policy, kernel, config.enableHostFirewall);
    const events = new EventRecorder(client, { component: "axoneme-agent", host: nodeName, log });
    this.#notices = new HostPolicyNotices(client, events, nodeName, log);
    if (config.enableHostFirewall) this.#policies = this.#create(givens);
    policy.hostPolicies = this.#policies;
    policy.onHost = (labels, isApiServer) => {
      this.endpoint.setApiServer(isApiServer);
      if (this.#policies) this.#policies.labelsChanged(labels);
      else this.endpoint.setLabels(labels);
    };
  }

  #create({ config, policy, kernel, ipcache, addresses, log }: FirewallGivens): HostPolicies {
    const path = join(config.runDir, "host-policies.json");
    const record = { read: () => readHostRecord(path), write: writeHostRecord.bind(undefined, path) };
    // Locked out by a change on trial, this agent would never hear from the API server what to put in its place.
    if (record.read().unsettled) kernel.useHostPolicy(0);
    const lifelines = new Lifelines({
      ...{ engine: policy.engine, ipcache, kernel },
      cidrOf: (ip, identity) => policy.places.cidrOf(ip, identity),
      isOwn: (ip) => addresses().some((own) => ipEqual(own, ip)),
      protected: config.hostPolicyProtected.map(parseProtectedPort),
    });
    return new HostPolicies({
      wanted: (key) => policy.known(key),
      parse: (object) => policy.parseClusterwide(object),
      enforce: (one) => policy.enforce(one),
      withdraw: (ref) => policy.withdraw(ref),
      setLabels: (labels) => this.endpoint.setLabels(labels),
      lifelines: () => lifelines.current(),
      tell: (policies, state, message) => this.#notices.tell(policies, state, message),
      record,
      trialMs: config.hostPolicyTrial * 1000,
      log,
    });
  }

  /** All policies and this node's labels are known; `commit` brings the policies of everything in force. */
  open(commit: () => void): void {
    if (this.#policies) this.#policies.open(commit);
    else commit();
    this.endpoint.policyChanged();
  }

  /** An endpoint falls under another policy: whether it is the node itself. */
  isHost(endpointId: number): boolean {
    if (endpointId !== hostEndpointId) return false;
    this.endpoint.policyChanged();
    return true;
  }

  /** Makes a change stay that is on trial or was taken back; the names of its policies, none: there is no such change. */
  confirm(name: string): string[] {
    return this.#policies?.confirm(name) ?? [];
  }

  /** What is to be said of a policy, in lists. */
  messageOf(key: string): string | undefined {
    return this.#policies?.messageOf(key);
  }

  stop(): void {
    this.#policies?.stop();
    this.#notices.stop();
  }
}
