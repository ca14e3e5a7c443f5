import { type CiliumNetworkPolicy, crdManifests, resources, type Schema } from "@axoneme/kube";
import { Ajv } from "ajv";
import { describe, expect, test } from "vitest";

interface Version {
  schema: { openAPIV3Schema: Schema };
  additionalPrinterColumns: { name: string; jsonPath: string }[];
  subresources: object;
}

function versionOf(plural: string): Version {
  const manifest = crdManifests.find((crd) => crd.spec.names.plural === plural);
  return manifest?.spec.versions[0] as unknown as Version;
}

const schemaOf = (plural: string): Schema => versionOf(plural).schema.openAPIV3Schema;

/** Rules of apiextensions.k8s.io/v1 for structural schemas, as the documentation states them. */
function* structuralProblems(schema: Schema, path: string, logical = false): Generator<string> {
  const intOrString = schema["x-kubernetes-int-or-string"] === true;
  if (logical) {
    const forbidden = ["type", "default", "additionalProperties", "description"] as const;
    for (const key of forbidden)
      if (schema[key] !== undefined) yield `${path}: ${key} within a logical junctor`;
  } else if (schema.type === undefined && !intOrString) yield `${path}: no type`;
  if (schema.properties && schema.additionalProperties) yield `${path}: properties and additionalProperties`;
  if (schema.type === "array" && schema.items === undefined) yield `${path}: array without items`;
  for (const name of schema.required ?? []) {
    if (!schema.properties?.[name]) yield `${path}: requires ${name}, which it does not have`;
  }
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    yield* structuralProblems(property, `${path}.${name}`, logical);
  }
  if (schema.items) yield* structuralProblems(schema.items, `${path}[]`, logical);
  if (schema.additionalProperties)
    yield* structuralProblems(schema.additionalProperties, `${path}{}`, logical);
  if (intOrString) return; // its anyOf is the one that may name types
  for (const part of [...(schema.oneOf ?? []), ...(schema.anyOf ?? [])]) {
    yield* structuralProblems(part, `${path}|`, true);
    for (const name of Object.keys(part.properties ?? {})) {
      if (!schema.properties?.[name]) yield `${path}: ${name} only within a logical junctor`;
    }
  }
}

describe.each(crdManifests.map((crd) => [crd.spec.names.plural, crd] as const))("%s", (plural, crd) => {
  test("is named as Kubernetes demands, and listed in resources", () => {
    expect(crd.metadata?.name).toBe(`${plural}.${crd.spec.group}`);
    const resource = resources[plural as keyof typeof resources];
    expect(resource).toMatchObject({
      group: crd.spec.group,
      version: crd.spec.versions[0]?.name,
      kind: crd.spec.names.kind,
      namespaced: crd.spec.scope === "Namespaced",
    });
  });

  test("has a structural schema", () => {
    expect([...structuralProblems(schemaOf(plural), plural)]).toEqual([]);
  });

  test("every pattern compiles as ECMAScript and uses nothing that RE2 lacks", () => {
    const patterns = [...JSON.stringify(schemaOf(plural)).matchAll(/"pattern":("(?:[^"\\]|\\.)*")/g)];
    for (const [, quoted] of patterns) {
      const text = JSON.parse(quoted as string) as string;
      expect(() => new RegExp(text)).not.toThrow();
      expect(text).not.toMatch(/\(\?[=!<]|\\[1-9]/);
    }
  });

  test("columns point to fields", () => {
    for (const { jsonPath } of versionOf(plural).additionalPrinterColumns) {
      const field = jsonPath.split(/[.[]/)[1] as string;
      if (field !== "metadata") expect(Object.keys(schemaOf(plural).properties ?? {})).toContain(field);
    }
  });
});

test("names and short names are the field's", () => {
  const names = Object.fromEntries(
    crdManifests.map((crd) => [crd.spec.names.kind, crd.spec.names.shortNames]),
  );
  expect(names).toEqual({
    CiliumNetworkPolicy: ["cnp", "ciliumnp"],
    CiliumClusterwideNetworkPolicy: ["ccnp"],
    CiliumCIDRGroup: ["ccg"],
    CiliumIdentity: ["ciliumid"],
    CiliumEndpoint: ["cep", "ciliumep"],
    CiliumEndpointSlice: ["ces"],
    CiliumNode: ["cn", "ciliumn"],
    CiliumLoadBalancerIPPool: ["ippools", "ippool", "lbippool", "lbippools"],
    CiliumL2AnnouncementPolicy: ["l2announcement"],
    CiliumLocalRedirectPolicy: ["clrp"],
    EdgeDenyList: ["edl"],
    CiliumNodeConfig: [],
    CiliumPodIPPool: ["cpip"],
    FixedAddressPool: ["fap"],
    FixedAddress: ["fa"],
    AddressClaim: ["ac"],
  });
});

const ajv = new Ajv({ strict: false, formats: { int32: true, int64: true, "date-time": true } });
const validPolicy = ajv.compile(schemaOf("ciliumnetworkpolicies"));
const withSpec = (spec: object): object => ({ metadata: { name: "p" }, spec });
const withIngress = (entry: object): object => withSpec({ endpointSelector: {}, ingress: [entry] });
const withPort = (port: object): object => withIngress({ toPorts: [{ ports: [port] }] });
const withEgress = (entry: object): object => withSpec({ endpointSelector: {}, egress: [entry] });

describe("a policy is accepted:", () => {
  // The type is checked with it: what compiles here must validate.
  const full: CiliumNetworkPolicy = {
    metadata: { name: "full" },
    spec: {
      description: "everything",
      endpointSelector: {
        matchLabels: { "k8s:app": "a" },
        matchExpressions: [{ key: "x", operator: "Exists" }],
      },
      enableDefaultDeny: { ingress: false },
      labels: [{ key: "team", value: "a", source: "k8s" }],
      log: { value: "tag" },
      ingress: [
        {
          fromEndpoints: [{ matchLabels: { "reserved:host": "" } }],
          icmps: [{ fields: [{ type: 8 }, { family: "IPv6", type: "EchoRequest" }] }],
        },
        {
          fromCIDRSet: [{ cidr: "10.0.0.0/8", except: ["10.1.0.0/16"] }, { cidrGroupRef: "g" }],
          toPorts: [
            {
              ports: [{ port: "8000", endPort: 8999, protocol: "TCP" }, { port: "http" }, { port: "0" }],
              rules: {
                http: [{ method: "GET", path: "/a/.*", headerMatches: [{ name: "X", mismatch: "LOG" }] }],
              },
            },
          ],
        },
        { fromEntities: ["cluster", "kube-apiserver"] },
        {},
      ],
      ingressDeny: [
        {
          fromCIDR: ["192.0.2.1", "fd00::/8", "::1"],
          toPorts: [{ ports: [{ port: "22", protocol: "TCP" }] }],
        },
      ],
      egress: [
        { toFQDNs: [{ matchName: "example.com" }, { matchPattern: "**.example.com" }] },
        { toPorts: [{ ports: [{ port: "53", protocol: "ANY" }], rules: { dns: [{ matchPattern: "*" }] } }] },
        {
          toServices: [
            { k8sService: { serviceName: "db", namespace: "x" } },
            { k8sServiceSelector: { selector: {} } },
          ],
        },
      ],
      egressDeny: [{ toEntities: ["world"] }],
    },
  };

  test.each([
    ["one with every kind of field", full],
    ["specs in place of spec", { metadata: { name: "p" }, specs: [{ endpointSelector: {}, egress: [] }] }],
    ["an empty list of rules", withSpec({ endpointSelector: {}, ingress: [] })],
    ["ports with leading zeros, or in hexadecimal", withPort({ port: "00080" })],
    ["no port, but a protocol", withPort({ protocol: "GRE" })],
    ["forty ports", withIngress({ toPorts: [{ ports: Array.from({ length: 40 }, () => ({ port: "1" })) }] })],
  ])("%s", (_title, policy) => {
    expect(validPolicy(policy), JSON.stringify(validPolicy.errors)).toBe(true);
  });
});

describe("a policy is refused:", () => {
  test.each([
    ["neither spec nor specs", { metadata: { name: "p" } }],
    ["no subject", withSpec({ ingress: [] })],
    ["two subjects", withSpec({ endpointSelector: {}, nodeSelector: {}, ingress: [] })],
    ["no section", withSpec({ endpointSelector: {} })],
    ["an unknown entity", withIngress({ fromEntities: ["moon"] })],
    ["an unknown protocol", withPort({ port: "1", protocol: "ICMP" })],
    ["a port beyond the range", withPort({ port: "65536" })],
    ["an endPort beyond the range", withPort({ port: "1", endPort: 65536 })],
    [
      "forty-one ports",
      withIngress({ toPorts: [{ ports: Array.from({ length: 41 }, () => ({ port: "1" })) }] }),
    ],
    ["a name of a port with two dashes in a row", withPort({ port: "a--b" })],
    ["fromRequires", withIngress({ fromRequires: ["x"] })],
    ["no prefix at all", withIngress({ fromCIDR: ["10.0.0.0/33"] })],
    ["an address of five parts", withIngress({ fromCIDR: ["10.0.0.0.0"] })],
    ["a bare address in a set", withIngress({ fromCIDRSet: [{ cidr: "10.0.0.1" }] })],
    [
      "a set entry with two sources",
      withIngress({ fromCIDRSet: [{ cidr: "10.0.0.0/8", cidrGroupRef: "g" }] }),
    ],
    ["HTTP and DNS rules together", withIngress({ toPorts: [{ rules: { http: [{}], dns: [{}] } }] })],
    ["both kinds of name in toFQDNs", withEgress({ toFQDNs: [{ matchName: "a", matchPattern: "b" }] })],
    [
      "a selector with an unknown operator",
      withSpec({ endpointSelector: { matchExpressions: [{ key: "a", operator: "Gt" }] }, ingress: [] }),
    ],
    ["an ICMP type beyond a byte", withIngress({ icmps: [{ fields: [{ type: "256" }] }] })],
    ["an unknown way to authenticate", withIngress({ authentication: { mode: "maybe" } })],
    [
      "a log value that would break a line",
      withSpec({ endpointSelector: {}, ingress: [], log: { value: "a\nb" } }),
    ],
    ["a log value too long", withSpec({ endpointSelector: {}, ingress: [], log: { value: "x".repeat(33) } })],
  ])("%s", (_title, policy) => {
    expect(validPolicy(policy)).toBe(false);
  });
});

test("our status objects fit their schemas", () => {
  const endpoint = ajv.compile(schemaOf("ciliumendpoints"));
  const status = {
    id: 7,
    identity: { id: 300, labels: ["k8s:a=b"] },
    networking: { addressing: [{ ipv4: "10.0.0.1" }] },
    state: "ready",
  };
  expect(endpoint({ metadata: {}, status })).toBe(true);
  expect(endpoint({ metadata: {}, status: { ...status, state: "fine" } })).toBe(false);
  const node = ajv.compile(schemaOf("ciliumnodes"));
  const spec = {
    addresses: [{ type: "InternalIP", ip: "172.30.0.11" }],
    ipam: { podCIDRs: ["10.0.1.0/24", "fd10::/64"] },
  };
  expect(node({ metadata: {}, spec, status: { ipam: { "operator-status": { error: "x" } } } })).toBe(true);
  expect(node({ metadata: {} })).toBe(false);
  const identity = ajv.compile(schemaOf("ciliumidentities"));
  expect(identity({ metadata: {}, "security-labels": { "k8s:a": "b" } })).toBe(true);
  expect(identity({ metadata: {} })).toBe(false);
});

describe("load balancing kinds", () => {
  const of = (plural: string) => {
    const validate = ajv.compile(schemaOf(plural));
    return (spec: object): boolean => validate({ metadata: { name: "x" }, spec }) === true;
  };
  const pool = of("ciliumloadbalancerippools");
  const withBlock = (block: object): object => ({ blocks: [block] });

  test.each([
    ["no block", {}, true],
    ["a prefix", withBlock({ cidr: "10.0.10.0/24" }), true],
    ["an IPv6 prefix", withBlock({ cidr: "2001:db8::/64" }), true],
    ["a range", withBlock({ start: "20.0.20.100", stop: "20.0.20.200" }), true],
    ["one address", withBlock({ start: "1.2.3.4" }), true],
    ["the pseudo labels", { serviceSelector: { matchLabels: { "io.kubernetes.service.name": "a" } } }, true],
    ["prefix and range", withBlock({ cidr: "10.0.0.0/8", start: "10.0.0.1" }), false],
    ["prefix and end of a range", withBlock({ cidr: "10.0.0.0/8", stop: "10.0.0.1" }), false],
    ["the end of a range alone", withBlock({ stop: "10.0.0.1" }), false],
    ["a bare address as prefix", withBlock({ cidr: "10.0.0.1" }), false],
    ["a prefix as start", withBlock({ start: "10.0.0.0/24" }), false],
    ["an empty block", withBlock({}), false],
    ["a word that is neither Yes nor No", { allowFirstLastIPs: "Maybe" }, false],
  ])("pool with %s", (_title, spec, accepted) => {
    expect(pool(spec)).toBe(accepted);
  });

  const redirect = of("ciliumlocalredirectpolicies");
  const backend = {
    localEndpointSelector: { matchLabels: { app: "dns" } },
    toPorts: [{ port: "53", protocol: "UDP" }],
  };
  const address = { ip: "169.254.20.10", toPorts: [{ port: "53", protocol: "UDP", name: "dns" }] };
  const service = { serviceName: "kube-dns", namespace: "kube-system" };
  const withFrontend = (redirectFrontend: object): object => ({ redirectFrontend, redirectBackend: backend });

  test.each([
    ["an address", withFrontend({ addressMatcher: address }), true],
    ["a Service", withFrontend({ serviceMatcher: service }), true],
    ["both", withFrontend({ addressMatcher: address, serviceMatcher: service }), false],
    ["neither", withFrontend({}), false],
    ["no backend", { redirectFrontend: { serviceMatcher: service } }, false],
    [
      "port 0",
      withFrontend({ addressMatcher: { ...address, toPorts: [{ port: "0", protocol: "TCP" }] } }),
      false,
    ],
    [
      "SCTP",
      withFrontend({ addressMatcher: { ...address, toPorts: [{ port: "1", protocol: "SCTP" }] } }),
      false,
    ],
    ["no port of an address", withFrontend({ addressMatcher: { ip: "1.2.3.4", toPorts: [] } }), false],
  ])("redirect of %s", (_title, spec, accepted) => {
    expect(redirect(spec)).toBe(accepted);
  });

  const deny = of("edgedenylists");

  test("a deny list takes prefixes up to its bound, and nothing else", () => {
    const some = (n: number): object => ({
      cidrs: Array.from({ length: n }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`),
    });
    expect(deny(some(16_384))).toBe(true);
    expect(deny(some(16_385))).toBe(false);
    expect(deny({ cidrs: ["10.0.0.1"] })).toBe(false);
    expect(deny({})).toBe(false);
  });

  test("a pool is also served under its former version, with the warning that names the new one", () => {
    const crd = crdManifests.find(({ spec }) => spec.names.kind === "CiliumLoadBalancerIPPool");
    expect(crd?.spec.versions).toMatchObject([
      { name: "v2", storage: true },
      {
        name: "v2alpha1",
        storage: false,
        served: true,
        deprecated: true,
        deprecationWarning: expect.stringContaining("cilium.io/v2"),
      },
    ]);
  });
});
