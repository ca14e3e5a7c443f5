import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, normalize, sep } from "node:path";
import { AxonError } from "@axoneme/base";
import type { Container, KeyToPath, Pod, Volume } from "kubernetes-types/core/v1";
import type { Bind, NodeContext } from "./context.ts";
import { fieldValue } from "./environment.ts";

/**
 * Prepares a pod's volumes below `dir`: emptyDir, configMap, secret, downwardAPI, hostPath and projected
 * ones of these. Others stay empty directories (a lab has no storage).
 */
export async function prepareVolumes(
  context: NodeContext,
  pod: Pod,
  dir: string,
): Promise<Map<string, string>> {
  const paths = new Map<string, string>();
  for (const volume of pod.spec?.volumes ?? []) {
    if (volume.hostPath !== undefined) {
      if (volume.hostPath.type === "DirectoryOrCreate") mkdirSync(volume.hostPath.path, { recursive: true });
      paths.set(volume.name, volume.hostPath.path);
      continue;
    }
    const path = join(dir, "volumes", volume.name);
    mkdirSync(path, { recursive: true });
    const files = await volumeFiles(context, pod, volume);
    for (const [name, content] of Object.entries(files)) writeInside(path, name, content);
    paths.set(volume.name, path);
  }
  return paths;
}

/** Removes what {@link prepareVolumes} made. */
export function removeVolumes(dir: string): void {
  rmSync(join(dir, "volumes"), { recursive: true, force: true });
}

async function volumeFiles(context: NodeContext, pod: Pod, volume: Volume): Promise<Record<string, string>> {
  const sources = volume.projected?.sources ?? [volume];
  const files: Record<string, string> = {};
  for (const source of sources) {
    const { configMap, secret, downwardAPI } = source as Volume;
    if (configMap !== undefined) {
      const data = await context.api.configMap(pod.metadata?.namespace ?? "", configMap.name ?? "");
      Object.assign(
        files,
        chosen(volume, `config map ${configMap.name}`, data, configMap.items, configMap.optional),
      );
    }
    if (secret !== undefined) {
      // A projected secret says `name`, a volume of its own `secretName`.
      const name = secret.secretName ?? (secret as { name?: string }).name ?? "";
      const data = await context.api.secret(pod.metadata?.namespace ?? "", name);
      Object.assign(files, chosen(volume, `secret ${name}`, data, secret.items, secret.optional));
    }
    for (const item of downwardAPI?.items ?? []) {
      const facts = { pod, podIps: [], hostIps: context.hostIps };
      files[item.path] = item.fieldRef === undefined ? "0" : fieldValue(item.fieldRef.fieldPath, facts);
    }
  }
  return files;
}

function chosen(
  volume: Volume,
  what: string,
  data: Record<string, string> | undefined,
  items: readonly KeyToPath[] | undefined,
  optional: boolean | undefined,
): Record<string, string> {
  if (data === undefined) {
    if (optional === true) return {};
    throw new AxonError("pod.volume", `the volume ${volume.name} needs the ${what}, which does not exist`);
  }
  if (items === undefined) return data;
  return Object.fromEntries(items.map(({ key, path }) => [path, data[key] ?? ""]));
}

function writeInside(base: string, name: string, content: string): void {
  const path = normalize(join(base, name));
  if (!path.startsWith(base + sep)) throw new AxonError("pod.volume", `the path ${name} leaves its volume`);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}

/** The binds of one container. */
export function volumeBinds(container: Container, paths: ReadonlyMap<string, string>): Bind[] {
  return (container.volumeMounts ?? []).flatMap((mount) => {
    const path = paths.get(mount.name);
    if (path === undefined) return [];
    const source = mount.subPath === undefined || mount.subPath === "" ? path : join(path, mount.subPath);
    return [{ source, target: mount.mountPath, readOnly: mount.readOnly === true }];
  });
}
