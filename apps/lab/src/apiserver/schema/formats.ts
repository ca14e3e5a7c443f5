import { isIP, isIPv4, isIPv6 } from "node:net";

const uuid = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;

function isCidr(value: string): boolean {
  const [address, length, more] = value.split("/");
  if (address === undefined || length === undefined || more !== undefined || !/^\d{1,3}$/.test(length))
    return false;
  const family = isIP(address);
  return family !== 0 && Number(length) <= (family === 4 ? 32 : 128);
}

const quantity = /^[+-]?(\d+(\.\d*)?|\.\d+)(([KMGTPE]i)|[numkMGTPE]|[eE][+-]?\d+)?$/;

const tests: Readonly<Record<string, (value: string) => boolean>> = {
  "date-time": (value) => /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/.test(value),
  date: (value) => /^\d{4}-\d\d-\d\d$/.test(value) && !Number.isNaN(Date.parse(value)),
  duration: (value) =>
    /^([+-]?(\d+(\.\d+)?|\.\d+)\s*(ns|us|µs|ms|s|m|h|d|w|nanos?|micros?|millis?|seconds?|minutes?|hours?|days?|weeks?))+$|^0$/.test(
      value,
    ),
  ipv4: isIPv4,
  ipv6: isIPv6,
  cidr: isCidr,
  uuid: (value) => uuid.test(value),
  byte: (value) => /^[A-Za-z0-9+/]*={0,2}$/.test(value) && value.length % 4 === 0,
  mac: (value) => /^([0-9a-f]{2}[:-]){5}[0-9a-f]{2}$/i.test(value),
  hostname: (value) => /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/i.test(value),
  uri: (value) => URL.canParse(value) || value.startsWith("/"),
  email: (value) => /^[^@\s]+@[^@\s]+$/.test(value),
  quantity: (value) => quantity.test(value),
};

/** What is wrong with `value` for a schema `format`; undefined when nothing, or when the format is not checked. */
export function formatError(format: string, value: string): string | undefined {
  const test = tests[format];
  return test === undefined || test(value) ? undefined : "";
}

/** Whether the text is an address range. */
export function isPrefix(value: string): boolean {
  return isCidr(value);
}
