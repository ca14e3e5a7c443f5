import type {
  CiliumEndpoint,
  CiliumEndpointSlice,
  CoreCiliumEndpoint,
  EndpointStatus,
  SliceMember,
} from "@axoneme/kube";
import { packSlice, unpackSlice } from "@axoneme/kube";
import type { Member } from "./slices.ts";

/** What a slice says of an endpoint; undefined while it has no address or no identity: nobody could use it. */
export function memberOf({ metadata = {}, status = {} }: CiliumEndpoint): Member | undefined {
  const id = status.identity?.id;
  if (id === undefined || (status.networking?.addressing ?? []).length === 0) return undefined;
  const owner = metadata.ownerReferences?.find(({ kind }) => kind === "Pod");
  const core = {
    name: metadata.name ?? "",
    id,
    ...(owner === undefined ? {} : { "pod-uid": owner.uid }),
  };
  const { namespace = "" } = metadata;
  return { namespace, core: inOrder({ ...core, ...shared(status) }), labels: status.identity?.labels };
}

/** What the two kinds have in common. */
function shared(status: Pick<EndpointStatus, keyof CoreCiliumEndpoint & keyof EndpointStatus>) {
  const { networking, encryption, "named-ports": ports, "service-account": account } = status;
  return {
    ...(networking === undefined ? {} : { networking }),
    ...(encryption === undefined ? {} : { encryption }),
    ...(ports === undefined ? {} : { "named-ports": ports }),
    ...(account === undefined ? {} : { "service-account": account }),
  };
}

/** The endpoints of a slice as somebody wrote it. */
export function membersOf(slice: CiliumEndpointSlice): Member[] {
  const { namespace = "" } = slice;
  return unpackSlice(slice).map(({ core, labels }) => ({ namespace, core: inOrder(core), labels }));
}

/** The object of a slice. */
export function sliceObject(
  name: string,
  namespace: string,
  members: Iterable<SliceMember>,
): CiliumEndpointSlice {
  return {
    apiVersion: "cilium.io/v2alpha1",
    kind: "CiliumEndpointSlice",
    metadata: { name, labels: ownLabels },
    namespace,
    ...packSlice(members),
  };
}

/** Labels of slices that are ours to remove. */
export const ownLabels = { "app.kubernetes.io/managed-by": "axoneme-operator" };

/** Fields in one order, absent ones left out: equal endpoints have equal texts, wherever they were read. */
function inOrder(core: Omit<CoreCiliumEndpoint, "axoneme-labels">): typeof core {
  const { networking, encryption } = core;
  const ports = core["named-ports"] ?? [];
  const account = core["service-account"] ?? "";
  return {
    name: core.name ?? "",
    id: core.id ?? 0,
    ...(core["pod-uid"] ? { "pod-uid": core["pod-uid"] } : {}),
    networking: {
      addressing: (networking?.addressing ?? []).map(({ ipv4, ipv6 }) => ({
        ...(ipv4 ? { ipv4 } : {}),
        ...(ipv6 ? { ipv6 } : {}),
      })),
      node: networking?.node ?? "",
    },
    ...(encryption?.key === undefined ? {} : { encryption: { key: encryption.key } }),
    ...(ports.length === 0
      ? {}
      : {
          "named-ports": ports.map(({ name = "", port = 0, protocol = "" }) => ({ name, port, protocol })),
        }),
    ...(account === "" ? {} : { "service-account": account }),
  };
}
