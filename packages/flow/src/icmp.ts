/** Names of ICMP types and codes (IANA registries), for summaries and metrics. */

type Names = Record<number, readonly [string, (readonly string[])?]>;

const icmp4: Names = {
  0: ["EchoReply"],
  3: [
    "DestinationUnreachable",
    [
      "Net",
      "Host",
      "Protocol",
      "Port",
      "FragmentationNeeded",
      "SourceRoutingFailed",
      "NetUnknown",
      "HostUnknown",
      "SourceIsolated",
      "NetAdminProhibited",
      "HostAdminProhibited",
      "NetTOS",
      "HostTOS",
      "CommAdminProhibited",
      "HostPrecedence",
      "PrecedenceCutoff",
    ],
  ],
  4: ["SourceQuench"],
  5: ["Redirect", ["Net", "Host", "TOS+Net", "TOS+Host"]],
  8: ["EchoRequest"],
  9: ["RouterAdvertisement"],
  10: ["RouterSolicitation"],
  11: ["TimeExceeded", ["TTLExceeded", "FragmentReassemblyTimeExceeded"]],
  12: ["ParameterProblem", ["PointerIndicatesError", "MissingOption", "BadLength"]],
  13: ["TimestampRequest"],
  14: ["TimestampReply"],
};

const icmp6: Names = {
  1: [
    "DestinationUnreachable",
    [
      "NoRouteToDst",
      "AdminProhibited",
      "BeyondScopeOfSrc",
      "AddressUnreachable",
      "PortUnreachable",
      "SrcAddressFailedPolicy",
      "RejectRouteToDst",
    ],
  ],
  2: ["PacketTooBig"],
  3: ["TimeExceeded", ["HopLimitExceeded", "FragmentReassemblyTimeExceeded"]],
  4: ["ParameterProblem", ["ErroneousHeader", "UnrecognizedNextHeader", "UnrecognizedIPv6Option"]],
  128: ["EchoRequest"],
  129: ["EchoReply"],
  133: ["RouterSolicitation"],
  134: ["RouterAdvertisement"],
  135: ["NeighborSolicitation"],
  136: ["NeighborAdvertisement"],
  137: ["Redirect"],
};

/** `EchoRequest`, `DestinationUnreachable(Port)`, or `type(code)` in numbers when unnamed. */
export function icmpText(ipv6: boolean, type: number, code: number): string {
  const named = (ipv6 ? icmp6 : icmp4)[type];
  if (named === undefined) return `${type}(${code})`;
  const [name, codes] = named;
  return codes === undefined ? name : `${name}(${codes[code] ?? `Code: ${code}`})`;
}
