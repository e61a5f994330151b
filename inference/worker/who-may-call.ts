/** Who may call a worker over TCP: whoever shows the token, and has a certificate where that is asked for. */
import { createHash, timingSafeEqual } from "node:crypto";
import { ServerCredentials } from "@grpc/grpc-js";
import { type CallContext, ServerError, type ServerMiddleware, type ServerMiddlewareCall, Status } from "nice-grpc";
import type { TlsFiles } from "./settings.ts";

export function requireToken(token: string): ServerMiddleware {
  const expected = digest(`Bearer ${token}`);
  return async function* <Request, Response>(call: ServerMiddlewareCall<Request, Response>, context: CallContext) {
    if (!timingSafeEqual(digest(context.metadata.get("authorization") ?? ""), expected))
      throw new ServerError(Status.UNAUTHENTICATED, "This worker wants another token.");
    return yield* call.next(call.request, context);
  };
}

/** Of equal length, whatever the length of the text. */
const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

/** Callers have to have a certificate, too. */
export const serverCredentials = ({ ca, cert, key }: TlsFiles): ServerCredentials =>
  ServerCredentials.createSsl(ca, [{ cert_chain: cert, private_key: key }], true);
