import { hostPrefix, parseIp, waitFor } from "@axoneme/base";
import { builtinResources, resources } from "@axoneme/kube";
import { identityObject, labelsOf, type ModelPolicy, type Place, policyObject } from "./model.ts";
import type { PolicyNode } from "./node.ts";

/** Milliseconds of every change, sorted. */
export interface ChangeTimes {
  /** From the API's acknowledgement until the rows and the epoch are in the kernel. */
  readonly sinceAnswer: readonly number[];
  /** From the sending of the request. */
  readonly sinceRequest: readonly number[];
}

const TCP = 6;
/** Shape of a row on one port, of ingress. */
const ONE_PORT = 24;
/** A change that has no effect by then has none. */
const limitMs = 5000;

const pause = new Int32Array(new SharedArrayBuffer(4));

/** Between two looks: a loop without a pause would take the CPU from those who bring the change. */
function nap(): void {
  Atomics.wait(pause, 0, 0, 0.05);
}

/** Collects the times of one kind of change. */
class Clock {
  readonly sinceAnswer: number[] = [];
  readonly sinceRequest: number[] = [];

  /** Sends a change and looks at the kernel again and again until it is there. */
  async time(what: string, change: () => Promise<unknown>, isThere: () => boolean): Promise<void> {
    const sent = performance.now();
    await change();
    const answered = performance.now();
    while (!isThere()) {
      nap();
      if (performance.now() - answered > limitMs) throw new Error(`${what} had no effect in ${limitMs} ms`);
    }
    const now = performance.now();
    this.sinceAnswer.push(now - answered);
    this.sinceRequest.push(now - sent);
  }

  times(): ChangeTimes {
    const sorted = (values: readonly number[]) => [...values].sort((a, b) => a - b);
    return { sinceAnswer: sorted(this.sinceAnswer), sinceRequest: sorted(this.sinceRequest) };
  }
}

/** Times of changes among many policies. */
export interface AllChanges {
  readonly added: ChangeTimes;
  readonly changed: ChangeTimes;
  readonly removed: ChangeTimes;
  readonly identity: ChangeTimes;
  readonly pod: ChangeTimes;
}

/** A pod of the node, and an identity that lives elsewhere. */
export interface ChangeScene {
  readonly pod: string;
  readonly place: Place;
  /** Identity of the peers that policies let in. */
  readonly peer: { readonly id: number; readonly place: Place };
}

/** Adds, changes and removes a policy of one pod, identities and pods that it names, `rounds` times each. */
export async function changeTimes(
  node: PolicyNode,
  { pod, place, peer }: ChangeScene,
  rounds: number,
): Promise<AllChanges> {
  const address = parseIp((await node.podEnd({ name: pod, place })).ipv4);
  const policyId = (): number => node.maps.endpoints.get(address)?.policyId ?? 0;
  const epoch = (): number => node.maps.config.get(0)?.epoch ?? 0;
  const row = (identity: number, port: number) =>
    node.maps.policy.get({ policyId: policyId(), identity, cidr: 0, port, proto: TCP, shape: ONE_PORT });
  /** Rows are as told, and what was open before them is judged anew. */
  const shows = (identity: number, port: number, wanted: boolean) => {
    const before = epoch();
    return () => (row(identity, port) !== undefined) === wanted && epoch() !== before;
  };
  const policies = node.client.resource(builtinResources.networkpolicies);
  const { namespace } = place;
  const endpoints = node.client.resource(resources.ciliumendpoints);
  const model = (port: number): ModelPolicy => ({
    ...place,
    name: "bench-change",
    near: peer.place.app,
    far: "nobody",
    port,
    cidr: "10.99.0.0/16",
  });
  const [added, changed, removed, identity, podAdded] = Array.from({ length: 5 }, () => new Clock());
  if (!added || !changed || !removed || !identity || !podAdded) throw new Error("five clocks");
  for (let i = 0; i < rounds; i++) {
    const [port, other] = [21_000 + i, 22_000 + i];
    await added.time(
      "a policy",
      () => policies.create(policyObject(model(port))),
      shows(peer.id, port, true),
    );
    await changed.time(
      "a policy's change",
      () =>
        policies.patch(
          "bench-change",
          { spec: policyObject(model(other)).spec },
          { namespace, type: "merge" },
        ),
      shows(peer.id, other, true),
    );
    await removed.time(
      "a policy's removal",
      () => policies.delete("bench-change", { namespace }),
      shows(peer.id, other, false),
    );
  }
  await policies.create(policyObject(model(23_000)));
  await waitFor(() => row(peer.id, 23_000) !== undefined, { what: "the policy that names identities" });
  for (let i = 0; i < rounds; i++) {
    const id = 60_000 + i;
    await identity.time(
      "an identity",
      () => node.client.resource(resources.ciliumidentities).create(identityObject(id, peer.place)),
      shows(id, 23_000, true),
    );
    const ip = `10.250.${i >> 8}.${i & 255}`;
    const { ip: addr, length } = hostPrefix(parseIp(ip));
    await podAdded.time(
      "a pod of another node",
      () => endpoints.create(endpointObject(`far-${i}`, ip, id, peer.place)),
      () => node.maps.ipcache.get({ prefixlen: length, addr })?.identity === id,
    );
  }
  await policies.delete("bench-change", { namespace });
  return {
    added: added.times(),
    changed: changed.times(),
    removed: removed.times(),
    identity: identity.times(),
    pod: podAdded.times(),
  };
}

/** What an agent publishes of a pod of its own. */
function endpointObject(name: string, ipv4: string, identity: number, place: Place) {
  const labels = Object.entries(labelsOf(place)).map(([key, value]) => `${key}=${value}`);
  return {
    apiVersion: "cilium.io/v2" as const,
    kind: "CiliumEndpoint" as const,
    metadata: { name, namespace: place.namespace },
    status: {
      id: 1,
      state: "ready" as const,
      identity: { id: identity, labels },
      networking: { addressing: [{ ipv4 }], node: "172.30.99.99" },
    },
  };
}
