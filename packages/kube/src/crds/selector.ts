import { array, doc, exactlyOneOf, type Infer, mapOf, object, oneWordOf, string } from "./schema.ts";

const labelValue = string({ maxLength: 63, pattern: "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$" });

/** meta/v1 LabelSelector; keys may carry a label source ("k8s:app", "reserved:host"). */
export const labelSelector = object(
  {
    matchLabels: doc("Labels that must be there with these values.", mapOf(labelValue)),
    matchExpressions: doc(
      "Requirements on labels; all must hold.",
      array(
        object(
          {
            key: string(),
            operator: oneWordOf(["In", "NotIn", "Exists", "DoesNotExist"]),
            values: array(string(), { "x-kubernetes-list-type": "atomic" }),
          },
          ["key", "operator"],
        ),
        { "x-kubernetes-list-type": "atomic" },
      ),
    ),
  },
  [],
  { "x-kubernetes-map-type": "atomic" },
);

/** A selector with label sources in its keys. */
export interface EndpointSelector extends Infer<typeof labelSelector> {}

const v4 =
  "(([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])[.]){3}([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])";
const v6 = "[0-9a-fA-F]{0,4}(:[0-9a-fA-F]{0,4}){2,7}([.0-9]{0,15})";
const v4Length = "/([0-9]|[12][0-9]|3[0-2])";
const v6Length = "/([0-9]|[1-9][0-9]|1[01][0-9]|12[0-8])";

/** A prefix. Coarse for IPv6: the agent parses it again. */
export const prefix = string({ maxLength: 64, pattern: `^(${v4}${v4Length}|${v6}${v6Length})$` });

/** An address. Coarse for IPv6, as {@link prefix}. */
export const address = string({ maxLength: 45, pattern: `^(${v4}|${v6})$` });

/** An address or a prefix. */
export const addressOrPrefix = string({
  maxLength: 64,
  pattern: `^(${v4}(${v4Length})?|${v6}(${v6Length})?)$`,
});

const groupName = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

export const cidrRule = object(
  {
    cidr: doc("A prefix; a bare address is not accepted here.", prefix),
    cidrGroupRef: doc("Name of a CiliumCIDRGroup.", string({ maxLength: 253, pattern: groupName })),
    cidrGroupSelector: doc("Labels of CiliumCIDRGroups.", labelSelector),
    except: doc("Parts of cidr that are left out.", array(prefix)),
  },
  [],
  exactlyOneOf("cidr", "cidrGroupRef", "cidrGroupSelector"),
);

/** A prefix or a group of prefixes, with exceptions. */
export interface CIDRRule extends Infer<typeof cidrRule> {}

const fqdnFields = {
  matchName: doc("A literal name.", string({ maxLength: 255, pattern: "^([-a-zA-Z0-9_]+[.]?)+$" })),
  matchPattern: doc(
    "A name with `*`: zero or more characters of one label; a leading `**.`: one or more labels.",
    string({ maxLength: 255, pattern: "^([-a-zA-Z0-9_*]+[.]?)+$" }),
  ),
};

export const fqdnSelector = object(fqdnFields, [], exactlyOneOf("matchName", "matchPattern"));

/** Names of a DNS query; an entry with both matches either. */
export const dnsRule = object(fqdnFields);

/** A DNS name, literal or as pattern. */
export interface FQDNSelector extends Infer<typeof fqdnSelector> {}
