import { existsSync } from "node:fs";
import { join } from "node:path";
import { AxonError } from "@axoneme/base";
import type { Container, Pod } from "kubernetes-types/core/v1";
import type { Bind, LaunchSpec, NodeContext } from "./context.ts";
import { containerEnvironment, hostnameOf } from "./environment.ts";
import { volumeBinds } from "./volumes.ts";

/** What of a pod matters to a container that is started in it. */
export interface PodPlace {
  pod: Pod;
  podIps: readonly string[];
  netns: string;
  cgroup: string;
  /** Volume name to path. */
  volumes: ReadonlyMap<string, string>;
}

/** The variables of a container. Throws `pod.env`. */
export function containerEnv(
  context: NodeContext,
  { pod, podIps }: PodPlace,
  definition: Container,
): Promise<Record<string, string>> {
  const namespace = pod.metadata?.namespace ?? "";
  return containerEnvironment(definition, {
    pod,
    podIps,
    hostIps: context.hostIps,
    configMap: (name) => context.api.configMap(namespace, name),
    secret: (name) => context.api.secret(namespace, name),
  });
}

/** How to start `argv` as (or in) a container. Throws `pod.image` and `pod.mount`. */
export function launchSpec(
  context: NodeContext,
  place: PodPlace,
  definition: Container,
  argv: readonly string[],
): LaunchSpec {
  const { spec } = place.pod;
  const root = rootOf(context, definition.image ?? "host");
  const binds = volumeBinds(definition, place.volumes);
  if (root === undefined) checkMountPoints(binds);
  const uid = definition.securityContext?.runAsUser ?? spec?.securityContext?.runAsUser;
  const gid = definition.securityContext?.runAsGroup ?? spec?.securityContext?.runAsGroup;
  return {
    netns: place.netns,
    cgroup: join(place.cgroup, definition.name),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    ...(root === undefined ? {} : { root }),
    ...(definition.workingDir === undefined ? {} : { cwd: definition.workingDir }),
    ...(spec?.hostNetwork === true ? {} : { hostname: hostnameOf(place.pod) }),
    ...(binds.length === 0 ? {} : { binds }),
    argv,
  };
}

/** The root file system of an image; undefined is the host's own. */
function rootOf(context: NodeContext, image: string): string | undefined {
  const name = image.replace(/^(docker\.io\/)?(library\/)?/, "").replace(/:latest$/, "");
  if (name === "host") return undefined;
  const root = context.images[name] ?? context.images[image];
  if (root !== undefined && existsSync(root)) return root;
  const known = ["host", ...Object.keys(context.images)].join(", ");
  throw new AxonError("pod.image", `the lab has no image ${image}: it knows ${known}`);
}

/** The image "host" is the host itself: nothing may be created in it, not even a mount point. */
function checkMountPoints(binds: readonly Bind[]): void {
  const missing = binds.find(({ target }) => !existsSync(target));
  if (missing === undefined) return;
  throw new AxonError(
    "pod.mount",
    `${missing.target} does not exist on the host, and the image "host" can only be mounted over where something is`,
  );
}
