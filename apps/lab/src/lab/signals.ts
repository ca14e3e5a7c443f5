/** Resolves at SIGTERM or SIGINT; keeps the process alive until then. */
export function untilTold(): Promise<void> {
  return new Promise((resolve) => {
    const alive = setInterval(() => undefined, 1 << 30);
    const done = (): void => {
      clearInterval(alive);
      resolve();
    };
    process.once("SIGTERM", done);
    process.once("SIGINT", done);
  });
}
