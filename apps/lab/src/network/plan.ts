import { AxonError, formatIp, type Ip, type Prefix, parseInterfaceAddress, parseIp } from "@axoneme/base";

/** An address on an interface, in text and for netlink. */
export interface InterfaceAddress {
  text: string;
  ip: Ip;
  prefix: Prefix;
}

export interface NodePlan {
  name: string;
  /** 1, 2, ... */
  index: number;
  addresses: readonly [InterfaceAddress, InterfaceAddress];
  /** What Kubernetes calls the node's internal addresses: IPv4, IPv6. */
  ips: readonly [string, string];
  /** The bridge's port for this node, in the namespace `net`. */
  port: string;
}

/** All addresses of a lab; they follow from its number and its nodes. */
export interface NetworkPlan {
  number: number;
  bridge: readonly [InterfaceAddress, InterfaceAddress];
  gateways: readonly [string, string];
  world: readonly [InterfaceAddress, InterfaceAddress];
  nodes: readonly NodePlan[];
  podCidrs: readonly [string, string];
  podCidrMaskSizes: readonly [number, number];
  serviceCidrs: readonly [string, string];
  apiServer: { host: string; port: number };
}

export const highestLabNumber = 255;
const mostNodes = 200;

function at(text: string): InterfaceAddress {
  const slash = text.indexOf("/");
  return { text, ip: parseIp(text.slice(0, slash)), prefix: parseInterfaceAddress(text) };
}

/** The plan of lab `number` with these nodes. */
export function planNetwork(number: number, nodeNames: readonly string[]): NetworkPlan {
  if (!Number.isInteger(number) || number < 0 || number > highestLabNumber) {
    throw new AxonError("lab.number", `the lab number ${number} is not in 0..${highestLabNumber}`);
  }
  if (nodeNames.length < 1 || nodeNames.length > mostNodes) {
    throw new AxonError("lab.nodes", `a lab has 1 to ${mostNodes} nodes, not ${nodeNames.length}`);
  }
  const v4 = (host: number): string => `172.30.${number}.${host}`;
  // Written as everybody else writes it (RFC 5952): others compare these texts.
  const v6 = (host: number): string => formatIp(parseIp(`fd00:172:30:${number}::${host}`));
  const nodes = nodeNames.map((name, i): NodePlan => {
    const host = 11 + i;
    return {
      name,
      index: i + 1,
      addresses: [at(`${v4(host)}/24`), at(`${v6(host)}/64`)],
      ips: [v4(host), v6(host)],
      port: `port${i + 1}`,
    };
  });
  return {
    number,
    bridge: [at(`${v4(1)}/24`), at(`${v6(1)}/64`)],
    gateways: [v4(1), v6(1)],
    world: [at("192.0.2.1/32"), at("2001:db8::1/128")],
    nodes,
    podCidrs: [`10.${200 + (number % 50)}.0.0/16`, `fd10:${number}::/48`],
    podCidrMaskSizes: [24, 64],
    serviceCidrs: ["10.96.0.0/16", "fd10:96::/112"],
    apiServer: { host: v4(1), port: 6443 },
  };
}

/** The k-th node's share of the pod ranges, for CNI plugins that want it written in their configuration. */
export function staticPodCidrs(plan: NetworkPlan, index: number): readonly [string, string] {
  return [`10.${200 + (plan.number % 50)}.${index}.0/24`, `fd10:${plan.number}:0:${index.toString(16)}::/64`];
}
