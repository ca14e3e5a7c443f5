import { errorText, formatIp, parseIp } from "@axoneme/base";
import type { ObjectMeta } from "@axoneme/kube";

/** Annotations of a Pod, or of a StatefulSet's template, that ask for addresses that stay with the pod's name. */
const ask = {
  /** One IPv4 address, one IPv6 address, or both, with a comma between them. */
  addresses: "ipam.axoneme.io/addresses",
  /** "true": whatever addresses the pod's name gets first. */
  fixed: "ipam.axoneme.io/fixed",
  /** The FixedAddressPool they come from. */
  pool: "ipam.axoneme.io/fixed-pool",
  /** What manifests written for Calico have: a JSON list of addresses. */
  calico: "cni.projectcalico.org/ipAddrs",
} as const;

/** What a pod asks for that wants fixed addresses. */
export interface FixedWish {
  /** Empty: any. */
  readonly addresses: readonly string[];
  readonly pool: string | undefined;
  readonly owner: { readonly kind: string; readonly name: string; readonly uid: string } | undefined;
  /** Why it cannot be fulfilled whatever there is. */
  readonly problem?: string;
}

/** What a Pod's annotations ask for; undefined: any address, as long as it runs. */
export function fixedWish({ annotations = {}, ownerReferences }: ObjectMeta): FixedWish | undefined {
  const texts = annotations[ask.addresses] ?? annotations[ask.calico];
  const pool = annotations[ask.pool];
  const isFixed = annotations[ask.fixed] === "true";
  if (texts === undefined && pool === undefined && !isFixed) return undefined;
  const controller = ownerReferences?.find((reference) => reference.controller === true);
  const owner = controller && { kind: controller.kind, name: controller.name, uid: controller.uid };
  try {
    return { addresses: texts === undefined ? [] : addressesOf(texts), pool, owner };
  } catch (error) {
    const name = annotations[ask.addresses] === undefined ? ask.calico : ask.addresses;
    return { addresses: [], pool, owner, problem: `annotation ${name}: ${errorText(error)}` };
  }
}

function addressesOf(text: string): string[] {
  const list: unknown = text.trim().startsWith("[") ? JSON.parse(text) : text.split(",");
  if (!Array.isArray(list) || list.length === 0 || list.length > 2)
    throw new TypeError("one address of each family at most, as 10.9.0.5,fd09::5");
  const addresses = list.map((each) => formatIp(parseIp(String(each).trim())));
  if (new Set(addresses.map((address) => address.includes(":"))).size < addresses.length)
    throw new TypeError(`${addresses.join(" and ")} are of one family; a pod has one address of each`);
  return addresses;
}
