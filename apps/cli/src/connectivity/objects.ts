import { testNamespace } from "./scenarios.ts";

type Item = Record<string, unknown>;

function pod(name: string, labels: Record<string, string>, node: string, command: string[]): Item {
  const metadata = { name, namespace: testNamespace, labels: { name, ...labels } };
  const env = [{ name: "PROBE_NAME", value: name }];
  const containers = [{ name, image: "host", command, env }];
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata,
    spec: { nodeName: node, terminationGracePeriodSeconds: 0, containers },
  };
}

/** The test bed: two clients on the first node, an echo pod on each, and the Service of both. */
export function bedObjects(probe: string, nodes: readonly [string, string]): Item[] {
  const serve = [probe, "serve", "8080"];
  const client = { kind: "client" };
  const echo = { kind: "echo" };
  const [first, other] = nodes;
  return [
    pod("client", client, first, serve),
    pod("client2", { ...client, other: "client" }, first, serve),
    pod("echo-same-node", echo, first, serve),
    pod("echo-other-node", echo, other, serve),
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "echo", namespace: testNamespace },
      spec: { selector: echo, ports: [{ name: "http", port: 8080, targetPort: 8080 }] },
    },
  ];
}
