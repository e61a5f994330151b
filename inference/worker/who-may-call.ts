/** Who may call a worker over TCP: whoever shows the token, and has a certificate where that is asked for. */
import { createHash, timingSafeEqual } from "node:crypto";
import { experimental, type ServerCredentials } from "@grpc/grpc-js";
import { type CallContext, ServerError, type ServerMiddleware, type ServerMiddlewareCall, Status } from "nice-grpc";
import type { CertificateFiles } from "../../proto/renewed-files.ts";

/** @param tokens those that are good now */
export function requireToken(tokens: () => readonly string[]): ServerMiddleware {
  return async function* <Request, Response>(call: ServerMiddlewareCall<Request, Response>, context: CallContext) {
    const shown = digest(context.metadata.get("authorization") ?? "");
    if (!tokens().some((token) => timingSafeEqual(shown, digest(`Bearer ${token}`))))
      throw new ServerError(Status.UNAUTHENTICATED, "This worker wants another token.");
    return yield* call.next(call.request, context);
  };
}

/** Of equal length, whatever the length of the text. */
const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

/** Callers have to have a certificate, too. */
export const serverCredentials = (files: CertificateFiles): ServerCredentials =>
  experimental.createCertificateProviderServerCredentials(files, files, true);
