/** The demo's objects, as a person would write them. `probe` is the path of axon-probe on this machine. */

/** A namespace, a web server on every node behind a Service, a client beside it and an intruder on the other node. */
export function application(probe: string, nodes: readonly [string, string]): string {
  return `
apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: apps/v1
kind: DaemonSet
metadata: { name: web, namespace: shop, labels: { app: web } }
spec:
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers:
        - name: web
          image: host
          command: ["${probe}", "serve", "8080"]
          env: [{ name: PROBE_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }]
          ports: [{ name: http, containerPort: 8080 }]
          readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1 }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec:
  selector: { app: web }
  ports: [{ name: http, port: 80, targetPort: http }]
${pod("client", nodes[0])}
${pod("intruder", nodes[1])}
`;
}

function pod(name: string, node: string): string {
  return `---
apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: shop, labels: { app: ${name} } }
spec:
  nodeName: ${node}
  containers:
    - { name: ${name}, image: host, command: ["sleep", "infinity"] }`;
}

/** Kubernetes' own policy: web answers the client only. */
export const networkPolicy = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: web-only-from-client, namespace: shop }
spec:
  podSelector: { matchLabels: { app: web } }
  policyTypes: [Ingress]
  ingress:
    - from: [{ podSelector: { matchLabels: { app: client } } }]
      ports: [{ protocol: TCP, port: http }]
`;

/** The field's policy: the client talks to web and to nothing else. */
export const ciliumNetworkPolicy = `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: client-only-to-web, namespace: shop }
spec:
  endpointSelector: { matchLabels: { app: client } }
  egress:
    - toEndpoints: [{ matchLabels: { app: web } }]
      toPorts: [{ ports: [{ port: "8080", protocol: TCP }] }]
`;

/**
 * Addresses for Services of type LoadBalancer, and that nodes answer for them on their network.
 * @param network the first three numbers of the nodes' addresses.
 */
export function addressPool(network: string): string {
  return `
apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: { name: front }
spec:
  blocks: [{ start: ${network}.100, stop: ${network}.119 }]
---
apiVersion: cilium.io/v2alpha1
kind: CiliumL2AnnouncementPolicy
metadata: { name: front }
spec: { loadBalancerIPs: true }
`;
}

/** The shop's front door: an address of the pool, and a port on every node. */
export const frontDoor = `
apiVersion: v1
kind: Service
metadata: { name: front, namespace: shop }
spec:
  type: LoadBalancer
  selector: { app: web }
  ports: [{ name: http, port: 80, targetPort: http, nodePort: 30080 }]
`;
