import type { ContainerPort } from "@axoneme/policy";
import type { NamedPort } from "../endpoint/pods.ts";

const protocolNumbers: Readonly<Record<string, number>> = { TCP: 6, UDP: 17, SCTP: 132 };

/** The named ports of a pod (`pod`: any text that names it) that goes by a number. */
export interface PeerPortClaim {
  readonly pod: string;
  readonly identity: number;
  readonly ports: readonly NamedPort[];
}

/** By the list they were made of: pods that share a list share what the engine has of it. */
const made = new WeakMap<readonly NamedPort[], ContainerPort[]>();

/** Named ports as the policy engine has them; those of other protocols are left out. */
export function containerPorts(ports: readonly NamedPort[]): ContainerPort[] {
  const known = made.get(ports);
  if (known !== undefined) return known;
  const here: ContainerPort[] = [];
  for (const { name, port, protocol } of ports) {
    const proto = protocolNumbers[protocol];
    if (proto !== undefined) here.push({ name, port, proto });
  }
  made.set(ports, here);
  return here;
}
