import { anyL4, anyPort, onePort, portProtocols, portRange, protocols } from "./l4.ts";
import { isPort, type Raw, type Reader } from "./reader.ts";
import type { L4, NamedPort } from "./rule.ts";

interface Ports {
  l4: L4[];
  named: NamedPort[];
}

const PORT: ReadonlySet<string> = new Set(["portNumber", "namedPort", "portRange"]);
const PROTOCOL: ReadonlySet<string> = new Set(["tcp", "udp", "sctp", "destinationNamedPort"]);

/** `ports` of an AdminNetworkPolicy or BaselineAdminNetworkPolicy; absent = every protocol. */
export function readPorts(reader: Reader, raw: Raw, path: string): Ports {
  return readEach(reader, raw, "ports", path, PORT, (entry, kind, at, found) => {
    if (kind === "namedPort") {
      readName(reader, entry[kind], `${at}.${kind}`, found);
      return;
    }
    const port = reader.object(entry[kind], `${at}.${kind}`);
    if (port === undefined) return;
    const protocol = String(port["protocol"] ?? "TCP");
    const proto = protocols[protocol];
    if (proto === undefined || !portProtocols.includes(proto)) {
      reader.invalid(`${at}.${kind}.protocol`, `"${protocol}" is not TCP, UDP or SCTP`);
      return;
    }
    const single = kind === "portNumber";
    const first = port[single ? "port" : "start"];
    const last = port[single ? "port" : "end"];
    readRange(reader, proto, first, last, `${at}.${kind}`, found);
  });
}

/** `protocols` of a ClusterNetworkPolicy; absent = every protocol. */
export function readProtocols(reader: Reader, raw: Raw, path: string): Ports {
  return readEach(reader, raw, "protocols", path, PROTOCOL, (entry, kind, at, found) => {
    if (kind === "destinationNamedPort") {
      readName(reader, entry[kind], `${at}.${kind}`, found);
      return;
    }
    const proto = protocols[kind.toUpperCase()];
    const body = reader.object(entry[kind], `${at}.${kind}`);
    if (body === undefined || proto === undefined) return;
    if (!reader.only(body, new Set(["destinationPort"]), `${at}.${kind}`)) return;
    if (!reader.given(body, "destinationPort")) {
      found.l4.push(anyPort(proto));
      return;
    }
    const where = `${at}.${kind}.destinationPort`;
    const port = reader.object(body["destinationPort"], where);
    if (port === undefined || !reader.only(port, new Set(["number", "range"]), where)) return;
    const range = reader.given(port, "range") ? reader.object(port["range"], `${where}.range`) : undefined;
    const first = range ? range["start"] : port["number"];
    readRange(reader, proto, first, range ? range["end"] : first, where, found);
  });
}

function readEach(
  reader: Reader,
  raw: Raw,
  field: string,
  path: string,
  known: ReadonlySet<string>,
  read: (entry: Raw, kind: string, at: string, found: Ports) => void,
): Ports {
  const found: Ports = { l4: [], named: [] };
  const list = reader.items(raw, field, path);
  if (list?.length === 0) return { l4: [anyL4], named: [] };
  for (const [i, value] of (list ?? []).entries()) {
    const at = `${path}.${field}[${i}]`;
    const entry = reader.object(value, at);
    if (entry === undefined || !reader.only(entry, known, at)) continue;
    const kinds = Object.keys(entry).filter((kind) => reader.given(entry, kind));
    const [kind] = kinds;
    if (kind === undefined || kinds.length > 1) reader.invalid(at, `wants one of ${[...known].join(", ")}`);
    else read(entry, kind, at, found);
  }
  return found;
}

/** A name stands for a port of whatever protocol the destination pod gives it. */
function readName(reader: Reader, value: unknown, path: string, found: Ports): void {
  if (typeof value !== "string" || value === "") reader.invalid(path, "is not the name of a port");
  else found.named.push(...portProtocols.map((proto) => ({ name: value.toLowerCase(), proto })));
}

function readRange(
  reader: Reader,
  proto: number,
  first: unknown,
  last: unknown,
  path: string,
  found: Ports,
): void {
  if (!isPort(first) || !isPort(last) || last < first)
    reader.invalid(path, "is not a port or a range of ports");
  else found.l4.push(...(first === last ? [onePort(proto, first)] : portRange(proto, first, last)));
}
