import type { ContainerPort } from "@axoneme/policy";
import type { NamedPort } from "../endpoint/pods.ts";

const protocolNumbers: Readonly<Record<string, number>> = { TCP: 6, UDP: 17, SCTP: 132 };

/** The named ports of a pod (`pod`: any text that names it) that goes by a number. */
export interface PeerPortClaim {
  readonly pod: string;
  readonly identity: number;
  readonly ports: readonly NamedPort[];
}

/** Named ports as the policy engine has them; those of other protocols are left out. */
export function containerPorts(ports: readonly NamedPort[]): ContainerPort[] {
  return ports.flatMap(({ name, port, protocol }) => {
    const proto = protocolNumbers[protocol];
    return proto === undefined ? [] : [{ name, port, proto }];
  });
}
