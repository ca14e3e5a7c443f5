import { apiPath, type ServiceDetailView } from "@axoneme/observe";
import type { Context } from "../context.ts";
import { CliError, exitCode } from "../errors.ts";
import { ask, type Place } from "./places.ts";
import type { L4 } from "./ports.ts";

/**
 * The address of a Service, by `namespace/name`, on which it serves the port: as the source's agent knows it. Undefined:
 * there is no such Service, or the source is no pod.
 * @throws CliError not found when it does not serve the port
 */
export async function serviceByName(
  context: Context,
  source: Place,
  text: string,
  { port, protocol }: L4,
): Promise<Place | undefined> {
  const [namespace, name, ...more] = text.split("/");
  if (source.endpoint === undefined || !namespace || !name || more.length > 0) return undefined;
  const path = `${apiPath.services}/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
  let detail: ServiceDetailView;
  try {
    detail = await ask<ServiceDetailView>(context, source.endpoint.agent, path, "cannot read the Service");
  } catch (error) {
    if (error instanceof CliError && error.exit === exitCode.notFound) return undefined;
    throw error;
  }
  const frontends = detail.frontends.flatMap(({ frontend, type }) =>
    frontend === undefined || type !== "ClusterIP" ? [] : [frontend],
  );
  const found = frontends.find((one) => one.port === port && one.protocol.toUpperCase() === protocol);
  if (found !== undefined) return { text, endpoint: undefined, peer: found.address, names: [] };
  const served = [...new Set(frontends.map((one) => `${one.port}/${one.protocol.toLowerCase()}`))];
  throw new CliError(exitCode.notFound, {
    what: "the Service does not serve this port",
    object: `${text} ${port}/${protocol.toLowerCase()}`,
    fix:
      served.length === 0
        ? "it has no ClusterIP: ask about a pod behind it"
        : `it serves ${served.join(", ")}`,
  });
}
