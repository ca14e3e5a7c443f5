import { closeSync, rmSync } from "node:fs";
import { constants } from "node:os";
import { NetlinkError } from "./errors.ts";
import { native, type PollHandle } from "./native.ts";

function failed(op: string, path: string, errno: number): NetlinkError {
  return new NetlinkError({ op, object: path, kind: "socket" }, errno);
}

function pollOn(fd: number, path: string, ready: () => void): PollHandle {
  const poll = native().pollStart(fd, 1, ready);
  if (typeof poll === "number") throw failed("watch", path, -poll);
  return poll;
}

/** Gives descriptors to whoever connects to a socket file that only its owner can open. */
export class HandoverServer {
  private readonly fd: number;
  private readonly poll: PollHandle;

  /**
   * `onPeer` gets the descriptor of a connection over which `fds()` have been sent, and owns it. A file that is there
   * already is replaced. Throws NetlinkError.
   */
  constructor(path: string, fds: () => number[], onPeer: (fd: number) => void) {
    rmSync(path, { force: true });
    this.fd = native().unixListen(path);
    if (this.fd < 0) throw failed("listen on", path, -this.fd);
    this.poll = pollOn(this.fd, path, () => {
      const peer = native().unixAccept(this.fd);
      if (peer < 0) return;
      if (native().fdsSend(peer, 1, fds()) === 0) onPeer(peer);
      else closeSync(peer);
    });
  }

  /** Ends it. The file stays: the next server of this path may have made it. */
  close(): void {
    native().pollStop(this.poll);
    closeSync(this.fd);
  }
}

/**
 * Connects to a {@link HandoverServer}: its descriptors, which are the caller's now, and the connection they came over;
 * undefined when nobody serves there, or the peer has gone or says nothing in `timeoutMs`. Throws NetlinkError.
 */
export async function takeOver(
  path: string,
  timeoutMs: number,
): Promise<{ fds: number[]; connection: number } | undefined> {
  const fd = native().unixConnect(path);
  const { ENOENT, ECONNREFUSED, EAGAIN } = constants.errno;
  if (fd === -ENOENT || fd === -ECONNREFUSED) return undefined;
  if (fd < 0) throw failed("connect to", path, -fd);
  const fds = await new Promise<number[] | undefined>((resolve) => {
    const done = (received: number[] | undefined): void => {
      clearTimeout(timer);
      native().pollStop(poll);
      resolve(received);
    };
    const timer = setTimeout(() => done(undefined), timeoutMs);
    const poll = pollOn(fd, path, () => {
      const received = native().fdsReceive(fd);
      if (received === -EAGAIN) return;
      done(typeof received === "number" ? undefined : received);
    });
  });
  if (fds !== undefined) return { fds, connection: fd };
  closeSync(fd);
  return undefined;
}
