/** Worst deviations of parity tests, printed with PARITY_REPORT=1 as one line each. */
export function report(kind: "stage" | "run", name: string, worst: number): void {
  if (process.env["PARITY_REPORT"] !== undefined)
    process.stderr.write(`parity ${kind} ${name} ${worst.toExponential(2)}\n`);
}
