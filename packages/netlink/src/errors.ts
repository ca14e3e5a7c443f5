import { constants } from "node:os";
import { AxonError } from "@axoneme/base";

const names = new Map<number, string>();
for (const [name, number] of Object.entries(constants.errno)) {
  if (!names.has(number)) names.set(number, name);
}
names.set(constants.errno.EAGAIN, "EAGAIN");
names.set(constants.errno.EOPNOTSUPP, "EOPNOTSUPP");

/** What an errno means where it comes from this kind of object; keys are "NAME" or "NAME kind". */
const words: Record<string, string> = {
  "EEXIST link": "a link with that name exists",
  "EEXIST address": "the link has that address",
  "EEXIST route": "that route exists",
  "EEXIST rule": "that rule exists",
  "EEXIST neighbour": "that entry exists",
  "EEXIST namespace": "that file exists",
  "ENODEV link": "there is no such link",
  ENODEV: "there is no such link to hold it",
  "EADDRNOTAVAIL address": "the link does not have that address",
  "ESRCH route": "there is no such route",
  "ENOENT rule": "there is no such rule",
  "ENOENT neighbour": "there is no such entry",
  "ENOENT namespace": "there is no such file or its folder is missing",
  "EINVAL namespace": "the file is not a network namespace",
  ENETUNREACH: "the gateway is not reachable on any link",
  ENETDOWN: "the link is down",
  EHOSTUNREACH: "there is no route to it",
  EPERM: "root (CAP_NET_ADMIN, CAP_SYS_ADMIN) is needed",
  EACCES: "permission denied",
  ENOENT: "there is no such file",
  EINVAL: "the kernel refuses an argument",
  EOPNOTSUPP: "this kernel cannot do that",
  EBUSY: "it is in use",
  ENOBUFS: "answers were lost because the socket's buffer was full",
  ENOMEM: "the kernel is out of memory",
  EMFILE: "the process has too many open files",
  ETIMEDOUT: "no answer in time",
  EINTR: "it kept changing while it was listed",
  EBADMSG: "the message is malformed",
  ECANCELED: "the socket was closed",
  EADDRINUSE: "the address is in use",
  EADDRNOTAVAIL: "the address is not one of that namespace",
  ECONNREFUSED: "nobody listens there",
};

/** The name of a positive errno ("EEXIST"); "E<number>" for one that has none. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `E${errno}`;
}

/**
 * A failed operation on the kernel's network configuration. `errno` is positive, `errnoName` its name, `code` is
 * `netlink.<name in lower case>`, `op` the verb and `object` what it was done to. The message is a sentence, with
 * the kernel's own words where it gave any.
 */
export class NetlinkError extends AxonError {
  readonly errno: number;
  readonly errnoName: string;
  readonly op: string;
  readonly object: string;

  constructor(what: Operation, errno: number, detail?: string) {
    const name = errnoName(errno);
    const why = words[`${name} ${what.kind}`] ?? words[name] ?? "the kernel refused";
    const text = detail === undefined || detail === "" ? why : detail;
    super(`netlink.${name.toLowerCase()}`, `cannot ${what.op} ${what.object}: ${text} (${name})`);
    this.errno = errno;
    this.errnoName = name;
    this.op = what.op;
    this.object = what.object;
  }
}

/** What is being done, for the words of an error: "create" + "veth lxc1" of kind "link". */
export interface Operation {
  readonly op: string;
  readonly object: string;
  readonly kind: "link" | "address" | "route" | "rule" | "neighbour" | "namespace" | "sysctl" | "socket";
}

/** Whether `error` is a NetlinkError of one of these names: `isErrno(error, "EEXIST")`. */
export function isErrno(error: unknown, ...wanted: string[]): error is NetlinkError {
  return error instanceof NetlinkError && wanted.includes(error.errnoName);
}

/** The error of bytes that are not what the kernel's documentation promises. */
export function malformed(what: string): NetlinkError {
  return new NetlinkError(
    { op: "read", object: `a netlink message (${what})`, kind: "socket" },
    constants.errno.EBADMSG,
  );
}
