import { Emitter } from "@axoneme/base";
import { GrpcError, grpcCode, type ServerCall } from "@axoneme/grpc";
import {
  HealthCheckRequestSchema,
  HealthCheckResponseSchema,
  HealthListResponseSchema,
  ServingStatus,
} from "@axoneme/proto";
import { create, toBinary } from "@bufbuild/protobuf";
import { type Handlers, readRequest } from "./service.ts";

const response = (serving: ServingStatus): Uint8Array =>
  toBinary(HealthCheckResponseSchema, create(HealthCheckResponseSchema, { status: serving }));

/** The gRPC health service: all services by the names given serve as long as `set` says so. */
export class HealthService {
  readonly #names: ReadonlySet<string>;
  readonly #changes = new Emitter<void>();
  #now: ServingStatus = ServingStatus.SERVING;

  constructor(names: readonly string[]) {
    this.#names = new Set(["", ...names]);
  }

  /** Tells all who watch. */
  set(isServing: boolean): void {
    const next = isServing ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
    if (next === this.#now) return;
    this.#now = next;
    this.#changes.emit();
  }

  handlers(): Handlers {
    return {
      Check: async (call) => {
        const { service } = await readRequest(HealthCheckRequestSchema, call);
        if (this.#names.has(service)) return call.write(response(this.#now));
        throw new GrpcError(grpcCode.notFound, `no service is called "${service}" here`);
      },
      List: async (call) => {
        await call.request();
        const statuses = Object.fromEntries([...this.#names].map((name) => [name, { status: this.#now }]));
        await call.write(toBinary(HealthListResponseSchema, create(HealthListResponseSchema, { statuses })));
      },
      Watch: (call) => this.#watch(call),
    };
  }

  async #watch(call: ServerCall): Promise<void> {
    const { service } = await readRequest(HealthCheckRequestSchema, call);
    const known = this.#names.has(service);
    await call.write(response(known ? this.#now : ServingStatus.SERVICE_UNKNOWN));
    let told = this.#now;
    while (!call.signal.aborted) {
      if (known && told !== this.#now) {
        told = this.#now;
        await call.write(response(told));
        continue;
      }
      await this.#changed(call.signal);
    }
  }

  #changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const off = this.#changes.on(done);
      function done(): void {
        off();
        signal.removeEventListener("abort", done);
        resolve();
      }
      signal.addEventListener("abort", done);
      if (signal.aborted) done();
    });
  }
}
