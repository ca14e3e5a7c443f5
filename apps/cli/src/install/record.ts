import { builtinResources, type KubeClient } from "@axoneme/kube";
import { names } from "../../../../deploy/source/kubernetes/index.ts";
import type { ObjectRef } from "./objects.ts";
import type { Values } from "./values.ts";

/** What is known of an installation; kept in a ConfigMap of its namespace. */
export interface InstallRecord {
  readonly version: string;
  readonly values: Values;
  /** In the order they were made. */
  readonly objects: readonly ObjectRef[];
}

const recordName = `${names.agent}-install`;

export async function readRecord(
  client: KubeClient,
  namespace: string,
  signal: AbortSignal,
): Promise<InstallRecord | undefined> {
  const map = await client.resource(builtinResources.configmaps).find(recordName, { namespace, signal });
  const text = map?.data?.["record"];
  return text === undefined ? undefined : (JSON.parse(text) as InstallRecord);
}

export async function writeRecord(
  client: KubeClient,
  namespace: string,
  record: InstallRecord,
  signal: AbortSignal,
): Promise<void> {
  const map = {
    metadata: { name: recordName, namespace },
    data: { record: JSON.stringify(record) },
  };
  await client
    .resource(builtinResources.configmaps)
    .apply(map, { fieldManager: "axoneme-install", force: true, signal });
}

export async function removeRecord(client: KubeClient, namespace: string): Promise<void> {
  await client.resource(builtinResources.configmaps).deleteIfExists(recordName, { namespace });
}
