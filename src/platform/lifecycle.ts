/** Starting and stopping in order. */

const PARENT_POLL_MS = 1000;
/** npm passes a signal on to a program that has had it from the terminal: within this time, both are one key press. */
const SAME_SIGNAL_MS = 300;

type Close = () => Promise<void> | void;

/** Closes what was opened in reverse order, each once, also when one of them fails. */
export class Closables {
  private readonly stack: Close[] = [];

  add(close: Close): void {
    this.stack.push(close);
  }

  async close(): Promise<void> {
    const errors: unknown[] = [];
    for (let close = this.stack.pop(); close !== undefined; close = this.stack.pop()) {
      try {
        await close();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw new AggregateError(errors, "not everything could be closed");
  }
}

/**
 * Aborts on SIGINT, SIGTERM and when the terminal is closed; a second signal ends the process at once.
 *
 * @param endsWithParent also when the parent process is gone: a killed `npm start` cannot pass its signal on
 */
export function stopSignal({ endsWithParent }: { endsWithParent: boolean }): AbortSignal {
  const controller = new AbortController();
  let firstAt = 0;
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => {
      if (!controller.signal.aborted) firstAt = performance.now();
      else if (performance.now() - firstAt > SAME_SIGNAL_MS) process.exit(130);
      controller.abort(name);
    });
  }
  const parent = process.ppid;
  const watch = (): void => {
    if (process.ppid !== parent) controller.abort("the parent process ended");
  };
  if (endsWithParent) setInterval(watch, PARENT_POLL_MS).unref();
  return controller.signal;
}
