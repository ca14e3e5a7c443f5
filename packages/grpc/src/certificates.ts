import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { AxonError, Emitter, errorText } from "@axoneme/base";

/** What one side of a connection needs to show who it is and to know the other; all of it PEM. */
export interface TlsMaterial {
  readonly cert: string;
  readonly key: string;
  /** Certificates that sign those of the other side. */
  readonly ca: string;
}

/** Certificates that may come late and change. */
export interface TlsSource {
  /** The latest; undefined as long as there are none. */
  readonly current: TlsMaterial | undefined;
  /** What is wrong with what is there; undefined when nothing is. */
  readonly problem: string | undefined;
  /** Fires with each new set, which is usable: certificate and key belong together. */
  readonly changes: Emitter<TlsMaterial>;
  stop(): void;
}

/** Holds the certificates of a source and passes on only those that are new and whole. */
export class TlsHolder implements TlsSource {
  readonly changes = new Emitter<TlsMaterial>();
  #current: TlsMaterial | undefined;
  #problem: string | undefined;
  #digest = "";
  #onStop: () => void = () => undefined;

  /** Certificates that somebody offers: `start` begins and returns how to end it. */
  static from(start: (holder: TlsHolder) => () => void): TlsHolder {
    const holder = new TlsHolder();
    holder.#onStop = start(holder);
    return holder;
  }

  get current(): TlsMaterial | undefined {
    return this.#current;
  }

  get problem(): string | undefined {
    return this.#problem;
  }

  /** Takes a set; of one that does not fit together the former stays in force. */
  offer(material: TlsMaterial): void {
    const digest = createHash("sha256")
      .update(`${material.cert}\0${material.key}\0${material.ca}`)
      .digest("hex");
    if (digest === this.#digest) {
      this.#problem = undefined;
      return;
    }
    try {
      checkTls(material);
    } catch (error) {
      this.#problem = errorText(error);
      return;
    }
    this.#digest = digest;
    this.#current = material;
    this.#problem = undefined;
    this.changes.emit(material);
  }

  /** Says why there is nothing (new). */
  fail(problem: string): void {
    this.#problem = problem;
  }

  /** Ends what offers. */
  stop(): void {
    this.#onStop();
  }
}

/** The certificates in the data of a Secret of type kubernetes.io/tls with a ca.crt; undefined when one is missing. */
export function tlsOfSecret(data: Readonly<Record<string, string>>): TlsMaterial | undefined {
  const { "tls.crt": cert = "", "tls.key": key = "", "ca.crt": ca = "" } = data;
  return cert === "" || key === "" || ca === "" ? undefined : { cert, key, ca };
}

/** @throws AxonError `grpc.tls` when certificate, key and CA are not readable or do not belong together */
export function checkTls({ cert, key, ca }: TlsMaterial): void {
  if (ca.trim() === "") throw new AxonError("grpc.tls", "there is no CA to know the other side by");
  try {
    createSecureContext({ cert, key, ca });
  } catch (cause) {
    throw new AxonError("grpc.tls", "certificate, key and CA do not belong together or are not PEM", {
      cause,
    });
  }
}

export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

/** How often files are looked at: mounted Secrets change by a swap of links, which no watch tells of reliably. */
const lookEveryMs = 2000;

/** Certificates in files, read again when they change. While they are missing the former stay in force. */
export class TlsFileSource implements TlsSource {
  readonly #files: TlsFiles;
  readonly #holder = new TlsHolder();
  readonly #timer: NodeJS.Timeout;

  constructor(files: TlsFiles, everyMs = lookEveryMs) {
    this.#files = files;
    this.#look();
    this.#timer = setInterval(() => this.#look(), everyMs).unref();
  }

  get current(): TlsMaterial | undefined {
    return this.#holder.current;
  }

  get problem(): string | undefined {
    return this.#holder.problem;
  }

  get changes(): Emitter<TlsMaterial> {
    return this.#holder.changes;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const read = (path: string): string => readFileSync(path, "utf8");
    try {
      const { cert, key, ca } = this.#files;
      this.#holder.offer({ cert: read(cert), key: read(key), ca: read(ca) });
    } catch (error) {
      this.#holder.fail(errorText(error));
    }
  }
}
