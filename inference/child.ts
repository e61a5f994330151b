/** How a process behaves that another one started. */

/**
 * Ends this process when its standard input closes: a parent that is killed cannot say so, but its end of the pipe closes.
 * A thread may be deep in a graph, so nothing gentler than SIGKILL is certain.
 */
export function endWithStdin(): void {
  process.stdin.resume().on("close", () => process.kill(process.pid, "SIGKILL"));
  process.stdin.unref(); // it alone does not keep the process
}

/** The parent alone decides when to stop: Ctrl-C in a terminal reaches the whole process group. */
export function ignoreInterrupt(): void {
  process.on("SIGINT", () => {});
}
