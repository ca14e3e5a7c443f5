import { errorText, type Logger } from "@axoneme/base";
import type { EndpointRecord, PodNetwork } from "@axoneme/endpoint";
import { isErrno } from "@axoneme/netlink";

/** The annotation of Kubernetes: bits per second as a quantity. */
export const egressAnnotation = "kubernetes.io/egress-bandwidth";
export const ingressAnnotation = "kubernetes.io/ingress-bandwidth";

/** Kubernetes takes 1k to 1P. */
const [least, most] = [1e3, 1e15];
const quantity = /^\+?(\d+(?:\.\d*)?|\.\d+)(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,3}))?$/;
const decimal = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
const binary = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/** What a Pod's annotations say of what it may send. */
export interface EgressLimit {
  /** Bits per second. */
  readonly egressLimit?: number;
  /** What of the annotations is not done, and why: a sentence. */
  readonly bandwidthProblem?: string;
}

/** Reads the annotations of a Pod. */
export function egressLimitOf(annotations: Readonly<Record<string, string>> = {}): EgressLimit {
  const text = annotations[egressAnnotation];
  const problems = ingressAnnotation in annotations ? [`${ingressAnnotation} is not enforced here`] : [];
  const bits = text === undefined ? undefined : bitsOf(text);
  if (text !== undefined && bits === undefined)
    problems.unshift(
      `${egressAnnotation}: "${text}" is not a quantity from 1k to 1P (bits per second), as 10M`,
    );
  return {
    ...(bits === undefined ? {} : { egressLimit: bits }),
    ...(problems.length === 0 ? {} : { bandwidthProblem: problems.join("; ") }),
  };
}

function bitsOf(text: string): number | undefined {
  const [, number, suffix = "", exponent] = quantity.exec(text) ?? [];
  if (number === undefined) return undefined;
  const factor =
    binary.includes(suffix) && suffix !== ""
      ? 1024 ** binary.indexOf(suffix)
      : 10 ** (exponent === undefined ? (decimal.indexOf(suffix) - 3) * 3 : Number(exponent));
  const bits = Math.round(Number(number) * factor);
  return bits >= least && bits <= most ? bits : undefined;
}

/** Makes pods send no more than they may. */
export class PodBandwidth {
  readonly #network: Pick<PodNetwork, "limitEgress">;
  readonly #log: Logger;

  constructor(network: Pick<PodNetwork, "limitEgress">, log: Logger) {
    this.#network = network;
    this.#log = log;
  }

  /** Whether the endpoint's interface is as the Pod's facts want it. */
  isAsWanted(record: EndpointRecord, { egressLimit }: EgressLimit): boolean {
    return record.egressLimit === egressLimit;
  }

  /**
   * Sets the interface; returns the record of what is in force. A limit that cannot be set is told and left: a pod that
   * sends more than it should is better than one that does not start.
   */
  async apply(record: EndpointRecord, facts: EgressLimit): Promise<EndpointRecord> {
    const { egressLimit: _before, ...rest } = record;
    const pod = record.pod && `${record.pod.namespace}/${record.pod.name}`;
    if (facts.bandwidthProblem !== undefined) this.#log.warn({ pod }, facts.bandwidthProblem);
    if (this.isAsWanted(record, facts)) return record;
    try {
      await this.#network.limitEgress(record, facts.egressLimit);
    } catch (error) {
      const why = isErrno(error, "ENOENT") ? "this kernel has no sch_tbf" : errorText(error);
      this.#log.warn({ pod, egressLimit: facts.egressLimit }, `the pod's bandwidth is not limited: ${why}`);
      return record;
    }
    return facts.egressLimit === undefined ? rest : { ...rest, egressLimit: facts.egressLimit };
  }
}
