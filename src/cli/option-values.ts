/** Values of options, checked before anything is sent. What a preset allows, the server decides. */
import { InvalidArgumentError } from "commander";

/** Of GraphQL's Int. */
const MAX_INTEGER = 2 ** 31 - 1;
const SEEDS = 2n ** 64n;
const SPEEDS = ["exact", "fast", "faster"];

export function wholeNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isInteger(value) || value < 1 || value > MAX_INTEGER)
    throw new InvalidArgumentError("Give a whole number from 1, such as 4.");
  return value;
}

export function finiteNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("Give a number, such as 1.5.");
  return value;
}

/** As text: JSON numbers lose such values. */
export function seed(text: string): string {
  if (!/^\d{1,20}$/.test(text) || BigInt(text) >= SEEDS)
    throw new InvalidArgumentError(`Give a whole number from 0 to ${SEEDS - 1n}, such as 7.`);
  return text;
}

/** As the API has it. */
export function speed(text: string): string {
  if (!SPEEDS.includes(text)) throw new InvalidArgumentError(`Give one of ${SPEEDS.join(", ")}.`);
  return text.toUpperCase();
}
