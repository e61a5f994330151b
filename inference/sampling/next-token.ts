/**
 * Which token follows in an answer: the likeliest, or one drawn from the likely ones.
 * Source: the logits processors of transformers 4.45 (`RepetitionPenaltyLogitsProcessor`, `TemperatureLogitsWarper`,
 * `TopPLogitsWarper`), in their order.
 */

export interface TokenSampling {
  /** Above 0; the logits are divided by it. */
  readonly temperature: number;
  /** Drawn from are the fewest likeliest tokens whose probabilities reach this sum, 0 to 1. */
  readonly topP: number;
}

/** Positive logits of ids that were generated already are divided by the penalty, negative ones multiplied, in place. */
export function penalize(logits: Float32Array, generated: Iterable<number>, penalty: number): void {
  if (penalty === 1) return;
  for (const id of generated) {
    const logit = logits[id] ?? 0;
    logits[id] = logit < 0 ? logit * penalty : logit / penalty;
  }
}

/** The first of equals. */
export function likeliestToken(logits: Float32Array): number {
  let best = 0;
  let highest = Number.NEGATIVE_INFINITY;
  for (const [id, logit] of logits.entries()) if (logit > highest) [best, highest] = [id, logit];
  return best;
}

/** @param fraction what decides, 0 to below 1: each token has a share of this range as large as its probability */
export function drawnToken(logits: Float32Array, { temperature, topP }: TokenSampling, fraction: number): number {
  const highest = logits[likeliestToken(logits)] ?? 0;
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - highest) / temperature));
  const likely = nucleus(weights, topP);
  const sum = likely.reduce((total, id) => total + (weights[id] ?? 0), 0);
  let left = fraction * sum;
  for (const id of likely) {
    left -= weights[id] ?? 0;
    if (left < 0) return id;
  }
  return likely.at(-1) ?? 0;
}

/** Ids of the fewest likeliest tokens that have this share of the weight, likeliest first, at least one. */
function nucleus(weights: Float64Array, share: number): readonly number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  // What weighs less than this would not reach the rest of the share all together: it need not be sorted.
  const least = ((1 - share) * total) / weights.length;
  const candidates = [...weights.keys()].filter((id) => (weights[id] ?? 0) >= least);
  candidates.sort((a, b) => (weights[b] ?? 0) - (weights[a] ?? 0) || a - b);
  let sum = 0;
  const count = candidates.findIndex((id) => {
    sum += weights[id] ?? 0;
    return sum >= share * total;
  });
  return count < 0 ? candidates : candidates.slice(0, count + 1);
}
