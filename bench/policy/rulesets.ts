import { nameHash } from "../services/namehash.ts";

/** A policy as the peers have it: it lets the addresses of a selector into one pod, on one port. */
export interface PeerPolicy {
  readonly name: string;
  /** Number of the pod it selects: its device is lxc<n>. */
  readonly pod: number;
  readonly selector: number;
  readonly port: number;
}

/** What a node with these pods is told. */
export interface PeerModel {
  readonly pods: number;
  readonly policies: readonly PeerPolicy[];
  /** Addresses by number of the selector. */
  readonly selectors: readonly (readonly string[])[];
}

/** Each pod has as many policies; of those of pod 1 the last lets `client` in on `port`. */
export function peerModel(policies: number, pods: number, client: string, port: number): PeerModel {
  const count = Math.min(500, policies);
  const selectors = Array.from({ length: count }, (_, i) =>
    Array.from({ length: 4 }, (_, k) => `10.150.${i >> 6}.${((i & 63) << 2) | k}`),
  );
  const deciding = policies - pods + 1;
  return {
    pods,
    selectors: [...selectors, [client]],
    policies: Array.from({ length: policies }, (_, i) => ({
      name: `policy-${i}`,
      pod: i % pods,
      selector: i === deciding ? count : i % count,
      port: i === deciding ? port : 20_000 + i,
    })),
  };
}

const setName = (selector: number) => `cali40s-${nameHash(`selector-${selector}`)}`;
const policyChain = ({ name }: PeerPolicy) => `cali-pi-${nameHash(name)}`;
const podsOf = ({ pods }: PeerModel) => Array.from({ length: pods }, (_, i) => i);
const policiesOf = ({ policies }: PeerModel, pod: number) => policies.filter((p) => p.pod === pod);

// ---- iptables and ipset: the chains of Calico's Felix -----------------------------------------------------------------

const accepted = "-m mark --mark 0x10000/0x10000";
const undecided = "-m mark --mark 0x0/0x20000";
const accept = "-j MARK --set-xmark 0x10000/0x10000";

/** Input of `ipset restore`: one set a selector. */
export function ipsets({ selectors }: PeerModel): string[] {
  return selectors.map((addresses, i) =>
    [
      `create ${setName(i)} hash:net family inet maxelem 1048576\n`,
      ...addresses.map((ip) => `add ${setName(i)} ${ip}\n`),
    ].join(""),
  );
}

function iptablesPolicy(policy: PeerPolicy): string {
  const chain = policyChain(policy);
  return [
    `-A ${chain} -p tcp -m set --match-set ${setName(policy.selector)} src -m multiport --dports ${policy.port} ${accept}`,
    `-A ${chain} ${accepted} -j RETURN`,
    "",
  ].join("\n");
}

/** Devices are found by their next digit, then by their name. */
function dispatch(way: "to" | "from", pods: readonly number[]): { chains: string[]; rules: string[] } {
  const [flag, short] = way === "to" ? ["-o", "tw"] : ["-i", "fw"];
  const root = `cali-${way}-wl-dispatch`;
  const digits = [...new Set(pods.map((pod) => String(pod).slice(0, 1)))];
  const rules = digits.map((digit) => `-A ${root} ${flag} lxc${digit}+ -g ${root}-${digit}`);
  for (const pod of pods)
    rules.push(`-A ${root}-${String(pod).slice(0, 1)} ${flag} lxc${pod} -g cali-${short}-lxc${pod}`);
  for (const digit of digits) rules.push(`-A ${root}-${digit} -j DROP`);
  return {
    chains: [root, ...digits.map((digit) => `${root}-${digit}`)],
    rules: [...rules, `-A ${root} -j DROP`],
  };
}

function iptablesPod(model: PeerModel, pod: number): string[] {
  const known = (chain: string) => [
    `-A ${chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
    `-A ${chain} -m conntrack --ctstate INVALID -j DROP`,
    `-A ${chain} -j MARK --set-xmark 0x0/0x30000`,
  ];
  const [to, from] = [`cali-tw-lxc${pod}`, `cali-fw-lxc${pod}`];
  return [
    ...known(to),
    ...policiesOf(model, pod).flatMap((policy) => [
      `-A ${to} ${undecided} -j ${policyChain(policy)}`,
      `-A ${to} ${accepted} -j RETURN`,
    ]),
    `-A ${to} ${undecided} -j DROP`,
    ...known(from),
    `-A ${from} ${accept}`,
  ];
}

/** Input of iptables-restore for an empty table. */
export function iptablesRules(model: PeerModel): string[] {
  const pods = podsOf(model);
  const [to, from] = [dispatch("to", pods), dispatch("from", pods)];
  const chains = [
    "cali-FORWARD",
    ...to.chains,
    ...from.chains,
    ...pods.flatMap((pod) => [`cali-tw-lxc${pod}`, `cali-fw-lxc${pod}`]),
    ...model.policies.map(policyChain),
  ];
  return [
    "*filter\n",
    ...chains.map((chain) => `:${chain} - [0:0]\n`),
    `${[
      "-A FORWARD -j cali-FORWARD",
      "-A cali-FORWARD -j MARK --set-xmark 0x0/0xe0000",
      "-A cali-FORWARD -i lxc+ -j cali-from-wl-dispatch",
      "-A cali-FORWARD -o lxc+ -j cali-to-wl-dispatch",
      `-A cali-FORWARD ${accepted} -j ACCEPT`,
      ...from.rules,
      ...to.rules,
      ...pods.flatMap((pod) => iptablesPod(model, pod)),
    ].join("\n")}\n`,
    ...model.policies.map(iptablesPolicy),
    "COMMIT\n",
  ];
}

/** Input of `iptables-restore --noflush` when a policy changed. */
export function iptablesChange(policy: PeerPolicy): string[] {
  return [`*filter\n:${policyChain(policy)} - [0:0]\n${iptablesPolicy(policy)}COMMIT\n`];
}

// ---- nftables: the same with sets and verdict maps --------------------------------------------------------------------

const table = "ip calico";
const nftPolicy = (policy: PeerPolicy) =>
  `add rule ${table} ${policyChain(policy)} ip saddr @${setName(policy.selector)} tcp dport ${policy.port} meta mark set mark or 0x10000 return\n`;

function nftPod(model: PeerModel, pod: number): string {
  const [to, from] = [`cali-tw-lxc${pod}`, `cali-fw-lxc${pod}`];
  const rule = (chain: string, text: string) => `add rule ${table} ${chain} ${text}`;
  const known = (chain: string) => [
    rule(chain, "ct state established,related accept"),
    rule(chain, "ct state invalid drop"),
    rule(chain, "meta mark set mark and 0xfffcffff"),
  ];
  return `${[
    ...known(to),
    ...policiesOf(model, pod).flatMap((policy) => [
      rule(to, `meta mark & 0x20000 == 0 jump ${policyChain(policy)}`),
      rule(to, "meta mark & 0x10000 == 0x10000 return"),
    ]),
    rule(to, "meta mark & 0x20000 == 0 drop"),
    ...known(from),
    rule(from, "meta mark set mark or 0x10000"),
  ].join("\n")}\n`;
}

/** Input of `nft -f` for a node without tables. */
export function nftRules(model: PeerModel): string[] {
  const pods = podsOf(model);
  const vmap = (short: string) => pods.map((pod) => `"lxc${pod}" : jump cali-${short}-lxc${pod}`).join(", ");
  return [
    `table ${table} {\n`,
    ...model.selectors.map(
      (addresses, i) =>
        `set ${setName(i)} { type ipv4_addr; flags interval; elements = { ${addresses.join(", ")} }; }\n`,
    ),
    ...model.policies.map((policy) => `chain ${policyChain(policy)} { }\n`),
    ...pods.map((pod) => `chain cali-tw-lxc${pod} { }\nchain cali-fw-lxc${pod} { }\n`),
    `map from-dispatch { type ifname : verdict; elements = { ${vmap("fw")} }; }\n`,
    `map to-dispatch { type ifname : verdict; elements = { ${vmap("tw")} }; }\n`,
    `chain forward {
  type filter hook forward priority filter; policy accept;
  meta mark set mark and 0xfff1ffff
  iifname vmap @from-dispatch
  oifname vmap @to-dispatch
  meta mark & 0x10000 == 0x10000 accept
}
}
`,
    ...pods.map((pod) => nftPod(model, pod)),
    ...model.policies.map(nftPolicy),
  ];
}

/** Input of `nft -f` when a policy changed. */
export function nftChange(policy: PeerPolicy): string[] {
  return [`flush chain ${table} ${policyChain(policy)}\n${nftPolicy(policy)}`];
}
