import { errorText, type Logger } from "@axoneme/base";
import type { KubeClient } from "./client.ts";
import { builtinResources } from "./known.ts";
import { ListWatch } from "./listwatch.ts";

/** What a Secret holds, decoded; undefined when there is no such Secret. */
export type SecretData = Readonly<Record<string, string>> | undefined;

export interface SecretWatchOptions {
  readonly namespace: string;
  readonly name: string;
  /** Called with what is there at first, and with each change. */
  readonly onData: (data: SecretData) => void;
  /** Called when it cannot be read; it is tried again. */
  readonly onError: (why: string) => void;
  readonly log: Logger;
}

/** Follows one Secret until stopped. */
export function watchSecret(client: KubeClient, options: SecretWatchOptions): { stop(): Promise<void> } {
  const { namespace, name, onData, onError, log } = options;
  const watch = new ListWatch(client, builtinResources.secrets, {
    namespace,
    fieldSelector: `metadata.name=${name}`,
    log,
    onError: (error) => onError(errorText(error)),
  });
  const told = (secret: { data?: Record<string, string> }): void => onData(decoded(secret.data ?? {}));
  watch.start({
    onAdd: told,
    onUpdate: told,
    onDelete: () => onData(undefined),
    onSynced: () => {
      if (watch.health().objects === 0) onData(undefined);
    },
  });
  return { stop: () => watch.stop() };
}

function decoded(data: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(data).map(([key, value]) => [key, Buffer.from(value, "base64").toString("utf8")]),
  );
}
