import { AxonError, type Logger } from "@axoneme/base";
import { type CustomResourceDefinition, crdManifests, type KubeClient, resources } from "@axoneme/kube";

/** Who we are to the API server, as owner of fields. */
export const fieldManager = "axoneme-operator";

/**
 * Installs or updates our definitions by server-side apply and waits until the server serves them all.
 * @throws AxonError `operator.crd` when one is not established within `timeoutMs`; KubeError.
 */
export async function installCrds(
  client: KubeClient,
  log: Logger,
  signal: AbortSignal,
  timeoutMs = 60_000,
): Promise<void> {
  const crds = client.resource(resources.customresourcedefinitions);
  const applied = await Promise.all(
    crdManifests.map((crd) => crds.apply(crd, { fieldManager, force: true, signal })),
  );
  const until = performance.now() + timeoutMs;
  await Promise.all(applied.map((crd) => established(client, crd, until, signal)));
  log.info({ crds: applied.map((crd) => crd.metadata?.name) }, "custom resource definitions are established");
}

async function established(
  client: KubeClient,
  applied: CustomResourceDefinition,
  until: number,
  signal: AbortSignal,
): Promise<void> {
  const name = applied.metadata?.name ?? "";
  let crd: CustomResourceDefinition = applied;
  for (let waitMs = 10; !isTrue(crd, "Established"); waitMs = Math.min(500, waitMs * 2)) {
    if (performance.now() > until) throw new AxonError("operator.crd", notEstablished(crd, name));
    await new Promise((resolve) => setTimeout(resolve, waitMs));
    crd = await client.resource(resources.customresourcedefinitions).get(name, { signal });
  }
}

function isTrue(crd: CustomResourceDefinition, type: string): boolean {
  return crd.status?.conditions?.some((c) => c.type === type && c.status === "True") ?? false;
}

function notEstablished(crd: CustomResourceDefinition, name: string): string {
  const said = crd.status?.conditions
    ?.filter((c) => c.status === "False")
    .map((c) => `${c.type}: ${c.message}`);
  return `the server does not establish ${name}: ${said?.join("; ") || "it says nothing"}`;
}
