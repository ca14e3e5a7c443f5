import { silentLogger } from "@axoneme/base";
import { FrameBatch, type Handler, RpcServer } from "@axoneme/grpc";
import { FlowVerdict, GetFlowsResponseSchema, Observer, ServerStatusResponseSchema } from "@axoneme/proto";
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";

/** What a large cluster looks like: pods of workloads in namespaces, each of which asks a few others. */
export interface CrowdOptions {
  readonly path: string;
  readonly namespaces: number;
  readonly workloadsEach: number;
  readonly podsEach: number;
  /** Flows a second. */
  readonly rate: number;
}

/** Different flows that are sent over and over. */
const templates = 6000;
const everyMs = 20;
/** Flows that are kept for a reader that is behind. */
const mostBehind = 65_536;

export interface Crowd {
  /** Flows that were sent so far, and those that were told as lost. */
  told(): { readonly sent: number; readonly lost: number };
  /** No flow any more from now on. */
  rest(): void;
  close(): Promise<void>;
}

function lostBytes(count: number): Uint8Array {
  return toBinary(
    GetFlowsResponseSchema,
    create(GetFlowsResponseSchema, {
      responseTypes: { case: "lostEvents", value: { numEventsLost: BigInt(count) } },
    }),
  );
}

function flowBytes(options: CrowdOptions, number: number): Uint8Array {
  const { namespaces, workloadsEach, podsEach } = options;
  const end = (index: number) => {
    const workload = index % (namespaces * workloadsEach);
    const namespace = `team-${Math.floor(workload / workloadsEach)}`;
    const name = `service-${workload % workloadsEach}`;
    return {
      identity: 10_000 + workload,
      namespace,
      labels: [
        `k8s:app=${name}`,
        `k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=${namespace}`,
        "k8s:io.cilium.k8s.policy.cluster=default",
        "k8s:io.cilium.k8s.policy.serviceaccount=default",
        `k8s:io.kubernetes.pod.namespace=${namespace}`,
      ],
      podName: `${name}-${Math.floor(number / (namespaces * workloadsEach)) % podsEach}`,
      workloads: [{ name, kind: "Deployment" }],
    };
  };
  const source = number % (namespaces * workloadsEach);
  const destination = (source * 7 + 1 + (number % 3) * 11) % (namespaces * workloadsEach);
  return toBinary(
    GetFlowsResponseSchema,
    create(GetFlowsResponseSchema, {
      responseTypes: {
        case: "flow",
        value: {
          time: timestampFromMs(Date.now()),
          uuid: `flow-${number}`,
          verdict: number % 97 === 0 ? FlowVerdict.DROPPED : FlowVerdict.FORWARDED,
          IP: { source: "10.0.0.1", destination: "10.0.0.2" },
          l4: {
            protocol: { case: "TCP", value: { sourcePort: 40_000, destinationPort: 8080 + (number % 4) } },
          },
          source: end(source),
          destination: end(destination),
          nodeName: `node${number % 100}`,
        },
      },
    }),
  );
}

/** A Hubble server with a cluster behind it that is only in its head: for what no machine of ours is large enough. */
export async function serveCrowd(options: CrowdOptions): Promise<Crowd> {
  const flows = Array.from({ length: templates }, (_, number) => flowBytes(options, number));
  let [sent, lost] = [0, 0];
  let isResting = false;
  const getFlows: Handler = async (call) => {
    await call.request();
    const begin = performance.now();
    let due = 0;
    while (!call.signal.aborted) {
      const batch = new FrameBatch();
      const now = isResting ? due : Math.floor(((performance.now() - begin) * options.rate) / 1000);
      // As an agent does whose ring is overrun by a reader that is too slow: the oldest are lost, and it says so.
      const over = Math.max(0, now - due - mostBehind);
      if (over > 0) batch.add(lostBytes(over));
      for (due += over; due < now; due++) batch.add(flows[due % templates] ?? new Uint8Array());
      sent = due - lost - over;
      lost += over;
      await call.writeBatch(batch);
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  };
  const status = toBinary(
    ServerStatusResponseSchema,
    create(ServerStatusResponseSchema, { numConnectedNodes: 100, version: "crowd" }),
  );
  const methods = new Map<string, Handler>([
    [`/${Observer.typeName}/GetFlows`, getFlows],
    [
      `/${Observer.typeName}/ServerStatus`,
      async (call) => {
        await call.request();
        await call.write(status);
      },
    ],
  ]);
  const server = new RpcServer({ methods, log: silentLogger });
  await server.listenUnix(options.path);
  const rest = (): void => {
    isResting = true;
  };
  return { told: () => ({ sent, lost }), rest, close: () => server.stop() };
}
