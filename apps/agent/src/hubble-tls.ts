import { AxonError, type Logger } from "@axoneme/base";
import { TlsFileSource, TlsHolder, type TlsSource, tlsOfSecret } from "@axoneme/grpc";
import { type KubeClient, watchSecret } from "@axoneme/kube";
import { nodeSecret } from "@axoneme/pki";
import type { AgentConfig } from "./options.ts";

export type HubbleTlsConfig = Pick<
  AgentConfig,
  "hubbleDisableTls" | "hubbleTlsCert" | "hubbleTlsKey" | "hubbleTlsClientCa" | "hubbleTlsSecretNamespace"
>;

/**
 * Where the certificates of the flow listener come from: files, else the Secret that the operator keeps for this node;
 * undefined when the configuration asks for plain text.
 * @throws AxonError `config.invalid` when only some of the files are named
 */
export function hubbleTls(
  config: HubbleTlsConfig,
  nodeName: string,
  client: KubeClient,
  log: Logger,
): TlsSource | undefined {
  if (config.hubbleDisableTls) return undefined;
  const files = { cert: config.hubbleTlsCert, key: config.hubbleTlsKey, ca: config.hubbleTlsClientCa };
  const given = Object.values(files).filter((path) => path !== "").length;
  if (given === 3) return new TlsFileSource(files);
  if (given > 0) {
    throw new AxonError(
      "config.invalid",
      "hubbleTlsCert, hubbleTlsKey and hubbleTlsClientCa belong together: name all three files, or none",
    );
  }
  return TlsHolder.from((holder) => followSecret(holder, config, nodeName, client, log));
}

function followSecret(
  holder: TlsHolder,
  config: HubbleTlsConfig,
  nodeName: string,
  client: KubeClient,
  log: Logger,
): () => void {
  const [namespace, name] = [config.hubbleTlsSecretNamespace, nodeSecret(nodeName)];
  const secret = `Secret ${namespace}/${name}`;
  holder.fail(`waiting for the ${secret}`);
  const watch = watchSecret(client, {
    namespace,
    name,
    log,
    onData: (data) => {
      const material = data === undefined ? undefined : tlsOfSecret(data);
      // What was there stays in force: a Secret that is deleted is made anew in a moment.
      if (material !== undefined) holder.offer(material);
      else
        holder.fail(
          `the ${secret} ${data === undefined ? "is not there" : "lacks tls.crt, tls.key or ca.crt"}`,
        );
    },
    onError: (why) => holder.fail(`the ${secret} cannot be read: ${why}`),
  });
  return () => void watch.stop();
}
