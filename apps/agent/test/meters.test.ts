import { expect, test } from "vitest";
import { Meters, pathTemplate } from "../src/metrics/meters.ts";
import { metered } from "../src/metrics/watching.ts";

test.each([
  ["/api/v1/pods?limit=500", "/api/v1/pods"],
  ["/api/v1/namespaces/shop", "/api/v1/namespaces/{name}"],
  ["/api/v1/namespaces/shop/pods", "/api/v1/namespaces/{namespace}/pods"],
  ["/api/v1/namespaces/shop/pods/cart-1", "/api/v1/namespaces/{namespace}/pods/{name}"],
  ["/apis/cilium.io/v2/ciliumnodes/n1/status", "/apis/cilium.io/v2/ciliumnodes/{name}/status"],
  [
    "/apis/cilium.io/v2/namespaces/shop/ciliumendpoints/cart-1?x=/y",
    "/apis/cilium.io/v2/namespaces/{namespace}/ciliumendpoints/{name}",
  ],
  ["/version", "/version"],
  ["/openapi/v3/apis/cilium.io/v2", "/openapi/v3"],
])("%s is counted as %s", (path, template) => {
  expect(pathTemplate(path)).toBe(template);
});

test("calls to the API server are counted; watches take as long as they like", async () => {
  const meters = new Meters();
  const call = { host: "api:6443", path: "/api/v1/pods", seconds: 0.02 } as const;
  meters.apiCall({ ...call, method: "GET", status: 200, stream: false });
  meters.apiCall({ ...call, method: "GET", status: 200, stream: true, seconds: 300 });
  meters.apiCall({ ...call, method: "PATCH", status: 0, stream: false });
  const text = await meters.registry.metrics();
  expect(text).toContain(
    'cilium_k8s_client_api_calls_total{host="api:6443",method="GET",return_code="200"} 2',
  );
  expect(text).toContain('{host="api:6443",method="PATCH",return_code="<error>"} 1');
  expect(text).toContain(
    'cilium_k8s_client_api_latency_time_seconds_count{path="/api/v1/pods",method="GET"} 1',
  );
});

test("a handler's events are counted, those that throw too, and a policy's are timed", async () => {
  const meters = new Meters();
  const seen: string[] = [];
  const handlers = metered<string>(
    {
      onAdd: (name) => seen.push(`+${name}`),
      onUpdate: () => {
        throw new Error("broken");
      },
      onDelete: (name) => seen.push(`-${name}`),
      onSynced: () => seen.push("synced"),
    },
    "networkpolicies",
    meters,
  );
  handlers.onAdd?.("a");
  expect(() => handlers.onUpdate?.("a", "a")).toThrow("broken");
  handlers.onDelete?.("a");
  handlers.onSynced?.();
  expect(seen).toEqual(["+a", "-a", "synced"]);
  const text = await meters.registry.metrics();
  for (const line of [
    'cilium_kubernetes_events_total{scope="networkpolicies",action="create",status="success"} 1',
    'cilium_kubernetes_events_total{scope="networkpolicies",action="update",status="failed"} 1',
    'cilium_policy_change_total{source="k8s",operation="update",outcome="success"} 1',
    'cilium_policy_change_total{source="k8s",operation="update",outcome="failure"} 1',
    'cilium_policy_change_total{source="k8s",operation="delete",outcome="success"} 1',
    'cilium_policy_implementation_delay_count{source="k8s"} 2',
  ])
    expect(text).toContain(line);
});
