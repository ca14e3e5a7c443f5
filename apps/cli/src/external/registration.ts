import { formatIp, isV4, parseIp } from "@axoneme/base";
import {
  IdentityCache,
  identityKey,
  identityObject,
  type Labels,
  parseIdentityObject,
  podLabels,
} from "@axoneme/identity";
import { type CiliumEndpoint, isAlreadyExists, type KubeClient, resources } from "@axoneme/kube";
import { CliError, exitCode, usageError } from "../errors.ts";

/** On the objects of machines outside of Kubernetes: nobody looks for their Node or Pod. */
export const externalLabel = "axoneme.io/external";
/** Agents give this node no pod CIDR. */
const ignoreAnnotation = "ipam.cilium.io/ignore";
const fieldManager = "axon-node";
const maxTries = 32;

/** A machine outside of Kubernetes, as a member of the network. */
export interface ExternalNode {
  readonly name: string;
  /** In whose policies it is like a pod. */
  readonly namespace: string;
  readonly addresses: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

/** One that is registered. */
export interface RegisteredNode extends ExternalNode {
  readonly identity: number;
}

/** `key=value` words as labels. @throws CliError usage */
export function labelsFrom(words: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    words.map((word) => {
      const at = word.indexOf("=");
      if (at <= 0) throw usageError(`"${word}" is no label`, "write labels as key=value");
      return [word.slice(0, at), word.slice(at + 1)];
    }),
  );
}

/** Addresses in their usual form, one of a family. @throws CliError usage */
export function addressesFrom(texts: readonly string[]): string[] {
  const ips = texts.map((text) => {
    try {
      return parseIp(text);
    } catch {
      throw usageError(`"${text}" is no address`, "give IPv4 or IPv6 addresses of the machine");
    }
  });
  for (const v4 of [true, false])
    if (ips.filter((ip) => isV4(ip) === v4).length > 1)
      throw usageError(`two addresses of IPv${v4 ? 4 : 6}`, "give one address of each family");
  return ips.map(formatIp);
}

/**
 * Registers a machine: its identity by its labels, a CiliumNode and a CiliumEndpoint that say where it is.
 * Registering it again changes labels and addresses.
 * @throws CliError failed when the name is that of a node, or of a pod, of the cluster
 */
export async function register(
  client: KubeClient,
  node: ExternalNode,
  cluster: string,
): Promise<RegisteredNode> {
  await refuseTaken(client, node);
  await refuseAddresses(client, node.addresses);
  const { name, namespace, labels, addresses } = node;
  const space = await client.resource(resources.namespaces).find(namespace);
  if (space === undefined)
    throw new CliError(exitCode.notFound, { what: "there is no such namespace", object: namespace });
  const all = podLabels({ metadata: { namespace, labels: { ...labels } } }, space, cluster);
  const identity = await identityFor(client, all);
  const mark = { labels: { ...labels, [externalLabel]: "true" } };
  await client.resource(resources.ciliumnodes).apply(
    {
      apiVersion: "cilium.io/v2",
      kind: "CiliumNode",
      metadata: { name, ...mark, annotations: { [ignoreAnnotation]: "true" } },
      spec: { addresses: addresses.map((ip) => ({ type: "ExternalIP", ip })) },
    },
    { fieldManager, force: true },
  );
  await publish(client, { ...node, identity }, all);
  return { ...node, identity };
}

/** Takes its objects away; the operator removes the identity when nobody else has it. False: there was none. */
export async function unregister(client: KubeClient, name: string): Promise<boolean> {
  const found = (await registered(client)).find((node) => node.name === name);
  if (found === undefined) return false;
  await client.resource(resources.ciliumendpoints).deleteIfExists(name, { namespace: found.namespace });
  await client.resource(resources.ciliumnodes).deleteIfExists(name);
  return true;
}

/** All machines that are registered. */
export async function registered(client: KubeClient): Promise<RegisteredNode[]> {
  const { items } = await client
    .resource(resources.ciliumendpoints)
    .list({ labelSelector: `${externalLabel}=true` });
  return items.map(({ metadata = {}, status = {} }) => {
    const { [externalLabel]: _mark, ...labels } = metadata.labels ?? {};
    const addressing = status.networking?.addressing ?? [];
    return {
      name: metadata.name ?? "",
      namespace: metadata.namespace ?? "",
      addresses: addressing.flatMap(({ ipv4, ipv6 }) => [ipv4 ?? "", ipv6 ?? ""]).filter((ip) => ip !== ""),
      labels,
      identity: status.identity?.id ?? 0,
    };
  });
}

/** Names of nodes and pods are theirs: their agents would take the objects back. */
async function refuseTaken(client: KubeClient, { name, namespace }: ExternalNode): Promise<void> {
  const node = await client.resource(resources.nodes).find(name);
  const pod = await client.resource(resources.pods).find(name, { namespace });
  if (node === undefined && pod === undefined) return;
  throw new CliError(exitCode.failed, {
    what: `the cluster has a ${node ? "node" : "pod"} of this name`,
    object: node ? name : `${namespace}/${name}`,
    fix: "choose another name for the machine",
  });
}

/** A node's address is the node: it must not get another's identity on the other nodes. */
async function refuseAddresses(client: KubeClient, addresses: readonly string[]): Promise<void> {
  const { items } = await client.resource(resources.nodes).list();
  for (const { metadata, status } of items) {
    const taken = (status?.addresses ?? []).find(({ address }) => addresses.includes(address));
    if (taken === undefined) continue;
    throw new CliError(exitCode.failed, {
      what: "the address is that of a node of the cluster",
      object: `${taken.address} of ${metadata?.name ?? ""}`,
      fix: "policies select nodes by fromNodes, toNodes and nodeSelector",
    });
  }
}

async function publish(client: KubeClient, node: RegisteredNode, labels: Labels): Promise<void> {
  const { name, namespace, addresses, identity } = node;
  const v4 = addresses.find((ip) => !ip.includes(":"));
  const v6 = addresses.find((ip) => ip.includes(":"));
  const object: CiliumEndpoint & { apiVersion: string; kind: string } = {
    apiVersion: "cilium.io/v2",
    kind: "CiliumEndpoint",
    metadata: { name, namespace, labels: { ...node.labels, [externalLabel]: "true" } },
    status: {
      state: "ready",
      identity: { id: identity, labels: Object.entries(labels).map(([key, value]) => `${key}=${value}`) },
      networking: {
        addressing: [
          { ...(v4 === undefined ? {} : { ipv4: v4 }), ...(v6 === undefined ? {} : { ipv6: v6 }) },
        ],
        node: addresses[0] ?? "",
      },
    },
  };
  const endpoints = client.resource(resources.ciliumendpoints);
  const written = await endpoints.apply(object, { fieldManager, force: true });
  // Clusters whose CRD makes status a subresource drop it from the first write.
  if (written.status === undefined) await endpoints.applyStatus(object, { fieldManager, force: true });
}

/** The number of a label set, created when nobody has made it yet. */
async function identityFor(client: KubeClient, labels: Labels): Promise<number> {
  const identities = client.resource(resources.ciliumidentities);
  const cache = new IdentityCache();
  for (let tries = 0; tries < maxTries; tries++) {
    const { items } = await identities.list();
    cache.replaceAll(items.map((object) => parseIdentityObject(object)));
    const known = cache.lookup(labels);
    if (known !== undefined) return known;
    const id = cache.propose(labels);
    try {
      await identities.create(identityObject(id, labels), { fieldManager });
      return id;
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      cache.reject(id);
    }
  }
  throw new CliError(exitCode.failed, {
    what: "no free identity found",
    object: identityKey(labels),
    fix: "try again",
  });
}
