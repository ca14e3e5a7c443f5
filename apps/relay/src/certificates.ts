import { AxonError, type Logger } from "@axoneme/base";
import { TlsFileSource, type TlsFiles, TlsHolder, type TlsSource, tlsOfSecret } from "@axoneme/grpc";
import { type KubeClient, watchSecret } from "@axoneme/kube";

export interface CertificateOptions {
  /** What the options of the files begin with, for messages. */
  readonly option: string;
  /** Empty paths: not given. */
  readonly files: TlsFiles;
  readonly secret: { readonly namespace: string; readonly name: string };
  /** Makes the client, for who needs one. */
  readonly client: () => KubeClient;
  readonly log: Logger;
}

/**
 * Certificates from files, or else from a Secret.
 * @throws AxonError `config.invalid` when only some of the files are named
 */
export function certificates({ option, files, secret, client, log }: CertificateOptions): TlsSource {
  const given = Object.values(files).filter((path) => path !== "").length;
  if (given === 3) return new TlsFileSource(files);
  if (given > 0) {
    throw new AxonError(
      "config.invalid",
      `the three files of ${option}* belong together: name all of them, or none`,
    );
  }
  const text = `Secret ${secret.namespace}/${secret.name}`;
  return TlsHolder.from((holder) => {
    holder.fail(`waiting for the ${text}`);
    const watch = watchSecret(client(), {
      ...secret,
      log,
      onData: (data) => {
        const material = data === undefined ? undefined : tlsOfSecret(data);
        if (material !== undefined) holder.offer(material);
        else
          holder.fail(
            `the ${text} ${data === undefined ? "is not there" : "lacks tls.crt, tls.key or ca.crt"}`,
          );
      },
      onError: (why) => holder.fail(`the ${text} cannot be read: ${why}`),
    });
    return () => void watch.stop();
  });
}
