import { compileRedaction, type Redaction } from "@axoneme/flow";
import type { AgentConfig } from "./options.ts";

/** What the configuration says is taken out of flows; undefined: nothing. */
export function redactionOf(
  config: Pick<
    AgentConfig,
    | "hubbleRedactEnabled"
    | "hubbleRedactHttpUrlquery"
    | "hubbleRedactHttpUserinfo"
    | "hubbleRedactHttpHeadersAllow"
    | "hubbleRedactHttpHeadersDeny"
    | "hubbleRedactKafkaApikey"
  >,
): Redaction | undefined {
  if (!config.hubbleRedactEnabled) return undefined;
  return compileRedaction({
    urlQuery: config.hubbleRedactHttpUrlquery,
    userInfo: config.hubbleRedactHttpUserinfo,
    headersAllow: config.hubbleRedactHttpHeadersAllow,
    headersDeny: config.hubbleRedactHttpHeadersDeny,
    kafkaApiKey: config.hubbleRedactKafkaApikey,
  });
}
