/** A hub refuses, or does not keep what it promised; the message says what to do. */
export class HubError extends Error {
  override readonly name = "HubError";
}
