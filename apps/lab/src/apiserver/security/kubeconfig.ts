import type { KeyPair } from "./certificates.ts";

/** A kubeconfig (JSON, which is YAML too) with everything embedded. */
export function kubeconfigText(options: {
  server: string;
  ca: string;
  user: string;
  client: KeyPair;
  name: string;
}): string {
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const config = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      {
        name: options.name,
        cluster: { server: options.server, "certificate-authority-data": base64(options.ca) },
      },
    ],
    users: [
      {
        name: options.user,
        user: {
          "client-certificate-data": base64(options.client.certificate),
          "client-key-data": base64(options.client.key),
        },
      },
    ],
    contexts: [
      { name: options.name, context: { cluster: options.name, user: options.user, namespace: "default" } },
    ],
    "current-context": options.name,
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}
