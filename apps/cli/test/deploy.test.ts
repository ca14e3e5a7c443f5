import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import Ajv from "ajv";
import { load, loadAll } from "js-yaml";
import { describe, expect, it } from "vitest";
import {
  cleanUpObject,
  defaultsOf,
  type KubernetesObject,
  merge,
  objects,
  type Scope,
  valueTree,
} from "../../../deploy/source/kubernetes/index.ts";
import { builtinSchema } from "../../lab/src/apiserver/schema/builtin.ts";
import { prune } from "../../lab/src/apiserver/schema/shape.ts";
import { validateSchema } from "../../lab/src/apiserver/schema/validate.ts";
import { renderTemplate } from "./go-template.ts";

const root = join(import.meta.dirname, "../../../deploy");
const chart = join(root, "helm/axoneme");
const read = (path: string): string => readFileSync(path, "utf8");
const { version } = JSON.parse(read(join(root, "../package.json"))) as { version: string };

const scopeOf = (values: Readonly<Record<string, unknown>> = {}): Scope => ({
  values: merge(defaultsOf(valueTree), values),
  namespace: "kube-system",
  appVersion: version,
});

const everything = {
  k8sServiceHost: 'api.example "quoted"',
  k8sServicePort: 6443,
  debug: { enabled: true },
  kubeProxyReplacement: "true",
  image: { digest: "sha256:abc" },
  nodePort: { addresses: ["192.0.2.0/24", "<&>"] },
  cni: { uninstall: true },
  prometheus: { enabled: true },
  operator: { prometheus: { enabled: false } },
  extraConfig: { "conntrack-max": 200000, "deny-cidrs": "192.0.2.0/24" },
  tolerations: [],
  hubble: { relay: { enabled: true }, ui: { enabled: true, hostNames: ["flows.example"] } },
};
const cases: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  defaults: {},
  "everything on": everything,
  "everything off": {
    hubble: { enabled: false, relay: { enabled: true }, tls: { enabled: false } },
    dnsProxy: { enabled: false },
    cni: { install: false },
    operator: { podDisruptionBudget: { enabled: false } },
  },
};

/** What Helm makes of the chart. */
function helm(scope: Scope): KubernetesObject[] {
  const folder = join(chart, "templates");
  const texts = readdirSync(folder)
    .filter((name) => name.endsWith(".yaml"))
    .map((name) => renderTemplate(read(join(folder, name)), scope));
  return texts
    .flatMap((text) => loadAll(text) as (KubernetesObject | null)[])
    .filter((object) => object !== null);
}

const keyOf = ({ kind, metadata }: KubernetesObject) =>
  `${kind} ${metadata.namespace ?? ""}/${metadata.name}`;
const byKey = (all: readonly KubernetesObject[]) =>
  Object.fromEntries(all.map((each) => [keyOf(each), each]));

describe.each(Object.entries(cases))("with %s", (_name, values) => {
  it("the chart's templates say what the source says", () => {
    expect(byKey(helm(scopeOf(values)))).toEqual(byKey(objects(scopeOf(values))));
  });

  it("every object is of the API's types", () => {
    const all = [...objects(scopeOf(values)), cleanUpObject(scopeOf(values))];
    expect(all.length).toBeGreaterThan(10);
    for (const object of all) {
      const schema = builtinSchema(typeOf(object));
      expect(schema.properties, keyOf(object)).toHaveProperty("metadata");
      expect(prune(structuredClone(object), schema), keyOf(object)).toEqual([]);
      expect(validateSchema(object, schema), keyOf(object)).toEqual([]);
    }
  });

  it("the values fit their schema", () => {
    const validate = new Ajv({ strict: false }).compile(
      JSON.parse(read(join(chart, "values.schema.json"))) as object,
    );
    expect([validate(scopeOf(values).values), validate.errors]).toEqual([true, null]);
  });
});

function typeOf({ apiVersion, kind }: KubernetesObject): string {
  const [group = "", version] = apiVersion.includes("/") ? apiVersion.split("/") : ["core", apiVersion];
  return `${group.replace("rbac.authorization.k8s.io", "rbac")}.${version}.${kind}`;
}

it("values.yaml and the manifests are the defaults", () => {
  expect(load(read(join(chart, "values.yaml")))).toEqual(defaultsOf(valueTree));
  const folder = join(root, "manifests");
  const static_ = readdirSync(folder).flatMap(
    (name) => loadAll(read(join(folder, name))) as KubernetesObject[],
  );
  expect(byKey(static_)).toEqual(byKey(objects(scopeOf())));
});

it("what is misspelt or out of range is refused by the schema", () => {
  const validate = new Ajv({ strict: false }).compile(
    JSON.parse(read(join(chart, "values.schema.json"))) as object,
  );
  for (const wrong of [
    { routingmode: "native" },
    { routingMode: "fast" },
    { tunnelPort: 70_000 },
    { extraConfig: { "conntrak-max": 5 } },
    { hubble: { relay: { enabled: "yes" } } },
  ])
    expect(validate(wrong), JSON.stringify(wrong)).toBe(false);
});

it("names what is particular to each value", () => {
  const all = byKey(objects(scopeOf(everything)));
  const config = all["ConfigMap kube-system/axoneme-config"]?.["data"] as Record<string, string>;
  expect(config).toMatchObject({
    "routing-mode": "tunnel",
    "kube-proxy-replacement": "true",
    "conntrack-max": "200000",
    "prometheus-serve-addr": ":9962",
    "log-level": "debug",
  });
  const agent = JSON.stringify(all["DaemonSet kube-system/axoneme"]);
  expect(agent).toContain("ghcr.io/axoneme/axoneme@sha256:abc");
  expect(agent).toContain("--remove-cni");
});
