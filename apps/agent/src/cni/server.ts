import { mkdirSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { dirname, join } from "node:path";
import type { HealthReporter, Module } from "@axoneme/app";
import { errorText, type Logger } from "@axoneme/base";
import {
  CniCode,
  CniError,
  type CniRequest,
  type CniResult,
  decodeRequest,
  encodeResponse,
  parseRequest,
  RequestReader,
  supportedVersions,
} from "@axoneme/endpoint";
import { KeptDeletes } from "./kept.ts";

/** What the plugin's commands do. Each rejects with a CniError, or anything else for a fault of ours. */
export interface CniHandler {
  add(request: CniRequest): Promise<CniResult>;
  del(request: CniRequest): Promise<void>;
  check(request: CniRequest): Promise<void>;
  status(): Promise<void>;
  gc(request: CniRequest): Promise<void>;
}

/** A caller that sends nothing, or half a request, is cut off after this long. */
const receiveTimeoutMs = 10_000;

/** Serves the CNI plugin on a UNIX socket of mode 0600: one request a connection. */
export class CniServer implements Module {
  readonly name = "cni";
  readonly #path: string;
  readonly #handler: CniHandler;
  readonly #log: Logger;
  readonly #kept: KeptDeletes;
  #server: Server | undefined;

  constructor(path: string, handler: CniHandler, log: Logger) {
    this.#path = path;
    this.#handler = handler;
    this.#log = log;
    this.#kept = new KeptDeletes(join(dirname(path), "deletes"), (request) => handler.del(request), log);
  }

  async start(health: HealthReporter): Promise<void> {
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
    rmSync(this.#path, { force: true });
    const server = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket));
    const umask = process.umask(0o177);
    try {
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(this.#path, resolve);
      });
    } finally {
      process.umask(umask);
    }
    this.#server = server;
    this.#kept.start();
    health.ok(`listening on ${this.#path}`);
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#kept.stop();
    if (!server) return;
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  #serve(socket: Socket): void {
    const reader = new RequestReader();
    socket.setTimeout(receiveTimeoutMs, () => socket.destroy());
    socket.on("error", (err) => this.#log.debug({ err }, "CNI caller went away"));
    socket.on("data", (chunk: Buffer) => {
      let body: Buffer | undefined;
      try {
        body = reader.push(chunk);
      } catch (error) {
        this.#answerError(socket, supportedVersions[0], error);
        return;
      }
      if (!body) return;
      socket.setTimeout(0);
      socket.removeAllListeners("data");
      void this.#answer(socket, body);
    });
  }

  async #answer(socket: Socket, body: Buffer): Promise<void> {
    let version: string = supportedVersions[0];
    try {
      const { env, stdin } = decodeRequest(body);
      const request = parseRequest(env, stdin);
      version = request.cniVersion;
      const stdout = await this.#dispatch(request);
      socket.end(encodeResponse(0, stdout));
    } catch (error) {
      this.#answerError(socket, version, error);
    }
  }

  async #dispatch(request: CniRequest): Promise<string> {
    switch (request.command) {
      case "ADD":
        return JSON.stringify(await this.#handler.add(request));
      case "DEL":
        await this.#handler.del(request);
        return "";
      case "CHECK":
        await this.#handler.check(request);
        return "";
      case "STATUS":
        await this.#handler.status();
        return "";
      case "GC":
        await this.#handler.gc(request);
        return "";
      case "VERSION":
        return JSON.stringify({
          cniVersion: supportedVersions[0],
          supportedVersions: [...supportedVersions].reverse(),
        });
    }
  }

  #answerError(socket: Socket, version: string, error: unknown): void {
    const cni =
      error instanceof CniError
        ? error
        : new CniError(CniCode.kernel, errorText(error), "", { cause: error });
    // STATUS is asked all the time and "not yet" is an answer; everything else is somebody's pod that does not start.
    if (cni.cniCode === CniCode.notAvailable) this.#log.debug({ code: cni.cniCode }, cni.message);
    else if (error instanceof CniError)
      this.#log.warn({ code: cni.cniCode, details: cni.details }, cni.message);
    else this.#log.error({ err: error }, "CNI request failed");
    socket.end(encodeResponse(1, JSON.stringify(cni.toResult(version))));
  }
}
