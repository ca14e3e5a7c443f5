import { isIPv6 } from "node:net";
import { reclaim } from "./admission/service.ts";
import type { Cluster } from "./cluster.ts";
import { equal, type JsonObject, type KubeObject } from "./object.ts";
import { type Resource, readObject } from "./operations/prepare.ts";
import { create, overwrite, writeOptions } from "./operations/write.ts";
import { registerCrd } from "./resources/crd.ts";
import { bucketName, objectKey } from "./resources/resource.ts";

const options = writeOptions("kube-apiserver");

function resource(cluster: Cluster, group: string, version: string, plural: string): Resource {
  const found = cluster.registry.find(group, version, plural);
  if (found === undefined) throw new Error(`no built-in resource ${plural}`);
  return found;
}

/** Creates the object unless it is there. Where `fields` is given, those parts are put right when they differ. */
function ensure(
  cluster: Cluster,
  target: Resource,
  namespace: string,
  body: JsonObject,
  fields: readonly string[] = [],
): void {
  const object = readObject(body, target, namespace);
  const key = objectKey(target.type, namespace, object.metadata.name);
  const present = cluster.store.bucket(bucketName(target.type)).get(key)?.object;
  if (present === undefined) {
    create(cluster, target, object, options);
    return;
  }
  const wanted: KubeObject = { ...present, metadata: { ...present.metadata } };
  for (const field of fields) wanted[field] = object[field];
  if (!equal(present, wanted)) overwrite(cluster, target, wanted);
}

/** After a restart: the kinds of stored definitions and the addresses of stored services are known again. */
export function restore(cluster: Cluster): void {
  for (const { object } of cluster.store.bucket("apiextensions.k8s.io/customresourcedefinitions").entries()) {
    registerCrd(object, cluster.registry);
  }
  for (const { object } of cluster.store.bucket("/services").entries()) reclaim(object, cluster);
}

/** The namespaces every cluster has, and the service by which pods reach this server. */
export function bootstrap(cluster: Cluster, advertised: readonly { address: string; port: number }[]): void {
  const namespaces = resource(cluster, "", "v1", "namespaces");
  for (const name of ["default", "kube-system", "kube-public", "kube-node-lease"]) {
    ensure(cluster, namespaces, "", { metadata: { name } });
  }
  if (cluster.allocations.families.length === 0) return;
  const labels = { component: "apiserver", provider: "kubernetes" };
  const primary = advertised[0];
  if (primary === undefined) return;
  const clusterIP = cluster.allocations.apiServerAddress;
  ensure(cluster, resource(cluster, "", "v1", "services"), "default", {
    metadata: { name: "kubernetes", labels },
    spec: { clusterIP, ports: [{ name: "https", port: 443, targetPort: primary.port, protocol: "TCP" }] },
  });
  const family = isIPv6(primary.address) ? "IPv6" : "IPv4";
  const same = advertised.filter(
    (each) => isIPv6(each.address) === (family === "IPv6") && each.port === primary.port,
  );
  const ports = [{ name: "https", port: primary.port, protocol: "TCP" }];
  ensure(
    cluster,
    resource(cluster, "", "v1", "endpoints"),
    "default",
    {
      metadata: { name: "kubernetes", labels: { "endpointslice.kubernetes.io/skip-mirror": "true" } },
      subsets: [{ addresses: same.map((each) => ({ ip: each.address })), ports }],
    },
    ["subsets"],
  );
  ensure(
    cluster,
    resource(cluster, "discovery.k8s.io", "v1", "endpointslices"),
    "default",
    {
      metadata: { name: "kubernetes", labels: { "kubernetes.io/service-name": "kubernetes" } },
      addressType: family,
      endpoints: [{ addresses: same.map((each) => each.address), conditions: { ready: true } }],
      ports,
    },
    ["addressType", "endpoints", "ports"],
  );
}
