/** A request that this model cannot serve, whoever asks and however often: the message says what it can. */
export class InvalidRequestError extends Error {
  override readonly name = "InvalidRequestError";
}
