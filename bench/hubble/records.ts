import { emptyResolver, type FlowResolver, RawStore, recordSize } from "@axoneme/flow";
import { Observer } from "@axoneme/observe";
import { at } from "../../packages/flow/src/record.ts";

/** Pods of which the flows are, and their labels. */
const pods = 64;
const labelsOf = (i: number): readonly string[] => [
  `k8s:app=app-${i}`,
  "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=shop",
  "k8s:io.cilium.k8s.policy.cluster=default",
  "k8s:io.cilium.k8s.policy.serviceaccount=default",
  "k8s:io.kubernetes.pod.namespace=shop",
];

/** Names for all of the records, as an agent has them. */
export function namingResolver(node: string): FlowResolver {
  const identities = Array.from({ length: pods * 2 }, (_, i) => ({ labels: labelsOf(i), namespace: "shop" }));
  const peers = Array.from({ length: pods * 2 + 1 }, (_, i) => ({
    namespace: "shop",
    podName: `app-${i}-6d4b75cb6d-x${i}`,
    clusterName: "default",
    endpointId: i,
    workloads: [{ name: `app-${i}`, kind: "Deployment" }],
  }));
  return {
    ...emptyResolver(node),
    identityById: (id) => identities[id - 1000],
    endpointById: (id) => peers[id],
  };
}

/** Records of TCP connections between pods, a microsecond apart. */
export function batch(count: number, firstUs: number): Uint8Array {
  const bytes = new Uint8Array(count * recordSize);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < count; i++) {
    const o = i * recordSize;
    view.setBigUint64(o + at.timeNs, BigInt(firstUs + i) * 1000n, true);
    view.setUint8(o + at.type, 4);
    view.setUint8(o + at.proto, 6);
    view.setUint8(o + at.tcpFlags, 2);
    view.setUint16(o + at.sport, 40_000 + (i % 20_000));
    view.setUint16(o + at.dport, 80);
    view.setUint16(o + at.srcEp, 1 + (i % pods), true);
    view.setUint16(o + at.dstEp, pods + 1 + (i % pods), true);
    view.setUint32(o + at.srcIdentity, 1000 + (i % pods), true);
    view.setUint32(o + at.dstIdentity, 1000 + pods + (i % pods), true);
    view.setUint32(o + at.len, 74, true);
    bytes.set([0xff, 0xff, 10, 0, i % 250, 1], o + at.saddr + 10);
    bytes.set([0xff, 0xff, 10, 1, i % 250, 1], o + at.daddr + 10);
  }
  return bytes;
}

/** An observer whose store of this size is full. */
export function fullObserver(capacity: number): Observer {
  const observer = new Observer({
    store: new RawStore({ capacity }),
    resolver: namingResolver("node1"),
    version: "bench",
  });
  const run = 16_384;
  const startUs = Number(process.hrtime.bigint() / 1000n) - capacity;
  for (let done = 0; done < observer.store.capacity; done += run) {
    observer.ingest(batch(run, startUs + done), run);
  }
  return observer;
}
