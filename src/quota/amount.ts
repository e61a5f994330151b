/** Amounts of limits as callers write and read them: credits with up to six decimals, anything else as whole numbers. */
import type { LimitKind } from "../generated/prisma/enums.ts";
import { DomainError } from "../platform/errors.ts";
import { formatCredits } from "./tariff.ts";

const MAX = 2n ** 53n;
const CREDITS = /^(-?)(\d{1,12})(?:\.(\d{1,6}))?$/;

export const formatAmount = (kind: LimitKind, amount: bigint): string =>
  kind === "CREDITS" ? formatCredits(amount) : String(amount);

/** Micro-credits, or a whole number. */
export function readAmount(kind: LimitKind, text: string, path: readonly string[]): bigint {
  if (kind === "CREDITS") return readCredits(text, path);
  if (/^\d{1,16}$/.test(text) && BigInt(text) <= MAX) return BigInt(text);
  throw new DomainError("INVALID_INPUT", `"${text.slice(0, 32)}" is not a whole number from 0 to ${MAX}.`, { path });
}

/** "-1.5" are -1500000 micro-credits. */
export function readCredits(text: string, path: readonly string[]): bigint {
  const [, sign, whole = "", decimals = ""] = CREDITS.exec(text) ?? [];
  if (sign === undefined) {
    throw new DomainError(
      "INVALID_INPUT",
      `"${text.slice(0, 32)}" is not a number of credits: up to twelve digits, and six decimals.`,
      { path },
    );
  }
  const credits = BigInt(whole + decimals.padEnd(6, "0"));
  return sign === "-" ? -credits : credits;
}
