import { Emitter } from "@axoneme/base";
import {
  type HealthCheckRequest,
  HealthCheckResponseSchema,
  HealthListResponseSchema,
  ServingStatus,
} from "@axoneme/proto";
import { create, toBinary } from "@bufbuild/protobuf";
import { type ServerUnaryCall, type sendUnaryData, status } from "@grpc/grpc-js";
import { bufferOf, type Handlers } from "./service.ts";
import { type ByteStream, goneSignal } from "./stream.ts";

const response = (serving: ServingStatus): Buffer =>
  bufferOf(toBinary(HealthCheckResponseSchema, create(HealthCheckResponseSchema, { status: serving })));

/** The gRPC health service: all services by the names given serve until `stop`. */
export class HealthService {
  readonly #names: ReadonlySet<string>;
  readonly #changes = new Emitter<ServingStatus>();
  #now: ServingStatus = ServingStatus.SERVING;

  constructor(names: readonly string[]) {
    this.#names = new Set(["", ...names]);
  }

  /** Tells all who watch that nothing is served any more. */
  stop(): void {
    this.#now = ServingStatus.NOT_SERVING;
    this.#changes.emit(this.#now);
  }

  handlers(): Handlers {
    return {
      Check: (call: ServerUnaryCall<HealthCheckRequest, Buffer>, done: sendUnaryData<Buffer>) => {
        const { service } = call.request;
        if (this.#names.has(service)) return done(null, response(this.#now));
        done({ code: status.NOT_FOUND, details: `no service is called "${service}" here` });
      },
      List: (_call: ServerUnaryCall<unknown, Buffer>, done: sendUnaryData<Buffer>) => {
        const statuses = Object.fromEntries([...this.#names].map((name) => [name, { status: this.#now }]));
        const list = create(HealthListResponseSchema, { statuses });
        done(null, bufferOf(toBinary(HealthListResponseSchema, list)));
      },
      Watch: (call: ByteStream<HealthCheckRequest>) => {
        const known = this.#names.has(call.request.service);
        call.write(response(known ? this.#now : ServingStatus.SERVICE_UNKNOWN));
        const off = this.#changes.on((now) => void (known && call.write(response(now))));
        goneSignal(call).signal.addEventListener("abort", off);
      },
    };
  }
}
