import { closeSync } from "node:fs";
import { constants } from "node:os";
import { formatIp, formatPrefix, type Ip } from "@axoneme/base";
import {
  type Address,
  type AddressFilter,
  type AddressSpec,
  decodeAddress,
  encodeAddress,
  encodeAddressDump,
  RTM_DELADDR,
  RTM_NEWADDR,
} from "./address.ts";
import { malformed, NetlinkError, type Operation } from "./errors.ts";
import type { Family } from "./family.ts";
import {
  decodeLink,
  encodeLinkAdd,
  encodeLinkDel,
  encodeLinkDelGroup,
  encodeLinkDump,
  encodeLinkGet,
  encodeLinkRetire,
  encodeLinkSet,
  type Link,
  type LinkChange,
  type LinkName,
  type LinkSpec,
} from "./link.ts";
import { native } from "./native.ts";
import {
  decodeNeighbour,
  encodeNeighbour,
  encodeNeighbourDump,
  type Neighbour,
  type NeighbourFilter,
  type NeighbourSpec,
  RTM_DELNEIGH,
  RTM_NEWNEIGH,
} from "./neighbour.ts";
import { type NetnsRef, netnsName, withNetns } from "./netns.ts";
import { encodeQdiscDel, encodeShaper, type Shaper } from "./qdisc.ts";
import {
  decodeRoute,
  encodeRoute,
  encodeRouteDump,
  encodeRouteGet,
  isClonedRoute,
  matchesRoute,
  type Route,
  type RouteFilter,
  type RouteSpec,
  RTM_DELROUTE,
  RTM_NEWROUTE,
  routeName,
} from "./route.ts";
import {
  decodeRule,
  encodeRule,
  encodeRuleDump,
  RTM_DELRULE,
  RTM_NEWRULE,
  type Rule,
  type RuleSpec,
} from "./rule.ts";
import { NLM, Transactor } from "./transactor.ts";
import { Watch, type WatchFilter, watchGroups } from "./watch.ts";
import { type Message, viewOf } from "./wire.ts";

const REQUEST = NLM.REQUEST | NLM.ACK;
const CREATE = REQUEST | NLM.CREATE | NLM.EXCL;
const REPLACE = REQUEST | NLM.CREATE | NLM.REPLACE;
const DUMP = NLM.REQUEST | NLM.DUMP;

const REQUEST_BUFFER = 4 << 20;
const WATCH_BUFFER = 8 << 20;

/** Where {@link Netlink.open} opens its socket; neither: the caller's own namespace. */
export interface NetlinkOptions {
  readonly netnsPath?: string;
  /** Stays the caller's. */
  readonly netnsFd?: number;
}

function linkName(link: LinkName): string {
  return `link ${link}`;
}

function isDefined<T>(value: T | undefined): value is T {
  return value !== undefined;
}

/**
 * One rtnetlink socket that lives in a namespace. Methods are asynchronous and in order; those called in one turn
 * of the loop travel in one send. All reject with {@link NetlinkError}. An open socket keeps its namespace alive:
 * `close` it.
 */
export class Netlink {
  private readonly fd: number;
  private readonly transactor: Transactor;
  private readonly netns: NetnsRef;
  private collected: Promise<unknown>[] | undefined;
  private closed = false;

  private constructor(fd: number, netns: NetnsRef) {
    this.fd = fd;
    this.netns = netns;
    this.transactor = new Transactor(fd);
  }

  /** Opens the socket; the thread is back in its own namespace when this returns. Throws NetlinkError. */
  static open(options: NetlinkOptions = {}): Netlink {
    const netns = options.netnsPath ?? options.netnsFd;
    const fd = withNetns(netns, (ns) => native().rtnlOpen(ns, new Uint8Array(0), REQUEST_BUFFER));
    if (fd < 0)
      throw new NetlinkError(
        { op: "open an rtnetlink socket in", object: netnsName(netns), kind: "namespace" },
        -fd,
      );
    return new Netlink(fd, netns);
  }

  /** Fails what is queued and closes the socket; watches stay open. */
  close(): void {
    this.closed = true;
    this.transactor.close();
  }

  /** Sends and reads the replies; within `batch` the promise is also the batch's. */
  private ask<T>(message: Uint8Array, what: Operation, read: (replies: Message[]) => T): Promise<T> {
    const dump = (viewOf(message).getUint16(6, true) & NLM.DUMP) === NLM.DUMP;
    const answer = this.transactor.request(message, what, dump).then(read);
    this.collected?.push(answer);
    return answer;
  }

  private run(message: Uint8Array, what: Operation): Promise<void> {
    return this.ask(message, what, () => undefined);
  }

  /**
   * Sends all that `build` asks for with one system call and waits for every answer. The kernel goes on after a
   * request that fails; the first failure is then thrown: undo what was made, or ask for something idempotent.
   */
  async batch(build: (netlink: this) => void): Promise<void> {
    const answers: Promise<unknown>[] = [];
    this.collected = answers;
    try {
      build(this);
    } finally {
      this.collected = undefined;
    }
    const results = await Promise.allSettled(answers);
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  /** Every link of the namespace. */
  linkList(): Promise<Link[]> {
    const what: Operation = { op: "list", object: "links", kind: "link" };
    return this.ask(encodeLinkDump(DUMP), what, (replies) => replies.map((reply) => decodeLink(reply.body)));
  }

  /** One link by name or index; ENODEV if there is none. */
  linkGet(link: LinkName): Promise<Link> {
    const what: Operation = { op: "get", object: linkName(link), kind: "link" };
    return this.ask(encodeLinkGet(REQUEST, link), what, ([reply]) => {
      if (reply === undefined) throw malformed("no link in the answer");
      return decodeLink(reply.body);
    });
  }

  /** Creates a link (for veth both ends, each in the namespace asked for). EEXIST if the name is taken. */
  linkAdd(link: LinkSpec): Promise<void> {
    return this.run(encodeLinkAdd(CREATE, link), {
      op: "create",
      object: `${link.kind} ${link.name}`,
      kind: "link",
    });
  }

  /** Changes a link. */
  linkSet(change: LinkChange): Promise<void> {
    return this.run(encodeLinkSet(REQUEST, change), {
      op: "change",
      object: linkName(change.index),
      kind: "link",
    });
  }

  /**
   * Deletes a link (of a veth pair: both ends). ENODEV if there is none. The kernel takes some 15 ms for each
   * (it waits for readers of the link), and what is asked on this socket meanwhile waits too: delete on a socket
   * of its own, and many at once with {@link linkDelGroup} or a LinkReaper.
   */
  linkDel(link: LinkName): Promise<void> {
    return this.run(encodeLinkDel(REQUEST, link), { op: "delete", object: linkName(link), kind: "link" });
  }

  /** Sets a link down and puts it into a group (see {@link LinkReaper}). ENODEV if there is none. */
  linkRetire(link: LinkName, group: number): Promise<void> {
    const what: Operation = { op: "retire", object: linkName(link), kind: "link" };
    return this.run(encodeLinkRetire(REQUEST, link, group), what);
  }

  /** Deletes all links of a group (not 0) in one step of the kernel's. ENODEV if there are none. */
  linkDelGroup(group: number): Promise<void> {
    const what: Operation = { op: "delete", object: `links of group ${group}`, kind: "link" };
    if (group === 0) return Promise.reject(new NetlinkError(what, constants.errno.EINVAL));
    return this.run(encodeLinkDelGroup(REQUEST, group), what);
  }

  /** Puts a token bucket at a link's root, or changes the one there. ENOENT if the kernel has none (sch_tbf). */
  shaperReplace(index: number, shaper: Shaper): Promise<void> {
    const what: Operation = { op: "shape what is sent by", object: linkName(index), kind: "link" };
    return this.run(encodeShaper(REPLACE, index, shaper), what);
  }

  /** Takes away what is at a link's root. ENOENT if that is nothing that was put there. */
  shaperDel(index: number): Promise<void> {
    const what: Operation = { op: "no longer shape what is sent by", object: linkName(index), kind: "link" };
    return this.run(encodeQdiscDel(REQUEST, index), what);
  }

  private address(type: number, flags: number, op: string, address: AddressSpec): Promise<void> {
    const object = `address ${formatPrefix(address.prefix)} on link ${address.index}`;
    return this.run(encodeAddress(type, flags, address), { op, object, kind: "address" });
  }

  /** Adds an address to a link. EEXIST if it has it. */
  addrAdd(address: AddressSpec): Promise<void> {
    return this.address(RTM_NEWADDR, CREATE, "add", address);
  }

  /** Adds an address, or updates its flags. */
  addrReplace(address: AddressSpec): Promise<void> {
    return this.address(RTM_NEWADDR, REPLACE, "set", address);
  }

  /** Removes an address. EADDRNOTAVAIL if the link does not have it. */
  addrDel(address: AddressSpec): Promise<void> {
    return this.address(RTM_DELADDR, REQUEST, "delete", address);
  }

  /** The addresses of the namespace, or of one link or family. */
  addrList(filter: AddressFilter = {}): Promise<Address[]> {
    const what: Operation = { op: "list", object: "addresses", kind: "address" };
    return this.ask(encodeAddressDump(DUMP, filter), what, (replies) => {
      const all = replies.map((reply) => decodeAddress(reply.body));
      return all.filter((address) => filter.index === undefined || address.index === filter.index);
    });
  }

  private route(type: number, flags: number, op: string, route: RouteSpec): Promise<void> {
    return this.run(encodeRoute(type, flags, route), {
      op,
      object: `route ${routeName(route)}`,
      kind: "route",
    });
  }

  /** Adds a route. EEXIST if one with that prefix, table and priority exists. */
  routeAdd(route: RouteSpec): Promise<void> {
    return this.route(RTM_NEWROUTE, CREATE, "add", route);
  }

  /** Adds a route or replaces the one with that prefix, table and priority. */
  routeReplace(route: RouteSpec): Promise<void> {
    return this.route(RTM_NEWROUTE, REPLACE, "set", route);
  }

  /** Deletes the first route that matches all that is given. ESRCH if there is none. */
  routeDel(route: RouteSpec): Promise<void> {
    return this.route(RTM_DELROUTE, REQUEST, "delete", route);
  }

  /** Routes of all tables and both families, or those that match. */
  routeList(filter: RouteFilter = {}): Promise<Route[]> {
    const what: Operation = { op: "list", object: "routes", kind: "route" };
    return this.ask(encodeRouteDump(DUMP, filter), what, (replies) => {
      const own = replies.filter((reply) => !isClonedRoute(reply.body));
      const all = own.map((reply) => decodeRoute(reply.body)).filter(isDefined);
      return all.filter((route) => matchesRoute(route, filter));
    });
  }

  /** The route a packet to `ip` would take. ENETUNREACH if there is none. */
  routeGet(ip: Ip): Promise<Route> {
    const what: Operation = { op: "find", object: `the route to ${formatIp(ip)}`, kind: "route" };
    return this.ask(encodeRouteGet(REQUEST, ip), what, ([reply]) => {
      const route = reply === undefined ? undefined : decodeRoute(reply.body);
      if (route === undefined) throw malformed("no route in the answer");
      return route;
    });
  }

  private rule(type: number, flags: number, op: string, rule: RuleSpec): Promise<void> {
    const object = `IPv${rule.family} rule ${rule.priority ?? "(any priority)"} to table ${rule.table}`;
    return this.run(encodeRule(type, flags, rule), { op, object, kind: "rule" });
  }

  /** Adds a policy routing rule. EEXIST if the same exists. */
  ruleAdd(rule: RuleSpec): Promise<void> {
    return this.rule(RTM_NEWRULE, CREATE, "add", rule);
  }

  /** Deletes the first rule that matches. ENOENT if there is none. */
  ruleDel(rule: RuleSpec): Promise<void> {
    return this.rule(RTM_DELRULE, REQUEST, "delete", rule);
  }

  /** The rules of both families, or of one. */
  ruleList(filter: { readonly family?: Family } = {}): Promise<Rule[]> {
    const what: Operation = { op: "list", object: "rules", kind: "rule" };
    return this.ask(encodeRuleDump(DUMP, filter.family), what, (replies) =>
      replies.map((reply) => decodeRule(reply.body)).filter(isDefined),
    );
  }

  private neighbour(type: number, flags: number, op: string, neighbour: NeighbourSpec): Promise<void> {
    const object = `neighbour ${formatIp(neighbour.ip)} on link ${neighbour.index}`;
    return this.run(encodeNeighbour(type, flags, neighbour), { op, object, kind: "neighbour" });
  }

  /** Adds a neighbour (permanent unless told). EEXIST if it is known. */
  neighAdd(neighbour: NeighbourSpec): Promise<void> {
    return this.neighbour(RTM_NEWNEIGH, CREATE, "add", neighbour);
  }

  /** Adds or changes a neighbour. */
  neighReplace(neighbour: NeighbourSpec): Promise<void> {
    return this.neighbour(RTM_NEWNEIGH, REPLACE, "set", neighbour);
  }

  /** Deletes a neighbour. ENOENT if it is not known. */
  neighDel(neighbour: NeighbourSpec): Promise<void> {
    return this.neighbour(RTM_DELNEIGH, REQUEST, "delete", neighbour);
  }

  /** The neighbours of the namespace, or of one link or family. */
  neighList(filter: NeighbourFilter = {}): Promise<Neighbour[]> {
    const what: Operation = { op: "list", object: "neighbours", kind: "neighbour" };
    return this.ask(encodeNeighbourDump(DUMP, filter), what, (replies) => {
      const all = replies.map((reply) => decodeNeighbour(reply.body)).filter(isDefined);
      return all.filter((neighbour) => filter.index === undefined || neighbour.index === filter.index);
    });
  }

  /** Watches changes in the same namespace on a socket of its own. Throws NetlinkError. */
  watch(filter: WatchFilter): Watch {
    const what: Operation = { op: "watch", object: netnsName(this.netns), kind: "socket" };
    if (this.closed) throw new NetlinkError(what, constants.errno.ECANCELED);
    const ns = native().netnsOf(this.fd);
    if (ns < 0) throw new NetlinkError(what, -ns);
    const fd = native().rtnlOpen(ns, watchGroups(filter), filter.receiveBuffer ?? WATCH_BUFFER);
    closeSync(ns);
    if (fd < 0) throw new NetlinkError(what, -fd);
    return new Watch(fd);
  }
}
