import { type ModelService, servicePort } from "./model.ts";
import { nameHash } from "./namehash.ts";

/**
 * The rules kube-proxy writes in iptables mode, in its order and with its comments: KUBE-SERVICES names every Service,
 * KUBE-SVC-* chooses at random, KUBE-SEP-* translates. Input of iptables-restore.
 */

const portName = (service: ModelService) => `${service.namespace}/${service.name}:http`;
const svcChain = (service: ModelService) => `KUBE-SVC-${nameHash(`${portName(service)}tcp`)}`;
const sepChain = (service: ModelService, endpoint: string) =>
  `KUBE-SEP-${nameHash(`${portName(service)}tcp${endpoint}`)}`;

/** One line a Service: what makes a packet's cost grow with their number. */
function dispatch(service: ModelService): string {
  return `-A KUBE-SERVICES -m comment --comment "${portName(service)} cluster IP" -m tcp -p tcp -d ${service.clusterIp} --dport ${servicePort} -j ${svcChain(service)}`;
}

function chains(service: ModelService, podCidr: string): { names: string[]; rules: string[] } {
  const chain = svcChain(service);
  const names = [chain];
  const rules = [
    `-A ${chain} -m comment --comment "${portName(service)} cluster IP" -m tcp -p tcp -d ${service.clusterIp} --dport ${servicePort} ! -s ${podCidr} -j KUBE-MARK-MASQ`,
  ];
  const { backends } = service;
  for (const [i, { ip, port }] of backends.entries()) {
    const endpoint = `${ip}:${port}`;
    const sep = sepChain(service, endpoint);
    const left = backends.length - i;
    const choose = left > 1 ? ` -m statistic --mode random --probability ${(1 / left).toFixed(10)}` : "";
    names.push(sep);
    rules.push(
      `-A ${chain} -m comment --comment "${portName(service)} -> ${endpoint}"${choose} -j ${sep}`,
      `-A ${sep} -m comment --comment "${portName(service)}" -s ${ip} -j KUBE-MARK-MASQ`,
      `-A ${sep} -m comment --comment "${portName(service)}" -m tcp -p tcp -j DNAT --to-destination ${endpoint}`,
    );
  }
  return { names, rules };
}

const filter = `*filter
:KUBE-FORWARD - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-FIREWALL - [0:0]
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
`;

const natHooks = `-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
`;

const natBase = `-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
`;

const last = `-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
`;

const declare = (names: readonly string[]) => names.map((name) => `:${name} - [0:0]\n`).join("");
const baseChains = declare(["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"]);

/** Everything, for a table that is empty: one string a part, since a string has a longest length. */
export function iptablesRules(services: readonly ModelService[], podCidr: string): string[] {
  const parts = [filter, `*nat\n${baseChains}`];
  const each = services.map((service) => chains(service, podCidr));
  parts.push(each.map(({ names }) => declare(names)).join(""), natHooks, natBase);
  for (const [i, service] of services.entries())
    parts.push(`${dispatch(service)}\n${each[i]?.rules.join("\n") ?? ""}\n`);
  return [...parts, last];
}

/**
 * What kube-proxy restores with --noflush when the endpoints of `changed` changed: the chains of that Service, those of
 * endpoints that went emptied and removed, and KUBE-SERVICES as a whole.
 */
export function iptablesChange(
  services: readonly ModelService[],
  before: ModelService,
  changed: ModelService,
  podCidr: string,
): string[] {
  const now = chains(changed, podCidr);
  const gone = chains(before, podCidr).names.filter((name) => !now.names.includes(name));
  return [
    `*nat\n${baseChains}${declare([...now.names, ...gone])}${natBase}`,
    ...services.map((service) => `${dispatch(service)}\n`),
    `${now.rules.join("\n")}\n${gone.map((name) => `-X ${name}\n`).join("")}`,
    last,
  ];
}
