/** The few words in which the system says why it refused, such as "permission denied". */
export function systemReason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // Node's messages read "EACCES: permission denied, open '/path'".
  return /^[A-Z0-9]+: ([^,]+)/.exec(error.message)?.[1] ?? error.message;
}
