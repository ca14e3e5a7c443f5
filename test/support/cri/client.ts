import { Connection } from "@axoneme/grpc";
import { RuntimeService } from "@axoneme/proto/cri";
import type { DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";

type Methods = typeof RuntimeService.method;
type Input<M> = M extends DescMethodUnary<infer I> ? MessageInitShape<I> : never;
type Output<M> = M extends DescMethodUnary<infer _, infer O> ? MessageShape<O> : never;

/** A container runtime's side of CRI. */
export class CriClient {
  readonly #connection: Connection;

  private constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** @throws GrpcError unavailable, until the runtime serves. */
  static async open(path: string): Promise<CriClient> {
    return new CriClient(await Connection.open({ target: { path }, connectMs: 1000 }));
  }

  close(): void {
    this.#connection.close();
  }

  /** @throws GrpcError with the runtime's words. */
  async call<M extends keyof Methods>(
    method: M,
    request: Input<Methods[M]>,
    timeoutMs = 60_000,
  ): Promise<Output<Methods[M]>> {
    const { input, output, name } = RuntimeService.method[method] as DescMethodUnary;
    const bytes = toBinary(input, create(input, request as MessageInitShape<typeof input>));
    const path = `/${RuntimeService.typeName}/${name}`;
    const { message } = await this.#connection.unary(path, bytes, { timeoutMs });
    return fromBinary(output, message) as Output<Methods[M]>;
  }
}
