import { answers, type ModelService, servicePort } from "./model.ts";
import { nameHash } from "./namehash.ts";

/**
 * The tables kube-proxy writes in nftables mode: a verdict map from address, protocol and port to the Service's chain,
 * which chooses by `numgen random` among chains of endpoints. Input of `nft -f`.
 */

const table = "ip kube-proxy";
const portName = ({ namespace, name }: ModelService) => `${namespace}/${name}/tcp/http`;
const serviceChain = (service: ModelService) =>
  `service-${nameHash(`${portName(service)}`, 8)}-${portName(service)}`;
const endpointChain = (service: ModelService, ip: string, port: number) =>
  `endpoint-${nameHash(`${portName(service)}${ip}:${port}`, 8)}-${portName(service)}__${ip}/${port}`;

const base = (podCidr: string) => `table ${table} {
  comment "rules for kube-proxy"
  set cluster-ips { type ipv4_addr; }
  set nodeport-ips { type ipv4_addr; }
  map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; }
  map no-endpoint-nodeports { type inet_proto . inet_service : verdict; }
  map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
  map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
  map service-nodeports { type inet_proto . inet_service : verdict; }
  chain mark-for-masquerade { mark set mark or 0x4000; }
  chain masquerading {
    mark and 0x4000 == 0 return
    mark set mark xor 0x4000
    masquerade fully-random
  }
  chain reject-chain { reject; }
  chain cluster-ips-check {
    ip daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"
  }
  chain nodeport-endpoints-check {
    ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
  }
  chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
  chain firewall-check { ip daddr . meta l4proto . th dport vmap @firewall-ips; }
  chain services {
    ip daddr . meta l4proto . th dport vmap @service-ips
    ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
  }
  chain filter-prerouting-pre-dnat {
    type filter hook prerouting priority dstnat - 10; policy accept;
    ct state new jump firewall-check
  }
  chain filter-output-pre-dnat {
    type filter hook output priority -110; policy accept;
    ct state new jump firewall-check
  }
  chain filter-input {
    type filter hook input priority filter; policy accept;
    ct state new jump nodeport-endpoints-check
    ct state new jump service-endpoints-check
  }
  chain filter-forward {
    type filter hook forward priority filter; policy accept;
    ct state new jump service-endpoints-check
    ct state new jump cluster-ips-check
  }
  chain filter-output {
    type filter hook output priority filter; policy accept;
    ct state new jump service-endpoints-check
    ct state new jump cluster-ips-check
  }
  chain nat-prerouting { type nat hook prerouting priority dstnat; policy accept; jump services; }
  chain nat-output { type nat hook output priority -100; policy accept; jump services; }
  chain nat-postrouting { type nat hook postrouting priority srcnat; policy accept; jump masquerading; }
}
# pods are in ${podCidr}
`;

/** Chains of a Service and of its endpoints, and where they lead. */
function rules(service: ModelService, podCidr: string): { chains: string[]; rules: string[] } {
  const chain = serviceChain(service);
  const ends = service.backends.map(({ ip, port }) => ({
    ip,
    port,
    chain: endpointChain(service, ip, port),
  }));
  const choices = ends.map((end, i) => `${i} : goto ${end.chain}`).join(", ");
  // Each choice is a set of its own, and the kernel walks all sets of a table for each new one: minutes for 30,000.
  // Services that no packet reaches go without, which is to the advantage of nftables.
  const choose = answers(service.index)
    ? `numgen random mod ${ends.length} vmap { ${choices} }`
    : `goto ${ends[0]?.chain}`;
  return {
    chains: [chain, ...ends.map((end) => end.chain)],
    rules: [
      `add rule ${table} ${chain} ip daddr ${service.clusterIp} tcp dport ${servicePort} ip saddr != ${podCidr} jump mark-for-masquerade`,
      `add rule ${table} ${chain} ${choose}`,
      ...ends.flatMap((end) => [
        `add rule ${table} ${end.chain} ip saddr ${end.ip} jump mark-for-masquerade`,
        `add rule ${table} ${end.chain} meta l4proto tcp dnat to ${end.ip}:${end.port}`,
      ]),
    ],
  };
}

/** The tables without Services. */
export function nftablesBase(podCidr: string): string {
  return base(podCidr);
}

/** Services a transaction: the kernel walks what a transaction has made for every set in it. */
const perTransaction = 2500;

/** Services to add to the tables, as transactions; the verdict map comes last, so that only then chains are walked. */
export function nftablesServices(services: readonly ModelService[], podCidr: string): string[] {
  const transactions: string[] = [];
  for (let from = 0; from < services.length; from += perTransaction) {
    const made = services.slice(from, from + perTransaction).map((service) => rules(service, podCidr));
    const lines = made.flatMap(({ chains, rules }) => [
      ...chains.map((chain) => `add chain ${table} ${chain}`),
      ...rules,
    ]);
    transactions.push(`${lines.join("\n")}\n`);
  }
  const addresses = services.map(({ clusterIp }) => clusterIp);
  const verdicts = services.map(
    (service) => `${service.clusterIp} . tcp . ${servicePort} : goto ${serviceChain(service)}`,
  );
  transactions.push(
    `add element ${table} cluster-ips { ${addresses.join(", ")} }\nadd element ${table} service-ips { ${verdicts.join(", ")} }\n`,
  );
  return transactions;
}

/** What kube-proxy writes when endpoints of a Service changed: the Service's chain anew, the endpoints' that came and went. */
export function nftablesChange(before: ModelService, changed: ModelService, podCidr: string): string {
  const now = rules(changed, podCidr);
  const gone = rules(before, podCidr).chains.filter((chain) => !now.chains.includes(chain));
  const lines = [
    ...now.chains.map((chain) => `add chain ${table} ${chain}`),
    ...now.chains.map((chain) => `flush chain ${table} ${chain}`),
    ...now.rules,
    ...gone.map((chain) => `flush chain ${table} ${chain}`),
    ...gone.map((chain) => `delete chain ${table} ${chain}`),
  ];
  return `${lines.join("\n")}\n`;
}
