import type { EndpointAddress, EndpointSubset, Endpoints, Pod, Service } from "kubernetes-types/core/v1";
import { type Action, refOf } from "./action.ts";
import { portsFor } from "./endpointslice.ts";
import { groupBy, isDeleting, isReady, isTerminal, mapMatches, meta, nameOf, sameJson } from "./objects.ts";

export interface EndpointsView {
  service: Service;
  pods: readonly Pod[];
  endpoints: Endpoints | undefined;
}

/** The old Endpoints object beside the slices, for `kubectl get endpoints` and old `describe service`. */
export function reconcileEndpoints({ service, pods, endpoints }: EndpointsView): Action[] {
  const selector = service.spec?.selector;
  if (isDeleting(service) || selector === undefined || Object.keys(selector).length === 0) return [];
  const chosen = pods.filter(
    (pod) => mapMatches(selector, meta(pod).labels) && !isTerminal(pod) && !isDeleting(pod),
  );
  const subsets = subsetsOf(service, chosen);
  if (endpoints !== undefined) {
    if (sameJson(endpoints.subsets ?? [], subsets)) return [];
    return [{ verb: "patch", ref: refOf(endpoints, "v1", "Endpoints"), patch: { subsets } }];
  }
  const namespace = meta(service).namespace;
  const object: Endpoints = {
    apiVersion: "v1",
    kind: "Endpoints",
    metadata: {
      name: nameOf(service),
      ...(namespace === undefined ? {} : { namespace }),
      labels: { ...meta(service).labels, "endpointslice.kubernetes.io/skip-mirror": "true" },
    },
    subsets,
  };
  return [{ verb: "create", object }];
}

function subsetsOf(service: Service, pods: readonly Pod[]): EndpointSubset[] {
  const wantsV6 = service.spec?.ipFamilies?.[0] === "IPv6";
  const rows = pods.flatMap((pod) => {
    const ip = pod.status?.podIPs
      ?.map((entry) => entry.ip ?? "")
      .find((text) => text.includes(":") === wantsV6);
    return ip === undefined || ip === "" ? [] : [{ pod, ip, ports: portsFor(service, pod) }];
  });
  const groups = groupBy(rows, ({ ports }) => JSON.stringify(ports));
  return [...groups.values()].map((group) => {
    const address = ({ pod, ip }: { pod: Pod; ip: string }): EndpointAddress => ({
      ip,
      ...(pod.spec?.nodeName === undefined ? {} : { nodeName: pod.spec.nodeName }),
      targetRef: {
        kind: "Pod",
        namespace: meta(pod).namespace ?? "",
        name: nameOf(pod),
        uid: meta(pod).uid ?? "",
      },
    });
    const isServing = ({ pod }: { pod: Pod }): boolean =>
      service.spec?.publishNotReadyAddresses === true || isReady(pod);
    const addresses = group.filter(isServing).map(address);
    const notReadyAddresses = group.filter((row) => !isServing(row)).map(address);
    const ports = (group[0]?.ports ?? []).map((port) => ({
      ...(port.name === "" || port.name === undefined ? {} : { name: port.name }),
      port: port.port ?? 0,
      protocol: port.protocol ?? "TCP",
    }));
    return {
      ...(addresses.length === 0 ? {} : { addresses }),
      ...(notReadyAddresses.length === 0 ? {} : { notReadyAddresses }),
      ...(ports.length === 0 ? {} : { ports }),
    };
  });
}
