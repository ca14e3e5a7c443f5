import { silentLogger, waitFor } from "@axoneme/base";
import { type CustomResourceDefinition, resources, tierPolicyResources } from "@axoneme/kube";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TierPolicies } from "../src/state/tier-policies.ts";
import { Cluster } from "./cluster.ts";

const [, admin] = tierPolicyResources;
const definition: CustomResourceDefinition = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: `${admin.plural}.${admin.group}` },
  spec: {
    group: admin.group,
    scope: "Cluster",
    names: { kind: admin.kind, plural: admin.plural },
    versions: [
      {
        name: admin.version,
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: "object" } },
      },
    ],
  },
};

describe("policies whose definitions may not be there", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start();
  });
  afterAll(() => cluster.close());

  it("hold nothing up while they are not served, and are followed once they are", async () => {
    const seen: string[] = [];
    const note = (kind: string) => (object: { metadata?: { name?: string } }) =>
      void seen.push(`${kind} ${object.metadata?.name}`);
    const health = { ok: () => undefined, degraded: () => undefined, failed: () => undefined };
    const tiers = new TierPolicies(cluster.client, silentLogger, (kind) => ({ onAdd: note(kind) }), 50);
    tiers.start(health);
    await tiers.synced;
    await cluster.client.resource(resources.customresourcedefinitions).create(definition);
    const policies = cluster.client.resource(admin);
    const create = () =>
      policies.create({ metadata: { name: "p" } }).then(
        () => true,
        () => false,
      );
    await waitFor(create, { what: "the definition to be served" });
    await waitFor(() => seen.length > 0, { what: "the policy to be seen" });
    expect(seen).toEqual(["AdminNetworkPolicy p"]);
    await tiers.stop();
  });
});
