import type { OptionSet } from "@axoneme/app";
import { type Ip, parseIp } from "@axoneme/base";

/** The agent's options that are about the DNS proxy's process. */
export const proxyOptions = {
  dnsProxy: {
    default: "start",
    doc: "the DNS proxy: started by the agent and with it, in a container of its own, or none (DNS rules deny)",
    liveness: "restart",
    oneOf: ["start", "external", "off"] as const,
  },
  tofqdnsProxyPort: {
    default: 10_053,
    doc: "the first of four UDP and TCP ports of the DNS proxy, on addresses of its own",
    liveness: "restart",
    min: 1,
    max: 65_531,
  },
  dnsProxyTransparent: {
    default: "auto",
    doc: "the DNS proxy asks servers in the name of the pod: policies on their side are about the pod; off: in the node's",
    liveness: "restart",
    oneOf: ["auto", "off"] as const,
  },
  dnsProxyMetricsAddress: {
    default: "",
    doc: "host:port of the DNS proxy's /metrics; empty: dns-metrics.sock in runDir only",
    liveness: "restart",
  },
} as const satisfies OptionSet;

/** Where the proxy listens: addresses that nobody outside of the node can reach. */
export const proxyAddresses = { v4: parseIp("169.254.42.2"), v6: parseIp("fd00:6178:6f6e::2") } as const;

const none: Ip = new Uint8Array(16);

/** What the node's configuration row says of the proxy. */
export function proxyRow(config: {
  dnsProxy: string;
  tofqdnsProxyPort: number;
  enableIPv4: boolean;
  enableIPv6: boolean;
}): { proxyPort: number; proxyIp4: Ip; proxyIp6: Ip } {
  const isOn = config.dnsProxy !== "off";
  return {
    proxyPort: isOn ? config.tofqdnsProxyPort : 0,
    proxyIp4: isOn && config.enableIPv4 ? proxyAddresses.v4 : none,
    proxyIp6: isOn && config.enableIPv6 ? proxyAddresses.v6 : none,
  };
}
