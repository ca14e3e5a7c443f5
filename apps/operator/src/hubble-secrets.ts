import { type Authority, certificateFacts } from "@axoneme/pki";

/** Data of a Secret, decoded. */
export type SecretText = Readonly<Record<string, string>>;

export function textOf(data: Readonly<Record<string, string>>): SecretText {
  return Object.fromEntries(
    Object.entries(data).map(([key, value]) => [key, Buffer.from(value, "base64").toString("utf8")]),
  );
}

/** The CA in a Secret: the field's `ca.crt` and `ca.key`, and ours of its successor; undefined when not usable. */
export function authorityOf(data: SecretText): Authority | undefined {
  const { "ca.crt": certificate = "", "ca.key": key = "" } = data;
  if (certificateFacts(certificate)?.hasKey(key) !== true) return undefined;
  const { "next.crt": nextCertificate = "", "next.key": nextKey = "", "next.since": since = "" } = data;
  const hasNext = certificateFacts(nextCertificate)?.hasKey(nextKey) === true;
  const previous = data["previous.crt"] ?? "";
  return {
    active: { certificate, key },
    ...(hasNext
      ? { next: { certificate: nextCertificate, key: nextKey, sinceMs: Date.parse(since) || 0 } }
      : {}),
    ...(previous === "" ? {} : { previous }),
  };
}

/** The reverse. */
export function dataOf({ active, next, previous }: Authority): SecretText {
  return {
    "ca.crt": active.certificate,
    "ca.key": active.key,
    ...(next === undefined
      ? {}
      : {
          "next.crt": next.certificate,
          "next.key": next.key,
          "next.since": new Date(next.sinceMs).toISOString(),
        }),
    ...(previous === undefined ? {} : { "previous.crt": previous }),
  };
}
